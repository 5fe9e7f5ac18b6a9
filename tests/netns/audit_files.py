"""For suites that start the agent several times, with an audit file each: every record of every run,
in rotated files too, has to match the schema."""

import json
import os

import audit_schema
from harness import TRACES


def records(directory):
    """(file, record) of all audit files below a directory; torn and damaged ones are not meant."""
    for folder, _, names in os.walk(directory):
        for name in sorted(names):
            if ".jsonl" not in name or name in ("lab.jsonl", "altered.jsonl"):
                continue
            with open(os.path.join(folder, name), encoding="utf-8") as f:
                for line in f:
                    yield name, json.loads(line)


def check_all(w):
    count = audit_schema.check(records(w.tmp))
    assert count > 50, f"only {count} records were found"


ALL_TRACES = TRACES + (("every record of every run matches the schema", check_all),)
