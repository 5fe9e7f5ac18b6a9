"""A new agent takes over from the one that runs, and no request fails: the sockets go over, what was
begun is answered, and a new one that does not get to the end changes nothing."""

import contextlib
import errno
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import kernel
from harness import IMDS, TRACES, manifests, standard_world
from places import BUILD, REPO, TokenLoad
from tap import Suite
from test_hung import next_server
from watch import event, wait_gone, wait_ready

A, B = manifests.ID_A.client_id, manifests.ID_B.client_id
METRICS_PORT = 9183
ABI = int(re.search(r"IG_ABI_VERSION (\d+)", Path(REPO, "include/imdsgate/abi.h").read_text())[1])
VERSION, MAGIC = 1, 0x6968676d
HELLO, SERVICE, LISTENER, APPLY, COMMIT = range(1, 6)


@contextlib.contextmanager
def world():
    with standard_world(agent=False) as w:
        w.agent.options["metrics-port"] = METRICS_PORT
        w.agent.start("--audit-chain")
        yield w


suite = Suite(world, TRACES, seconds=90)


def upgrade(w, *flags, **changes):
    return w.agent.upgrade("--audit-chain", *flags, **changes)


def log_of(w, text, mark, timeout=10):
    return w.agent.log.wait_for(lambda line: text in line, mark, timeout, what=text)


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return [*map(int, f.read().split())]


class NewAgent:
    """Speaks the protocol of user/monitor/handover_proto.h, as far as a test wants it to."""

    def __init__(self, w):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(10)
        self.socket.connect(w.agent.socket + ".handover")

    def send(self, kind, abi=ABI, version=VERSION, service=0, after=0):
        self.socket.send(struct.pack("=IHHIIQ", MAGIC, version, kind, abi, service, after))

    def ask(self, kind, **members):
        """(result, data, descriptors)"""
        self.send(kind, **members)
        data, fds, _, _ = socket.recv_fds(self.socket, 1024, 4)
        if not data:
            return None, b"", fds
        magic, version, answered, result = struct.unpack_from("=IHHi", data)
        assert (magic, version, answered) == (MAGIC, VERSION, kind)
        for fd in fds:
            os.close(fd)
        return result, data[16:], fds

    def close(self):
        self.socket.close()


@suite.test("under load no request fails, whoever asks and however")
def under_load(w):
    w.lab.admin(delay_ms=300)
    before = w.agent.pids()
    loads = [TokenLoad(w.pods[name], client) for name, client in (("a", A), ("b", B))]
    loads.append(TokenLoad(w.pods["a"], A, kept=0, new=3, slow=0, per_second=30))
    old = [upgrade(w) for _ in range(5)]
    assert [process.wait(30) for process in old] == [0] * 5
    results = [load.stop() for load in loads]
    w.lab.admin(clear=True)
    assert not any(r["failures"] for r in results), results
    assert all(r["kept"] > 5 and r["new"] > 5 and r["slow"] > 1 for r in results[:2]), results
    assert w.agent.pids()[0] == w.agent.process.pid != before[0]
    w.lab.never_reached()


@suite.test("each run ends as handed over, the next one begins as taken over; the log is whole")
def recorded(w):
    starts = [r for r in w.agent.audit.all() if r["kind"] == "agent.started"]
    assert [r.get("reason") for r in starts] == [None] + ["took_over"] * 5, starts
    for record in starts[:-1]:
        end = w.agent.audit.wait_for(
            lambda r, run=record["run"]: r["run"] == run and r["kind"] == "agent.stopped")
        assert end["reason"] == "handed_over", end
    status, out, err = w.agent.cli_run("audit", "verify", w.agent.audit.path)
    assert status == 0, out + err


@suite.test("a kept connection is answered once more, and told that this was the last time")
def kept(w):
    dialer = w.pods["a"].dialer(requests=2)
    assert dialer.read().appid == A
    old = upgrade(w)
    assert old.poll() is None, "it did not wait for the connection"
    old.send_signal(signal.SIGTERM)
    reply = dialer.next()
    assert reply.appid == A, reply
    assert old.wait(10) == 0
    dialer.close()


