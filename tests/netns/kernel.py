"""The kernel calls that the system tests need and Python 3.11 lacks, and what is built on them
directly: private mounts, network namespaces by file, control groups, inotify.

Nothing here knows about the agent. It must never touch the machine's own network namespace or a
control group that it did not make. Used by harness.py.
"""

import contextlib
import ctypes
import os
import re
import select
import signal
import struct
import threading
import time

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG = 1
_SYS_PIDFD_GETFD = 438
IN_MODIFY, IN_MOVED_TO, IN_CREATE = 0x2, 0x80, 0x100
IN_NONBLOCK, IN_CLOEXEC = 0o4000, 0o2000000

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name, *args):
    result = getattr(_libc, name)(*args)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return result


def setns(fd, kind):
    _call("setns", fd, kind)


def die_with_parent():
    _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def pidfd_getfd(pidfd, fd):
    """A descriptor of another process's, which nothing but a debugger does."""
    return _call("syscall", _SYS_PIDFD_GETFD, pidfd, fd, 0)


def private_mounts():
    """Every mount of this process from now on vanishes with it and its children: pinned programs,
    namespaces and temporary files cannot outlive a test that crashed."""
    _call("unshare", CLONE_NEWNS)
    _call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)


def mount(kind, target, options=None):
    _call("mount", kind.encode(), os.fsencode(target), kind.encode(), 0,
          options.encode() if options else None)


def bind(source, target):
    _call("mount", os.fsencode(source), os.fsencode(target), b"none", MS_BIND, None)


def umount(target):
    _call("umount2", os.fsencode(target), MNT_DETACH)


# ---- network namespaces -------------------------------------------------------------------------

def netns_inode(path):
    return os.stat(path).st_ino


def outside_netns():
    """Inode numbers of the namespaces that may have a way out of the machine: ours, and that of
    pid 1 where we may look at it (in a container it is none of our business)."""
    inodes = {netns_inode("/proc/self/ns/net")}
    with contextlib.suppress(PermissionError):
        inodes.add(netns_inode("/proc/1/ns/net"))
    return inodes


def make_file(path):
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDONLY | os.O_CLOEXEC, 0o444))


def mount_netns(path):
    """A new namespace on a file that is there. A thread of its own makes it: ours stays."""
    def make():
        try:
            _call("unshare", CLONE_NEWNET)
            bind("/proc/thread-self/ns/net", path)
        except OSError as error:
            errors.append(error)
    errors, thread = [], threading.Thread(target=make)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def make_netns(path):
    """As containerd does it: first the file, then the namespace mounted on it."""
    make_file(path)
    mount_netns(path)


def remove_netns(path):
    umount(path)
    os.unlink(path)


# ---- control groups -----------------------------------------------------------------------------

def cgroup2_mount():
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        for line in f:
            before, after = line.split(" - ", 1)
            if after.split()[0] == "cgroup2":
                return before.split()[4]
    raise RuntimeError("no cgroup2 mount in /proc/self/mountinfo")


class Cgroup:
    """A control group of our own; made on creation."""

    def __init__(self, path):
        self.path = path
        os.makedirs(path, exist_ok=True)

    def child(self, name):
        return Cgroup(os.path.join(self.path, name))

    def kill(self):
        """Kills everything below and waits until it is gone."""
        with contextlib.suppress(FileNotFoundError, PermissionError):
            with open(os.path.join(self.path, "cgroup.kill"), "w", encoding="ascii") as f:
                f.write("1")
            return self._wait_empty()
        for directory, _, _ in os.walk(self.path):  # before Linux 5.14
            with open(os.path.join(directory, "cgroup.procs"), encoding="ascii") as f:
                for pid in f.read().split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
        return self._wait_empty()

    def _wait_empty(self, seconds=5):
        deadline = time.monotonic() + seconds
        with open(os.path.join(self.path, "cgroup.events"), "rb", buffering=0) as f:
            poll = select.poll()
            poll.register(f, select.POLLPRI)
            while b"populated 1" in f.read():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{self.path} does not become empty")
                poll.poll(200)
                f.seek(0)

    def remove(self):
        self.kill()
        for directory, _, _ in os.walk(self.path, topdown=False):
            os.rmdir(directory)


BPF_PROG_QUERY, BPF_CGROUP_INET4_CONNECT = 16, 10
_SYS_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]


def bpf(command, layout, *fields):
    """The system call; attr is made of these fields and zero beyond. Returns a descriptor or 0."""
    attr = bytearray(128)
    struct.pack_into("=" + layout, attr, 0, *fields)
    return _call("syscall", _SYS_BPF, command, (ctypes.c_char * len(attr)).from_buffer(attr),
                 len(attr))


def connect4_programs(cgroup):
    """Numbers of the programs at connect4 of a control group, in the order in which they run. (What
    bpftool asks for kernels before 6.1 do not know.)"""
    ids = (ctypes.c_uint32 * 16)()
    fd = os.open(cgroup, os.O_RDONLY | os.O_CLOEXEC)
    try:
        query = bytearray(struct.pack("=IIIIQII", fd, BPF_CGROUP_INET4_CONNECT, 0, 0,
                                      ctypes.addressof(ids), len(ids), 0))
        attr = (ctypes.c_char * len(query)).from_buffer(query)
        _call("syscall", _SYS_BPF, BPF_PROG_QUERY, attr, len(query))
    finally:
        os.close(fd)
    return ids[:struct.unpack_from("=I", query, 24)[0]]


# ---- what earlier runs left ---------------------------------------------------------------------

def reap_stale(directories, pattern=r"igtest-(\d+)-[0-9a-f]+$"):
    """Removes control groups and (empty, their mounts are gone) directories of dead tests."""
    for directory in directories:
        for entry in os.scandir(directory):
            match = re.match(pattern, entry.name)
            if not match or os.path.exists(f"/proc/{match[1]}"):
                continue
            with contextlib.suppress(OSError):
                if os.path.exists(os.path.join(entry.path, "cgroup.procs")):
                    Cgroup(entry.path).remove()
                else:
                    os.rmdir(entry.path)


# ---- waiting for files --------------------------------------------------------------------------

class Watch:
    """Wakes up when something in a directory is created or written to."""

    def __init__(self, directory):
        self._fd = _call("inotify_init1", IN_NONBLOCK | IN_CLOEXEC)
        _call("inotify_add_watch", self._fd, os.fsencode(directory),
              IN_MODIFY | IN_CREATE | IN_MOVED_TO)

    def wait(self, deadline):
        """False when the deadline (of time.monotonic) has passed."""
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self._fd], [], [], left)[0]:
            return False
        os.read(self._fd, 65536)
        return True

    def close(self):
        os.close(self._fd)


# ---- sockets ------------------------------------------------------------------------------------

def listening_ports(proc_net_tcp):
    """Ports on which somebody listens at 127.0.0.1, from the text of /proc/net/tcp."""
    loopback = f"{struct.unpack('=I', bytes([127, 0, 0, 1]))[0]:08X}"
    ports = []
    for line in proc_net_tcp.splitlines()[1:]:
        fields = line.split()
        address, port = fields[1].split(":")
        if fields[3] == "0A" and address == loopback:
            ports.append(int(port, 16))
    return ports
