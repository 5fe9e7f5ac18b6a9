#!/usr/bin/python3
"""What `build` says when there is nothing to do and when there is nothing to be had. (That it
compiles is seen by whoever uses its result.) Touches no registry."""

import hashlib
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "netns")]
# pylint: disable=wrong-import-position
from tap import Suite

BUILD = f"{HERE}/build"


class Cache(tempfile.TemporaryDirectory):
    """An empty cache, and an apt that knows no sources."""

    def __enter__(self):
        super().__enter__()
        self.config = os.path.join(self.name, "apt.conf")
        os.mkdir(os.path.join(self.name, "lists"))
        with open(self.config, "w", encoding="utf-8") as f:
            f.write(f'Dir::Etc::sourcelist "/dev/null";\nDir::Etc::sourceparts "/dev/null";\n'
                    f'Dir::State::lists "{self.name}/lists";\nDir::Cache "{self.name}/apt";\n')
        return self

    def build(self, path=None):
        """(exit status, stdout, stderr)"""
        env = {**os.environ, "XDG_CACHE_HOME": self.name, "APT_CONFIG": self.config,
               "PATH": path or os.environ["PATH"]}
        done = subprocess.run([BUILD], env=env, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False, timeout=50)
        return done.returncode, done.stdout, done.stderr

    def left(self):
        try:
            return set(os.listdir(os.path.join(self.name, "imdsgate")))
        except FileNotFoundError:
            return set()

    @staticmethod
    def tails():
        return ""


suite = Suite(Cache)


@suite.test("no packages: exit 77 with the reason, and nothing is left in the cache")
def _(cache):
    status, out, err = cache.build()
    assert status == 77 and out == "", (status, out, err)
    assert "cannot be had here: E: Unable to locate package" in err.splitlines()[-1], err
    assert cache.left() == {".kubernetes.lock"}, cache.left()


@suite.test("no tools: exit 77 that names one")
def _(cache):
    path = os.path.join(cache.name, "bin")
    os.mkdir(path)
    for tool in ("bash", "sha256sum", "apt-get", "dirname"):
        os.symlink(f"/usr/bin/{tool}", f"{path}/{tool}")
    status, out, err = cache.build(path)
    assert status == 77 and out == "" and "needs dpkg-source" in err, (status, out, err)


@suite.test("what is in the cache is used, without a look at anything else")
def _(cache):
    with open(BUILD, "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()[:12]
    target = os.path.join(cache.name, "imdsgate", f"kubernetes-1.20.2-{digest}")
    os.makedirs(target)
    assert cache.build(f"{cache.name}/bin") == (0, f"{target}\n", "")


if __name__ == "__main__":
    suite.run()
