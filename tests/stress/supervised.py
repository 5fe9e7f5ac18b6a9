"""An agent that is started again whenever it ends, as systemd and Kubernetes do it, and its processes
by the kernel's own account: whoever is to be killed at a random moment cannot be asked first."""

import contextlib
import os
import signal
import subprocess

# how it ends when something kills it; any other end is its own decision, and shown with its last word
KILLED = -signal.SIGKILL


class Supervised:
    def __init__(self, agent):
        self._agent, self._process, self._pidfd = agent, None, -1
        self.starts, self.ends = 0, []

    def start(self):
        """The first time: until it is ready, that is, attached. From then on it never lets go."""
        self._agent.start()
        self._watch(self._agent.process)

    def _watch(self, process):
        self._process, self._pidfd = process, os.pidfd_open(process.pid)
        self.starts += 1

    def _start_again(self):
        with open(self._agent.log.path, "ab") as log:
            self._watch(self._agent.place.spawn(self._agent.argv(), stdin=subprocess.DEVNULL,
                                                stdout=log, stderr=log))
        self._agent.process = self._process

    def watched(self):
        """Readable when the agent has ended."""
        return [self._pidfd]

    def tend(self):
        """Starts it again if it has ended."""
        if self._process.poll() is None:
            return
        os.close(self._pidfd)
        if self._process.returncode != KILLED:
            self.ends.append((self._process.returncode, *self._agent.log.all()[-1:]))
        self._start_again()

    def servers(self):
        """The monitor's children."""
        pid = self._process.pid
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children",
                                                encoding="ascii") as f:
            return [int(child) for child in f.read().split()]
        return []

    def kill_server(self):
        for pid in self.servers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_monitor(self):
        self._process.kill()
        self._process.wait(10)
        self.tend()

    def kill_both(self):
        """At once, so that neither can bring the other back."""
        self._agent.place.cgroup.kill()
        self._process.wait(10)
        self.tend()