@suite.test("a connection that has not said anything yet is served")
def silent(w):
    code = ("import socket, sys\n"
            f"s = socket.create_connection(('{IMDS}', 80), 10)\n"
            "print('ready', flush=True)\n"
            "sys.stdin.readline()\n"
            "s.sendall(b'GET /metadata/versions HTTP/1.1\\r\\nHost: x\\r\\n'\n"
            "          b'Metadata: true\\r\\n\\r\\n')\n"
            "print(s.makefile().readline(), end='', flush=True)\n")
    client = w.pods["b"].spawn([sys.executable, "-S", "-c", code], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
    assert client.stdout.readline() == "ready\n"
    old = upgrade(w)
    out, _ = client.communicate("\n", timeout=10)
    assert out.startswith("HTTP/1.1 200"), out
    assert old.wait(10) == 0


@suite.test("sockets beside the gate's go over: control and metrics answer for the new agent")
def services(w):
    def start_time():
        status, out, err = w.host.run([sys.executable, "-S", "-c",
                                       "import urllib.request\n"
                                       f"print(urllib.request.urlopen("
                                       f"'http://127.0.0.1:{METRICS_PORT}/metrics', timeout=10)"
                                       ".read().decode())"])
        assert status == 0, err
        (line,) = [x for x in out.splitlines() if x.startswith("process_start_time_seconds ")]
        return float(line.split()[1])

    before, mark = start_time(), w.agent.log.mark()
    upgrade(w).wait(10)
    assert start_time() > before
    assert w.agent.pids()[0] == w.agent.process.pid
    assert not [x for x in w.agent.log.since(mark) if "somebody else" in x]
    here = [f"{BUILD}/imdsgate", "--socket", w.agent.socket, "status", "--here"]
    status, out, err = w.agent.place.run(here)
    assert status == 0, out + err
    status, out, err = w.host.run(here)
    assert status == 1 and "another control group" in err, out + err


@suite.test("namespaces go over: new ones are met, those that go are let go")
def namespaces(w):
    upgrade(w).wait(10)
    pod = w.add_pod("late", "sel-b")
    w.apply_pods()
    assert pod.dial().appid == B
    upgrade(w).wait(10)
    assert pod.dial().appid == B
    mark = w.agent.audit.mark()
    del w.pods["late"]
    w.apply_pods()
    w.remove_netns("late")
    w.agent.audit.wait_for(event("listener.closed"), mark)


def start_standing_by(w):
    """A new agent that cannot read a manifest: (process, its readiness pipe, what was good)"""
    with open(f"{w.manifests}/pods.yaml", encoding="utf-8") as f:
        good = f.read()
    w.apply("pods.yaml", good + "---\nkind: [\n", "policy.rejected")
    mark = w.agent.log.mark()
    process, reader = w.agent.start_beside("--audit-chain")
    log_of(w, "standing by", mark)
    log_of(w, "manifest refused", mark)
    return process, reader, good


@suite.test("an agent that cannot read a manifest does not take over from one that knows it")
def stands_by(w):
    process, reader, good = start_standing_by(w)
    assert w.pods["a"].dial().appid == A
    w.write("pods.yaml", good)
    assert b"ready" in wait_ready(reader)
    assert w.agent.process.wait(10) == 0
    w.agent.process = process
    assert w.pods["a"].dial().appid == A


def listeners_of(w, run):
    found = [r for r in w.agent.audit.all() if r["run"] == run and r["kind"].startswith("listener.")]
    assert {r["kind"] for r in found} <= {"listener.opened"}, found
    return found


@suite.test("the old agent is killed while a new one stands by: that one starts without it")
def killed_old(w):
    process, reader, good = start_standing_by(w)
    audit = w.agent.audit.mark()
    w.agent.kill_monitor()
    assert b"ready" in wait_ready(reader)
    w.agent.process = process
    run = w.agent.audit.wait_for(event("agent.started"), audit)["run"]
    # the pods' and the host's: each is opened, and none before the agent is there or twice
    w.agent.audit.wait_for(lambda r: len(listeners_of(w, run)) == len(w.pods) + 1, audit)
    mark = w.agent.log.mark()
    w.write("pods.yaml", good)
    log_of(w, "manifest applied", mark)
    assert w.pods["a"].dial().appid == A
    w.lab.never_reached()


@contextlib.contextmanager
def taking_over(w):
    """The old agent was told to stop accepting, and its server hangs, which is killed for that two
    seconds later: (the new one's process, the old one's monitor). The new one serves afterwards."""
    mark, (monitor, server) = w.agent.log.mark(), w.agent.pids()
    os.kill(server, signal.SIGSTOP)
    process, reader = w.agent.start_beside("--audit-chain")
    log_of(w, "another agent takes over", mark)
    yield process, monitor
    assert b"ready" in wait_ready(reader), "\n".join(w.agent.log.since(mark))
    w.agent.process.wait(10)
    w.agent.process = process
    assert w.pods["a"].dial().appid == A


@suite.test("the old agent does not answer when it was told to stop accepting: the new one goes on")
def silent_old(w):
    mark = w.agent.log.mark()
    with taking_over(w) as (_, monitor):
        os.kill(monitor, signal.SIGSTOP)
        log_of(w, "going on without it", mark)
        os.kill(monitor, signal.SIGCONT)


@suite.test("the new agent's server is killed while it takes over: the next one serves")
def killed_server(w):
    with taking_over(w) as (process, _):
        (server,) = children(process.pid)
        os.kill(server, signal.SIGKILL)


SILENT = f"""
import socket, sys
s = socket.create_connection(("{IMDS}", 80), 10)
print("connected", flush=True)
sys.stdin.readline()
"""


@suite.test("a server that was only starting when another agent took over does not serve again")
def starting(w):
    numbers = range(40)
    for n in numbers:
        w.add_bare_netns(f"bare{n}")
    monitor, server = w.agent.pids()
    os.kill(server, signal.SIGKILL)
    wait_gone(server)
    fresh = next_server(monitor, server)
    os.kill(fresh, signal.SIGSTOP)
    clients = [w.pods[name].spawn([sys.executable, "-S", "-c", SILENT], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE) for name in "abc"]
    for client in clients:
        assert client.stdout.readline() == "connected\n"
    mark, new = w.agent.log.mark(), NewAgent(w)
    for kind in (HELLO, APPLY):
        assert new.ask(kind)[0] == 0
    new.send(COMMIT)
    log_of(w, "another agent takes over", mark)
    os.kill(fresh, signal.SIGCONT)
    assert new.socket.recv(1024)
    # what it says next comes when nothing of the old agent is left
    os.kill(fresh, signal.SIGSTOP)
    new.close()
    os.kill(fresh, signal.SIGCONT)
    for client in clients:
        client.communicate("\n", timeout=10)
    assert w.agent.process.wait(10) == 0
    for n in numbers:
        kernel.remove_netns(os.path.join(w.netns_dir, f"bare{n}"))
    w.agent.start("--audit-chain")


@suite.test("a new agent that is killed while it stands by changes nothing")
def killed_new(w):
    monitor = w.agent.pids()
    with open(f"{w.manifests}/pods.yaml", encoding="utf-8") as f:
        good = f.read()
    w.apply("pods.yaml", good + "---\nkind: [\n", "policy.rejected")
    mark = w.agent.log.mark()
    process, reader = w.agent.start_beside("--audit-chain")
    os.close(reader)
    log_of(w, "standing by", mark)
    process.kill()
    process.wait()
    log_of(w, "the new agent is gone", mark)
    mark = w.agent.log.mark()
    w.write("pods.yaml", good)
    log_of(w, "manifest applied", mark)
    assert w.agent.pids() == monitor
    assert w.pods["a"].dial().appid == A


@suite.test("a new agent that ends between APPLY and COMMIT: the old one puts its own back")
def half_way(w):
    mark, new = w.agent.log.mark(), NewAgent(w)
    result, _, fds = new.ask(HELLO)
    assert (result, len(fds)) == (0, 1)
    assert new.ask(SERVICE)[1].startswith(f"control {w.agent.socket}\0".encode())
    result, data, fds = new.ask(LISTENER)
    assert (result, len(fds)) == (0, 1)
    assert new.ask(LISTENER, after=struct.unpack_from("=Q", data)[0])[0] == 0
    assert new.ask(APPLY)[0] == 0
    new.close()
    log_of(w, "did not get to the end", mark)
    put_back = w.agent.log.wait_for(
        lambda line: "enforcing" in line or "cannot put back" in line, mark, what="the end of it")
    assert "enforcing" in put_back, put_back
    assert w.pods["a"].dial().appid == A
    upgrade(w).wait(10)
    assert w.pods["a"].dial().appid == A


@suite.test("a new agent that hangs between APPLY and COMMIT is killed, the old one goes on")
def hangs(w):
    mark = w.agent.log.mark()
    code = ("import socket, struct, signal\n"
            "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
            f"s.connect('{w.agent.socket}.handover')\n"
            f"for kind in ({HELLO}, {APPLY}):\n"
            f"    s.send(struct.pack('=IHHIIQ', {MAGIC}, {VERSION}, kind, {ABI}, 0, 0))\n"
            "    s.recv(1024)\n"
            "signal.pause()\n")
    process = w.agent.place.spawn([sys.executable, "-S", "-c", code])
    assert process.wait(20) == -signal.SIGKILL
    log_of(w, "did not get to the end", mark)
    assert w.pods["a"].dial().appid == A


@suite.test("what is out of turn, of another kind or not root gets nothing")
def strangers(w):
    for what in ((APPLY,), (COMMIT,), (LISTENER,), (SERVICE,), (77,)):
        new = NewAgent(w)
        assert new.ask(*what)[0] == -errno.EPROTO, what
        assert new.socket.recv(1024) == b""
        new.close()
    for members in ({"abi": ABI + 1}, {"version": VERSION + 1}):
        new = NewAgent(w)
        assert new.ask(HELLO, **members)[0] == -errno.EPROTONOSUPPORT, members
        assert new.socket.recv(1024) == b""
        new.close()
    new = NewAgent(w)
    assert new.ask(HELLO)[0] == 0
    assert new.ask(COMMIT)[0] == -errno.EPROTO
    new.close()
    code = (f"import socket\ns = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
            f"s.connect('{w.agent.socket}.handover')\n")
    status, _, err = w.agent.place.run([sys.executable, "-S", "-c", code], uid=12345)
    assert status != 0 and "PermissionError" in err, err
    assert w.pods["b"].dial().appid == B


@suite.test("a second new agent beside the first finds out, and neither harms the other")
def third(w):
    new = NewAgent(w)
    assert new.ask(HELLO)[0] == 0
    status, said = w.agent.fail_to_start("--audit-chain")
    assert status == 1 and "taken over by another one" in said, said
    new.close()
    assert w.pods["a"].dial().appid == A


@suite.test("other options count from the moment of taking over")
def other_options(w):
    assert w.host.dial("connect-only")["result"] == "ok"
    upgrade(w, host_verdict="deny").wait(10)
    assert w.host.dial("connect-only")["result"] == "error"
    upgrade(w).wait(10)
    assert w.host.dial("connect-only")["result"] == "ok"


@suite.test("what a pod has open past the gate ends when the new agent knows no exception for it")
def not_excepted(w):
    pod = w.add_pod("trusted", "sel-none", declared=True)
    pod.manifest = pod.manifest.replace("  labels:\n", "  labels:\n    trusted: very\n")
    w.apply_pods()
    without = f"{w.tmp}/without"
    shutil.copytree(w.manifests, without)
    w.apply("trust.yaml", manifests.exception("trust", {"trusted": "very"}, mode="direct"))
    held = pod.dialer(requests=2)
    assert held.read().status > 0
    mark = w.agent.audit.mark()
    upgrade(w, manifests=without).wait(10)
    w.agent.audit.wait_for(event("guard.drop", reason="older_connection"), mark)
    reply = held.next()
    assert reply["result"] == "error" and reply["stage"] != "connect", reply
    held.close()
    w.write("trust.yaml", None)
    upgrade(w).wait(10)


@suite.test("as many namespaces as there may be: all go over")
def full(w):
    # half of the descriptors in reserve, of the rest a third for connections
    descriptors_max, listeners_max = 240, 80
    there = len(os.listdir(w.netns_dir)) + 1
    names = [f"bare{n}" for n in range(listeners_max - there)]
    for name in names:
        w.add_bare_netns(name)
    spawn = w.agent.place.spawn
    w.agent.place.spawn = lambda argv, **options: spawn(
        ["prlimit", f"--nofile={descriptors_max}", *argv], **options)
    try:
        for _ in range(2):
            mark = w.agent.log.mark()
            upgrade(w).wait(10)
            log_of(w, f'"message":"serving","count":{listeners_max}', mark)
    finally:
        del w.agent.place.spawn
    assert w.pods["a"].dial().appid == A
    for name in names:
        kernel.remove_netns(os.path.join(w.netns_dir, name))


@suite.test("an agent that is to hold stays when it has been taken over from, until it is told to end")
def holds(w):
    upgrade(w, "--hold").wait(10)
    mark, (_, server) = w.agent.audit.mark(), w.agent.pids()
    old = upgrade(w, "--hold")
    w.agent.audit.wait_for(event("agent.stopped", reason="handed_over"), mark)
    wait_gone(server)
    # it looks once in five seconds whether somebody serves
    with contextlib.suppress(subprocess.TimeoutExpired):
        raise AssertionError(f"it ended: {old.wait(6)}")
    assert w.pods["a"].dial().appid == A
    old.send_signal(signal.SIGTERM)
    assert old.wait(10) == 0


@suite.test("one that holds ends when nobody serves any more")
def holds_for_nobody(w):
    before = upgrade(w, "--hold")
    before.terminate()
    before.wait(10)
    old = upgrade(w)
    w.agent.kill_monitor()
    assert old.wait(10) == 0
    w.agent.start("--audit-chain")
    assert w.pods["a"].dial().appid == A


if __name__ == "__main__":
    suite.run()
