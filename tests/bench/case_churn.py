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


def join_and_leave(crowd, pids):
    """(the agent's processor time in microseconds, milliseconds until its listener was there and
    closed again)"""
    cpu, begin = cpu_usec(pids), time.monotonic()
    crowd.join_and_leave()
    return cpu_usec(pids) - cpu, (time.monotonic() - begin) * 1000


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
    few = None
    with standard_world() as w:
        crowd, rules, pids = Crowd(w), Rules(w.add_pod("rules")), w.agent.pids()
        for others in SIZES:
            crowd.grow(others)
            time.sleep(SETTLE_SEC)
            restores, pods = bench.pairs(
                lambda n=others: rules.join_and_leave(n),
                lambda: join_and_leave(crowd, pids),
                rounds=min(bench.rounds, RESTORES_MAX) if others == SIZES[-1] else None)
            pods += [join_and_leave(crowd, pids) for _ in range(bench.rounds - len(pods))]
            cpu = [usec for usec, _ in pods]
            bench.row(f"pod comes and goes, {others:,} others: CPU", "µs",
                      cpu[:len(restores)], baseline=restores)
            if few:
                bench.row(f"the same, to {SIZES[0]} others", "µs", cpu, baseline=few,
                          ratio="<= 1.2")
            few = few or cpu
            bench.row(f"the same, {others:,} others: time", "ms", [msec for _, msec in pods])
