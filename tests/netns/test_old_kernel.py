"""What the agent does where a newer kernel's help is missing, played on this kernel by making system
calls fail: before 5.19 an unprivileged process cannot use a map descriptor."""

import shutil
import subprocess

import kernel
from harness import NOT_FOUND, TRACES, manifests, standard_world
from tap import Skip, Suite
from watch import event

suite = Suite(standard_world, TRACES)


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
    for pod, client_id in (("a", manifests.ID_A.client_id), ("b", manifests.ID_B.client_id)):
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


if __name__ == "__main__":
    suite.run()
