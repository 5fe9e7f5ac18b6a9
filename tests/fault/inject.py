"""An agent whose allocations, system calls and clocks fail when a test says so (inject.c, whose
layout this knows), and clients in pods that ask quickly, again and again."""

import contextlib
import ctypes
import json
import mmap
import os
import select
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(1, os.path.join(os.path.dirname(HERE), "netns"))

from places import BUILD, TOKEN_PATH, Reply  # noqa: E402

CALLS = ("accept", "socket", "open", "read", "write", "send", "recv", "connect", "epoll_wait",
         "epoll_ctl", "poll", "fdatasync", "setsockopt")
ALWAYS = 0xffffffff
MONITOR, SERVER = 0, 1


class Rule(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32)
                for name in ("call", "error", "limit", "every", "count", "seen", "hit")]


class Slot(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64)
                for name in ("alloc_first", "alloc_last", "alloc_seen", "alloc_failed")]
    _fields_ += [(name, ctypes.c_int64)
                 for name in ("alloc_live", "real_shift_usec", "mono_shift_usec")]
    _fields_ += [("rules", Rule * 8)]


class Faults:
    """What goes wrong in one of the two processes."""

    def __init__(self, slot):
        self.slot = slot

    @property
    def live(self):
        """Allocations that were not freed."""
        return self.slot.alloc_live

    @contextlib.contextmanager
    def no_memory(self, first, last=None):
        """The allocations from `first` to `last` (as counted from here) fail."""
        self.slot.alloc_seen = self.slot.alloc_failed = 0
        self.slot.alloc_last = first if last is None else last
        self.slot.alloc_first = first
        try:
            yield
        finally:
            self.slot.alloc_first = 0

    @contextlib.contextmanager
    def broken(self, *rules):
        """rules: (call, errno or 0, {every, count, limit}). Yields them: .hit counts."""
        used = self.slot.rules[:len(rules)]
        for rule, (call, error, more) in zip(used, rules):
            rule.every = 0
            rule.error, rule.limit = error, more.get("limit", 1)
            rule.count, rule.seen, rule.hit = more.get("count", ALWAYS), 0, 0
            rule.call = CALLS.index(call) + 1
            rule.every = more.get("every", 1)
        try:
            yield used
        finally:
            for rule in used:
                rule.every = rule.call = 0

    @contextlib.contextmanager
    def clock(self, real=0, mono=0):
        """Seconds that the clocks are wrong by. The monotonic one never goes back: what it gained
        stays."""
        self.slot.mono_shift_usec += int(mono * 1e6)
        self.slot.real_shift_usec = int(real * 1e6)
        try:
            yield
        finally:
            self.slot.real_shift_usec = 0


class Injection:
    """Makes the world's agent one that can be told to fail: to be made before it starts."""

    def __init__(self, world):
        self._path = os.path.join(world.tmp, "inject")
        size = 2 * ctypes.sizeof(Slot)
        with open(self._path, "wb+") as f:
            f.truncate(size)
            self._map = mmap.mmap(f.fileno(), size)
        slots = (Slot * 2).from_buffer(self._map)
        self.monitor, self.server = Faults(slots[MONITOR]), Faults(slots[SERVER])
        place = world.agent.place
        spawn = place.spawn
        library = f"{BUILD}/tests/fault/inject.so"
        assert os.path.exists(library), f"{library} is not built"  # the loader goes on without it
        extra = {"LD_PRELOAD": library, "IG_INJECT": self._path}

        def spawn_with_faults(argv, **options):
            return spawn(argv, env={**os.environ, **world.env, **extra}, **options)
        place.spawn = spawn_with_faults


class Client:
    """A process in a pod that asks when told to, each time on a new connection: what a pod does,
    without the cost of starting a process for it."""

    def __init__(self, pod):
        self._process = pod.spawn([sys.executable, "-S", f"{HERE}/client.py"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout.readline() == "ready\n", "the client does not start"

    def start(self, path, timeout=10, headers=None):
        request = {"path": path, "timeout": timeout,
                   "headers": {"Metadata": "true"} if headers is None else headers}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def finish(self, timeout=40):
        assert select.select([self._process.stdout], [], [], timeout)[0], "the client hangs"
        return Reply(json.loads(self._process.stdout.readline()))

    def get(self, path, timeout=10, headers=None):
        self.start(path, timeout, headers)
        return self.finish(timeout + 30)
