#!/usr/bin/python3
"""Checks that the conformance suite can say no: every rule complains about a reply that breaks it,
and a file of cases that cannot be meant is refused. Needs neither root nor an agent."""

import base64
import json
import os
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(HERE, "..", "check"))

import cases  # noqa: E402
import judge  # noqa: E402
import tap  # noqa: E402

NOW = int(time.time())
CLAIMS = {"appid": "c1", "exp": NOW + 1000}
TOKEN = "e30." + base64.urlsafe_b64encode(json.dumps(CLAIMS).encode()).decode().rstrip("=") + ".x"
MEMBERS = {"access_token": TOKEN, "client_id": "c1", "expires_in": "1000",
           "expires_on": str(NOW + 1000), "ext_expires_in": "1000", "not_before": str(NOW),
           "resource": "r", "token_type": "Bearer"}


def reply(status="200 OK", body=None, report=None, method="GET", **headers):
    """A reply that nothing is wrong with, but for what is given. A header of None is left out."""
    if body is None:
        body = json.dumps(MEMBERS, separators=(",", ":"))
    head = {"Content-Type": judge.JSON, "Server": "IMDS/x", "Date": "now",
            "Content-Length": str(len(body)),
            **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"HTTP/1.1 {status}", *(f"{k}: {v}" for k, v in head.items() if v is not None)]
    return judge.Reply({"head": "\r\n".join(lines), "body": body, "ms": 10, "rest": "",
                        **(report or {})}, method)


def with_members(**changes):
    members = {**MEMBERS, **changes}
    return reply(body=json.dumps({k: v for k, v in members.items() if v is not None},
                                 separators=(",", ":")))


ERROR = '{"error":"invalid_request","error_description":"Identity not found"}'
DENIED = reply("400 Bad Request", ERROR)
HEAD = DENIED.report["head"]

# (reply, expectation): nothing to complain about
GOOD = (
    (reply(), {"status": "200 503", "fields": judge.TOKEN_FIELDS, "token": {"appid": "c1"},
               "checks": ["all_strings", "times", "long_life", "relative_first"], "max_ms": "10"}),
    (DENIED, {"j400": "Identity not found", "length": "68", "reason": "Bad Request"}),
    (DENIED, {"error": "invalid_request", "text": "~Identity .*", "lacks": ["token"]}),
    (reply("503 Service Unavailable", ERROR, Retry_After="1"),
     {"headers": {"Retry-After": "~[1-5]"}}),
    (reply("405 Method Not Allowed", "", {"closed": True}, "HEAD", Allow="GET", Content_Length="9"),
     {"closed": "yes", "headers": {"Allow": "GET"}, "no_headers": ["Retry-After"]}),
    (reply("403 Forbidden", "", Content_Type=None), {"type": "none", "length": "0"}),
    (judge.Reply({"error": "EPERM"}), {"result": "ECONNREFUSED EPERM"}),
    (judge.Reply({"ms": 1, "statuses": {"200": 5}, "failures": []}), {"statuses": {"200": "5"}}),
    (reply(), {"same": {"old": "client_id"}, "at_most": {"left": "expires_in"},
               "differs": {"other": "client_id"}}),
    (judge.Reply({"head": "HTTP/1.0 200 whatever", "body": "x"}), {"foreign": "yes", "body": "x"}),
)
SAVED = {"old": "c1", "left": "1000", "other": "c2", "nothing": None}

