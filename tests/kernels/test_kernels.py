#!/usr/bin/python3
"""The gate on other kernels than this machine's: Debian's 5.10, 6.1, 6.12 and the newest that Debian
has, each in a virtual machine. Runs the programs of the suites bpf and netns there as they are, and
compares docs/kernels.md with what `imdsgate doctor` finds.

Without KVM the processor is emulated, and fewer programs run: the output says which. --all runs them
all the same, which takes ten to twenty minutes for each kernel.

    test_kernels.py [--all] [KERNEL...]
"""

import argparse
import concurrent.futures
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import guest

REPO = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("IG_BUILD", REPO / "build")).resolve()
KERNELS = ("5.10", "6.1", "6.12", "newest")
# what has to work for the gate to be one: load, attach, redirect, fail closed, restart, guard
PROGRAMS = ("bpf/test_datapath", "bpf/test_guard", "netns/test_redirect", "netns/test_fail_closed")
# where the processor is emulated: on the oldest and the newest kernel only
AT_THE_ENDS = ("netns/test_coexist",)
WITH_KVM = ("netns/test_guard", "bpf/test_decide", "netns/test_control", "netns/test_doctor")
# (kernel, program): what may be skipped there, since the kernel does not have it
ABSENT = {
    ("5.10", "bpf/test_guard"): {"a_raw_socket_gets_nothing_through"},
    ("5.10", "netns/test_redirect"): {"mptcp: each pod gets its own token"},
    ("5.10", "bpf/test_decide"): {"everything"},
    ("5.10", "netns/test_control"): {"mptcp reaches the lab"},
    ("5.10", "netns/test_doctor"): {"a namespace of a pod without a listener is a warning"},
}
# for all programs on one kernel: with KVM, emulated, emulated and with those that need it
SECONDS, SECONDS_EMULATED, SECONDS_ALL = 170, 540, 3000
PATIENCE, PATIENCE_EMULATED, PATIENCE_ALL = 1, 5, 10
DOC = REPO / "docs" / "kernels.md"
PROGRAM = re.compile(r"^\[ *\d+/\d+\] (\S+) … (ok|FAILED) \((?:(\d+) tests)?", re.M)
SKIPPED = re.compile(r"^skipped: (\S+): (.*?)(?: \(.*\))?$", re.M)
MISSING = re.compile(r"(.*) is missing: ")


class Plan:
    """What is run on each kernel, and how long it may take."""

    def __init__(self, everything):
        self.is_whole = guest.has_kvm() or everything
        self.seconds, self.patience = (
            (SECONDS, PATIENCE) if guest.has_kvm() else
            (SECONDS_ALL, PATIENCE_ALL) if everything else (SECONDS_EMULATED, PATIENCE_EMULATED))

    def programs(self, name):
        if self.is_whole:
            return PROGRAMS + AT_THE_ENDS + WITH_KVM
        return PROGRAMS + (AT_THE_ENDS if name in (KERNELS[0], KERNELS[-1]) else ())

    def __str__(self):
        if guest.has_kvm():
            return "KVM"
        if self.is_whole:
            return "no KVM: the processor is emulated"
        return (f"no KVM: the processor is emulated, without {' '.join(WITH_KVM)}, and "
                f"{' '.join(AT_THE_ENDS)} on the oldest and newest kernel only")


