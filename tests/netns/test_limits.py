"""What one workload may hold at once, and that it is its own affair when it wants more."""

import contextlib
import json
import os
import sys
import time

from exposition import scrape
from harness import IMDS, TRACES, manifests, standard_world
from places import TOKEN_PATH, Place
from tap import Suite
from watch import event


@contextlib.contextmanager
def limits_world():
    with standard_world(agent=False) as w:
        w.metrics = os.path.join(w.tmp, "host", "metrics.sock")
        w.agent.start(metrics_socket=w.metrics, metrics_group=0)
        yield w


suite = Suite(limits_world, TRACES)
A, B = manifests.ID_A.client_id, manifests.ID_B.client_id
# include/imdsgate/limits.h
CONNECTIONS, NAMESPACES, FLOWS, EVENTS = 512, 16, 1024, 100
RECORDS_PER_SEC, RECORDS_BURST = 200, 1000

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
    condition = event("connect.refused", process__pid=process.pid)
    w.agent.audit.wait_for(lambda _: len(w.agent.audit.find(condition, mark)) >= 9, mark)
    refused = w.agent.audit.find(condition, mark)
    assert [r["reason"] for r in refused] == ["too_many_connections_of_workload"] * 9, refused
    assert w.agent.cli("status")["connections"] == CONNECTIONS
    assert (w.pods["a"].dial().appid, w.pods["b"].dial().appid) == (A, B)
    process.communicate("go\n", timeout=10)
    assert w.pods["c"].dial().status == 400, "its connections were not given back"


@suite.test("a workload that makes namespaces without end gets listeners for the last few")
def namespaces(w):
    before, dialers = w.agent.cli("status")["listeners"], []
    for _ in range(NAMESPACES + 3):
        mark = w.agent.audit.mark()
        dialer = w.pods["a"].dialer(attempts=2, argv_prefix=[
            "unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"])
        dialers.append(dialer)
        assert dialer.read().refused
        w.agent.audit.wait_for(event("listener.opened"), mark)
    assert w.agent.cli("status")["listeners"] == before + NAMESPACES
    assert dialers[-1].next().appid == A
    assert dialers[0].next().refused, "the oldest made room, and is met anew"
    for dialer in dialers:
        dialer.close()
    assert w.pods["b"].dial().appid == B


# Opens N connections that are never closed, says how many of them the kernel refused, and then tries
# once more each time it is told, closing one before if it is told to.
FILL = """
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
held, refused = [], 0
def dial():
    s = socket.socket()
    try:
        s.settimeout(10)
        s.connect((sys.argv[1], 80))
        held.append(s)
    except (ConnectionRefusedError, PermissionError):
        return True
    return False
print(sum(dial() for _ in range(int(sys.argv[2]))), flush=True)
for line in sys.stdin:
    if line == "close\\n":
        held.pop().close()
    print(dial(), flush=True)
"""


@suite.test("a workload fills neither the table of flows nor the backlog while nobody accepts")
def flows(w):
    def kernel_counter(name):
        return w.agent.cli("status")["counters"][name]
    before, mark = kernel_counter("too_many_connections"), w.agent.audit.mark()

    def is_refused(word):
        process.stdin.write(f"{word}\n")
        process.stdin.flush()
        return process.stdout.readline() == "True\n"
    with w.agent.halted():
        process = w.pods["c"].spawn([sys.executable, "-S", "-c", FILL, IMDS, str(FLOWS + 5)],
                                    stdin=-1, stdout=-1)
        assert process.stdout.readline() == "5\n"
        assert is_refused("again")
        # the peer acknowledges the end of one a moment later
        deadline, extra = time.monotonic() + 10, 0
        word = "close"
        while is_refused(word):
            assert time.monotonic() < deadline, "a closed one was not given back"
            word, extra = "again", extra + 1
        # the others' are taken, and wait
        other = w.pods["a"].dialer()
    assert other.read().appid == A
    other.close()
    refused = event("connect.refused", reason="too_many_connections_of_workload",
                    process__pid=process.pid)
    w.agent.audit.wait_for(refused, mark)
    assert kernel_counter("too_many_connections") == before + 6 + extra
    process.kill()
    process.wait()
    assert w.pods["c"].dial().status == 400, "its connections were not given back"


# Asks for what is refused and recorded, N times, and says how often it was.
KNOCK = """
import socket, sys
refused = 0
for _ in range(int(sys.argv[2])):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect((sys.argv[1], 80))
        except (ConnectionRefusedError, PermissionError):
            refused += 1
print(refused)
"""


@suite.test("a flood of refused connects has few records, which say how many they stand for")
def events(w):
    def knock(pod, n):
        status, out, err = pod.run([sys.executable, "-S", "-c", KNOCK, IMDS, str(n)])
        assert (status, out) == (0, f"{n}\n"), err

    def recorded():
        w.agent.cli("status")  # who has answered this has read what came before
        return [r.get("count", 1) for r in w.agent.audit.find(
            event("connect.denied", reason="not_tcp", pod__name="b"), mark)]
    mark = w.agent.audit.mark()
    deadline = time.monotonic() + 10
    # what earlier tests did without a record is told by the next one
    while not recorded() and time.monotonic() < deadline:
        knock(w.pods["b"], 1)
    mark, before = w.agent.audit.mark(), w.agent.cli("status")["counters"]
    knock(w.pods["b"], 20 * EVENTS)
    knock(w.pods["a"], 1)
    w.agent.audit.wait_for(event("connect.denied", reason="not_tcp", pod__name="a"), mark)
    # in the next second it has records again, and they tell of those that had none
    deadline = time.monotonic() + 10
    sent = 20 * EVENTS
    while sum(recorded()) < sent and time.monotonic() < deadline:
        knock(w.pods["b"], 1)
        sent += 1
    assert sum(recorded()) == sent, (sum(recorded()), sent)
    assert len(recorded()) < 10 * EVENTS, len(recorded())
    after = w.agent.cli("status")["counters"]
    suppressed = after["events_suppressed"] - before["events_suppressed"]
    assert suppressed == sent - len(recorded()) > 0, (suppressed, sent)
    assert after["events_lost"] == before["events_lost"]


