"""Says what is wrong with a reply: what the case expects of it, and what holds for every reply of
the gate. Pure functions from a reply to a list of complaints. Used by test_conformance.py; its own
tests are in test_judge.py."""

import base64
import hashlib
import http
import json
import re
import time

JSON = "application/json; charset=utf-8"
MIN_LIFE_SEC = 300  # clients throw away what lives shorter
CLOCK_SEC = 2
# Python still has the names of before RFC 9110
REASONS = {**{status.value: status.phrase for status in http.HTTPStatus},
           413: "Content Too Large", 414: "URI Too Long"}
TOKEN_FIELDS = ["access_token", "client_id", "expires_in", "expires_on", "ext_expires_in",
                "not_before", "resource", "token_type"]


class Reply:
    """What client.py reports, taken apart."""

    def __init__(self, report, method="GET"):
        self.report, self.method = report, method
        self.ms = report.get("ms", 0)
        self.body = report.get("body", "")
        lines = report.get("head", "").split("\r\n")
        self.version, self.status, self.reason = (lines[0].split(" ", 2) + ["", "", ""])[:3]
        self.headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]

    @property
    def result(self):
        """"reply", or how there was none."""
        if self.report.get("error"):
            return self.report["error"]
        return "reply" if self.status else "silence"

    def header(self, name):
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return values[0] if len(values) == 1 else values or None

    def json(self):
        try:
            return json.loads(self.body.encode("latin-1").decode("utf-8"))
        except ValueError:
            return None

    def member(self, path):
        value = self.json()
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def claims(self):
        try:
            part = self.member("access_token").split(".")[1]
            return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        except (AttributeError, IndexError, ValueError):
            return {}

    def __str__(self):
        if self.result != "reply":
            return f"{self.result} ({self.ms:.0f} ms)"
        body = re.sub(r"eyJ[A-Za-z0-9_-]{10,}[A-Za-z0-9_.-]*", "eyJ…", self.body)
        return f"{self.status} {self.reason} {dict(self.headers)} {body[:400]!r} ({self.ms:.0f} ms)"


def digest(token):
    return hashlib.sha256(token.encode()).hexdigest()


# ---- what holds for every reply -----------------------------------------------------------------

def _framing(reply):
    length = reply.header("Content-Length")
    if reply.version != "HTTP/1.1" or reply.reason != REASONS.get(int(reply.status)):
        yield f"status line {reply.version} {reply.status} {reply.reason}"
    if not isinstance(length, str) or (reply.method != "HEAD" and int(length) != len(reply.body)):
        yield f"Content-Length {length} for {len(reply.body)} bytes"
    for name in ("Transfer-Encoding", "Content-Encoding"):
        if reply.header(name):
            yield f"{name}: {reply.header(name)}"
    if reply.report.get("rest"):
        yield f"{len(reply.report['rest'])} bytes behind the reply"


def _headers(reply):
    wait = reply.header("Retry-After")
    if wait is not None and (reply.status not in ("429", "503") or wait not in tuple("12345")):
        yield f"Retry-After: {wait} with a {reply.status}"
    if any(name.lower().startswith("access-control-") for name, _ in reply.headers):
        yield "headers for browsers"
    if not str(reply.header("Server")).startswith("IMDS/") or not reply.header("Date"):
        yield f"Server: {reply.header('Server')}, Date: {reply.header('Date')}"


def _body(reply, content_type):
    if reply.header("Content-Type") != (None if content_type == "none" else content_type):
        yield f"Content-Type: {reply.header('Content-Type')}"
    if content_type != JSON or reply.method == "HEAD":
        return
    if not isinstance(reply.json(), dict):
        yield "the body is no JSON object"
    elif re.search(r"\s", re.sub(r'"(\\.|[^"\\])*"', "", reply.body)):
        yield "the JSON is not compact"
    if "access_token" in reply.body and reply.status != "200":
        yield "a token in an error"


def invariants(reply, content_type=JSON):
    if reply.result != "reply":
        return []
    problems = [*_framing(reply), *_headers(reply), *_body(reply, content_type)]
    if reply.status == "403" and "unreachable" in reply.body:
        problems.append("clients take this word for a network without IMDS")
    return problems


# ---- checks that have a name --------------------------------------------------------------------

def _all_strings(reply):
    value = reply.json() or {}
    return [f"{key} is {field!r}" for key, field in value.items() if not isinstance(field, str)]


def _number(reply, name):
    value = reply.member(name)
    return int(value) if isinstance(value, str) and value.isdecimal() else None


def _times(reply):
    now = time.time()
    on, left, since = (_number(reply, n) for n in ("expires_on", "expires_in", "not_before"))
    if None in (on, left, since):
        return ["a time is no number"]
    problems = [] if abs(on - now - left) <= CLOCK_SEC else [f"{left} s left until {on}"]
    if on <= now or since > now or reply.claims().get("exp") != on:
        problems.append(f"from {since} to {on}, in the token {reply.claims().get('exp')}")
    return problems


def _long_life(reply):
    left = _number(reply, "expires_in")
    return [] if left is not None and left > MIN_LIFE_SEC else [f"only {left} s left"]


