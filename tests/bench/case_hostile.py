"""One hostile pod, and what it costs the others: a quiet pod asks for its cached token, now and then
and on one connection, while another pod does its worst. The baseline is the same without; for the
longest waits also the same beside an attack on another server, nginx in the attacker's own pod: what
is left of the ratio is the gate's, and not the kernel's that carries megabytes for the attacker.

What is to be seen is how fair the agent is, not how fair the scheduler: the attacker's own process
shares a processor with the quiet client, which is of a real-time class and so displaces it at once;
the server has the other processor. All come before the machine's other programs (nice), with
and without the attack. On a machine with one processor nothing of this can be told apart, so there
it is not measured."""

import os
import signal
import statistics
import subprocess

import baseline
from harness import IMDS, standard_world
from places import BUILD
from tap import Skip

PACE_USEC, REQUESTS = 6000, 150  # slower than the workload's limit of 200 a second
# kind: (connections, address, port); the limits let through what they let through
ATTACKS = {
    "half-open": 10000, "slow-headers": 2000, "big-headers": 64, "pipeline": 64, "connects": 1,
    "events": 1,
}


class Quiet:
    """The client of the pod that did nothing wrong."""

    def __init__(self, pod, cpu):
        self._process = pod.spawn([f"{BUILD}/tests/bench/ask", IMDS, "80", str(PACE_USEC)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        os.sched_setaffinity(self._process.pid, {cpu})
        os.sched_setscheduler(self._process.pid, os.SCHED_FIFO, os.sched_param(1))

    def round(self):
        """(median, 99th percentile) of one round, in microseconds"""
        self._process.stdin.write(f"{REQUESTS}\n")
        self._process.stdin.flush()
        times = []
        while True:
            line = self._process.stdout.readline()
            assert line, "the quiet client ended"
            if line == "\n":
                return statistics.median(times), statistics.quantiles(times, n=100)[98]
            times.append(int(line))


class Attack:
    """Started anew for each round that wants it, so that none of its connections is there in the
    others."""

    def __init__(self, pod, kind, cpu, server=None):
        self._pod, self._kind, self._cpu = pod, kind, cpu
        self._address = (server.address, str(server.port)) if server else (IMDS, "80")

    def __enter__(self):
        self._process = self._pod.spawn(
            [f"{BUILD}/tests/bench/attack", *self._address, self._kind, str(ATTACKS[self._kind])],
            stdout=subprocess.PIPE)
        os.sched_setaffinity(self._process.pid, {self._cpu})
        os.setpriority(os.PRIO_PROCESS, self._process.pid, -15)
        assert self._process.stdout.readline() == "ready\n", "the attack did not begin"

    def __exit__(self, *_error):
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


def prefer(pids, cpu):
    """The servers, on the processor of theirs, before everything else of the machine."""
    for pid in pids:
        baseline.pin(pid, cpu)
        for task in baseline.threads(pid):
            os.setpriority(os.PRIO_PROCESS, task, -20)


def measure(bench, kind, cpus):
    """(median, 99th percentile) of each round: without, beside an attack on nginx, on the gate"""
    with standard_world() as w:
        victim, hostile = w.pods["a"], w.pods["b"]
        nginx = baseline.Nginx(w, hostile, "/token", "{}", cpus[0])
        prefer([*w.agent.pids(), *nginx.pids()], cpus[0])
        quiet = Quiet(victim, cpus[1])
        quiet.round()

        def beside(server):
            with Attack(hostile, kind, cpus[1], server):
                return quiet.round()
        return bench.pairs(quiet.round, lambda: beside(nginx), lambda: beside(None))


def run(bench):
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise Skip("there is one processor only")
    for kind in ATTACKS:
        (p50, p99), (_, elsewhere), (p50_during, p99_during) = map(
            lambda rounds: zip(*rounds), measure(bench, kind, cpus))
        bench.row(f"quiet pod, beside {kind}: p50", "µs", p50_during, baseline=p50,
                  ratio="<= 1.10")
        bench.row(f"quiet pod, beside {kind}: p99", "µs", p99_during, baseline=p99,
                  ratio="<= 1.10")
        bench.row(f"quiet pod, beside {kind}, to one on nginx: p99", "µs", p99_during,
                  baseline=elsewhere, ratio="<= 1.10")
