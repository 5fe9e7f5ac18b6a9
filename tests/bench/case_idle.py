"""What the agent does while nobody wants anything: nothing but what its timers are for."""

import time

from crowd import Crowd, cpu_usec, wakeups
from harness import standard_world

PODS, IDLE_SEC, QUIET_SEC = 250, 12, 4
# include/imdsgate/limits.h and user/agent/kernel_loss.c
HEARTBEAT_SEC, KERNEL_LOSS_SEC = 1, 5
# Heartbeat: the monitor's timer, the server that is asked, the monitor that hears, the server that
# hears that it was heard (unless it is still awake). Counters: the server's timer, and the answer.
DUE = {"monitor": 2 / HEARTBEAT_SEC + 1 / KERNEL_LOSS_SEC,
       "server": 2 / HEARTBEAT_SEC + 2 / KERNEL_LOSS_SEC}


def idle(pids):
    """(microseconds of processor time, {pid: [wake-ups of each thread]}) in IDLE_SEC."""
    before, cpu = wakeups(pids), cpu_usec(pids)
    time.sleep(IDLE_SEC)  # this is the time that is measured
    after, cpu = wakeups(pids), cpu_usec(pids) - cpu
    assert after.keys() == before.keys(), "threads came or went"
    return cpu, {pid: [after[task] - before[task] for task in after
                       if task.startswith(f"/proc/{pid}/")] for pid in pids}


def run(bench):
    with standard_world() as w:
        Crowd(w).grow(PODS)
        pids = w.agent.pids()
        time.sleep(QUIET_SEC)  # what follows from the pods' coming is over
        cpu, counts = idle(pids)
    for pid, (name, due) in zip(pids, DUE.items()):
        # one more may fall into the time at either end
        bench.row(f"idle, {PODS} pods: wake-ups of the {name}", "1/s",
                  [sum(counts[pid]) / IDLE_SEC], limit=f"<= {due + 2 / IDLE_SEC:.2f}")
    bench.row(f"idle, {PODS} pods: threads besides that woke", "",
              [sum(n > 0 for pid in pids for n in counts[pid]) - len(pids)], limit="<= 0")
    bench.row(f"idle, {PODS} pods: CPU", "ms/min", [cpu / 1000 / IDLE_SEC * 60])
