"""Callers in several workloads at once, each with what it must get, and what all of them saw. The
test is told when everybody was served again, so that nobody has to guess how long that takes."""

import collections
import json
import os
import select
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
NOBODY = "none"  # expected of a pod without a binding: to be turned away, by the gate


class Caller:
    def __init__(self, place, expected):
        self.counts = collections.Counter()
        self._process = place.spawn([sys.executable, "-S", "-B", f"{HERE}/caller.py", expected],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1)
        assert self._process.stdout.readline() == "ready\n", "a caller does not start"

    def fileno(self):
        return self._process.stdout.fileno()

    def question(self, text):
        self._process.stdin.write(f"{text}\n")

    def answer(self):
        line = self._process.stdout.readline()
        assert line, f"a caller ended: {self._process.wait(10)}"
        said = json.loads(line)
        self.counts = collections.Counter(said["counts"])
        return said["question"]

    def stop(self):
        self._process.stdin.close()
        while self.answer() is not None:
            pass
        self._process.wait(10)


class Load:
    """callers: [(place, client id or NOBODY)]"""

    def __init__(self, callers):
        self._callers = [Caller(place, expected) for place, expected in callers]
        self._questions = 0

    def wait_served(self, seconds, watched=(), on_event=lambda: None):
        """Until every caller was served by a request begun from now on. on_event() is called when
        one of the descriptors in watched() becomes readable."""
        self._questions += 1
        question, waiting = str(self._questions), set(self._callers)
        for caller in waiting:
            caller.question(question)
        deadline = time.monotonic() + seconds
        while waiting:
            left = deadline - time.monotonic()
            assert left > 0, f"not everybody is served again after {seconds} s"
            fds = list(watched()) if callable(watched) else list(watched)
            ready, _, _ = select.select([*waiting, *fds], [], [], left)
            if set(ready) & set(fds):
                on_event()
            waiting -= {caller for caller in ready
                        if caller in waiting and caller.answer() == question}

    def stop(self):
        """All counts together."""
        total = collections.Counter()
        for caller in self._callers:
            caller.stop()
            total += caller.counts
        return total
