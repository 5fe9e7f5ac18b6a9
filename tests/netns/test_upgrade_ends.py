"""One agent takes over from another, and one of them ends or is told to end at a bad moment."""

import contextlib
import errno
import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading

import kernel
from harness import TRACES, manifests
from tap import Suite
from test_upgrade import (ABI, APPLY, COMMIT, HELLO, LISTENER, MAGIC, SERVICE, VERSION, NewAgent,
                          children, log_of, start_standing_by, world)
from watch import wait_ready

A = manifests.ID_A.client_id
REPLY_BYTES = 528
SO_NETNS_COOKIE = 71
AWAY_SEC = 5  # IG_SERVER_AWAY_SEC
# of a server, in user/monitor/proto.h
READY, REQUEST_BYTES, SERVER_ASYNC_FD = 10, 32, 3

suite = Suite(world, TRACES, seconds=90)


@suite.test("a new agent that ends before the old one is quiet is the last that the old one answers")
def ends_early(w):
    mark, (_, server) = w.agent.log.mark(), w.agent.pids()
    os.kill(server, signal.SIGSTOP)
    new = NewAgent(w)
    for kind in (HELLO, APPLY):
        assert new.ask(kind)[0] == 0
    new.send(COMMIT)
    log_of(w, "another agent takes over", mark)
    new.close()
    next_one = NewAgent(w)
    # its listeners and the lock are not the old one's any more
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        assert next_one.ask(HELLO)[0] is None
    next_one.close()
    os.kill(server, signal.SIGCONT)
    assert w.agent.process.wait(10) == 0
    w.agent.start("--audit-chain")


class OldAgent:
    """Holds the lock and answers a new agent up to its first gate listener, which is in a namespace
    without a name; then it is gone."""

    def __init__(self, w):
        self.lock = os.open(f"{w.bpffs}/imdsgate", os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.gate = self.cookie = None
        thread = threading.Thread(target=self._listen, args=[w.host_netns + "-gone"])
        kernel.make_netns(w.host_netns + "-gone")
        thread.start()
        thread.join()
        kernel.remove_netns(w.host_netns + "-gone")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(20)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(w.agent.socket + ".handover")
        self.socket.bind(w.agent.socket + ".handover")
        self.socket.listen(1)

    def _listen(self, path):
        with open(path, "rb") as netns:
            kernel.setns(netns.fileno(), kernel.CLONE_NEWNET)
        self.gate = socket.create_server(("127.0.0.1", 0))
        self.cookie = self.gate.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)

    def serve(self):
        connection, _ = self.socket.accept()
        with connection, self.socket, self.gate:
            while True:
                kind, _, _, after = struct.unpack_from("=HIIQ", connection.recv(1024), 6)
                result, data, fds = {HELLO: (0, b"", [self.lock]),
                                     SERVICE: (-errno.ENOENT, b"", []),
                                     LISTENER: (0, self._listener(), [self.gate.fileno()])}[kind]
                if kind == LISTENER and after:
                    break
                reply = struct.pack("=IHHiI", MAGIC, VERSION, kind, result, ABI) + data
                socket.send_fds(connection, [reply.ljust(REPLY_BYTES, b"\0")], fds)
        os.close(self.lock)

    def _listener(self):
        return struct.pack("=Q8sQIHH", 1, self.cookie, 0, 0, self.gate.getsockname()[1], 0) + b"gone"


@suite.test("the old agent dies while it hands over: what had its name meanwhile is let go")
def dies_handing_over(w):
    w.agent.stop()
    old = OldAgent(w)
    mark = w.agent.log.mark()
    process, reader = w.agent.start_beside("--audit-chain")
    old.serve()
    assert b"ready" in wait_ready(reader), "\n".join(w.agent.log.since(mark))
    w.agent.process = process
    cookie = int.from_bytes(old.cookie, sys.byteorder)
    log_of(w, f'"message":"listener closed","netns":{cookie},"name":"gone"', mark)
    assert w.pods["a"].dial().appid == A


@suite.test("standing by for long: nothing is refused, and nobody is said to be let in again")
def stands_by_for_long(w):
    mark = w.agent.log.mark()
    process, reader, good = start_standing_by(w)
    with contextlib.suppress(subprocess.TimeoutExpired):
        raise AssertionError(f"it ended: {process.wait(AWAY_SEC + 2)}")
    w.write("pods.yaml", good)
    assert b"ready" in wait_ready(reader)
    assert w.agent.process.wait(10) == 0
    w.agent.process = process
    assert w.pods["a"].dial().appid == A
    assert not [x for x in w.agent.log.since(mark) if "connections are" in x]


@suite.test("one that stood by for long and is left alone refuses connections while it cannot serve")
def alone_after_long(w):
    process, reader, good = start_standing_by(w)
    with contextlib.suppress(subprocess.TimeoutExpired):
        raise AssertionError(f"it ended: {process.wait(AWAY_SEC + 2)}")
    mark, (server,) = w.agent.log.mark(), children(process.pid)
    os.kill(server, signal.SIGSTOP)
    w.agent.kill_monitor()
    w.agent.process = process
    log_of(w, "connections are refused until", mark)
    assert b"ready" in wait_ready(reader)
    log_of(w, "connections are let in again", mark)
    mark = w.agent.log.mark()
    w.write("pods.yaml", good)
    log_of(w, "manifest applied", mark)
    assert w.pods["a"].dial().appid == A


@suite.test("one that was told to end does not take over, though its server is ready by then")
def told_to_end(w):
    before = w.agent.pids()
    process, reader, good = start_standing_by(w)
    mark, (server,) = w.agent.log.mark(), children(process.pid)
    os.kill(server, signal.SIGSTOP)
    pidfd = os.pidfd_open(server)
    channel = socket.socket(fileno=kernel.pidfd_getfd(pidfd, SERVER_ASYNC_FD))
    os.close(pidfd)
    channel.settimeout(10)
    while select.select([channel], [], [], 0)[0]:
        channel.recv(1024)
    process.terminate()
    log_of(w, '"message":"stopping', mark)
    channel.send(struct.pack("=II", READY, 77).ljust(REQUEST_BYTES, b"\0"))
    while True:
        seq, result, request = struct.unpack_from("=IiI", channel.recv(1024), 4)
        if (seq, request) == (77, READY):
            break
    assert result == 0
    channel.close()
    os.kill(server, signal.SIGCONT)
    assert process.wait(10) == 0
    os.close(reader)
    assert w.agent.pids() == before
    mark = w.agent.log.mark()
    w.write("pods.yaml", good)
    log_of(w, "manifest applied", mark)
    assert w.pods["a"].dial().appid == A


if __name__ == "__main__":
    suite.run()
