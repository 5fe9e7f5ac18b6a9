#!/usr/bin/python3
"""Counts the instructions of a request and of an audit record (count/) with callgrind, and compares
them with those that are committed (instructions.json): `make bench-check`.

    test_instructions.py [--update] [--committed FILE] [OPERATION]...

What load, processors and time do to other measurements does nothing to this one. Another compiler
or C library does, so elsewhere nothing is compared. Prints TAP; with --update writes the file."""

import argparse
import concurrent.futures
import json
import os
import platform
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
COMMITTED = os.path.join(HERE, "instructions.json")
COUNT = os.path.join(os.environ.get("IG_BUILD", os.path.join(HERE, "../../build")),
                     "tests/bench/count/count")
FEW, MANY = 100, 400
TOLERANCE = 0.05
# libraries choose their code by the processor; this is what every x86-64 has
ENVIRONMENT = {
    "PATH": os.environ["PATH"], "LC_ALL": "C", "OPENSSL_ia32cap": "0",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX_Fast_Unaligned_Load,-BMI2,-ERMS,-SSE4_2",
}


class Uncountable(Exception):
    """Why nothing can be counted here."""


def output_of(*argv, cwd=None):
    done = subprocess.run(argv, cwd=cwd, env=ENVIRONMENT, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise Uncountable(f"{' '.join(argv)}: exit {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def origin():
    """What the numbers depend on besides the sources."""
    compilers = re.findall(r"(GCC|clang)\D*(?:\([^)]*\) )?([\d.]+)",
                           output_of("readelf", "--string-dump=.comment", COUNT))
    return {"release": platform.freedesktop_os_release()["PRETTY_NAME"].partition(" (")[0],
            "machine": platform.machine(), "libc": " ".join(platform.libc_ver()),
            "compiler": " ".join(compilers[-1]) if compilers else "unknown"}


def total_of(operation, turns):
    with tempfile.TemporaryDirectory(prefix="count-") as folder:
        # run there, so that no name of another length lays out memory anew
        output_of("valgrind", "--tool=callgrind", "--callgrind-out-file=out", COUNT, operation,
                  str(turns), ".", cwd=folder)
        with open(os.path.join(folder, "out"), encoding="utf-8", errors="replace") as f:
            return int(re.search(r"^(?:summary|totals): (\d+)$", f.read(), re.MULTILINE)[1])


def measure(operations):
    """{operation: instructions of one turn}, without what start and end cost"""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        totals = {name: [pool.submit(total_of, name, turns) for turns in (FEW, MANY)]
                  for name in operations}
        return {name: round((many.result() - few.result()) / (MANY - FEW))
                for name, (few, many) in totals.items()}


def judge(measured, committed):
    """What is wrong, or None."""
    if committed is None:
        return "no number is committed: make bench-check UPDATE=1, and commit it"
    change = measured / committed - 1
    if change > TOLERANCE:
        return (f"{change:+.1%}: slower. If that is worth it, make bench-check UPDATE=1, and "
                "commit the new number with the reason")
    if change < -TOLERANCE:
        return (f"{change:+.1%}: faster. So that it stays so, make bench-check UPDATE=1, and "
                "commit the new number")
    return None


def compare(measured, committed):
    failed = False
    print(f"1..{len(measured)}")
    for number, (name, value) in enumerate(measured.items(), 1):
        was = committed.get(name)
        wrong = judge(value, was)
        print(f"{'not ' if wrong else ''}ok {number} - {name}: {value} instructions, committed {was}")
        if wrong:
            print(f"# {name}: {wrong}")
        failed |= bool(wrong)
    return failed


def skip_elsewhere(here, there):
    """Never returns when the numbers were counted with something else."""
    others = [f"{key} {here[key]}, not {there.get(key)}" for key in here
              if here[key] != there.get(key)]
    if others:
        print(f"1..0 # SKIP other instructions than the committed ones: {'; '.join(others)}")
        sys.exit(77)


def main():
    known = output_of(COUNT).split()
    parser = argparse.ArgumentParser(prog="test_instructions.py", description="counts instructions")
    parser.add_argument("operations", nargs="*", metavar="OPERATION", help=" ".join(known))
    parser.add_argument("--update", action="store_true", help="write the file")
    parser.add_argument("--committed", default=COMMITTED, metavar="FILE")
    options = parser.parse_args()
    with open(options.committed, encoding="utf-8") as f:
        committed = json.load(f)
    here = origin()
    if not options.update:
        skip_elsewhere(here, committed["origin"])
    measured = measure(options.operations or known)
    if options.update:
        with open(options.committed, "w", encoding="utf-8") as f:
            json.dump({"origin": here, "instructions": measured}, f, indent=1)
            f.write("\n")
    return compare(measured, measured if options.update else committed["instructions"])


if __name__ == "__main__":
    sys.exit(main())
