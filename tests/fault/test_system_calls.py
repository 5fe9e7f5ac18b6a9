"""System calls of the real processes fail, are interrupted, or do less than they were asked for, and
clocks jump. Whoever asks gets the right answer, a clean error or the end of the connection, and once
it is over everything works as before."""

import errno
import os
import resource
import time

from injected import A, CLEAN, WARM, fresh, injected_world
from harness import AGENT_UID, TRACES
from tap import Suite

suite = Suite(injected_world, TRACES, seconds=120)


def is_clean(reply):
    return (reply["result"] in ("closed", "error") or reply["result"] == "ok"
            and (reply.status in CLEAN or reply.appid == A))


def works_again(w, seconds=10):
    deadline = time.monotonic() + seconds
    while True:
        replies = [w.client.get(WARM), w.client.get(fresh(w))]
        if all(reply.appid == A for reply in replies):
            break
        assert time.monotonic() < deadline, replies
    assert w.agent.pids() == w.pair, "a process was replaced"


# call, errno, how: what may fail once in a while, and nobody may notice
UNNOTICED = (
    ("read", errno.EINTR, {"every": 2}), ("write", errno.EINTR, {"every": 2}),
    ("recv", errno.EINTR, {"every": 2}), ("send", errno.EINTR, {"every": 2}),
    ("accept", errno.EINTR, {"every": 2}), ("epoll_wait", errno.EINTR, {"every": 2}),
    ("poll", errno.EINTR, {"every": 2}), ("fdatasync", errno.EINTR, {"every": 2}),
    ("accept", errno.EAGAIN, {"every": 2}), ("accept", errno.ECONNABORTED, {"every": 2}),
    # no short recv: it means that nothing is left (epoll(7)), and the server relies on that
    ("read", 0, {}), ("write", 0, {}), ("send", 0, {}),
    ("read", 0, {"limit": 7}), ("write", 0, {"limit": 7}), ("send", 0, {"limit": 7}),
)
# what hurts a request, and only that
HURTING = (
    ("socket", errno.EMFILE), ("socket", errno.ENFILE), ("socket", errno.ENOBUFS),
    ("accept", errno.EMFILE), ("accept", errno.ENFILE), ("accept", errno.ENOMEM),
    ("open", errno.EMFILE), ("open", errno.ENFILE),
    ("connect", errno.ECONNREFUSED), ("connect", errno.ENETUNREACH),
    ("connect", errno.EADDRNOTAVAIL), ("connect", errno.EINTR),
    ("epoll_ctl", errno.ENOMEM), ("epoll_ctl", errno.ENOSPC),
    ("setsockopt", errno.ENOMEM), ("setsockopt", errno.ENOBUFS),
    ("send", errno.EPIPE), ("send", errno.ECONNRESET), ("send", errno.ENOBUFS),
    ("recv", errno.ECONNRESET), ("recv", errno.ENOMEM),
    ("write", errno.EPIPE), ("write", errno.ENOSPC), ("write", errno.EIO),
    ("fdatasync", errno.EIO), ("fdatasync", errno.ENOSPC),
)
# between the two processes these say that the other one is gone, and the monitor starts a new one
LAST_WORDS = {("monitor", "send"), ("monitor", "recv"), ("monitor", "epoll_ctl")}


@suite.test("interrupted, short and empty-handed system calls: every request is answered right")
def unnoticed(w):
    wrong = []
    for process in (w.faults.server, w.faults.monitor):
        for call, error, more in UNNOTICED:
            with process.broken((call, error, more)) as rules:
                replies = [w.client.get(path) for path in (WARM, fresh(w), fresh(w))]
            if any(reply.appid != A for reply in replies):
                wrong.append(f"{call} {errno.errorcode.get(error, 'short')} {more}, "
                             f"{rules[0].hit} times: {replies}")
    assert not wrong, "\n".join(wrong)
    works_again(w)


@suite.test("system calls that fail once: the answer is right or clean, and it is over with that")
def once(w):
    wrong = []
    for name in ("server", "monitor"):
        process = getattr(w.faults, name)
        for call, error in HURTING:
            for every in (1, 2, 3, 5):
                with process.broken((call, error, {"every": every, "count": 1})):
                    reply = w.client.get(fresh(w))
                again = w.client.get(WARM)
                if not is_clean(reply) or again.appid != A:
                    wrong.append(f"{name}: {call} {errno.errorcode[error]} at {every}: "
                                 f"{reply}, then {again}")
                pair, w.pair = w.pair, w.agent.pids()
                if pair != w.pair and (name, call) not in LAST_WORDS:
                    wrong.append(f"{name}: {call} {errno.errorcode[error]} at {every}: replaced")
    assert not wrong, "\n".join(wrong)
    works_again(w)


def limit_descriptors(w, pid, soft, hard):
    """As the process's own user, who may: root without CAP_SYS_RESOURCE may not."""
    uid = 0 if pid == w.pair[0] else AGENT_UID
    status, _, err = w.host.run(["prlimit", f"--pid={pid}", f"--nofile={soft}:{hard}"], uid=uid)
    assert status == 0, err


@suite.test("no descriptors left: clean refusals, and service once there are some")
def no_descriptors(w):
    for pid in w.pair:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # theirs are inherited
        used = max(int(fd) for fd in os.listdir(f"/proc/{pid}/fd")) + 1
        for limit in (used, used + 1, used + 2):
            limit_descriptors(w, pid, limit, hard)
            reply = w.client.get(fresh(w), timeout=3)
            assert is_clean(reply) or reply["result"] == "timeout", reply  # it stays in the backlog
        limit_descriptors(w, pid, soft, hard)
        works_again(w)


@suite.test("a clock that jumps by hours: tokens that are valid are handed out, others are not")
def clocks(w):
    server = w.faults.server
    for hours in (1, -1, 6, -6, 20, -20):
        with server.clock(real=3600 * hours):
            for reply in (w.client.get(WARM), w.client.get(fresh(w))):
                assert is_clean(reply), (hours, reply)
        works_again(w)
    # a day later the lab's tokens, by its own clock, are not older, but ours seem to have expired
    with server.clock(real=3 * 86400):
        assert w.client.get(WARM).appid is None, "an expired token was handed out"
    works_again(w)


@suite.test("hours pass at once: time-outs end, and everything goes on")
def monotonic(w):
    for process in (w.faults.server, w.faults.monitor):
        with process.clock(mono=3 * 3600):
            works_again(w)


if __name__ == "__main__":
    suite.run()
