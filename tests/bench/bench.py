#!/usr/bin/python3
"""Measures, side by side: `make bench`. See README.md for how a case is written.

    bench.py [--rounds N] [--json FILE] [CASE]...

A case is a file case_*.py beside this one. Exit: 0 every target was met, 1 one was missed, or a
case could not be measured (which is a row that failed, never a row less)."""

import argparse
import importlib
import json
import os
import platform
import statistics
import sys
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "netns")]
# pylint: disable=wrong-import-position
from places import BUILD
from tap import Skip

COMPARE = {"<=": lambda value, bound: value <= bound, ">=": lambda value, bound: value >= bound}


class Samples:
    """One side's measurements: their median, and how far the middle half of them is apart."""

    def __init__(self, values):
        self.values = [float(value) for value in values]
        self.median = statistics.median(self.values)
        low, _, high = (statistics.quantiles(self.values, n=4, method="inclusive")
                        if len(self.values) > 1 else [self.median] * 3)
        self.spread = high - low

    def __str__(self):
        return f"{figure(self.median)} ±{figure(self.spread / 2)}"


def figure(value):
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def is_met(target, measured):
    """target: "<= 1.1", ">= 150000"; None: nothing is asked for."""
    if target is None:
        return True
    sign, bound = target.split()
    return COMPARE[sign](measured, float(bound))


class Bench:
    """What a case gets: pairs() to measure, row() to tell."""

    def __init__(self, rounds):
        self.rounds, self.results = rounds, []

    def pairs(self, *measures, rounds=None):
        """Calls two or more in turn, who is first alternating, so that what the machine does
        otherwise falls on all. Returns what they returned, a list for each."""
        results = [[] for _ in measures]
        for i in range(rounds or self.rounds):
            for measure, returned in list(zip(measures, results))[::-1 if i % 2 else 1]:
                returned.append(measure())
        return results

    def row(self, name, unit, value, baseline=None, ratio=None, limit=None):
        """One line of the table. value, baseline: numbers, one for each round. ratio: the target of
        value to baseline (the median of the pairs' ratios); limit: that of the value itself."""
        value, pairs = Samples(value), None
        if baseline is not None:
            baseline = Samples(baseline)
            pairs = Samples(v / b for v, b in zip(value.values, baseline.values))
        met = is_met(ratio, pairs.median if pairs else 0) and is_met(limit, value.median)
        self.results.append({
            "name": name, "value": value.median, "unit": unit, "spread": value.spread,
            "baseline": baseline and baseline.median,
            "baseline_spread": baseline and baseline.spread,
            "ratio": pairs and pairs.median, "ratio_spread": pairs and pairs.spread,
            "target": f"{ratio} ×" if ratio else limit, "pass": met,
        })
        self._print(name, unit, baseline, value, pairs, self.results[-1]["target"], met=met)

    def missing(self, name, why):
        """What could not be measured. Counts as missed."""
        self.results.append({"name": name, "value": None, "unit": "", "baseline": None,
                             "ratio": None, "target": None, "pass": False, "why": why})
        print(f"{name:44} could not be measured: {why}", flush=True)

    @staticmethod
    def head():
        print(f"{'what':44} {'unit':>6} {'baseline':>18} {'value':>18} {'ratio':>14} "
              f"{'target':>10}\n{'':44} {'':>6} {'median ±IQR/2':>18} {'median ±IQR/2':>18} "
              f"{'of pairs':>14}", flush=True)

    @staticmethod
    def _print(name, unit, *rest, met):
        *figures, target = ("" if part is None else str(part) for part in rest)
        baseline, value, ratio = figures
        verdict = "" if not target else "met" if met else "MISSED"
        print(f"{name:44} {unit:>6} {baseline:>18} {value:>18} {ratio:>14} {target:>10} {verdict}",
              flush=True)


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        models = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    return {"cpu": models[0] if models else platform.machine(), "cpus": os.cpu_count(),
            "kernel": platform.release(), "load": os.getloadavg()[0]}


def cases():
    return sorted(name[5:-3] for name in os.listdir(HERE)
                  if name.startswith("case_") and name.endswith(".py"))


def run_case(bench, name):
    try:
        importlib.import_module(f"case_{name}").run(bench)
    except Skip as skip:
        bench.missing(name, str(skip))
    except Exception as error:  # pylint: disable=broad-except
        traceback.print_exc()
        bench.missing(name, f"{type(error).__name__}: {error}")


def main():
    parser = argparse.ArgumentParser(prog="bench.py", description="measures, side by side")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"all of {' '.join(cases())}")
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="pairs of a row (15)")
    parser.add_argument("--json", default=f"{BUILD}/bench.json", metavar="FILE")
    options = parser.parse_args()
    for name in options.cases:
        if name not in cases():
            parser.error(f"no case is called {name!r}")
    if os.geteuid() != 0:
        sys.exit("bench.py needs root: namespaces, control groups and BPF")
    bench, where = Bench(options.rounds), machine()
    print(f"{where['cpus']} × {where['cpu']}, Linux {where['kernel']}, load {where['load']:.1f}")
    bench.head()
    for name in options.cases or cases():
        run_case(bench, name)
    with open(options.json, "w", encoding="utf-8") as f:
        json.dump({"machine": where, "results": bench.results}, f, indent=1)
        f.write("\n")
    missed = sum(not row["pass"] for row in bench.results)
    print(f"{len(bench.results) - missed} of {len(bench.results)} as they should be; {options.json}")
    sys.exit(1 if missed or not bench.results else 0)


if __name__ == "__main__":
    main()
