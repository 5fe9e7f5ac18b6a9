"""A server that hangs is noticed, connections are refused instead of left waiting, and it is killed
and replaced; a monitor that hangs holds up nobody."""

import os
import signal
import sys
import time

from harness import TRACES, manifests, standard_world
from tap import Suite
from watch import event, wait_gone

A = manifests.ID_A.client_id
METRICS_PORT = 9184
suite = Suite(standard_world, TRACES, seconds=90)


def metric(w, name):
    status, out, err = w.host.run([sys.executable, "-S", "-c",
                                   "import urllib.request\n"
                                   "print(urllib.request.urlopen('http://127.0.0.1:"
                                   f"{METRICS_PORT}/metrics', timeout=10).read().decode())"])
    assert status == 0, err
    return [float(x.split()[1]) for x in out.splitlines() if x.split(" ")[0] == name]


@suite.test("a server that stops is refused for, killed, replaced, and told of")
def hung(w):
    w.agent.stop()
    w.agent.start(metrics_port=METRICS_PORT)
    mark, logged = w.agent.audit.mark(), w.agent.log.mark()
    monitor, server = w.agent.pids()
    assert metric(w, "imdsgate_server_hung_total") == [0]
    os.kill(server, signal.SIGSTOP)
    w.agent.log.wait_for(lambda line: "connections are refused until" in line, logged)
    reply = w.pods["a"].dial(timeout=2000)
    assert reply.refused or reply.appid == A, reply
    wait_gone(server)
    w.agent.audit.wait_for(event("agent.started", reason="server_hung"), mark)
    assert w.pods["a"].dial(timeout=15000).appid == A
    assert w.agent.pids()[0] == monitor
    assert metric(w, "imdsgate_server_hung_total") == [1]
    w.lab.never_reached()


@suite.test("one that goes on in time is let be, and connections are let in again")
def late(w):
    logged, (_, server) = w.agent.log.mark(), w.agent.pids()
    os.kill(server, signal.SIGSTOP)
    try:
        w.agent.log.wait_for(lambda line: "connections are refused until" in line, logged)
    finally:
        os.kill(server, signal.SIGCONT)
    w.agent.log.wait_for(lambda line: "connections are let in again" in line, logged)
    assert w.pods["a"].dial().appid == A
    assert w.agent.pids()[1] == server


def next_server(monitor, old):
    """The pid of the one that is started after old, as soon as there is one."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with open(f"/proc/{monitor}/task/{monitor}/children", encoding="ascii") as f:
            found = [pid for pid in map(int, f.read().split()) if pid != old]
        if found:
            return found[0]
    raise AssertionError("no new server is started")


@suite.test("one that does not get to serve: connections are refused until one does")
def never_serves(w):
    logged, (monitor, server) = w.agent.log.mark(), w.agent.pids()
    os.kill(server, signal.SIGKILL)
    wait_gone(server)
    fresh = next_server(monitor, server)
    os.kill(fresh, signal.SIGSTOP)
    try:
        w.agent.log.wait_for(lambda line: "connections are refused until" in line, logged)
        assert w.pods["a"].dial(timeout=2000).refused
    finally:
        os.kill(fresh, signal.SIGCONT)
    w.agent.log.wait_for(lambda line: "connections are let in again" in line, logged)
    assert w.pods["a"].dial().appid == A
    assert w.agent.pids() == (monitor, fresh), "a start that takes long is no reason to kill it"


@suite.test("a monitor that hangs holds up the server's loop no more than once, and shortly")
def monitor_hung(w):
    monitor, server = w.agent.pids()
    dialer = w.pods["a"].dialer(requests=2)
    assert dialer.read().appid == A
    os.kill(monitor, signal.SIGSTOP)
    try:
        # each of these asks the monitor
        for _ in range(10):
            assert w.agent.cli_run("status")[0] == 1
        code = ("import time, urllib.request\n"
                "for _ in range(20):\n"
                "    urllib.request.urlopen('http://127.0.0.1:"
                f"{METRICS_PORT}/metrics', timeout=10).read()\n")
        begun = time.monotonic()
        status, _, err = w.host.run([sys.executable, "-S", "-c", code])
        assert status == 0, err
        # forty waits of half a second would not do
        assert time.monotonic() - begun < 10
        assert dialer.next().appid == A, "a cached token for a known caller needs no monitor"
    finally:
        os.kill(monitor, signal.SIGCONT)
        dialer.close()
    assert w.pods["a"].dial().appid == A
    assert w.agent.pids() == (monitor, server), "that the monitor stood still is not its fault"


if __name__ == "__main__":
    suite.run()