# (what is broken, reply, expectation): each has to be noticed
BAD = (
    ("no reply", judge.Reply({"error": "timeout"}), {}),
    ("silence", judge.Reply({"ms": 1}), {"status": "200"}),
    ("reason phrase", reply("400 Nope", ERROR), {}),
    ("reason", DENIED, {"reason": "OK"}),
    ("version", judge.Reply({**DENIED.report, "head": HEAD.replace("/1.1", "/1.0")}), {}),
    ("length of the body", reply(Content_Length="5"), {}),
    ("no length", reply(Content_Length=None), {}),
    ("chunks", reply(Transfer_Encoding="chunked"), {}),
    ("compression", reply(Content_Encoding="gzip"), {}),
    ("bytes behind", reply(report={"rest": "x"}), {}),
    ("Retry-After with a token", reply(Retry_After="1"), {}),
    ("long Retry-After", reply("503 Service Unavailable", ERROR, Retry_After="60"), {}),
    ("CORS", reply(Access_Control_Allow_Origin="*"), {}),
    ("Server", reply(Server="nginx"), {}),
    ("Content-Type", reply(Content_Type="text/html"), {}),
    ("a Content-Type where none is to be", reply(), {"type": "none"}),
    ("another Content-Type", reply(), {"type": "text/plain"}),
    ("a body that is no object", reply(body="[]"), {}),
    ("blanks in the JSON", reply(body='{"a": "b"}'), {}),
    ("newline at the end", reply(body='{"a":"b"}\n'), {}),
    ("token in an error", reply("400 Bad Request"), {}),
    ("unreachable", reply("403 Forbidden", '{"error":"unreachable"}'), {}),
    ("status", DENIED, {"status": "200"}),
    ("another text", DENIED, {"j400": "Identity not"}),
    ("another status with the text", reply("404 Not Found", ERROR), {"j400": "Identity not found"}),
    ("error code", DENIED, {"error": "not_found"}),
    ("expression for a part only", DENIED, {"text": "~Identity"}),
    ("member", reply(), {"json": {"client_id": "c2"}}),
    ("member that is not there", reply(), {"json": {"nowhere": "~.*"}}),
    ("order of members", reply(), {"fields": sorted(judge.TOKEN_FIELDS, reverse=True)}),
    ("body", DENIED, {"body": ""}),
    ("length", DENIED, {"length": "67"}),
    ("matches", DENIED, {"matches": "^Identity"}),
    ("lacks", DENIED, {"lacks": ["IDENTITY"]}),
    ("header", DENIED, {"headers": {"Allow": "GET"}}),
    ("header twice", judge.Reply({**DENIED.report, "head": HEAD + "\r\nDate: x"}),
     {"headers": {"Date": "now"}}),
    ("header that must not be", DENIED, {"no_headers": ["date"]}),
    ("slow", DENIED, {"max_ms": "9"}),
    ("early", DENIED, {"min_ms": "11"}),
    ("open", reply(report={"closed": False}), {"closed": "yes"}),
    ("peer", reply(report={"peer": "127.0.0.1"}), {"peer": "169.254.169.254"}),
    ("claim", reply(), {"token": {"appid": "c2"}}),
    ("no token", DENIED, {"token": {"appid": "c1"}}),
    ("number instead of text", with_members(expires_in=1000), {"checks": ["all_strings"]}),
    ("expires_in", with_members(expires_in="2000"), {"checks": ["times"]}),
    ("expires_on", with_members(expires_on="soon"), {"checks": ["times"]}),
    ("not_before", with_members(not_before=str(NOW + 500)), {"checks": ["times"]}),
    ("short life", with_members(expires_in="300"), {"checks": ["long_life"]}),
    ("no life", with_members(expires_in=None), {"checks": ["long_life"]}),
    ("order of times", reply(body='{"expires_on":"1","expires_in":"1"}'),
     {"checks": ["relative_first"]}),
    ("two versions", reply(body='{"newest-versions":["2025-04-07","2024-07-17"]}'),
     {"checks": ["newest_versions"]}),
    ("oldest first", reply(body='{"newest-versions":["2023-07-01","2024-07-17","2025-04-07"]}'),
     {"checks": ["newest_versions"]}),
    ("versions", reply(body='{"apiVersions":["2019-08-01"]}'), {"checks": ["versions"]}),
    ("result", reply(), {"result": "ECONNREFUSED"}),
    ("one of a crowd", judge.Reply({"statuses": {"200": 4, "429": 1}, "failures": []}),
     {"statuses": {"200": "5"}}),
    ("none of a crowd", judge.Reply({"statuses": {"200": 5}, "failures": []}),
     {"statuses": {"200": "some", "429": "some"}}),
    ("another in a crowd", judge.Reply({"statuses": {"200": 4, "500": 1}, "failures": []}),
     {"statuses": {"200": "some"}}),
    ("crowd that fails", judge.Reply({"statuses": {"200": 5}, "failures": ["x"]}),
     {"statuses": {"200": "5"}}),
    ("same", reply(), {"same": {"other": "client_id"}}),
    ("differs", reply(), {"differs": {"old": "client_id"}}),
    ("at most", with_members(expires_in="1001"), {"at_most": {"left": "expires_in"}}),
    ("compared with nothing", reply(), {"differs": {"nothing": "client_id"}}),
)

