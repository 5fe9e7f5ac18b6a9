"""What the guard costs packets that are for nobody it guards."""

import os
import struct
import subprocess

from bpf_stats import Runs, counted, links
from fabric import fabric_world
from places import BUILD
from programs import Program, bpftool

HERE = os.path.dirname(os.path.abspath(__file__))
FREE, GUARDED = "10.98.0.1", "10.97.0.1"
MEGABYTES, PAIRS = 30, 30  # many short transfers rather than few long ones: all are alike


class Bulk:
    """A transfer from the host by an uplink to the far side. Both ends share one processor and come
    before whatever else the machine does: the rate is what all of it takes in processor time, and
    nobody waits for an interrupt of another processor."""

    def __init__(self, w):
        sink = self._spawn(w.fabric, "sink")
        self._port = int(sink.stdout.readline())
        self._sender = self._spawn(w.host, "send")

    @staticmethod
    def _spawn(place, role):
        process = place.spawn([f"{BUILD}/tests/bench/bulk", role], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE)
        os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
        os.sched_setscheduler(process.pid, os.SCHED_FIFO, os.sched_param(1))
        return process

    def rate(self, address):
        """Megabytes a second."""
        self._sender.stdin.write(f"{address} {self._port} {MEGABYTES * 1000000}\n")
        self._sender.stdin.flush()
        line = self._sender.stdout.readline()
        assert line, "the sender ended"
        return MEGABYTES * 1e9 / int(line)


def frame_to_somebody():
    """A segment without data to an address that is nobody's."""
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 1, 0x4000, 64, 6, 0,
                     bytes((10, 99, 0, 2)), bytes((10, 99, 0, 1)))
    return bytes(12) + b"\x08\x00" + ip + struct.pack("!HHIIBBHHH", 40000, 443, 1, 1, 0x50, 0x10,
                                                      64240, 0, 0)


def test_runs(bench, w, guard, empty):
    """Without the time that it takes to look at the clock: many runs for two looks. What the test
    itself takes for each run is in the baseline."""
    path = os.path.join(w.tmp, "frame")
    with open(path, "wb") as f:
        f.write(frame_to_somebody())

    def nsec_of(number):
        return bpftool("prog", "run", "id", str(number), "data_in", path, "repeat",
                       "1000000")["duration"]
    nothing, guarded = bench.pairs(lambda: nsec_of(empty), lambda: nsec_of(guard))
    bench.row("guard, test runs", "ns", guarded, baseline=nothing)
    bench.row("guard, test runs less an empty program's", "ns",
              [ours - none for ours, none in zip(guarded, nothing)], limit="<= 25")


def kernel_counts(bench, w, guard, empty, bulk):
    """What the kernel counts for packets of a transfer. Most of it is looking at the clock, which is
    what it counts for the empty program at the same place, too."""
    for command in (["qdisc", "add", "dev", "bulk1", "clsact"],
                    ["filter", "add", "dev", "bulk1", "egress", "bpf", "da", "pinned", empty.path]):
        status, out, err = w.host.run(["tc", *command])
        assert status == 0, out + err
    none, ours = Runs("prog", "show", "pinned", empty.path), []
    with counted():
        for _ in range(bench.rounds):
            bulk.rate(GUARDED)
            ours.append((guard.look(), none.look()))
    assert all(a[0] == b[0] > 0 for a, b in ours), "they did not see the same packets"
    bench.row("guard, as the kernel counts", "ns", [a[1] for a, _ in ours],
              baseline=[b[1] for _, b in ours])
    bench.row("guard, counted less an empty program's", "ns", [a[1] - b[1] for a, b in ours],
              limit="<= 25")


def transfers(bench, w, bulk):
    for place in (w.host, w.fabric):  # nothing that one connection finds out is kept for the next
        assert place.run(["sysctl", "-qw", "net.ipv4.tcp_no_metrics_save=1"])[0] == 0
    without, guarded = bench.pairs(lambda: bulk.rate(FREE), lambda: bulk.rate(GUARDED),
                                   rounds=bench.rounds * PAIRS)
    bench.row("bulk transfer over a veth pair", "MB/s", guarded, baseline=without, ratio=">= 0.99")


def run(bench):
    with fabric_world() as w:
        # two that nobody else listens at; of one kind but for the guard
        w.add_uplink("bulk0", "far0", "10.98.0.2", FREE)
        w.add_uplink("bulk1", "far1", "10.97.0.2", GUARDED)
        w.agent.start(guard="bulk1")
        (pin,) = (path for name, path in links(w).items() if name.startswith("guard_"))
        guard = Runs("link", "show", "pinned", pin)
        empty = Program(w, "empty_tc", sources=f"{HERE}/bpf")
        bulk = Bulk(w)
        test_runs(bench, w, guard.number, Runs("prog", "show", "pinned", empty.path).number)
        transfers(bench, w, bulk)
        kernel_counts(bench, w, guard, empty, bulk)
