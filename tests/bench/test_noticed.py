#!/usr/bin/python3
"""Checks that test_instructions.py can fail: it is given committed numbers that are wrong."""

import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.path.join(HERE, "test_instructions.py")
OPERATION = "syslog"  # the shortest

# title, what to make of the number that is right (and of its origin), exit status, what is said
CASES = (
    ("the number of the last count", 1.0, {}, 0, f"ok 1 - {OPERATION}"),
    ("a little off", 0.96, {}, 0, f"ok 1 - {OPERATION}"),
    ("slower by more than 5 %", 0.94, {}, 1, "slower"),
    ("faster by more than 5 %", 1.06, {}, 1, "faster"),
    ("no number", None, {}, 1, "no number is committed"),
    ("another compiler", 1.0, {"compiler": "GCC 1.0"}, 77, "not GCC 1.0"),
)


def run(path, *flags):
    done = subprocess.run([sys.executable, "-B", PROGRAM, "--committed", path, *flags, OPERATION],
                          stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout


def write(path, content):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(content, f)


def is_noticed(right, path, factor, origin, status, text):
    number = right["instructions"][OPERATION]
    write(path, {"origin": {**right["origin"], **origin},
                 "instructions": {OPERATION: round(number * factor)} if factor else {}})
    got, said = run(path)
    ok = got == status and text in said
    if not ok:
        print(f"# exit {got}, not {status}: {said!r}")
    return ok


def main():
    print(f"1..{len(CASES)}", flush=True)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="noticed-") as folder:
        path = os.path.join(folder, "instructions.json")
        write(path, {"origin": {}, "instructions": {}})
        run(path, "--update")
        with open(path, encoding="utf-8") as f:
            right = json.load(f)
        for number, (title, *case) in enumerate(CASES, 1):
            ok = is_noticed(right, path, *case)
            print(f"{'ok' if ok else 'not ok'} {number} - {title}", flush=True)
            failed += not ok
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