STEP = {"get": "$B", "expect": {"status": "200"}}
CASE = {"number": "1", "name": "n", "strength": "should", **STEP}
REFUSED = (
    ("misspelt word", {**CASE, "expct": {}}),
    ("misspelt expectation", {**CASE, "expect": {"staus": "200"}}),
    ("no expectation", {k: v for k, v in CASE.items() if k != "expect"}),
    ("another strength", {**CASE, "strength": "may"}),
    ("steps and words of one", {**CASE, "steps": [STEP]}),
    ("neither", {k: v for k, v in CASE.items() if k not in STEP}),
    ("a must that deviates", {**CASE, "strength": "must",
                              "deviation": {"reason": "r", "expect": {"status": "400"}}}),
    ("misspelt deviation", {**CASE, "deviation": {"reason": "r", "expect": {"staus": "400"}}}),
)


def is_refused(function, *args):
    try:
        function(*args)
    except cases.CaseError:
        return []
    return ["was taken"]


def refuses_files():
    """Numbers that are missing, a key twice."""
    problems = []
    for text in ("[]", "- {number: 1, number: 1, name: n}"):
        with tempfile.TemporaryDirectory() as directory:
            for group in cases.GROUPS:
                with open(os.path.join(directory, f"{group}.yaml"), "w", encoding="utf-8") as f:
                    f.write(text)
            problems += [f"{text}: {p}" for p in is_refused(cases.load, directory)]
    return problems


def builds_requests():
    step = {"send": "POST $B?$each", "metadata": "none", "headers": ["A: $each"], "body": "$each"}
    text = cases.request_text(step, {"B": "/b", "each": "\xe9x"}, "ua")
    wanted = ("POST /b?\xe9x HTTP/1.1\r\nHost: 169.254.169.254\r\nUser-Agent: ua\r\nA: \xe9x\r\n"
              "Content-Length: 2\r\n\r\n\xe9x")
    raw = cases.request_text({"raw": "$each\0\n"}, {"each": "x"}, "ua")
    return [repr(got) for got, want in ((text, wanted), (raw, "x\0\n")) if got != want]


def main():
    report = tap.Tap()
    for number, (given, expect) in enumerate(GOOD, 1):
        report.point(f"good reply {number}", judge.problems_of(given, expect, SAVED))
    for name, given, expect in BAD:
        noticed = judge.problems_of(given, expect, SAVED)
        report.point(f"noticed: {name}", [] if noticed else [f"{given} passed as {expect}"])
    words = {word for _, _, expect in BAD for word in expect}
    untested = (set(judge.RULES) | set(judge.COMPARISONS)) - words
    report.point("every rule has a reply that breaks it", [str(w) for w in untested])
    for name, entry in REFUSED:
        report.point(f"refused: {name}", is_refused(cases.check_entry, entry))
    report.point("refused: files with gaps or a key twice", refuses_files())
    report.point("requests are built as written", builds_requests())
    slow = [judge.only_slow(p) for p in (["slow: 5"], ["slow: 5", "status"], [])]
    report.point("slow alone is told from wrong", [str(slow)] * (slow != [True, False, False]))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
