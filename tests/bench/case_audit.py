"""Audit events from the kernel's ring to the file: how many a second, and what each costs. They are put
into the agent's own ring by a BPF program (flood.bpf.c), since a workload has a limit of so many. What
`cat` needs for the same bytes is the floor. All of them are of a
real-time class: a thread that waits for other programs for as long as its queue lasts, which is 40
milliseconds at this rate, loses records."""

import glob
import os
import subprocess
import time

from harness import standard_world
from places import BUILD

EVENTS, OFFERED_PER_SEC = 100_000, 200_000
PATIENCE_SEC = 20


class Audit:
    def __init__(self, world):
        self._path, self._copy = world.agent.audit.path, os.path.join(world.tmp, "copy")
        self._agent, (_, self._server) = world.agent, world.agent.pids()
        ring, = glob.glob(f"{world.bpffs}/imdsgate/v*/events")
        self._flood = world.pods["a"].spawn([f"{BUILD}/tests/bench/flood", ring],
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for task in (self._flood.pid, *os.listdir(f"/proc/{self._server}/task")):
            os.sched_setscheduler(int(task), os.SCHED_FIFO, os.sched_param(1))

    def _lost(self):
        status = self._agent.cli("status")
        return status["counters"]["events_lost"] + sum(s["lost"] for s in status["audit"]["sinks"])

    def _cpu_sec(self):
        total = 0
        for task in os.listdir(f"/proc/{self._server}/task"):
            with open(f"/proc/{self._server}/task/{task}/schedstat", encoding="ascii") as f:
                total += int(f.read().split()[0])
        return total / 1e9

    def _wait_for_all(self, lost):
        """Until all records are in the file, or it is known that some never will be."""
        end, there = time.monotonic() + PATIENCE_SEC, 0
        with open(self._path, "rb") as f:
            while there < EVENTS and time.monotonic() < end:
                more = f.read().count(b"\n")
                there += more
                if not more:
                    time.sleep(0.02)
                    assert self._lost() == lost, "records were lost"
        assert there == EVENTS, f"{EVENTS - there} records did not come"

    def round(self):
        """(events a second, microseconds of the server's processor time for one)"""
        os.truncate(self._path, 0)
        lost, cpu, begin = self._lost(), self._cpu_sec(), time.time()
        self._flood.stdin.write(f"{EVENTS} {OFFERED_PER_SEC}\n")
        self._flood.stdin.flush()
        assert self._flood.stdout.readline(), "flood ended"
        self._wait_for_all(lost)
        # by the file's own time: whoever looks at it may do so late
        seconds, cpu = os.stat(self._path).st_mtime - begin, self._cpu_sec() - cpu
        return EVENTS / seconds, cpu / EVENTS * 1e6

    def cat(self):
        """The same for the bytes of the last round."""
        begin = time.monotonic()
        with open(self._copy, "wb") as f:
            process = subprocess.Popen(["chrt", "--fifo", "1", "cat", self._path], stdout=f)
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
