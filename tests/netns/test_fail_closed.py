"""With the agent dead, in any part and in any way, a pod never reaches the real endpoint: its
connection is refused, or waits until the agent is back. And what the gate cannot attribute gets
nothing."""

import os
import socket

from harness import GUARDED, TRACES, manifests, standard_world
from places import Place
from tap import Suite
from watch import event, wait_gone

suite = Suite(standard_world, TRACES, seconds=90)
A, B = manifests.ID_A.client_id, manifests.ID_B.client_id
MPTCP = 262  # IPPROTO_MPTCP
MODES = ("plain", "v6mapped", "nonblocking", "io_uring", "mptcp", "fastopen-msg")


def all_refused(w):
    """No way in for anybody, on any endpoint, while no agent runs."""
    mark = w.lab.log.mark()
    for name in ("a", "c"):
        for mode in MODES:
            reply = w.pods[name].dial(mode, timeout=2000)
            assert reply.refused or reply["result"] == "unsupported", (mode, reply)
        for address, port in GUARDED:
            assert w.pods[name].dial("connect-only", addr=address, port=port).refused
    w.lab.never_reached(mark, strict=True)


@suite.test("the server is killed: the next request waits for the new one and is served")
def server(w):
    for _ in range(2):
        mark, (monitor, old) = w.lab.log.mark(), w.agent.pids()
        w.agent.kill_server()
        reply = w.pods["a"].dial(timeout=15000)
        assert reply.appid == A, reply
        assert w.agent.pids()[0] == monitor and w.agent.pids()[1] != old
        w.lab.never_reached(mark)


@suite.test("the server is killed in the middle of a connection: it ends, the next is served")
def server_connection(w):
    dialer = w.pods["a"].dialer(requests=2)
    assert dialer.read().appid == A
    w.agent.kill_server()
    reply = dialer.next()
    assert reply["result"] == "error", reply
    dialer.close()
    assert w.pods["a"].dial(timeout=15000).appid == A


@suite.test("the monitor is killed: nobody gets through, the server does not outlive it")
def monitor(w):
    mark, (_, old_server) = w.lab.log.mark(), w.agent.pids()
    w.agent.kill_monitor()
    reply = w.pods["a"].dial(timeout=3000)
    assert reply.appid == A or reply["result"] == "error", reply
    w.lab.never_reached(mark)
    wait_gone(old_server)
    all_refused(w)


@suite.test("an agent that starts again takes over and serves")
def adopts(w):
    w.agent.start()
    for name, client_id in (("a", A), ("b", B)):
        assert w.pods[name].dial().appid == client_id
    w.lab.never_reached()


@suite.test("both are killed: every connect is refused, nothing reaches the lab")
def both(w):
    w.agent.kill_both()
    all_refused(w)
    w.agent.start()
    assert w.pods["a"].dial().appid == A


@suite.test("the gate's port is nobody else's while it is away, and its own again afterwards")
def port_kept(w):
    gate, places = 254, (w.host, w.pods["a"])
    assert all(gate in place.gate_ports() for place in places)
    w.agent.kill_both()
    for place in places:
        assert gate not in place.gate_ports()
        for address in ("127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1", "::ffff:0.0.0.0"):
            assert place.bind(address, gate) in ("EADDRINUSE", "EPERM"), address
        assert place.bind("127.0.0.1", gate, protocol=MPTCP) != "bound"
        assert place.bind("127.0.0.1", gate + 1) == "bound"
        assert place.bind("127.0.0.2", gate) == "bound"
        assert place.bind("127.0.0.1", gate, socket.SOCK_DGRAM) == "bound"
    w.agent.start()
    assert all(gate in place.gate_ports() for place in places)
    assert w.pods["a"].dial().appid == A


@suite.test("who tries without end does not have the gate's port either while the agent starts")
def port_kept_at_start(w):
    thief = w.host.bind_without_end("127.0.0.1", 254)
    for _ in range(3):
        w.agent.kill_both()
        w.agent.start()
    assert thief.poll() is None, "somebody else had the port"
    thief.kill()
    thief.wait(10)
    assert 254 in w.host.gate_ports()


@suite.test("the agent is stopped in an orderly way: still closed")
def stopped(w):
    assert w.agent.stop() == 0
    all_refused(w)