class Kernel:
    """What one guest said. Each point is (title, function that raises AssertionError)."""

    def __init__(self, name, plan):
        self.name, self.error, self.output, self.features, self.plan = name, None, "", [], plan
        self.release, self.unavailable, self.seconds = name, None, 0

    def boot(self):
        started = time.monotonic()
        try:
            directory = guest.fetch(self.name)
            self.release = guest.release_of(directory)
            plan = self.plan
            _, output = guest.run(directory, [
                "/usr/bin/env", f"IG_PATIENCE={plan.patience}", REPO / "tests/kernels/job", BUILD,
                str(plan.seconds), *plan.programs(self.name)], plan.seconds + 30)
            self.take(output)
        except guest.Unavailable as error:
            self.unavailable = str(error)
        except guest.GuestFailed as error:
            self.error = error
            self.take(error.output)
        except Exception as error:  # pylint: disable=broad-except
            self.error = error
        self.seconds = time.monotonic() - started
        return self

    def take(self, output):
        features, newline, self.output = output.partition("\n")
        if newline:
            self.features = json.loads(features)["checks"]

    def missing(self):
        found = [c["found"] for c in self.features if c["name"] == "kernel_feature"]
        assert found, "the doctor did not look at the kernel's features"
        return {m[1] for m in map(MISSING.match, found) if m}

    def check_program(self, program):
        found = {m[1]: m for m in PROGRAM.finditer(self.output)}.get(program)
        assert found, f"it did not end: {self.error}\n{self.output[-3000:]}"
        end = re.compile(r"^\[", re.M).search(self.output, found.end())
        assert found[2] == "ok", self.output[found.start():end.start() if end else None]
        assert not self.error, "it passed, but what it skipped is said at the end, which did not come"
        skipped = {m[2] for m in SKIPPED.finditer(self.output) if m[1] == program}
        allowed = ABSENT.get((self.name, program), set())
        assert skipped == allowed, f"skipped: {skipped}, expected {allowed}"

    def check_doc(self):
        rows = documented_features()
        assert rows, f"no table of features in {DOC}"
        said = {name for name, cells in rows.items() if cells[KERNELS.index(self.name)] == "no"}
        assert said == self.missing(), f"{DOC.name} says {said} is missing, it is {self.missing()}"


def documented_features():
    """{name: [cell for each of KERNELS]} from the table in the documentation that lists them."""
    lines = DOC.read_text(encoding="utf-8").split("## What each kernel has", 1)[1].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")]
            for line in lines if line.startswith("|")]
    return {row[0].strip("`"): row[1:1 + len(KERNELS)] for row in rows[2:] if row[1] in ("yes", "no")}


def points(names, plan):
    """(title, kernel, function)"""
    for name in names:
        for program in plan.programs(name):
            yield f"{name}: {program}", name, lambda k, p=program: k.check_program(p)
        yield f"{name}: docs/kernels.md says what is missing", name, Kernel.check_doc


def report(number, title, kernel, check):
    """True unless it failed."""
    if kernel.unavailable:
        print(f"ok {number} - {title} # SKIP {kernel.unavailable}")
        return True
    try:
        check(kernel)
    except AssertionError as error:
        print(f"not ok {number} - {title}")
        print("".join(f"# {line}\n" for line in str(error).splitlines()), end="", flush=True)
        return False
    print(f"ok {number} - {title} ({kernel.release})", flush=True)
    return True


def refuse_without_means():
    try:
        if os.geteuid() != 0:
            raise guest.Unavailable("needs root: the files of this machine are shared with guests")
        guest.check_tools()
    except guest.Unavailable as error:
        print(f"1..0 # SKIP {error}")
        sys.exit(77)


def main():
    parser = argparse.ArgumentParser(description="the gate on other kernels than this machine's")
    parser.add_argument("--all", action="store_true", dest="everything",
                        help="also what an emulated processor takes long for")
    parser.add_argument("kernels", nargs="*", metavar="KERNEL", help=" ".join(KERNELS))
    args = parser.parse_args()
    if unknown := set(args.kernels) - set(KERNELS):
        parser.error(f"no such kernel: {' '.join(unknown)}; there are {' '.join(KERNELS)}")
    refuse_without_means()
    names, plan = args.kernels or KERNELS, Plan(args.everything)
    todo = list(points(names, plan))
    print(f"1..{len(todo)}", flush=True)
    print(f"# {plan}", flush=True)
    with concurrent.futures.ThreadPoolExecutor(min(len(names), os.cpu_count())) as pool:
        def stopped(*_):
            pool.shutdown(wait=False, cancel_futures=True)
            guest.stop()
            sys.exit(143)
        signal.signal(signal.SIGTERM, stopped)
        longest_first = sorted(names, key=lambda name: -len(plan.programs(name)))
        booted = {name: pool.submit(Kernel(name, plan).boot) for name in longest_first}
        failed, number = 0, 0
        for title, name, check in todo:
            number += 1
            kernel = booted[name].result()
            failed += not report(number, title, kernel, check)
    for name in names:
        kernel = booted[name].result()
        print(f"# {kernel.release}: {kernel.seconds:.0f} s")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
