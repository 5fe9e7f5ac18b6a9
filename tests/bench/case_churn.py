"""What one pod costs the agent that comes and goes (map entry, listener, records), however many
others are there; beside what iptables-restore costs where each pod has a rule."""

import os
import subprocess
import time

from crowd import Crowd, cpu_usec
from harness import standard_world

SIZES = (10, 1000, 10000)
RESTORES_MAX = 5  # of the largest table
SETTLE_SEC = 4    # the agent looks at all files once more when many came
PODS_ONCE = 10    # in one sample: that of one pod varies by half, with caches and who waits for whom


class Node:
    """With so many pods."""

    def __init__(self, world):
        self._crowd, self._pids = Crowd(world), world.agent.pids()

    def grow(self, pods):
        self._crowd.grow(pods)
        time.sleep(SETTLE_SEC)

    def join_and_leave(self):
        """One pod's mean: (the agent's processor time in microseconds, milliseconds until its
        listener was there and closed again)"""
        cpu, begin = cpu_usec(self._pids), time.monotonic()
        for _ in range(PODS_ONCE):
            self._crowd.join_and_leave()
        return ((cpu_usec(self._pids) - cpu) / PODS_ONCE,
                (time.monotonic() - begin) * 1000 / PODS_ONCE)


class Rules:
    """In a namespace of their own, where nothing is sent: one for each pod, as the agents before
    had them that gave tokens by address. The table is written as a whole."""

    def __init__(self, place):
        self._place = place

    def _restore(self, pods):
        rules = "".join(
            f"-A PREROUTING -s 10.{i >> 16}.{i >> 8 & 255}.{i & 255}/32 -d 169.254.169.254/32 "
            "-p tcp --dport 80 -j DNAT --to-destination 127.0.0.1:2579\n" for i in range(pods))
        process = self._place.spawn(["iptables-restore"], stdin=subprocess.PIPE)
        process.stdin.write(f"*nat\n{rules}COMMIT\n")
        process.stdin.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, "iptables-restore failed"
        return (usage.ru_utime + usage.ru_stime) * 1e6

    def join_and_leave(self, others):
        """Microseconds of processor time."""
        return self._restore(others + 1) + self._restore(others)


def run(bench):
    with standard_world() as w, standard_world() as of_few:
        node, few, rules = Node(w), Node(of_few), Rules(w.add_pod("rules"))
        few.grow(SIZES[0])
        for others in SIZES:
            node.grow(others)
            rounds = min(bench.rounds, RESTORES_MAX) if others == SIZES[-1] else bench.rounds
            restores = [rules.join_and_leave(others) for _ in range(rounds)]
            with_few, pods = bench.pairs(few.join_and_leave, node.join_and_leave,
                                         rounds=2 * bench.rounds)
            cpu = [usec for usec, _ in pods]
            bench.row(f"pod comes and goes, {others:,} others: CPU", "µs",
                      cpu[:len(restores)], baseline=restores)
            if others > SIZES[0]:
                bench.row(f"the same, to {SIZES[0]} others", "µs", cpu,
                          baseline=[usec for usec, _ in with_few], ratio="<= 1.2")
            bench.row(f"the same, {others:,} others: time", "ms", [msec for _, msec in pods])
