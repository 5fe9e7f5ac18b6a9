#!/usr/bin/python3
"""Runs the fuzz targets: each over its seeds, which are past findings too, then for FUZZ_SECONDS with
new inputs. As many targets at a time as there are processors.

Environment: FUZZ_SECONDS (30; 0: seeds only), FUZZ ("http imds": these only), FUZZ_CORPUS (a folder for
what long runs found interesting; outside of git). A finding stays in the build directory, and the
command to see it again is printed. Called by tests/run as the suite `fuzz`.
"""

import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = Path(os.environ.get("IG_BUILD", HERE.parents[1] / "build")).resolve() / "fuzz"
FINDINGS = BUILD / "findings"
SECONDS = int(os.environ.get("FUZZ_SECONDS") or 30)
CORPUS = os.environ.get("FUZZ_CORPUS") or ""
ONLY = set((os.environ.get("FUZZ") or "").split())

# One input may take so long, and the process so much memory. A machine that is busy is not a finding.
LIMITS = ("-timeout=30", "-rss_limit_mb=2048", "-malloc_limit_mb=512")
MAX_LEN = {"http": 40960, "certificate": 16384}
GRACE_SEC = 120  # to read the corpus and to end


class Target:
    def __init__(self, name):
        self.name = name
        self.program = BUILD / "tests" / "fuzz" / f"fuzz_{name}"
        self.seeds = HERE / "corpus" / name
        self.dictionary = HERE / f"{name}.dict"
        self.found = FINDINGS / name
        self.corpus = (Path(CORPUS) if CORPUS else BUILD / "corpus") / name

    def options(self):
        words = [*LIMITS, f"-artifact_prefix={self.found}/", "-print_final_stats=1"]
        if self.name in MAX_LEN:
            words.append(f"-max_len={MAX_LEN[self.name]}")
        if self.dictionary.exists():
            words.append(f"-dict={self.dictionary}")
        return words

    def run(self, words, limit_sec):
        env = dict(os.environ, ASAN_OPTIONS="detect_leaks=1", UBSAN_OPTIONS="print_stacktrace=1")
        argv = [str(self.program), *self.options(), *map(str, words)]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, env=env, cwd=self.found)
        try:
            output = process.communicate(timeout=limit_sec)[0].decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            process.kill()
            output = process.communicate()[0].decode("utf-8", "replace")
            return output + f"\nstopped after {limit_sec} s", 1
        return output, process.returncode

    def over_seeds(self):
        seeds = sorted(self.seeds.glob("*"))
        if not seeds:
            return "there are no seeds", 1
        return self.run(["-runs=0", self.seeds], GRACE_SEC + SECONDS)

    def with_new_inputs(self):
        self.corpus.mkdir(parents=True, exist_ok=True)
        return self.run([f"-max_total_time={SECONDS}", self.corpus, self.seeds], GRACE_SEC + SECONDS)

    def finding(self, output):
        """What went wrong, with the command that shows it again."""
        lines = [line for line in output.splitlines() if re.search(
            r"does not hold|ERROR: |SUMMARY: |runtime error|stopped after|no seeds|^    #\d+ .* /", line)]
        lines = lines[:25] or output.splitlines()[-25:]
        written = re.search(r"Test unit written to (\S+)", output)
        if written:
            lines.append(f"see it again: {self.program} {written[1]}")
        return lines


def counts(output):
    match = re.search(r"stat::number_of_executed_units:\s*(\d+)", output)
    return int(match[1]) if match else 0


def fuzz(target):
    """[(title, problems)]"""
    if not target.program.exists():
        return [(f"{target.name}: is built", [f"{target.program} is missing"])]
    target.found.mkdir(parents=True, exist_ok=True)
    output, status = target.over_seeds()
    points = [(f"{target.name}: seeds", target.finding(output) if status else [])]
    if status == 0 and SECONDS > 0:
        started = time.monotonic()
        output, status = target.with_new_inputs()
        title = f"{target.name}: {counts(output)} inputs in {time.monotonic() - started:.0f} s"
        points.append((title, target.finding(output) if status else []))
    return points


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    names = sorted(path.stem[len("fuzz_"):] for path in HERE.glob("fuzz_*.c"))
    unknown = ONLY - set(names)
    if unknown:
        sys.exit(f"no fuzz target is called {' or '.join(sorted(unknown))}; there are: {' '.join(names)}")
    targets = [Target(name) for name in names if not ONLY or name in ONLY]
    number, failed = 0, 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for points in pool.map(fuzz, targets):
            for title, problems in points:
                number += 1
                failed += bool(problems)
                print(f"{'not ok' if problems else 'ok'} {number} - {title}")
                for line in problems:
                    print(f"# {line}")
                sys.stdout.flush()
    print(f"1..{number}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
