#!/usr/bin/python3
"""The Debian package: lintian has nothing against it, and its scripts do what they should, in a copy of
this system's files that is thrown away (overlayfs), where no service manager runs and no network is."""

import contextlib
import ctypes
import os
import pwd
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import tools
from tap import Skip, Suite

NEWNS, NEWNET, PRIVATE, REC = 0x00020000, 0x40000000, 1 << 18, 1 << 14
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result, what):
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _mount(source, target, kind, flags=0, options=None):
    _check(_libc.mount(source.encode(), target.encode(), kind and kind.encode(), flags,
                       options and options.encode()), f"mount {target}")


class World(tools.Desk):
    """A root directory that starts as this system's."""

    def __enter__(self):
        self._stack = contextlib.ExitStack()
        self.tmp = self._stack.enter_context(
            tempfile.TemporaryDirectory(prefix="igtest-deb-", ignore_cleanup_errors=True))
        return self

    def __exit__(self, *error):
        if hasattr(self, "root"):
            for part in ("/sys/fs/bpf", "/dev", "/proc", ""):
                _libc.umount2(f"{self.root}{part}".encode(), 2)
            _libc.umount2(f"{self.tmp}/layers".encode(), 2)
        self._stack.close()

    def make_root(self):
        _check(_libc.unshare(NEWNS | NEWNET), "unshare")
        _mount("none", "/", None, PRIVATE | REC)
        layers, root = f"{self.tmp}/layers", f"{self.tmp}/root"
        os.mkdir(layers)
        os.mkdir(root)
        _mount("tmpfs", layers, "tmpfs")
        os.mkdir(f"{layers}/upper")
        os.mkdir(f"{layers}/work")
        _mount("overlay", root, "overlay", 0, f"lowerdir=/,upperdir={layers}/upper,workdir={layers}/work")
        self.root = root
        _mount("proc", f"{root}/proc", "proc")
        _mount("/dev", f"{root}/dev", None, 4096 | REC)
        os.makedirs(f"{root}/sys/fs/bpf")
        _mount("bpf", f"{root}/sys/fs/bpf", "bpf")  # nobody else's pins
        with open(f"{root}/usr/sbin/policy-rc.d", "w", encoding="ascii") as file:
            file.write("#!/bin/sh\nexit 101\n")
        os.chmod(f"{root}/usr/sbin/policy-rc.d", 0o755)

    def inside(self, *argv):
        """(exit status, all that it said)"""
        done = subprocess.run(["/usr/sbin/chroot", self.root, *argv], text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              stdin=subprocess.DEVNULL,
                              env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8",
                                   "DEBIAN_FRONTEND": "noninteractive"})
        return done.returncode, done.stdout

    def do(self, *argv):
        status, out = self.inside(*argv)
        assert status == 0, f"{argv}: {out}"
        return out

    def copy_in(self):
        """The package, where dpkg in the root sees it."""
        with open(self.deb, "rb") as source, open(f"{self.root}/imdsgate.deb", "wb") as file:
            file.write(source.read())
        return "/imdsgate.deb"

    def has(self, path):
        return os.path.lexists(f"{self.root}/{path}")


suite = Suite(World, seconds=200)


@suite.test("it is built from the sources, and lintian knows of no error")
def _(w):
    w.deb = tools.deb()
    done = subprocess.run(["lintian", "--allow-root", "--fail-on", "error", w.deb], text=True,
                          capture_output=True, check=False,
                          env={**os.environ, "TMPDIR": w.tmp})  # it leaves a file there
    assert done.returncode == 0 and "\nE:" not in f"\n{done.stdout}", done.stdout + done.stderr


@suite.test("installed: programs, manuals, a user of its own, a service that starts with the machine")
def _(w):
    with contextlib.suppress(KeyError):
        pwd.getpwnam("imdsgate")
        raise Skip("this system has a user imdsgate")
    w.make_root()
    w.do("dpkg", "--install", w.copy_in())
    assert re.match(r"imdsgated \d", w.do("imdsgated", "--version"))
    assert "imdsgate" in w.do("imdsgate", "help")
    assert w.do("getent", "passwd", "imdsgate").startswith("imdsgate:")
    assert w.has("etc/systemd/system/multi-user.target.wants/imdsgated.service")
    assert w.has("etc/default/imdsgated") and w.has("usr/share/man/man8/imdsgated.8.gz") and w.has("etc/imdsgate/manifests")
    with open(f"{w.root}/lib/systemd/system/imdsgated.service", encoding="utf-8") as file:
        assert "\nExecStart=/usr/sbin/imdsgated" in file.read()


@suite.test("installed again, over itself: manifests and records stay")
def _(w):
    os.makedirs(f"{w.root}/var/log/imdsgate")
    for name in ("etc/imdsgate/manifests/own.yaml", "var/log/imdsgate/audit.jsonl"):
        with open(f"{w.root}/{name}", "w", encoding="ascii") as file:
            file.write("# kept\n")
    w.do("dpkg", "--install", w.copy_in())
    assert w.has("etc/imdsgate/manifests/own.yaml") and w.has("var/log/imdsgate/audit.jsonl")


@suite.test("removed: what the administrator wrote stays, and the programs in the kernel are told of")
def _(w):
    flags = "--node n1 --audit-file /var/log/imdsgate/other.jsonl"
    # each as systemd takes it
    for text in (f"IMDSGATED_FLAGS={flags}", f"IMDSGATED_FLAGS='{flags}'", f'IMDSGATED_FLAGS="{flags}"',
                 f"IMDSGATED_FLAGS=--hold {flags} --hold"):
        w.do("dpkg", "--install", w.copy_in())
        with open(f"{w.root}/etc/default/imdsgated", "w", encoding="ascii") as file:
            file.write(f"# of the administrator\n{text}\n")
        status, out = w.inside("dpkg", "--remove", "imdsgate")
        assert status == 0, (text, out)
        assert "programs taken off; nothing is guarded any more" in out, (text, out)
        assert w.has("var/log/imdsgate/other.jsonl"), f"its flags were not asked: {text}"
        os.unlink(f"{w.root}/var/log/imdsgate/other.jsonl")
    assert not w.has("usr/sbin/imdsgated") and w.has("etc/imdsgate/manifests/own.yaml")


@suite.test("purged: the records go, too, and what the administrator wrote still stays")
def _(w):
    w.do("dpkg", "--purge", "imdsgate")
    assert not w.has("var/log/imdsgate") and w.has("etc/imdsgate/manifests/own.yaml")
    assert not w.has("etc/systemd/system/multi-user.target.wants/imdsgated.service")


if __name__ == "__main__":
    suite.run()
