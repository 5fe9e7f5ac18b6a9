"""A node with many pods, and what the agent's processes use: for the cases about scale.

A pod of the crowd has what a pod has: a network namespace with a file, a control group of its own
that a manifest declares, and a binding to the identity of pod "a"."""

import contextlib
import os
import re
import subprocess

import manifests
from places import BUILD
from watch import event

PODS_IN_FILE = 1000  # of one manifest: what one costs more depends on the number of files, too


class Crowd:
    """Pods p0, p1, … of a world."""

    def __init__(self, w):
        self._w, self._declared, self._there = w, 0, 0
        self._process = w.host.spawn([f"{BUILD}/tests/bench/crowd", w.netns_dir],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    @property
    def cgroups(self):
        return os.path.join(self._w.cgroup.path, "crowd.slice")

    def _say(self, verb, first, last):
        self._process.stdin.write(f"{verb} {first} {last}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n", "the crowd ended"

    @staticmethod
    def _manifest(number):
        return manifests.pod(f"p{number}", cgroup=f"/crowd.slice/p{number}",
                             labels={"aadpodidbinding": "sel-a"})

    def declare(self, pods):
        """So many have a control group and a manifest."""
        for begin in range(self._declared, pods, PODS_IN_FILE):
            numbers = range(begin, min(begin + PODS_IN_FILE, pods))
            for number in numbers:
                self._w.cgroup.child(f"crowd.slice/p{number}")
            self._w.write(f"crowd-{begin}.yaml", manifests.join(*map(self._manifest, numbers)))
        self._declared = max(pods, self._declared)

    def grow(self, pods):
        """So many are there, namespaces and all. An agent that runs is waited for."""
        self.declare(pods)
        mark = self._w.agent.audit.mark()
        self._say("add", self._there, pods - 1)
        self._there = pods
        if self._w.agent.process:
            self._opened(pods - 1, mark)

    def _opened(self, number, mark):
        record = self._w.agent.audit.wait_for(
            event("listener.opened", message=f"p{number}"), mark, timeout=60)
        return record["netns"]

    def join_and_leave(self):
        """One pod more, until it has a listener, and away with it, until that is closed."""
        number, mark = self._declared, self._w.agent.audit.mark()
        cgroup = self._w.cgroup.child(f"crowd.slice/p{number}")
        self._w.write(f"crowd-{number}.yaml", self._manifest(number))
        self._say("add", number, number)
        netns = self._opened(number, mark)
        self._say("remove", number, number)
        self._w.write(f"crowd-{number}.yaml", None)
        os.rmdir(cgroup.path)
        self._w.agent.audit.wait_for(event("listener.closed", netns=netns), mark)


def tasks(pids):
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            yield f"/proc/{pid}/task/{task}"


def cpu_usec(pids):
    """Of all threads, to the nanosecond that the scheduler knows."""
    total = 0
    for task in tasks(pids):
        with contextlib.suppress(FileNotFoundError), \
                open(f"{task}/schedstat", encoding="ascii") as f:
            total += int(f.read().split()[0])
    return total / 1000


def pss_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return int(re.search(r"^Pss:\s+(\d+) kB", f.read(), re.M)[1])


def wakeups(pids):
    """How often each thread went to sleep by itself, and so was woken: {task: count}."""
    counts = {}
    for task in tasks(pids):
        with open(f"{task}/status", encoding="ascii") as f:
            counts[task] = int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", f.read(), re.M)[1])
    return counts
