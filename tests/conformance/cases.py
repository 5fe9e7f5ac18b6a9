"""Reads the cases (cases/*.yaml; README.md says what may stand in them) and builds the bytes of
their requests. Knows nothing of networks. What is not understood is an error: a misspelt word must
never make a case weaker. Used by test_conformance.py and test_judge.py."""

import dataclasses
import os
import string

import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
GROUPS = ("probes", "success", "selection", "malformed", "upstream", "other")
ALL_NUMBERS = range(1, 94)

CASE_WORDS = {"number", "name", "strength", "for", "pending", "steps"}
STEP_WORDS = {
    "caller", "get", "send", "metadata", "host", "version", "headers", "body", "raw", "fill", "to",
    "each", "keep", "background", "join", "drip", "touch", "crowd", "lab", "agent", "until_ms",
    "strength", "deviation", "expect", "save"}
EXPECT_WORDS = {
    "status", "reason", "j400", "error", "text", "json", "fields", "body", "length", "matches",
    "lacks", "headers", "no_headers", "type", "max_ms", "min_ms", "closed", "upstream", "result",
    "peer", "token", "checks", "same", "differs", "at_most", "statuses", "foreign", "denials"}


class CaseError(Exception):
    """Something in a file of cases that cannot be meant."""


class Loader(yaml.BaseLoader):  # pylint: disable=too-many-ancestors
    """Every scalar is text, so that no date, "true" or "0x1" turns into something else."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise CaseError(f"line {node.start_mark.line + 1}: {key} twice")
        return super().construct_mapping(node, deep)


@dataclasses.dataclass(frozen=True)
class Case:
    number: int
    name: str
    strength: str
    clients: str  # who depends on it
    pending: str  # why it is not to pass yet; "" when it is
    steps: list

    @property
    def deviations(self):
        return [step["deviation"]["reason"] for step in self.steps if "deviation" in step]


def _check_words(what, given, known):
    if not isinstance(given, dict):
        raise CaseError(f"{what}: {given!r} is not a mapping")
    unknown = given.keys() - known
    if unknown:
        raise CaseError(f"{what}: unknown: {', '.join(sorted(unknown))}")


def _check_strength(what, given):
    if given.get("strength", "must") not in ("must", "should"):
        raise CaseError(f"{what}: strength {given['strength']}")


def _check_step(what, step, strength):
    _check_words(what, step, STEP_WORDS)
    _check_strength(what, step)
    _check_words(f"{what}, expect", step.get("expect", {}), EXPECT_WORDS)
    if "deviation" in step:
        _check_words(f"{what}, deviation", step["deviation"], {"reason", "expect"})
        _check_words(f"{what}, deviation", step["deviation"]["expect"], EXPECT_WORDS)
        if step.get("strength", strength) != "should":
            raise CaseError(f"{what}: only what should be may deviate")
    if not step.get("expect") and step.keys().isdisjoint({"background", "lab", "agent"}):
        raise CaseError(f"{what}: expects nothing")


def check_entry(entry):
    """The case that an entry of a file is."""
    what = f"case {entry.get('number')}"
    _check_words(what, entry, CASE_WORDS | STEP_WORDS)
    _check_strength(what, entry)
    single = {key: value for key, value in entry.items() if key in STEP_WORDS - {"strength"}}
    if ("steps" in entry) == bool(single):
        raise CaseError(f"{what}: either steps or the words of one")
    steps = entry.get("steps", [single])
    for number, step in enumerate(steps, 1):
        _check_step(f"{what}, step {number}", step, entry["strength"])
    return Case(int(entry["number"]), entry["name"], entry["strength"], entry.get("for", ""),
                entry.get("pending", ""), steps)


def load(directory=os.path.join(HERE, "cases")):
    """Every case, in the order of the numbers, each number of the specification once."""
    found = []
    for group in GROUPS:
        with open(os.path.join(directory, f"{group}.yaml"), encoding="utf-8") as f:
            try:
                found += [check_entry(entry) for entry in yaml.load(f, Loader)]
            except (CaseError, KeyError) as error:
                raise CaseError(f"{group}.yaml: {error}") from error
    numbers = [case.number for case in found]
    if numbers != list(ALL_NUMBERS):
        wrong = set(ALL_NUMBERS) ^ set(numbers) or "order, or one twice"
        raise CaseError(f"numbers: {wrong}")
    return found


# ---- requests -----------------------------------------------------------------------------------

def fill_in(text, variables):
    return string.Template(text).substitute(variables)


def fill_in_all(value, variables):
    if isinstance(value, dict):
        return {key: fill_in_all(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [fill_in_all(item, variables) for item in value]
    return fill_in(value, variables)


def method_of(step):
    return step["send"].split(" ", 1)[0] if "send" in step else "GET"


def _lines_of(step, body, user_agent):
    request = step["send"] if "send" in step else f"GET {step['get']}"
    yield f"{request} HTTP/{step.get('version', '1.1')}"
    yield f"Host: {step.get('host', '169.254.169.254')}"
    yield f"User-Agent: {user_agent}"
    if step.get("metadata", "true") != "none":
        yield f"Metadata: {step.get('metadata', 'true')}"
    yield from step.get("headers", [])
    if "body" in step:
        yield f"Content-Length: {len(body)}"


def request_text(step, variables, user_agent):
    """The bytes as Latin-1 text. `get: TARGET` and `send: METHOD TARGET` bring the usual headers;
    raw is sent as it stands."""
    if "raw" in step:
        return fill_in(step["raw"], variables)
    body = fill_in(step.get("body", ""), variables)
    lines = [fill_in(line, variables) for line in _lines_of(step, body, user_agent)]
    return "\r\n".join(lines) + "\r\n\r\n" + body
