"""The soak run's checks can fail: made-up series, timelines and records for each, right ones and wrong
ones. Needs neither root nor an agent."""

import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "check")]

import checks  # noqa: E402
from ledger import Ledger  # noqa: E402
from tap import Tap  # noqa: E402
from truth import ABSENT, GONE, PRESENT, SETTLE_SEC, Disturbances, Timeline, judge  # noqa: E402

UID = "0e3f8c1e"


def noisy(value, spread, rng=random.Random(1)):
    return value + rng.uniform(-spread, spread)


def memory_series(grows_kb_a_minute, minutes=10):
    return [(t, noisy(5000, 60) + grows_kb_a_minute * t / 60) for t in range(minutes * 60)]


def warmed_up():
    """Grows to what it needs, and no further: not a leak."""
    return [(t, min(9000, 3000 + 40 * t)) for t in range(600)]


def latencies(last=1.0, seconds=600):
    rng = random.Random(2)
    return [(t / 10, rng.lognormvariate(0, 0.4) * (last if t > 8 * seconds else 1))
            for t in range(seconds * 10)]


def answered(begin, status=200, client_id="a", result="ok", number="1"):
    return {"id": number, "begin": begin, "end": begin + 0.01, "result": result, "status": status,
            "client_id": client_id}


def record(status=200, client_id="a", number="1", kind="token.issued", uid=UID):
    return {"kind": kind, "request": {"request_id": number, "status": status},
            "identity": {"client_id": client_id}, "pod": {"uid": uid}}


def judged(answer, rules, presence=None, faults=(), kills=()):
    spans = Disturbances(), Disturbances()
    for target, added in zip(spans, (faults, kills)):
        for span in added:
            target.add(*span)
    return judge(answer, presence or Timeline(PRESENT), rules, *spans)


def changing(*values, first="a"):
    """At 100, 200, …"""
    timeline = Timeline(first)
    for number, value in enumerate(values, 1):
        timeline.change(number * 100, value)
    return timeline


def ledger_of(answers, records):
    ledger = Ledger()
    for answer in answers:
        ledger.answer(answer, UID)
    for one in records:
        ledger.record(one)
    return ledger


DENIED = record(400, None, kind="token.denied")
SETTLED = 100 + SETTLE_SEC + 1
# (what, complaint or none, whether there has to be one)
CASES = (
    ("memory that is flat", checks.memory("x", memory_series(0)), False),
    ("memory that grows while caches fill", checks.memory("x", warmed_up()), False),
    ("memory that leaks 150 kB a minute", checks.memory("x", memory_series(150)), True),
    ("memory that was never looked at", checks.memory("x", [(0, 1), (600, 1)]), True),
    ("descriptors that come and go", checks.descriptors("x", [40, 43, 41, 40, 44, 42]), False),
    ("descriptors that leak, three a minute",
     checks.descriptors("x", [40 + 3 * i for i in range(10)]), True),
    ("what is at rest as before", checks.at_rest({"a": 1, "b": 2}, {"a": 1, "b": 1}), False),
    ("one map entry that stays", checks.at_rest({"map": 1}, {"map": 2}), True),
    ("a kind of descriptor that was not there", checks.at_rest({}, {"the server: pipe": 1}), True),
    ("kept connections to the upstream",
     checks.at_rest({"the server: socket": 9}, {"the server: socket": 13}), False),
    ("sockets that stay", checks.at_rest({"the server: socket": 9}, {"the server: socket": 14}),
     True),
    ("latency as at first", checks.latency(latencies(), latencies()), False),
    ("latency that doubles", checks.latency(latencies(2.0), latencies()), True),
    ("latency that doubles for everybody", checks.latency(latencies(2.0), latencies(2.0)), False),
    ("no latencies at all", checks.latency([], latencies()), True),
    ("too few latencies", checks.latency(latencies()[:50], latencies()[:50]), True),
    ("the right token", judged(answered(50), Timeline("a")), False),
    ("another's token", judged(answered(50, client_id="b"), Timeline("a")), True),
    ("another's token while the upstream fails",
     judged(answered(50, client_id="b"), Timeline("a"), faults=[(0, 99)]), True),
    ("the old token before a change", judged(answered(99), changing(None)), False),
    ("the old token while a change settles", judged(answered(101), changing(None)), False),
    ("the old token when it has settled", judged(answered(SETTLED), changing(None)), True),
    ("the new token before a change", judged(answered(50, client_id="b"), changing("b")), True),
    ("a revoked one that was granted anew long ago",
     judged(answered(SETTLED + 100), changing(None, "a")), False),
    ("a token that was revoked, and of the change before",
     judged(answered(SETTLED + 100), changing("b", None)), True),
    ("denied when revoked", judged(answered(SETTLED, 400), changing(None)), False),
    ("denied though bound", judged(answered(50, 400), Timeline("a")), True),
    ("503 while the upstream fails", judged(answered(50, 503), Timeline("a"), faults=[(49, 51)]),
     False),
    ("503 without a fault", judged(answered(50, 503), Timeline("a"), faults=[(60, 70)]), True),
    ("503 for a pod that is not declared",
     judged(answered(50, 503), Timeline("a"), Timeline(ABSENT)), False),
    ("a token for a pod that is not declared",
     judged(answered(50), Timeline("a"), Timeline(ABSENT)), True),
    ("a token for a pod that is gone", judged(answered(50), Timeline("a"), Timeline(GONE)), True),
    ("no answer though nothing happened",
     judged(answered(50, result="ConnectionResetError"), Timeline("a")), True),
    ("no answer when the server was killed",
     judged(answered(50, result="ConnectionResetError"), Timeline("a"), kills=[(49, 51)]), False),
    ("no answer when the binding went",
     judged(answered(101, result="ConnectionResetError"), changing(None)), False),
    ("an answer and its record", ledger_of([answered(1)], [record()]).close(0), False),
    ("a denial and its record", ledger_of([answered(1, 400)], [DENIED]).close(0), False),
    ("an answer without a record", ledger_of([answered(1)], []).close(0), True),
    ("... that a kill may have taken", ledger_of([answered(1)], []).close(0, 1), False),
    ("a record without an answer", ledger_of([], [record()]).close(0), True),
    ("... whose caller was ended", ledger_of([], [record()]).close(1), False),
    ("two records of one request", ledger_of([], [record(), record()]).close(9), True),
    ("a record that says another identity",
     ledger_of([answered(1)], [record(client_id="b")]).close(0), True),
    ("a record that says another pod", ledger_of([answered(1)], [record(uid="x")]).close(0), True),
    ("a record that says another status",
     ledger_of([answered(1)], [record(status=503)]).close(0), True),
    ("a record of another kind", ledger_of([answered(1)], [DENIED]).close(0), True),
)


def main():
    tap = Tap()
    for name, complaint, wanted in CASES:
        tap.point(f"{'found' if wanted else 'fine'}: {name}",
                  [] if bool(complaint) == wanted else [f"got {complaint!r}"])
    sys.exit(tap.finish())


main()
