"""How long programs run, as the kernel counts it, which it does only while somebody holds the
descriptor that asks for it."""

import contextlib
import os

import kernel
from programs import bpftool

BPF_ENABLE_STATS, BPF_STATS_RUN_TIME = 32, 0


@contextlib.contextmanager
def counted():
    fd = kernel.bpf(BPF_ENABLE_STATS, "I", BPF_STATS_RUN_TIME)
    try:
        yield
    finally:
        os.close(fd)


def links(world):
    """Pins of the agent's links by name."""
    directory = os.path.join(world.bpffs, "imdsgate", "links")
    return {name: os.path.join(directory, name) for name in os.listdir(directory)}


class Runs:
    """What a program did since the last look. show: how bpftool finds it."""

    def __init__(self, *show):
        shown = bpftool(*show)
        self.number, self._before = shown.get("prog_id") or shown["id"], (0, 0)
        self.look()

    def look(self):
        """(runs, nanoseconds of one)"""
        shown = bpftool("prog", "show", "id", str(self.number))
        now = shown.get("run_cnt", 0), shown.get("run_time_ns", 0)
        runs, nsec = now[0] - self._before[0], now[1] - self._before[1]
        self._before = now
        return runs, nsec / runs if runs else 0.0
