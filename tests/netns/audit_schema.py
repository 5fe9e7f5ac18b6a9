"""Audit records have to be as the published schema says."""

import json

from places import REPO
from tap import Skip


def check(records):
    """records: (where from, record). Returns how many there were."""
    try:
        import jsonschema  # pylint: disable=import-outside-toplevel
    except ImportError as error:
        raise Skip("python3-jsonschema is not installed") from error
    with open(f"{REPO}/deploy/schema/audit-v1.schema.json", encoding="utf-8") as f:
        validator = jsonschema.Draft202012Validator(json.load(f))
    count = 0
    for where, record in records:
        count += 1
        problems = [f"{list(e.path)}: {e.message}" for e in validator.iter_errors(record)]
        assert not problems, f"{where}: {record}\n" + "\n".join(problems)
    return count
