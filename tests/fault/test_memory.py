"""Every allocation on the way of a request fails once, in the real processes: of the server, of the
monitor on its behalf, and of the libraries that they use. The client gets the right answer, a clean
error or the end of its connection; the processes live on, and nothing is lost."""

import os
import time

from inject import Client, TOKEN_PATH
from injected import A, CLEAN, WARM, injected_world
from harness import TRACES, manifests
from tap import Suite

INSTANCE = "/metadata/instance?api-version=2021-02-01"

suite = Suite(injected_world, TRACES, seconds=280)


class Sweep:
    """Requests of one kind, of which the 1st, 2nd, … allocation fails until there is none left."""

    def __init__(self, world, process, client=None):
        self._world, self._process = world, process
        self._client = client or world.client
        self.failed = self.hurt = 0
        self._wrong = []

    def _judge(self, number, reply, status, is_right):
        self.hurt += reply.status != status
        if reply["result"] == "closed":
            return
        if reply["result"] == "ok" and (reply.status in CLEAN
                                        or reply.status == status and is_right(reply)):
            return
        self._wrong.append(f"allocation {number}: {reply}")

    def run(self, path_of, status, is_right=lambda reply: True, lasting=False,
            step=1):
        """lasting: all allocations from there on fail, until there is an answer. Returns how many
        allocations there are."""
        number, missed = 1 - step, 0
        while missed < 3:
            number += step
            with self._process.no_memory(number, 2 ** 60 if lasting else None):
                reply = self._client.get(path_of(number))
            failed = self._process.slot.alloc_failed
            missed = 0 if failed else missed + 1
            self.failed += failed
            self._judge(number, reply, status, is_right)
            again = self._world.client.get(WARM)
            if again.appid != A:
                self._wrong.append(f"after allocation {number}: {again}")
        assert not self._wrong, "\n".join(self._wrong)
        deadline = time.monotonic() + 10  # what is remembered of a failure may last a moment
        while self._client.get(path_of(1)).status != status:
            assert time.monotonic() < deadline, "the first failure lasts"
        assert self._world.agent.pids() == self._world.pair, "a process was replaced"
        count = number - missed * step
        print(f"# {count} allocations, {self.hurt} requests hurt")
        return count


def fetch(label):
    return lambda n: f"{TOKEN_PATH}&resource=https://{label}-{n}.example"


def is_token(reply):
    return reply.appid == A


def settled(w):
    """Allocations of the server once it has nothing to do."""
    deadline, live, same = time.monotonic() + 10, None, 0
    while same < 20 and time.monotonic() < deadline:
        now = w.faults.server.live
        same, live = (same + 1 if now == live else 0), now
        time.sleep(0.01)
    return live


def without_tokens(w):
    """What the server holds when no workload has a binding: (allocations, descriptors)"""
    with open(f"{w.manifests}/identities.yaml", encoding="utf-8") as f:
        good = f.read()
    w.apply("identities.yaml", manifests.identity(manifests.ID_A))
    assert w.client.get(WARM).status == 400
    held = settled(w), len(os.listdir(f"/proc/{w.pair[1]}/fd"))
    w.apply("identities.yaml", good)
    assert w.client.get(WARM).appid == A
    return held


@suite.test("every allocation of the server while a token is fetched, twice: nothing is lost")
def miss(w):
    sweep, held = Sweep(w, w.faults.server), []
    for _ in range(800):  # as many records of the audit are kept for those who missed them
        w.client.get(WARM)
    for _ in range(2):
        assert sweep.run(fetch("one"), 200, is_token) > 100 and sweep.hurt > 50
        held.append(without_tokens(w))
    # the kept records are limited by bytes, so their number varies a little
    print(f"# held: {held}")
    assert held[1][0] - held[0][0] <= 16 and held[1][1] <= held[0][1], held


@suite.test("every allocation, and all that follow, while a token is fetched")
def miss_lasting(w):
    sweep = Sweep(w, w.faults.server)
    assert sweep.run(fetch("all"), 200, is_token, lasting=True) > 50 and sweep.hurt > 50


@suite.test("every allocation of the server for a token that it has")
def hit(w):
    assert Sweep(w, w.faults.server).run(lambda n: WARM, 200, is_token) > 3


@suite.test("every allocation of the server for a workload that is bound to nothing")
def nobody(w):
    assert Sweep(w, w.faults.server, Client(w.pods["c"])).run(lambda n: WARM, 400) > 3


@suite.test("every allocation of the server for a metadata document")
def document(w):
    # each request for another part, so that none is answered from what is kept
    parts = ("", "compute", "network", "compute/vmId", "compute/name", "compute/location")
    for part in parts[:2]:
        path = INSTANCE.replace("/instance", f"/instance/{part}".rstrip("/"))
        Sweep(w, w.faults.server).run(lambda n, path=path: path, 200)


@suite.test("every allocation of the monitor when a process is seen for the first time")
def of_the_monitor(w):
    """Its cgroup, its executable and the socket for upstream are asked for."""
    process, number, missed = w.faults.monitor, 0, 0
    while missed < 3:
        number += 1
        with process.no_memory(number):
            reply = w.pods["b"].dial(path=fetch("monitor")(number))
        missed = 0 if process.slot.alloc_failed else missed + 1
        assert (reply["result"] == "error" or reply.status in CLEAN
                or reply.appid == manifests.ID_B.client_id), f"allocation {number}: {reply}"
    assert w.agent.pids() == w.pair, "a process was replaced"
    assert w.pods["b"].dial().appid == manifests.ID_B.client_id


@suite.test("a namespace that appears while memory is short is served all the same")
def namespace(w):
    for number in range(1, 11):
        process = (w.faults.monitor, w.faults.server)[number % 2]
        with process.no_memory((number + 1) // 2, 2 ** 60 if number > 6 else None):
            pod = w.add_pod(f"late-{number}", "sel-a")
            reply = pod.dial(timeout=2000)
        assert reply["result"] == "error" or reply.status != 200, reply  # not declared yet
        w.apply_pods()
        deadline = time.monotonic() + 10
        while pod.dial(timeout=5000).appid != A:
            assert time.monotonic() < deadline, f"allocation {number}: never served"


if __name__ == "__main__":
    suite.run()
