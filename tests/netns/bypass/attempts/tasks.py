"""Attempts in somebody else's name: control groups, namespaces, sockets that travel."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading

from attempts.core import (CLONE_NEWNET, CLONE_NEWUSER, LIBC, call, guarded, is_confined)

SYS_PIDFD_GETFD = 438


def join(directory, name="cgroup.procs", who="0"):
    with open(f"{directory}/{name}", "w", encoding="ascii") as f:
        f.write(who)


def below(a):
    """In a control group far below its own, which it made."""
    directory = a["cgroup"]
    for level in range(int(a["levels"])):
        directory = f"{directory}/{level}"
        os.mkdir(directory)
    join(directory)
    return a.get(a.socket())


def thread(a):
    """A thread in a threaded group of its own."""
    directory, result = f"{a['cgroup']}/threads", {}
    os.makedirs(directory, exist_ok=True)
    with open(f"{directory}/cgroup.type", "w", encoding="ascii") as f:
        f.write("threaded")

    def run():
        join(directory, "cgroup.threads")
        result.update(a.get(a.socket()))
    worker = threading.Thread(target=run)
    worker.start()
    worker.join()
    return result


def moved_in_between(a):
    """The connection begins in one control group, the request is sent in another."""
    sock = a.socket()
    sock.connect(a.where)
    join(a["cgroup"])
    return a.exchange(sock)


def orphan(a):
    """The process that connects is gone, and so is its name, when the request is sent."""
    sock = a.socket()
    child = os.fork()
    if child == 0:
        with open("/proc/self/comm", "w", encoding="ascii") as f:
            f.write("imdsgated")
        try:
            sock.connect(a.where)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return a.exchange(sock)


def in_netns(a):
    """In another network namespace, by setns(): file= names it."""
    fd = os.open(a["file"], os.O_RDONLY)
    call("setns", fd, CLONE_NEWNET)
    is_confined()
    return a.get(a.socket())


def socket_from_netns(a):
    """The socket comes from another namespace, the task does not."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    call("setns", os.open(a["file"], os.O_RDONLY), CLONE_NEWNET)
    sock = a.socket()
    call("setns", home, CLONE_NEWNET)
    return a.get(sock)


def own_netns(a):
    """A user and network namespace of its own, joined to the pod's by a veth pair; the pod
    forwards."""
    outer, ready, done = os.getpid(), os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        call("prctl", 1, signal.SIGKILL, 0, 0, 0)  # dies with its parent
        call("unshare", CLONE_NEWUSER | CLONE_NEWNET)
        os.write(ready[1], b"x")
        os.read(done[0], 1)
        signal.alarm(30)
        print(json.dumps(guarded(lambda: a.get(a.socket()))), flush=True)
        os._exit(0)
    os.read(ready[0], 1)
    for name, text in (("uid_map", "0 0 1"), ("setgroups", "deny"), ("gid_map", "0 0 1")):
        with open(f"/proc/{child}/{name}", "w", encoding="ascii") as f:
            f.write(text)
    inside = ["nsenter", "--user", "--net", "-t", str(child), "ip", "-batch", "-"]
    batch(["ip", "-batch", "-"], f"link add n{outer % 9999} type veth peer name eth0 netns {child}",
          f"addr add {a['ours']}/30 dev n{outer % 9999}", f"link set n{outer % 9999} up")
    batch(inside, "link set lo up", f"addr add {a['theirs']}/30 dev eth0", "link set eth0 up",
          f"route add default via {a['ours']}")
    os.write(done[1], b"x")
    os.waitpid(child, 0)
    return None


def batch(argv, *lines):
    subprocess.run(argv, input="\n".join(lines) + "\n", text=True, check=True)


def stolen(a):
    """Another process's socket, taken by pidfd_getfd()."""
    pidfd = os.pidfd_open(int(a["victim"]))
    fd = LIBC.syscall(SYS_PIDFD_GETFD, pidfd, int(a["fd"]), 0)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    is_confined()
    sock = socket.socket(fileno=fd)
    sock.settimeout(a.timeout)
    return a.get(sock)


def handed_over(a):
    """Connects what it is sent over a unix socket."""
    with socket.socket(socket.AF_UNIX) as unix:
        unix.connect(a["socket"])
        _, fds, _, _ = socket.recv_fds(unix, 1, 1)
        is_confined()
        sock = socket.socket(fileno=fds[0])
        sock.settimeout(a.timeout)
        return a.get(sock)


def hold(a):
    """Keeps a socket for others to take; says where, and stays until standard input ends."""
    sock = a.socket()
    print(json.dumps({"pid": os.getpid(), "fd": sock.fileno()}), flush=True)
    sys.stdin.read()
    return {}
