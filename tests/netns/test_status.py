"""`imdsgate status` as a probe: with --data-path it is a request of the workload that it is in, by the
way that every request goes, and it fails when any part of that way does."""

import signal
import time

from harness import TRACES, standard_world
from places import BUILD
from tap import Suite
from watch import event

LIMIT = 9  # seconds; what the chart gives a probe is 10

suite = Suite(standard_world, TRACES)


def probe(w, place):
    """(exit status, standard error), never later than a probe may be."""
    begin = time.monotonic()
    status, _, err = place.run([f"{BUILD}/imdsgate", "--socket", w.agent.socket, "status",
                                "--data-path"])
    assert time.monotonic() - begin < LIMIT
    return status, err


@suite.test("a workload's request is served, recorded as such, and goes nowhere else")
def served(w):
    lab, audit = w.lab.log.mark(), w.agent.audit.mark()
    assert probe(w, w.pods["a"]) == (0, "")
    record = w.agent.audit.wait_for(event("metadata.forwarded", pod__name="a"), audit)
    assert record["request"]["path"] == "/metadata/versions" and record["decision"] == "allow", record
    assert not w.lab.connections(lab)


@suite.test("from outside any workload the way does not lead through the gate, and nothing is sent")
def outside(w):
    lab = w.lab.log.mark()
    status, err = probe(w, w.host)
    assert status == 1 and "does not go through the gate" in err, err
    assert not w.lab.requests(lab)


@suite.test("a way that ends on the way: this namespace has no listener yet")
def refused(w):
    status, _, err = w.pods["a"].run([
        "unshare", "--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh",
        f"{BUILD}/imdsgate", "--socket", w.agent.socket, "status", "--data-path"])
    assert status == 1 and "is refused" in err, err


@suite.test("a monitor that halts: the server says so, with or without --data-path")
def monitor_halted(w):
    w.agent.process.send_signal(signal.SIGSTOP)
    try:
        status, _, err = w.host.run([f"{BUILD}/imdsgate", "--socket", w.agent.socket, "status"])
        assert status == 1 and "the monitor does not tell" in err, err
    finally:
        w.agent.process.send_signal(signal.SIGCONT)


@suite.test("no agent: closed, and not reachable")
def ended(w):
    w.agent.stop()
    status, _ = probe(w, w.pods["a"])
    assert status == 3, status


if __name__ == "__main__":
    suite.run()
