"""Other people's BPF programs: compiled, loaded and pinned beside the agent's pins, with Debian's own
tools. Used by tests that need somebody else at the same hook."""

import json
import os
import shutil
import subprocess

from places import HERE
from tap import Skip


def bpftool(*args):
    tool = shutil.which("bpftool", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if not tool:
        raise Skip("needs bpftool")
    done = subprocess.run([tool, "-j", *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"bpftool {args}: {done.stdout}{done.stderr}"
    return json.loads(done.stdout or "null")


class Program:
    """bpf/NAME.bpf.c, loaded once for a world. Its maps are pinned beside it. hook: bpftool's word
    for where in a control group it attaches."""

    def __init__(self, w, name, hook="connect4", sources=f"{HERE}/bpf"):
        self._hook = hook
        if not shutil.which("clang"):
            raise Skip("needs clang")
        self._dir = os.path.join(w.bpffs, name)
        self.path = f"{self._dir}/prog"
        if os.path.exists(self._dir):
            return
        multiarch = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True,
                                   check=True).stdout.strip()
        obj = os.path.join(w.tmp, f"{name}.o")
        subprocess.run(["clang", "-target", "bpf", "-O2", "-g", "-idirafter",
                        f"/usr/include/{multiarch}", "-c", f"{sources}/{name}.bpf.c", "-o", obj],
                       check=True)
        os.mkdir(self._dir)
        bpftool("prog", "load", obj, self.path, "pinmaps", self._dir)

    def count(self, name):
        """The value of its map of one element."""
        (entry,) = bpftool("map", "dump", "pinned", f"{self._dir}/{name}")
        return entry["formatted"]["value"]

    def attach(self, cgroup, *flags):
        bpftool("cgroup", "attach", cgroup, self._hook, "pinned", self.path, *flags)

    def detach(self, cgroup):
        bpftool("cgroup", "detach", cgroup, self._hook, "pinned", self.path)