def _relative_first(reply):
    """One client keeps both in one variable: the last one wins and has to be the absolute one."""
    first, then = (reply.body.find(f'"{name}"') for name in ("expires_in", "expires_on"))
    return [] if 0 <= first < then else ["expires_in does not come before expires_on"]


def _newest_versions(reply):
    value = reply.member("newest-versions")
    if not isinstance(value, list) or len(value) != 3 or sorted(value, reverse=True) != value \
            or not all(re.fullmatch(r"\d{4}-\d\d-\d\d", str(v)) for v in value):
        return [f"newest-versions: {value}"]
    return []


def _versions(reply):
    value = reply.member("apiVersions")
    good = isinstance(value, list) and "2018-02-01" in value and sorted(value) == value
    return [] if good else [f"apiVersions: {value}"]


NAMED = {"all_strings": _all_strings, "times": _times, "long_life": _long_life,
         "relative_first": _relative_first, "newest_versions": _newest_versions,
         "versions": _versions}


# ---- what a case expects ------------------------------------------------------------------------

def _fits(wanted, value):
    """A wanted text that starts with ~ is an expression for the whole."""
    if wanted.startswith("~"):
        return isinstance(value, str) and re.fullmatch(wanted[1:], value, re.DOTALL)
    return value == wanted


def _error(reply, wanted):
    """The whole body, byte for byte: clients compare texts and lengths."""
    body = f'{{"error":"invalid_request","error_description":"{wanted}"}}'
    if (reply.status, reply.body) == ("400", body):
        return []
    return [f"not 400 {body}"]


def _members(reply, wanted):
    return [f"{path} is {reply.member(path)!r}, not {value!r}" for path, value in wanted.items()
            if not _fits(value, reply.member(path))]


def _compare(reply, wanted, saved, good, word):
    return [f"{path} is {word} the {name} from before" for name, path in wanted.items()
            if not saved[name] or not reply.member(path)
            or not good(reply.member(path), saved[name])]


def _crowd_holds(report, wanted):
    """Just these statuses: as many as the number says, or "some"."""
    seen = report.get("statuses", {})
    return (not report.get("failures") and seen.keys() == wanted.keys()
            and all(n == "some" or seen[k] == int(n) for k, n in wanted.items()))



RULES = {
    "status": lambda r, w: [] if r.status in w.split() else [f"status is not {w}"],
    "reason": lambda r, w: [] if r.reason == w else [f"reason is not {w}"],
    "result": lambda r, w: [] if r.result in w.split() else [f"result is not {w}"],
    "j400": _error,
    "error": lambda r, w: _members(r, {"error": w}),
    "text": lambda r, w: _members(r, {"error_description": w}),
    "json": _members,
    "fields": lambda r, w: [] if list(r.json() or {}) == w else [f"fields: {list(r.json() or {})}"],
    "body": lambda r, w: [] if r.body == w else [f"body is not {w!r}"],
    "length": lambda r, w: [] if len(r.body) == int(w) else [f"body has {len(r.body)} bytes"],
    "matches": lambda r, w: [] if re.search(w, r.body) else [f"body does not match {w}"],
    "lacks": lambda r, w: [f"body has {x!r}" for x in w if x.lower() in r.body.lower()],
    "headers": lambda r, w: [f"{name}: {r.header(name)}" for name, value in w.items()
                             if not _fits(value, r.header(name))],
    "no_headers": lambda r, w: [f"{x}: {r.header(x)}" for x in w if r.header(x) is not None],
    "max_ms": lambda r, w: [] if r.ms <= float(w) else [f"slow: {r.ms:.0f} ms, not {w}"],
    "min_ms": lambda r, w: [] if r.ms >= float(w) else [f"early: {r.ms:.0f} ms, not {w}"],
    "closed": lambda r, w: [] if w == "no" or r.report.get("closed") else ["not closed"],
    "peer": lambda r, w: [] if r.report.get("peer") == w else [f"peer {r.report.get('peer')}"],
    "token": lambda r, w: [f"claim {k} is {r.claims().get(k)!r}" for k, v in w.items()
                           if r.claims().get(k) != v],
    "checks": lambda r, w: [p for name in w for p in NAMED[name](r)],
    "statuses": lambda r, w: [] if _crowd_holds(r.report, w) else [f"{r.report}"],
}
COMPARISONS = {
    "same": (lambda value, old: value == old, "another than"),
    "differs": (lambda value, old: value != old, "still"),
    "at_most": (lambda value, old: int(value) <= int(old), "more than"),
}


def problems_of(reply, expect, saved):
    """All but "upstream", "denials" and "closed: no", which are about more than this reply."""
    found = []
    if reply.result != "reply" and expect.keys().isdisjoint({"result", "statuses"}):
        found.append(reply.result)
    if "foreign" not in expect:
        found += invariants(reply, expect.get("type", JSON))
    for word, wanted in expect.items():
        if word in RULES:
            found += RULES[word](reply, wanted)
        elif word in COMPARISONS:
            found += _compare(reply, wanted, saved, *COMPARISONS[word])
    return found


def only_slow(problems):
    return bool(problems) and all(problem.startswith("slow: ") for problem in problems)
