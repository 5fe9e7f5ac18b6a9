"""Waiting for what other processes do, by event and with a deadline, never by sleeping: lines of a
file, words on a readiness pipe, the end of a process."""

import contextlib
import os
import select
import time

import kernel


# how much longer than usual to wait: where the processor is emulated (tests/kernels)
PATIENCE = int(os.environ.get("IG_PATIENCE", "1"))


class Lines:
    """The complete lines of a file that another process appends to."""

    def __init__(self, path, parse=lambda line: line):
        self.path, self._parse = path, parse
        self._offset, self._rest, self._lines = 0, b"", []

    def all(self):
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb") as f:
            f.seek(self._offset)
            data = f.read()
            self._offset += len(data)
            *whole, self._rest = (self._rest + data).split(b"\n")
            self._lines += [self._parse(line.decode("utf-8", "replace")) for line in whole]
        return self._lines

    def mark(self):
        return len(self.all())

    def since(self, mark):
        return self.all()[mark:]

    def find(self, wanted, since=0):
        return [line for line in self.since(since) if wanted(line)]

    def wait_for(self, wanted, since=0, timeout=10, what="line"):
        """The first line for which wanted(line) holds, waiting until it is written."""
        deadline = time.monotonic() + timeout * PATIENCE
        watch = kernel.Watch(os.path.dirname(self.path))
        with contextlib.closing(watch):
            while True:
                found = self.find(wanted, since)
                if found:
                    return found[0]
                if not watch.wait(deadline):
                    raise AssertionError(f"no such {what} in {os.path.basename(self.path)} "
                                         f"within {timeout * PATIENCE} s")


def event(kind, **members):
    """A condition on audit records: event("token.denied", pod__name="a")."""
    def wanted(record):
        if record["kind"] != kind:
            return False
        for path, value in members.items():
            part = record
            for key in path.split("__"):
                part = part.get(key, {}) if isinstance(part, dict) else {}
            if part != value:
                return False
        return True
    return wanted


def wait_ready(fd, timeout=20):
    """What is written to a readiness pipe until its end, or until "ready"."""
    timeout *= PATIENCE
    text, deadline = b"", time.monotonic() + timeout
    with open(fd, "rb", buffering=0) as f:
        while b"ready" not in text:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([f], [], [], left)[0]:
                raise TimeoutError(f"not ready after {timeout} s")
            data = f.read(4096)
            if not data:
                break
            text += data
    return text


def wait_gone(pid, timeout=10):
    with contextlib.suppress(ProcessLookupError):
        fd = os.pidfd_open(pid)
        try:
            assert select.select([fd], [], [], timeout * PATIENCE)[0], f"process {pid} does not end"
        finally:
            os.close(fd)
