"""Other people's BPF programs: compiled, loaded and pinned beside the agent's pins, with Debian's own
tools. Used by tests that need somebody else at the same hook."""

import json
import os
import shutil
import subprocess

from places import HERE
from tap import Skip


class Program:
    """bpf/NAME.bpf.c, loaded once for a world. Its maps are pinned beside it."""

    def __init__(self, w, name):
        tool = shutil.which("bpftool", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if not tool or not shutil.which("clang"):
            raise Skip("needs clang and bpftool")
        self._tool, self._dir = tool, os.path.join(w.bpffs, name)
        self.path = f"{self._dir}/prog"
        if os.path.exists(self._dir):
            return
        multiarch = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True,
                                   check=True).stdout.strip()
        obj = os.path.join(w.tmp, f"{name}.o")
        subprocess.run(["clang", "-target", "bpf", "-O2", "-g", "-idirafter",
                        f"/usr/include/{multiarch}", "-c", f"{HERE}/bpf/{name}.bpf.c", "-o", obj],
                       check=True)
        os.mkdir(self._dir)
        self.tool("prog", "load", obj, self.path, "pinmaps", self._dir)

    def tool(self, *args):
        done = subprocess.run([self._tool, "-j", *args], capture_output=True, text=True,
                              check=False)
        assert done.returncode == 0, f"bpftool {args}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout or "null")

    def count(self, name):
        """The value of its map of one element."""
        (entry,) = self.tool("map", "dump", "pinned", f"{self._dir}/{name}")
        return entry["formatted"]["value"]

    def attach(self, cgroup, *flags):
        self.tool("cgroup", "attach", cgroup, "connect4", "pinned", self.path, *flags)

    def detach(self, cgroup):
        self.tool("cgroup", "detach", cgroup, "connect4", "pinned", self.path)
