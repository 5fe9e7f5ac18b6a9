#!/usr/bin/python3
"""Network namespaces come and go as fast as they like, in any order that a container runtime has,
and their notices may be late or lost: each has its listener before anything in it connects, and no
listener stays when its namespace is gone."""

import contextlib
import os
import signal
import time

import kernel
from harness import TRACES, manifests, standard_world
from places import Place
from tap import Suite
from watch import event

suite = Suite(standard_world, TRACES, seconds=90)
A = manifests.ID_A.client_id
LATE_SEC = 2.5  # more than a runtime that is not held up would ever need


class Names:
    """Files in the directory of namespaces, and what the agent says of them."""

    def __init__(self, w):
        self.w, self.audit = w, w.agent.audit

    def path(self, name):
        return os.path.join(self.w.netns_dir, name)

    def opened(self, name, since):
        return self.audit.wait_for(event("listener.opened", message=name), since)["netns"]

    def closed(self, netns, since):
        self.audit.wait_for(event("listener.closed", netns=netns), since)

    def add(self, name):
        mark = self.audit.mark()
        kernel.make_netns(self.path(name))
        return self.opened(name, mark)

    def remove(self, name):
        kernel.remove_netns(self.path(name))

    def add_and_remove(self, name):
        """One more, from its beginning to its end: all notices before its own were handled."""
        netns, mark = self.add(name), self.audit.mark()
        self.remove(name)
        self.closed(netns, mark)


def listeners(w):
    return w.agent.cli("status")["listeners"]


@contextlib.contextmanager
def monitor_asleep(w):
    """What happens meanwhile it learns later, all at once."""
    monitor, _ = w.agent.pids()
    os.kill(monitor, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(monitor, signal.SIGCONT)


@suite.test("300 namespaces come and go, 50 at a time: no listener stays")
def churn(w):
    names, before, mark = Names(w), listeners(w), w.agent.audit.mark()
    for wave in range(6):
        for i in range(50):
            kernel.make_netns(names.path(f"churn-{wave}-{i}"))
            if i % 3 == 0:  # gone before anybody can have looked
                names.remove(f"churn-{wave}-{i}")
        for i in range(50):
            if i % 3:
                names.opened(f"churn-{wave}-{i}", mark)
                names.remove(f"churn-{wave}-{i}")
    names.add_and_remove("last")
    assert listeners(w) == before


@suite.test("the namespace is mounted long after its file was made")
def late(w):
    names, mark = Names(w), w.agent.audit.mark()
    kernel.make_file(names.path("late"))
    names.add_and_remove("early")  # the file was seen
    time.sleep(LATE_SEC)  # this is what is tested: there is nothing to wait for
    kernel.mount_netns(names.path("late"))
    netns = names.opened("late", mark)
    names.remove("late")
    names.closed(netns, mark)


@suite.test("the namespace is unmounted and its file stays; then another is mounted there")
def file_stays(w):
    names = Names(w)
    netns, mark = names.add("stays"), w.agent.audit.mark()
    kernel.umount(names.path("stays"))
    names.closed(netns, mark)
    kernel.mount_netns(names.path("stays"))
    again = names.opened("stays", mark)
    assert again != netns
    names.remove("stays")
    names.closed(again, mark)


@suite.test("the namespace has addresses, but none on its loopback yet")
def loopback_last(w):
    names, mark = Names(w), w.agent.audit.mark()
    place = Place(w, names.path("lo-last"), w.pods["a"].cgroup)
    with monitor_asleep(w):  # or it looks before there are any addresses, which is no different
        kernel.make_netns(place.netns)
        place.ip("addr add 192.0.2.7/32 dev lo")
    netns = names.opened("lo-last", mark)
    place.ip("link set lo up")
    assert place.dial().appid == A
    names.remove("lo-last")
    names.closed(netns, mark)


@suite.test("another namespace is mounted over the one that was there, and taken off again")
def mounted_over(w):
    names = Names(w)
    first, mark = names.add("twice"), w.agent.audit.mark()
    kernel.mount_netns(names.path("twice"))
    names.closed(first, mark)
    second = names.opened("twice", mark)
    mark = w.agent.audit.mark()
    kernel.umount(names.path("twice"))
    names.closed(second, mark)
    assert names.opened("twice", mark) == first
    names.remove("twice")
    names.closed(first, mark)


@suite.test("a name is used again at once, while nobody looks")
def used_again(w):
    names, before = Names(w), listeners(w)
    first, mark = names.add("again"), w.agent.audit.mark()
    with monitor_asleep(w):
        for _ in range(3):
            names.remove("again")
            kernel.make_netns(names.path("again"))
    names.closed(first, mark)
    last = names.opened("again", mark)
    assert last != first and listeners(w) == before + 1
    names.remove("again")
    names.closed(last, mark)


@suite.test("so many files come and go that notices are lost")
def overflow(w):
    with open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii") as f:
        queue = int(f.read())
    names, before, old, mark = Names(w), listeners(w), {}, w.agent.audit.mark()
    for name in ("lost-gone", "lost-again", "lost-stays"):
        old[name] = names.add(name)
    with monitor_asleep(w):
        for i in range(queue // 2 + 1):  # a notice each for the file's beginning and end
            kernel.make_file(names.path(f"file-{i}"))
            os.unlink(names.path(f"file-{i}"))
        names.remove("lost-gone")
        names.remove("lost-again")
        for name in ("lost-again", "lost-new"):
            kernel.make_netns(names.path(name))
    new = names.opened("lost-new", mark)
    for name in ("lost-gone", "lost-again"):
        names.closed(old[name], mark)
    mark = w.agent.audit.mark()
    again = w.agent.audit.find(event("listener.opened", message="lost-again"))[-1]["netns"]
    assert again not in (new, old["lost-again"])
    assert listeners(w) == before + 3
    for name in ("lost-again", "lost-new", "lost-stays"):
        names.remove(name)
    for netns in (again, new, old["lost-stays"]):
        names.closed(netns, mark)
    assert listeners(w) == before


@suite.test("a namespace without a name: its listener goes with the last process, not the cgroup")
def nameless(w):
    before, place, mark = listeners(w), w.pods["a"], w.agent.audit.mark()
    group = place.cgroup.child("nested")
    dialer = place.dialer(attempts=2, argv_prefix=[
        "unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"])
    assert dialer.read().refused
    netns = w.agent.audit.wait_for(event("listener.opened"), mark)["netns"]
    assert dialer.next().appid == A
    dialer.close()
    place.cgroup.kill()
    w.agent.audit.wait_for(event("listener.closed", netns=netns), mark, timeout=20)
    assert listeners(w) == before and os.path.isdir(group.path)
    assert w.pods["a"].dial().appid == A


if __name__ == "__main__":
    suite.run()
