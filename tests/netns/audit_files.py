"""For suites that start the agent several times, with an audit file each: every record of every run,
in rotated files too, has to match the schema."""

import json
import os

from harness import REPO, TRACES
from tap import Skip


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
    try:
        import jsonschema  # pylint: disable=import-outside-toplevel
    except ImportError as error:
        raise Skip("python3-jsonschema is not installed") from error
    with open(f"{REPO}/deploy/schema/audit-v1.schema.json", encoding="utf-8") as f:
        validator = jsonschema.Draft202012Validator(json.load(f))
    count = 0
    for name, record in records(w.tmp):
        count += 1
        problems = [f"{list(e.path)}: {e.message}" for e in validator.iter_errors(record)]
        assert not problems, f"{name}: {record}\n" + "\n".join(problems)
    assert count > 50, f"only {count} records were found"


ALL_TRACES = TRACES + (("every record of every run matches the schema", check_all),)
