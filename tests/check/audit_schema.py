#!/usr/bin/python3
"""Validates audit records (JSON lines from files or standard input) against the schema in deploy/schema/.

    tests/check/audit_schema.py [--schema FILE] [FILE]...

Prints FILE:LINE for every bad line and exits 1; no record at all is a failure too. Exits 77 when the
jsonschema module is missing. The order of members is checked against the schema's as well.
"""

import argparse
import json
import sys
from pathlib import Path

try:
    import jsonschema
except ImportError:
    print("SKIP: needs the Python module jsonschema (Debian: python3-jsonschema)")
    sys.exit(77)

SCHEMA = Path(__file__).resolve().parents[2] / "deploy/schema/audit-v1.schema.json"


def without_duplicates(pairs):
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


def no_constant(name):
    raise ValueError(f"{name} is not JSON")


def out_of_order(record, schema, where="record"):
    """Sentences about members that do not stand in the order of the schema."""
    order = list(schema.get("properties", {}))
    ranks = [order.index(name) for name in record if name in order]
    problems = [] if ranks == sorted(ranks) else [f"members of {where} are out of order"]
    for name, value in record.items():
        if isinstance(value, dict) and name in order:
            problems += out_of_order(value, schema["properties"][name], name)
    return problems


def judge(line, validator):
    """What is wrong with one line."""
    if not line.endswith(b"\n"):
        return ["does not end in a newline"]
    try:
        record = json.loads(
            line.decode("utf-8"), object_pairs_hook=without_duplicates, parse_constant=no_constant
        )
    except ValueError as error:
        return [str(error)]
    problems = [
        f"{'.'.join(map(str, error.absolute_path)) or 'record'}: {error.message}"
        for error in validator.iter_errors(record)
    ]
    return problems or out_of_order(record, validator.schema)


def check(name, stream, validator):
    """(records, bad ones)"""
    records = bad = 0
    for number, line in enumerate(stream, 1):
        records += 1
        problems = judge(line, validator)
        bad += bool(problems)
        for problem in problems:
            print(f"{name}:{number}: {problem[:400]}")
    return records, bad


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--schema", type=Path, default=SCHEMA)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    options = parser.parse_args()
    schema = json.loads(options.schema.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    records = bad = 0
    for path in options.files or [None]:
        if path is None:
            found = check("stdin", sys.stdin.buffer, validator)
        else:
            with path.open("rb") as stream:
                found = check(path, stream, validator)
        records, bad = records + found[0], bad + found[1]
    print(f"{records} records, {bad} bad")
    return 0 if records and not bad else 1


if __name__ == "__main__":
    sys.exit(main())
