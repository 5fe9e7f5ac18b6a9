"""A way to reach an endpoint without being bound, and the two judgements on it: that it works where
no gate is (or it would prove nothing), and that with the gate the far side sees nothing, nobody gets
anything, and the attempt has left its trace.

The tables of ways are beside this file, by what they try; test_bypass_*.py runs them."""

import dataclasses
import os
import re
import time
from collections.abc import Callable

from fabric import guarded_only
from harness import GUARDED
from tap import Skip
from watch import event

HERE = os.path.dirname(os.path.abspath(__file__))
PROVEN = ""  # Way.unproven of those that were seen to work without the gate


@dataclasses.dataclass(frozen=True)
class Counted:
    """A trace that is no record: this counter of the data path goes up."""
    name: str


@dataclasses.dataclass(frozen=True)
class Way:
    name: str
    does: str  # in a few words, for the reader
    attempt: Callable  # (world) → one reply or several
    trace: object  # condition on an audit record, or Counted
    unproven: str = PROVEN  # why it cannot be shown to work without the gate
    silent: bool = False  # from an address that others use as well, the guard drops all it sends
    before: Callable = None  # (world): with and without the gate
    after: Callable = None  # (world)


def denied(pod="c", **members):
    """The usual end: the connection went to the gate, which knows who asked."""
    return event("token.denied", pod__name=pod, **members)


def dropped(reason, **members):
    """The usual end of what no connect hook sees."""
    return event("guard.drop", reason=reason, **members)


def dial(mode, /, who="c", **options):
    """By dial.c. Options may be functions of the world."""
    return lambda w: w.pods[who].dial(mode, **{**w.usual, **_given(w, options)})


def attempt(function, /, who="c", **options):
    """By attempt.py."""
    return lambda w: w.attempt(w.pods[who], function, **_given(w, options))


def send(who, *args):
    """By packets.py, which has no answer."""
    def run(w):
        place = w.host if who == "host" else w.pods[who]
        w.send(place, *(arg(w) if callable(arg) else arg for arg in args))
        return []
    return run


def _given(w, options):
    return {name: value(w) if callable(value) else value for name, value in options.items()}


def _replies(w, way, patience_ms):
    w.usual = {"timeout": patience_ms, "path": w.path}
    replies = way.attempt(w)
    replies = replies if isinstance(replies, list) else [replies]
    if any(reply["result"] == "unsupported" for reply in replies):
        raise Skip("this kernel has none of these")
    return replies


def reached(w, mark):
    """What came to the far side and opens a connection, carries data, or is no TCP at all."""
    seen = w.arrived(mark)
    routed = [p for p in seen if p["route"] and p["dport"] in {port for _, port in GUARDED}]
    return routed + [p for p in guarded_only(seen)
                     if p["protocol"] != 6 or p["flags"] & 2 or p["payload"]]


def control(way):
    """Without the gate."""
    def check(w):
        if way.before:
            way.before(w)
        try:
            mark = w.seen.mark()
            replies = _replies(w, way, 8000)
            seen = reached(w, mark)
            assert seen, f"does not arrive, and would prove nothing: {replies}"
        finally:
            if way.after:
                way.after(w)
    return check


def stopped(way):
    """With the gate."""
    def check(w):
        if way.before:
            way.before(w)
        try:
            if way.silent:
                w.quiet()
            seen, audit = w.seen.mark(), w.agent.audit.mark()
            before = w.counter(way.trace.name) if isinstance(way.trace, Counted) else 0
            for reply in _replies(w, way, 600 if way.silent else 8000):
                assert reply.status != 200 and reply.appid is None, reply
                assert not re.search("access_token|eyJ", reply.body), reply
            arrived = reached(w, seen)
            assert not arrived, f"the far side saw {arrived}"
            if isinstance(way.trace, Counted):
                assert w.counter(way.trace.name) > before, f"{way.trace.name} did not count it"
            else:
                w.agent.audit.wait_for(way.trace, audit, what=f"record of {way.name}")
        finally:
            if way.after:
                way.after(w)
    return check


def wait_until(done, what, seconds=10):
    """For the little that has no event to wait for."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"{what} does not happen"
        time.sleep(0.01)


def add_tests(suite, ways, start):
    """All ways without the gate, then start(world), then all with it."""
    assert len({way.name for way in ways}) == len(ways), "two ways have one name"
    for way in ways:
        if way.unproven == PROVEN:
            suite.test(f"without the gate it works: {way.name}")(control(way))
    suite.test("the agent starts")(start)
    for way in ways:
        suite.test(f"stopped: {way.name}")(stopped(way))
