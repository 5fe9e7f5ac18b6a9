"""Audit events from the kernel's ring to the file: how many a second, and what each costs. They are put
into the agent's own ring by a BPF program (flood.bpf.c), since a workload has a limit of so many. What
`cat` needs for the same bytes is the floor."""

import glob
import os
import subprocess
import time

from harness import standard_world
from places import BUILD

EVENTS = 100_000
QUIET_SEC = 0.2


class Audit:
    def __init__(self, world):
        self._path, self._copy = world.agent.audit.path, os.path.join(world.tmp, "copy")
        self._agent, (_, self._server) = world.agent, world.agent.pids()
        ring, = glob.glob(f"{world.bpffs}/imdsgate/v*/events")
        self._flood = world.pods["a"].spawn([f"{BUILD}/tests/bench/flood", ring],
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def _lost(self):
        status = self._agent.cli("status")
        return status["counters"]["events_lost"] + sum(s["lost"] for s in status["audit"]["sinks"])

    def _cpu_sec(self):
        total = 0
        for task in os.listdir(f"/proc/{self._server}/task"):
            with open(f"/proc/{self._server}/task/{task}/schedstat", encoding="ascii") as f:
                total += int(f.read().split()[0])
        return total / 1e9

    def _last_growth(self):
        """Waits until nothing was added for a while, and says when something was last."""
        grown, size = time.monotonic(), 0
        while time.monotonic() - grown < QUIET_SEC:
            now = os.stat(self._path).st_size
            if now != size:
                grown, size = time.monotonic(), now
            time.sleep(0.001)
        return grown

    def round(self):
        """(events a second, microseconds of the server's processor time for one)"""
        os.truncate(self._path, 0)
        lost, cpu, begin = self._lost(), self._cpu_sec(), time.monotonic()
        self._flood.stdin.write(f"{EVENTS}\n")
        self._flood.stdin.flush()
        assert self._flood.stdout.readline(), "flood ended"
        seconds, cpu = self._last_growth() - begin, self._cpu_sec() - cpu
        with open(self._path, "rb") as f:
            lines = f.read().count(b'"kind":"connect.denied"')
        assert lines == EVENTS and self._lost() == lost, f"{EVENTS - lines} records were lost"
        return EVENTS / seconds, cpu / EVENTS * 1e6

    def cat(self):
        """The same for the bytes of the last round."""
        begin = time.monotonic()
        with open(self._copy, "wb") as f:
            process = subprocess.Popen(["cat", self._path], stdout=f)
            _, status, usage = os.wait4(process.pid, 0)
        assert status == 0, "cat failed"
        process.returncode = 0
        return (EVENTS / (time.monotonic() - begin),
                (usage.ru_utime + usage.ru_stime) / EVENTS * 1e6)


def run(bench):
    with standard_world() as w:
        audit = Audit(w)
        audit.round()  # whose facts are known from then on
        cat, agent = bench.pairs(audit.cat, audit.round)
    bench.row("audit, ring to file: events", "1/s", [rate for rate, _ in agent],
              baseline=[rate for rate, _ in cat], limit=">= 150000")
    bench.row("audit, ring to file: processor time of one", "µs", [cpu for _, cpu in agent],
              baseline=[cpu for _, cpu in cat], limit="<= 5")
