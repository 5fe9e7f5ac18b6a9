"""What one workload may hold at once, and that it is its own affair when it wants more."""

import sys

from harness import IMDS, TRACES, manifests, standard_world
from tap import Suite
from watch import event

suite = Suite(standard_world, TRACES)
A, B = manifests.ID_A.client_id, manifests.ID_B.client_id
CONNECTIONS, NAMESPACES = 512, 16  # include/imdsgate/limits.h

# Opens N connections, says how many of them were ended at once, and keeps the rest until it is told.
HOLD = """
import select, socket, sys
n, over = int(sys.argv[2]), int(sys.argv[3])
held, ended = {}, 0
poll = select.poll()
for _ in range(n):
    try:
        s = socket.create_connection((sys.argv[1], 80), 10)
    except ConnectionResetError:  # ended before it was seen to have begun
        ended += 1
        continue
    held[s.fileno()] = s
    poll.register(s, select.POLLIN)
while ended < over:
    ready = poll.poll(10000)
    if not ready:
        break
    for fd, _ in ready:
        poll.unregister(fd)
        ended += 1
print(ended, flush=True)
sys.stdin.readline()
"""


@suite.test("a workload has so many connections and no more, and others have theirs")
def connections(w):
    mark = w.agent.audit.mark()
    process = w.pods["c"].spawn([sys.executable, "-S", "-c", HOLD, IMDS, str(CONNECTIONS + 9), "9"],
                                stdin=-1, stdout=-1)
    assert process.stdout.readline() == "9\n"
    refused = w.agent.audit.find(event("connect.refused", process__pid=process.pid), mark)
    assert [r["reason"] for r in refused] == ["too_many_connections_of_workload"] * 9, refused
    assert w.agent.cli("status")["connections"] == CONNECTIONS
    assert (w.pods["a"].dial().appid, w.pods["b"].dial().appid) == (A, B)
    process.communicate("go\n", timeout=10)
    assert w.pods["c"].dial().status == 400, "its connections were not given back"


@suite.test("a workload that makes namespaces without end gets listeners for the last few")
def namespaces(w):
    before, dialers = w.agent.cli("status")["listeners"], []
    for _ in range(NAMESPACES + 3):
        dialer = w.pods["a"].dialer(attempts=2, argv_prefix=[
            "unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"])
        dialers.append(dialer)
        mark = w.agent.audit.mark()
        assert dialer.read().refused
        w.agent.audit.wait_for(event("listener.opened"), mark)
    assert w.agent.cli("status")["listeners"] == before + NAMESPACES
    assert dialers[-1].next().appid == A
    assert dialers[0].next().refused, "the oldest made room, and is met anew"
    for dialer in dialers:
        dialer.close()
    assert w.pods["b"].dial().appid == B


if __name__ == "__main__":
    suite.run()
