"""connect.c in a pod's network namespace: one process whose sockets belong to whichever control
group a round asks for, so that both sides of a comparison are the same process on one processor.
It is of a real-time class: what else the machine does falls on neither side."""

import contextlib
import os
import secrets
import subprocess

import kernel
from places import BUILD

COUNT = 500  # connections of one round


class Client:
    def __init__(self, place):
        self._process = place.spawn([f"{BUILD}/tests/bench/connect"], stdin=subprocess.PIPE,
                                    stdout=subprocess.PIPE)
        os.sched_setaffinity(self._process.pid, {max(os.sched_getaffinity(0))})
        os.sched_setscheduler(self._process.pid, os.SCHED_FIFO, os.sched_param(1))
        self.port = self._read()  # of its own listener, on all addresses

    def _read(self):
        line = self._process.stdout.readline()
        assert line, f"the client ended: exit {self._process.wait()}"
        return int(line)

    def round(self, cgroup, address, port, count=COUNT):
        """Nanoseconds of connect() and close(): the median of the round."""
        with open(os.path.join(cgroup.path, "cgroup.procs"), "w", encoding="ascii") as f:
            f.write(str(self._process.pid))
        self._process.stdin.write(f"{address} {port} {count}\n")
        self._process.stdin.flush()
        return self._read()


@contextlib.contextmanager
def bare_cgroup(world):
    """A control group as deep as those of the world's bystanders, with nothing attached to it or
    above it."""
    name = world.cgroup_name[:world.cgroup_name.rindex("-") + 1] + secrets.token_hex(4)
    root = kernel.Cgroup(name)
    try:
        yield root.child("bystander")
    finally:
        root.remove()


def away_from_client(world):
    """The agent has the other processors for itself."""
    others = sorted(os.sched_getaffinity(0))[:-1]
    for pid in world.agent.pids() if others else ():
        for task in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(task), others)
