"""The audit file as it grows and is rotated, and what there is of processes and in the kernel's maps.
Nothing is kept: a run may take a day. Used by soak.py."""

import collections
import json
import os
import re
import shutil
import subprocess


class Follower:
    """The records of a file that its writer renames when it is large."""

    def __init__(self, path):
        self._path, self._file, self._rest = path, None, b""

    def _lines(self):
        data = self._rest + self._file.read()
        *lines, self._rest = data.split(b"\n")
        return lines

    def _was_renamed(self):
        try:
            return os.stat(self._path).st_ino != os.fstat(self._file.fileno()).st_ino
        except FileNotFoundError:  # in the middle of it
            return False

    def read(self):
        """The lines that came since the last time."""
        if not self._file:
            if not os.path.exists(self._path):
                return []
            self._file = open(self._path, "rb")  # pylint: disable=consider-using-with
        lines = self._lines()
        if self._was_renamed():
            lines += self._lines()  # what was written between reading and renaming
            assert not self._rest, "a record was cut in two"
            self._file.close()
            self._file = open(self._path, "rb")  # pylint: disable=consider-using-with
            lines += self._lines()
        return lines


def pss_kb(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Pss:"))


def descriptors(pid):
    """How many of each kind: {"socket": 12, "anon_inode:bpf-map": 9, …}"""
    kinds, folder = collections.Counter(), f"/proc/{pid}/fd"
    for fd in os.listdir(folder):
        try:
            target = os.readlink(f"{folder}/{fd}")
        except FileNotFoundError:  # closed meanwhile
            continue
        kind = re.sub(r":?\[.*\]$", "", target) if "[" in target else "file"
        kinds[kind if not target.startswith("anon_inode:") else target] += 1
    return kinds


def map_entries(pin):
    tool = shutil.which("bpftool", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    done = subprocess.run([tool, "-j", "map", "dump", "pinned", pin], capture_output=True, text=True,
                          check=True)
    return len(json.loads(done.stdout))
