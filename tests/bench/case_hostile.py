"""One hostile pod, and what it costs the others: a quiet pod asks for its cached token, now and then
and on one connection, while another pod does its worst. The baseline is the same without.

What is to be seen is how fair the agent is, not how fair the scheduler: the attacker's own process
shares a processor with the quiet client, which is of a real-time class and so displaces it at once;
the agent has the other processor. All three come before the machine's other programs (nice), with
and without the attack. On a machine with one processor nothing of this can be told apart, so there
it is not measured."""

import os
import signal
import statistics
import subprocess

from harness import IMDS, standard_world
from places import BUILD
from tap import Skip

PACE_USEC, REQUESTS = 6000, 60  # slower than the workload's limit of 200 a second
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

    def __init__(self, pod, kind, cpu):
        self._pod, self._kind, self._cpu = pod, kind, cpu

    def __enter__(self):
        self._process = self._pod.spawn(
            [f"{BUILD}/tests/bench/attack", IMDS, "80", self._kind, str(ATTACKS[self._kind])],
            stdout=subprocess.PIPE)
        os.sched_setaffinity(self._process.pid, {self._cpu})
        os.setpriority(os.PRIO_PROCESS, self._process.pid, -15)
        assert self._process.stdout.readline() == "ready\n", "the attack did not begin"

    def __exit__(self, *_error):
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


def run(bench):
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise Skip("there is one processor only")
    for kind in ATTACKS:
        with standard_world() as w:
            for pid in w.agent.pids():
                for task in os.listdir(f"/proc/{pid}/task"):
                    os.sched_setaffinity(int(task), {cpus[0]})
                    os.setpriority(os.PRIO_PROCESS, int(task), -20)
            quiet = Quiet(w.pods["a"], cpus[1])
            quiet.round()

            def attacked(kind=kind, quiet=quiet, w=w):
                with Attack(w.pods["b"], kind, cpus[1]):
                    return quiet.round()

            without, during = bench.pairs(quiet.round, attacked)
        for index, name in enumerate(("p50", "p99")):
            bench.row(f"quiet pod, beside {kind}: {name}", "µs", [t[index] for t in during],
                      baseline=[t[index] for t in without], ratio="<= 1.10")
