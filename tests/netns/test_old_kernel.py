"""What the agent does where a newer kernel's help is missing, played on this kernel by making system
calls fail: before 5.19 an unprivileged process cannot use a map descriptor."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

import kernel
from harness import IMDS, NOT_FOUND, TRACES, manifests, standard_world
from tap import Skip, Suite
from watch import event

suite = Suite(standard_world, TRACES)
A, B = manifests.ID_A.client_id, manifests.ID_B.client_id
WAITING = 64  # IG_ACCEPTS_WAITING_MAX


def deny_bpf(w, pid):
    """Every bpf() of that process fails with EPERM from now on; returns the strace that does it.
    Another call is made instead: none at all is one that the process's filter would end it for."""
    if not shutil.which("strace"):
        raise Skip("needs strace")
    tracer = w.adopt(subprocess.Popen(
        ["strace", "-p", str(pid), "-e", "trace=bpf", "-e",
         "inject=bpf:error=EPERM:syscall=getpid", "-o", f"{w.tmp}/bpf.trace"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=kernel.die_with_parent))
    assert "attached" in tracer.stderr.readline()
    return tracer


@suite.test("flows are read by the monitor when the server may not")
def flows(w):
    _, server = w.agent.pids()
    tracer = deny_bpf(w, server)
    mark = w.lab.log.mark()
    for pod, client_id in (("a", A), ("b", B)):
        for mode in ("plain", "v6mapped"):
            reply = w.pods[pod].dial(mode)
            assert reply.appid == client_id, reply
    assert w.pods["c"].dial().body == NOT_FOUND
    (gate,) = w.pods["c"].gate_ports()
    audit = w.agent.audit.mark()
    reply = w.pods["c"].dial("forge", addr="127.0.0.1", port=gate)
    assert reply.status != 200, reply
    w.agent.audit.wait_for(event("connect.unattributed"), audit)
    tracer.terminate()
    tracer.wait(10)
    with open(f"{w.tmp}/bpf.trace", encoding="utf-8") as f:
        assert "EPERM" in f.read(), "no bpf() call was made to fail: this proves nothing"
    w.lab.never_reached(mark)


# Opens N connections, says so, and when it is told asks on each: how many had an answer?
CROWD = """
import socket, sys
n = int(sys.argv[2])
held = [socket.create_connection((sys.argv[1], 80), 20) for _ in range(n)]
print("ready", flush=True)
sys.stdin.readline()
for s in held:
    s.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
print(sum(s.recv(12) == b"HTTP/1.1 404" for s in held))
"""


@suite.test("while the monitor does not answer, a listener has so many connections accepted, the others "
            "wait; then all are served")
def crowd(w):
    """After the first test the server asks the monitor for every flow."""
    crowd_size = 3 * WAITING
    monitor, server = w.agent.pids()

    def sockets():
        folder = f"/proc/{server}/fd"
        with contextlib.suppress(FileNotFoundError):
            return sum(os.readlink(f"{folder}/{fd}").startswith("socket:")
                       for fd in os.listdir(folder))
        return sockets()
    assert w.pods["a"].dial().appid == A
    before = sockets()
    os.kill(monitor, signal.SIGSTOP)
    try:
        process = w.pods["c"].spawn([sys.executable, "-S", "-c", CROWD, IMDS, str(crowd_size)],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 10
        while sockets() < before + WAITING:
            assert time.monotonic() < deadline, (sockets(), before)
        other = w.pods["b"].dialer()  # accepted, whatever "c" has
        while sockets() < before + WAITING + 1:
            assert time.monotonic() < deadline, (sockets(), before)
        assert sockets() == before + WAITING + 1, (sockets(), before)
    finally:
        os.kill(monitor, signal.SIGCONT)
    assert other.read().appid == B
    other.close()
    assert process.communicate("go\n", timeout=30)[0] == f"{crowd_size}\n"
    assert w.agent.pids() == (monitor, server)


if __name__ == "__main__":
    suite.run()
