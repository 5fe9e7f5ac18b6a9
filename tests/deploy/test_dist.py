#!/usr/bin/python3
"""The archive of the sources: complete (it builds where there is no git), the same for the same
sources, and it makes itself again."""

import os
import re
import subprocess
import sys
import tarfile
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import tools
from tap import Skip, Suite
from tools import REPO


class World(tools.Desk):
    def __enter__(self):
        self._tmp = tempfile.TemporaryDirectory(prefix="igtest-dist-")  # pylint: disable=R1732
        self.tmp = self._tmp.name
        return self

    def __exit__(self, *error):
        self._tmp.cleanup()

    def make(self, where, out, *args):
        # a repository of this machine's above the temporary directory would be none of ours
        env = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000", "GIT_CEILING_DIRECTORIES": self.tmp,
               "MAKEFLAGS": ""}
        done = subprocess.run(["make", "-C", where, f"O={self.tmp}/{out}", *args], env=env, text=True,
                              capture_output=True, check=False, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return f"{self.tmp}/{out}"

    def archive(self, where, out):
        folder = self.make(where, out, "dist")
        (name,) = [name for name in os.listdir(folder) if name.endswith(".tar.gz")]
        return os.path.join(folder, name)


suite = Suite(World, seconds=200)


@suite.test("it has what git has, below a folder with the version")
def _(w):
    if not os.path.exists(os.path.join(REPO, ".git")):
        raise Skip("this is no clone")
    w.first = w.archive(REPO, "first")
    with open(os.path.join(REPO, "Makefile"), encoding="utf-8") as file:
        (version,) = re.findall(r"^VERSION := (\S+)$", file.read(), re.MULTILINE)
    listed = subprocess.run(["git", "-C", REPO, "ls-files"], capture_output=True, text=True,
                            check=True).stdout.split()
    with tarfile.open(w.first) as tar:
        names = [member.name for member in tar]
        assert names == sorted(names)
        assert set(names) == {f"imdsgate-{version}/{name}" for name in listed}
        assert {(m.uid, m.gid, m.mtime) for m in tar} == {(0, 0, 1700000000)}
        links = {m.name.split("/", 1)[1]: m.linkname for m in tar if m.issym()}
        tar.extractall(w.tmp)
    assert links["deploy/helm/imdsgate/crds"] == "../../kubernetes/crds", links
    w.folder = f"{w.tmp}/imdsgate-{version}"


@suite.test("same sources, same bytes: from the clone, and from the archive itself")
def _(w):
    with open(w.first, "rb") as one:
        data = one.read()
    for where, out in ((REPO, "second"), (w.folder, "third")):
        with open(w.archive(where, out), "rb") as other:
            assert data == other.read(), where


@suite.test("it builds without git")
def _(w):
    out = w.make(w.folder, "out", f"-j{os.cpu_count()}", "CFLAGS=-O0", "all")
    said = subprocess.run([f"{out}/imdsgated", "--version"], capture_output=True, text=True,
                          check=True).stdout
    assert said.startswith("imdsgated "), said


if __name__ == "__main__":
    suite.run()