@suite.test("a namespace that appears while no agent runs is closed, and served later")
def late(w):
    pod = w.add_pod("late", "sel-b")
    w.declare()
    mark = w.lab.log.mark()
    assert pod.dial().refused
    w.lab.never_reached(mark, strict=True)
    w.agent.start()
    assert pod.dial().appid == B


@suite.test("a second agent does not start beside the first")
def second(w):
    status, said = w.agent.fail_to_start(socket=os.path.join(w.tmp, "second.sock"),
                                         audit_file="none")
    assert status not in (0, 2), said
    assert w.pods["a"].dial().appid == A


@suite.test("dialing the gate's listener directly gets nothing and is recorded")
def direct(w):
    for name in ("a", "c"):
        pod, mark = w.pods[name], w.agent.audit.mark()
        (gate,) = pod.gate_ports()
        reply = pod.dial(addr="127.0.0.1", port=gate)
        assert reply.status != 200 and reply.appid is None, reply
        record = w.agent.audit.wait_for(event("connect.unattributed"), mark)
        assert record["decision"] == "deny", record
    assert w.pods["a"].dial().appid == A


@suite.test("the listener cannot be reached from outside its namespace")
def from_outside(w):
    pod = w.pods["a"]
    (gate,) = pod.gate_ports()
    for place in (w.host, w.pods["b"]):
        reply = place.dial("connect-only", addr=pod.address, port=gate, timeout=2000)
        assert reply["result"] == "error", reply


@suite.test("a process outside the guarded control groups cannot use a pod's listener")
def unguarded(w):
    pod, mark = w.pods["a"], w.agent.audit.mark()
    (gate,) = pod.gate_ports()
    reply = Place(w, pod.netns, None).dial(addr="127.0.0.1", port=gate)
    assert reply.status != 200 and reply.appid is None, reply
    w.agent.audit.wait_for(event("connect.unattributed"), mark)


@suite.test("a connection that ends before it is served leaves nothing for the next on its port")
def reused_port(w):
    port = 41999
    assert w.pods["a"].dial("connect-only", bind_port=port)["result"] == "ok"
    (gate,) = w.pods["a"].gate_ports()
    reply = w.pods["a"].dial("forge", addr="127.0.0.1", port=gate, bind_port=port)
    assert reply.status != 200 and reply.appid is None, reply


@suite.test("a manifest that cannot be read at start does not make a workload part of the host")
def unreadable_at_start(w):
    pod = w.add_pod("host-a", "sel-a", host_network=True)
    other = w.add_pod("host-d", "sel-a", declared=True, host_network=True)
    w.apply_pods()
    assert (pod.dial().appid, other.dial().appid) == (A, A)
    w.agent.stop()
    with open(f"{w.manifests}/pods.yaml", encoding="utf-8") as f:
        good = f.read()
    w.write("pods.yaml", good + "---\nkind: [\n")
    w.agent.start()
    mark = w.lab.log.mark()
    assert other.dial().status == 400
    assert pod.dial().status == 400
    w.lab.never_reached(mark)
    w.apply("pods.yaml", good)
    assert (pod.dial().appid, other.dial().appid) == (A, A)


@suite.test("--detach is refused while an agent runs, and takes everything off afterwards")
def detach(w):
    argv, mark = [*w.agent.argv(), "--detach"], w.agent.audit.mark()
    status, out, err = w.agent.place.run(argv)
    assert status not in (0, 2), f"exit {status}: {out}{err}"
    assert w.pods["a"].dial().appid == A
    assert w.agent.stop() == 0
    assert not w.agent.audit.find(event("agent.detached"), mark)
    # without a record of it nothing is taken off
    status, out, err = w.agent.place.run([*w.agent.argv(audit_file="/proc/none/x"), "--detach"])
    assert status == 1 and "audit" in err, f"exit {status}: {out}{err}"
    assert w.pods["a"].dial("connect-only").refused
    status, out, err = w.agent.place.run(argv)
    assert status == 0, f"exit {status}: {out}{err}"
    (record,) = w.agent.audit.find(event("agent.detached"), mark)
    assert f"{record['count']} programs" in out and record["count"] >= 5, (record, out)
    mark = w.lab.log.mark()
    assert w.pods["a"].dial("connect-only")["result"] == "ok"
    assert len(w.lab.connections(mark)) == 1, "something is still attached"


if __name__ == "__main__":
    suite.run()
