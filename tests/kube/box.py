"""A box for a whole node: its own network without a way out, its own mounts and control groups.
enter() puts the calling process into it, so that nothing that this process or its children do from
then on can reach the machine's network, leave a file behind or touch a control group of the
machine's. The machine's processes stay visible (no pid namespace): BPF programs report pids of the
first one, and an agent on a node has that one, too.

Who ends what: the test is a child of the process that was started and dies with it; a keeper in a
session of its own waits for the end of the test, however it comes, kills what is left in the box's
control groups (containers have sessions of their own) and removes them. Mounts, namespaces and
files vanish with the last process. Used by cluster.py, before it does anything else."""

import contextlib
import ctypes
import dataclasses
import os
import secrets
import select
import signal
import socket
import sys

import kernel

CLONE_NEWUTS, CLONE_NEWCGROUP = 0x04000000, 0x02000000
PR_SET_CHILD_SUBREAPER = 36
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_SHARED = 1, 32, 4096, 1 << 20
# what a node writes to; everything else of the file system is read-only in the box
WRITABLE = ("/run", "/var/lib", "/var/log")
# kubelet wants these values and would set them for the whole machine: it sees files that have them
SYSCTLS = {"vm/overcommit_memory": 1, "vm/panic_on_oom": 0, "kernel/panic": 10,
           "kernel/panic_on_oops": 1, "kernel/keys/root_maxkeys": 1000000,
           "kernel/keys/root_maxbytes": 25000000}
TMP = "/run/tmp"

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name, *args):
    if getattr(_libc, name)(*args) < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")


def _mount(source, target, kind, flags=0, options=None):
    _call("mount", os.fsencode(source), os.fsencode(target), kind and kind.encode(), flags,
          options and options.encode())


# ---- control groups -----------------------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class Tree:
    """A mounted hierarchy of control groups. Version 1: the controllers or the name it is for."""
    mount_point: str
    version: int
    controllers: tuple = ()

    @property
    def ours(self):
        """The group to make groups in. Version 1: the one that we are in, for its limits."""
        with open("/proc/self/cgroup", encoding="utf-8") as f:
            for line in f:
                _, names, path = line.rstrip("\n").split(":", 2)
                if self.version == 1 and tuple(names.split(",")) == self.controllers:
                    group = self.mount_point + path.rstrip("/")
                    return group if os.path.isdir(group) else self.mount_point
        return self.mount_point

    def mount(self):
        if self.version == 2:
            _mount("cgroup", self.mount_point, "cgroup2")
            return
        named = ("none",) if self.controllers[0].startswith("name=") else ()
        _mount("cgroup", self.mount_point, "cgroup", 0, ",".join(named + self.controllers))


def _trees():
    with open("/proc/cgroups", encoding="ascii") as f:
        known = {line.split()[0] for line in f}
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        for line in f:
            before, after = line.split(" - ", 1)
            kind, _, options = after.split()
            names = tuple(o for o in options.split(",") if o in known or o.startswith("name="))
            if kind in ("cgroup", "cgroup2"):
                found.append(Tree(before.split()[4], 2 if kind == "cgroup2" else 1, names))
    assert any(tree.version == 2 for tree in found), "no cgroup2 mount in /proc/self/mountinfo"
    return found


