"""Ways by which somebody else's name is borrowed: sockets that travel between processes, control
groups and namespaces that are changed, programs that are not what they seem."""

import contextlib
import json
import os
import shutil
import subprocess
import sys

from bypass.way import HERE, Way, attempt, denied, dial, dropped, event
from harness import manifests
from places import BUILD, Place, Reply

A = manifests.ID_A.client_id


def passed(giver, taker):
    """The giver makes the socket, the taker connects it."""
    def run(w):
        path = f"{w.tmp}/pass"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        dialer = (w.host if giver == "host" else w.pods[giver]).dialer(
            "scm-give", socket=path, timeout=20000)
        assert dialer.read()["result"] == "listening"
        place = w.host if taker == "host" else w.pods[taker]
        reply = w.attempt(place, "handed_over", socket=path)
        dialer.close()
        return reply
    return run


def stolen(w):
    """Pod c takes a socket that pod a has made and not connected yet."""
    victim = w.pods["a"].spawn([sys.executable, "-S", "-B", f"{HERE}/attempt.py", "hold"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    held = json.loads(victim.stdout.readline())
    reply = w.attempt(w.pods["c"], "stolen", victim=held["pid"], fd=held["fd"])
    victim.stdin.close()
    victim.wait(10)
    return reply


def renamed(w):
    """A program with the agent's name, and of its file name, which is deleted once it runs."""
    path = f"{w.tmp}/imdsgated"
    shutil.copy(f"{BUILD}/tests/netns/dial", path)
    dialer = w.pods["c"].dialer_by([path, "plain", "--path", w.path, "--attempts", "2"])
    first = dialer.read()
    os.unlink(path)
    second = dialer.next()
    dialer.close()
    return [first, second]


def replaced(w):
    """The program that connects is replaced on disk before its second request."""
    path = f"{w.tmp}/program"
    shutil.copy(f"{BUILD}/tests/netns/dial", path)
    dialer = w.pods["c"].dialer_by([path, "plain", "--path", w.path, "--requests", "2"])
    first = dialer.read()
    os.rename(shutil.copy("/bin/true", f"{path}.new"), path)
    second = dialer.next()
    dialer.close()
    return [first, second]


def own_netns(w):
    """Pod c makes a user and network namespace, and forwards what comes out of it."""
    status, out, err = w.pods["c"].run(
        [sys.executable, "-S", "-B", f"{HERE}/attempt.py", "own_netns", "ours=10.77.3.129",
         "theirs=10.77.3.130", f"path={w.path}", f"timeout={w.usual['timeout']}"])
    assert status == 0 and out, err
    return Reply(json.loads(out.splitlines()[-1]))


def forwarding(w):
    """What a pod needs for a namespace behind its own; the host needs the way back."""
    assert w.pods["c"].run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])[0] == 0
    w.host.ip(f"route replace 10.77.3.128/30 via {w.pods['c'].address}")


def stranger(w):
    place = Place(w, w.pods["a"].netns, w.cgroup.child("stranger"))
    return place.dial("plain", **w.usual)


def remove_below(w):
    """Groups that a way made."""
    top = w.pods["c"].cgroup.path
    for directory, _, _ in os.walk(top, topdown=False):
        if directory != top:
            os.rmdir(directory)


def of(name):
    return lambda w: w.pods[name].netns


def group(name):
    return lambda w: w.pods[name].cgroup.path


WAYS = (
    Way("a socket of the host's", "made by a process of the node, connected by a pod",
        passed("host", "h"), denied("h")),
    Way("a socket of another pod's", "made by one that is bound, connected by one that is not",
        passed("a", "c"), denied("c")),
    Way("a pod's socket, connected by the host", "a process of the node that may is used",
        passed("h", "host"), dropped("not_allowed", pod__name="h"), silent=True),
    Way("a stolen socket", "pidfd_getfd() from a process of a bound pod", stolen, denied("c")),
    Way("a group far below the pod's", "made by the pod itself, twelve levels down",
        attempt("below", cgroup=group("c"), levels=12), denied("c"), after=remove_below),
    Way("a threaded group", "one thread of a process in a group of its own",
        attempt("thread", cgroup=group("c")), denied("c"), after=remove_below),
    Way("into the group of another workload without a binding", "cgroup.procs, then connect()",
        dial("cgroup-move", who="a", cgroup=group("c")), denied("c")),
    Way("out of the pod's group", "into one of the host's, with a socket of the pod's",
        dial("cgroup-move", who="h", cgroup=lambda w: w.host.cgroup.path),
        dropped("not_allowed", pod__name="h"), silent=True),
    Way("between connect and request", "connected as one workload, asked as another",
        attempt("moved_in_between", cgroup=group("a")), denied("c")),
    Way("a process that is gone", "a child with the agent's name connects and ends",
        attempt("orphan"), denied("c", process__comm="imdsgated")),
    Way("the agent's name", "a program called imdsgated, deleted while it runs", renamed,
        denied("c")),
    Way("a program replaced", "between the first request of a connection and the second", replaced,
        denied("c")),
    Way("another pod's namespace", "setns() into that of a bound pod",
        attempt("in_netns", file=of("a")), denied("c")),
    Way("the host's namespace", "setns() into the host's",
        attempt("in_netns", file=lambda w: w.host_netns), denied("c")),
    Way("a socket of another namespace", "setns(), socket(), setns() back",
        attempt("socket_from_netns", file=of("a")), denied("c")),
    Way("a namespace of its own", "user and network namespace, forwarded by the pod", own_netns,
        event("connect.refused", reason="no_listener", pod__name="c"), before=forwarding),
    Way("no workload at all", "a group that nobody declared, in a bound pod's namespace", stranger,
        event("token.denied", reason="unknown_workload")),
)