# Sends a request N times on one connection, and says which status it got how often.
REPEAT = """
import collections, http.client, sys
counts = collections.Counter()
connection = http.client.HTTPConnection(sys.argv[1], 80, timeout=10)
for _ in range(int(sys.argv[3])):
    connection.request("GET", sys.argv[2], headers={"Metadata": "true"})
    reply = connection.getresponse()
    reply.read()
    counts[reply.status] += 1
print(sorted(counts))
"""


@suite.test("a flood of requests has few records, which say how many they stand for; who got a "
            "token has its own")
def records(w):
    def repeat(pod, path, n):
        status, out, err = pod.run([sys.executable, "-S", "-c", REPEAT, IMDS, path, str(n)])
        assert status == 0, err
        return out.strip()

    def suppressed():
        return scrape(Place(w, w.host_netns, None), w.metrics).get("imdsgate_audit_suppressed_total")

    def recorded():
        w.agent.cli("status")
        return [r.get("count", 1) for r in w.agent.audit.find(
            lambda r: r["kind"] in ("request.rejected", "token.denied")
            and r["pod"]["name"] == "c", mark)]
    flood, sent, before = 2 * RECORDS_BURST, 0, suppressed()
    mark, begin = w.agent.audit.mark(), time.monotonic()
    # more of them than may be recorded, and more than may be asked for
    for path, statuses in (("/nowhere", "[404]"), (TOKEN_PATH, "[400]"),
                           (f"{TOKEN_PATH}&resource=https://vault.azure.net", "[400, 429]")):
        assert repeat(w.pods["c"], path, flood) == statuses
        sent += flood
    w.agent.audit.wait_for(event("token.denied", reason="rate_limited"), mark)
    assert repeat(w.pods["a"], f"{TOKEN_PATH}&resource=https://vault.azure.net", 1) == "[200]"
    deadline = time.monotonic() + 10
    while sum(recorded()) < sent and time.monotonic() < deadline:
        repeat(w.pods["c"], "/nowhere", 1)
        sent += 1
    assert sum(recorded()) == sent, (sum(recorded()), sent)
    most = RECORDS_BURST + RECORDS_PER_SEC * (time.monotonic() - begin + 1)
    assert len(recorded()) <= min(most, sent - 1), (len(recorded()), most)
    deadline = time.monotonic() + 10  # a page is served for a moment
    while suppressed() - before != sent - len(recorded()):
        assert time.monotonic() < deadline, (suppressed(), before, sent, len(recorded()))


@suite.test("a pod whose name was chosen to look like another's uses up none of what that one may ask for")
def chosen_name(w):
    # FNV-1a of "demo" and this name, each with its NUL, is that of "demo" and "a"
    pod = w.add_pod("s3qpuo06gn3k4vuux549or2r", "sel-b")
    w.declare()
    w.agent.stop()
    w.agent.start(metrics_socket=w.metrics, metrics_group=0, requests_per_second=1)
    path = f"{TOKEN_PATH}&resource=https://vault.azure.net"
    status, out, err = pod.run([sys.executable, "-S", "-c", REPEAT, IMDS, path, "20"])
    assert status == 0 and out.strip() == "[200, 429]", (out, err)
    assert w.pods["a"].dial().appid == A
    del w.pods[pod.name]
    w.apply_pods()


@suite.test("fewer descriptors than the limits need: said in the log and by doctor, and divided, "
            "so that no workload takes the others'")
def descriptors(w):
    # a limit of 600: half in reserve, of the rest a third for connections, of these a quarter
    descriptors_max, connections_max = 600, 25
    w.agent.stop()
    place, mark = w.agent.place, w.agent.log.mark()
    spawn = place.spawn
    place.spawn = lambda argv, **options: spawn(["prlimit", f"--nofile={descriptors_max}", *argv],
                                                **options)
    try:
        w.agent.start()
    finally:
        del place.spawn
    assert any("fewer descriptors" in line for line in w.agent.log.since(mark))
    (found,) = [c for c in json.loads(w.agent.cli_run("doctor", "--no-self-test")[1])["checks"]
                if c["name"] == "descriptors"]
    assert found["state"] == "warning" and "enough for 200 namespaces" in found["found"], found
    process = w.pods["c"].spawn([sys.executable, "-S", "-c", HOLD, IMDS, str(connections_max + 9),
                                 "9"], stdin=-1, stdout=-1)
    assert process.stdout.readline() == "9\n"
    assert w.agent.cli("status")["connections"] == connections_max
    assert (w.pods["a"].dial().appid, w.pods["b"].dial().appid) == (A, B)
    process.communicate("go\n", timeout=10)


@suite.test("an operator chooses how many requests of a workload are served")
def rate(w):
    w.agent.stop()
    w.agent.start(requests_per_second=1)
    assert w.agent.cli("explain", "demo/a")["rate"] == {"per_second": 1, "burst": 5, "by": "gate"}
    mark, served = w.agent.audit.mark(), 0
    while served < 100 and w.pods["a"].dial().status == 200:
        served += 1
    assert 5 <= served < 100, served
    w.agent.audit.wait_for(event("token.denied", reason="rate_limited"), mark)
    assert w.pods["b"].dial().status == 200


if __name__ == "__main__":
    suite.run()
