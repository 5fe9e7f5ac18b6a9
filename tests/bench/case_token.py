"""A cached token, asked for as fast as the answers come: imdsgate, and nginx that serves the same
bytes as a static file. Both listen on loopback of the pod's own network namespace, each has one
processor for itself (all of the agent's processes and threads; nginx's one worker), the client has
the other one.

What nginx does less: it does not know who asks, decides nothing, and its record of a request is one
line of its access log (buffered, as the audit is), of a tenth of the length."""

import os
import subprocess

import baseline
from harness import IMDS, standard_world
from places import BUILD, TOKEN_PATH
from tap import Skip

VAULT = "https://vault.azure.net"
CONNECTIONS, REQUESTS, FRESH_REQUESTS = (1, 16, 64), 8000, 3000


class Load:
    """load.c in a pod, with so many connections to a server; one round at a time."""

    def __init__(self, pod, cpu, server, connections, fresh=False):
        self._server, self._requests = server, FRESH_REQUESTS if fresh else REQUESTS
        self._process = pod.spawn(
            [f"{BUILD}/tests/bench/load", server.address, str(server.port), str(connections),
             *(["fresh"] if fresh else [])], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        os.sched_setaffinity(self._process.pid, {cpu})
        self.round()

    def round(self):
        """(requests per second of the server's processor time, p50 in µs, p99 in µs)"""
        before = self._server.cpu_seconds()
        self._process.stdin.write(f"{self._requests}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline().split()
        assert line, "the load ended"
        used = self._server.cpu_seconds() - before
        return self._requests / used, int(line[1]) / 1000, int(line[2]) / 1000

    def end(self):
        self._process.stdin.close()
        self._process.wait(10)


class Agent:
    address, port = IMDS, 80

    def __init__(self, world, cpu):
        self._pids = world.agent.pids()
        for pid in self._pids:
            baseline.pin(pid, cpu)

    def cpu_seconds(self):
        return sum(map(baseline.cpu_seconds, self._pids))


def compare(bench, name, loads, ratio):
    """loads: nginx's and the agent's. A row each for what a processor second is good for, and for
    how long an answer takes."""
    theirs, ours = bench.pairs(*(load.round for load in loads))
    for load in loads:
        load.end()

    def column(rounds, index):
        return [measured[index] for measured in rounds]
    bench.row(f"{name}: requests per CPU-second", "1/s", column(ours, 0),
              baseline=column(theirs, 0), ratio=ratio)
    bench.row(f"{name}: p50", "µs", column(ours, 1), baseline=column(theirs, 1))
    bench.row(f"{name}: p99", "µs", column(ours, 2), baseline=column(theirs, 2), ratio="<= 1.0")


def run(bench):
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise Skip("there is one processor only")
    with standard_world(agent=False) as w:
        w.agent.start(requests_per_second=100000)
        pod = w.pods["a"]
        reply = pod.dial(path=f"{TOKEN_PATH}&resource={VAULT}")
        assert reply.status == 200, reply
        nginx = baseline.Nginx(w, pod, TOKEN_PATH.split("?", maxsplit=1)[0], reply.body, cpus[0])
        servers = nginx, Agent(w, cpus[0])
        for n in CONNECTIONS:
            loads = [Load(pod, cpus[1], server, n) for server in servers]
            compare(bench, f"cached token, {n} kept connections", loads, ">= 1.0")
        for n in CONNECTIONS:
            loads = [Load(pod, cpus[1], server, n, fresh=True) for server in servers]
            compare(bench, f"cached token, new connections, {n} at once", loads, ">= 0.95")