def _copy_cpuset(group):
    """A new group of cpuset's first version has no processors and takes no process."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        with open(f"{os.path.dirname(group)}/{name}", encoding="ascii") as parent:
            value = parent.read()
        with open(f"{group}/{name}", "w", encoding="ascii") as f:
            f.write(value)


def _make_groups(trees, name):
    groups = []
    for tree in trees:
        group = os.path.join(tree.ours, name)
        os.mkdir(group)
        if "cpuset" in tree.controllers:
            _copy_cpuset(group)
        groups.append(group)
    return groups


def _join(group):
    with open(f"{group}/cgroup.procs", "w", encoding="ascii") as f:
        f.write("0")


def _remove_groups(groups):
    """What runs is in the group of version 2, wherever else; that one can kill all of it."""
    for group in groups:
        if os.path.exists(f"{group}/cgroup.events"):
            kernel.Cgroup(group).kill()
    for group in groups:
        for directory, _, _ in os.walk(group, topdown=False):
            os.rmdir(directory)


def _delegate(root):
    """Version 2 hands controllers down, and only from a group that has no processes of its own."""
    with open(f"{root}/cgroup.controllers", encoding="ascii") as f:
        controllers = f.read().split()
    _join(kernel.Cgroup(f"{root}/host").path)
    with open(f"{root}/cgroup.subtree_control", "w", encoding="ascii") as f:
        f.write(" ".join(f"+{name}" for name in controllers))


# ---- mounts and network -------------------------------------------------------------------------

def _mount_cgroups(trees):
    """As a container runtime does it for a container with a cgroup namespace of its own."""
    if any(tree.mount_point != "/sys/fs/cgroup" for tree in trees):
        _mount("cgroup", "/sys/fs/cgroup", "tmpfs", 0, "mode=0755")
    for tree in trees:
        os.makedirs(tree.mount_point, exist_ok=True)
        tree.mount()
        if tree.version == 2:
            _delegate(tree.mount_point)


def _hide_sysctls():
    for name, value in SYSCTLS.items():
        path = f"/run/sysctl/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii") as f:
            f.write(f"{value}\n")
        _mount(path, f"/proc/sys/{name}", None, MS_BIND)


def _build_mounts(trees):
    kernel.private_mounts()
    # only the root's own mount: what is mounted below it (/dev, a separate /tmp) stays as it is
    _mount("none", "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY)
    kernel.umount("/sys")  # with the machine's control groups, or they would still be listed
    _mount("sysfs", "/sys", "sysfs")
    _mount_cgroups(trees)
    _mount("bpf", "/sys/fs/bpf", "bpf")
    for directory in WRITABLE:
        _mount("tmpfs", directory, "tmpfs", 0, "mode=0755")
    _hide_sysctls()
    # pods ask for mounts that appear later (HostToContainer): needs peers, ours alone
    _mount("none", "/", None, kernel.MS_REC | MS_SHARED)
    os.mkdir(TMP)
    os.environ["TMPDIR"] = TMP


def _inside(trees, groups, hostname):
    for group in groups:
        _join(group)
    _call("unshare", kernel.CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWCGROUP)
    socket.sethostname(hostname)
    _build_mounts(trees)


# ---- the three processes ------------------------------------------------------------------------

def _keep(test, groups):
    """Waits for the end of the test in a session that nobody signals."""
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    select.select([test], [], [])
    _remove_groups(groups)


def _fork(function, *args):
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        function(*args)
        status = 0
    finally:
        os._exit(status)


def _reap_stale(trees):
    """What is left when a keeper was killed, too."""
    stale = {}
    for tree in trees:
        for entry in os.scandir(tree.ours):
            owner = entry.name.split("-")[1] if entry.name.startswith("igkube-") else ""
            if owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
                stale.setdefault(entry.name, []).append(entry.path)
    for groups in stale.values():
        with contextlib.suppress(OSError):  # another run does the same
            _remove_groups(groups)


def _guard(test, groups):
    """The process that was started: hands signals on, buries what has lost its parent, and ends
    after everything is gone."""
    def forward(signum, _frame):
        with contextlib.suppress(ProcessLookupError):
            os.kill(test, signum)
    keeper = _fork(_keep, os.pidfd_open(test), groups)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells the test itself
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, forward)
    ended = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.wait()
            ended[pid] = os.waitstatus_to_exitcode(status)
    if ended[keeper] != 0:
        print("box: control groups could not be removed", file=sys.stderr)
    status = ended[test] or ended[keeper]
    os._exit(status if status > 0 else 128 - status if status else 0)


def enter(hostname):
    """Returns in a child process that is in the box; the caller itself never comes back. Gives the
    inode numbers of the network namespaces that lead out of the machine."""
    trees, outside = _trees(), kernel.outside_netns()
    _reap_stale(trees)
    groups = _make_groups(trees, f"igkube-{os.getpid()}-{secrets.token_hex(4)}")
    _call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # not inherited
    parent = os.getpid()
    sys.stdout.flush()
    test = os.fork()
    if test:
        _guard(test, groups)
    kernel.die_with_parent()
    if os.getppid() != parent:
        os._exit(1)
    _inside(trees, groups, hostname)
    assert kernel.netns_inode("/proc/self/ns/net") not in outside
    return outside
