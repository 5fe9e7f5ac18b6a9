"""Every way of connecting to the metadata service ends at the gate and gets the identity of the
workload that connected; what is not guarded is left alone. The counterpart is test_control.py."""

import os

import kernel
from harness import (GUARDED, IMDS, NOT_FOUND, TRACES, UNRELATED, WIRESERVER, manifests,
                     standard_world)
from java import compile_dial, dial
from places import Place
from tap import Skip, Suite
from test_control import TCP_MODES, options_of
from watch import event

suite = Suite(standard_world, TRACES)
A, B = manifests.ID_A.client_id, manifests.ID_B.client_id
LEVELS = 16  # IG_CGROUP_DEPTH_MAX


def gets_own_token(mode):
    def check(w):
        for name, client_id in (("a", A), ("b", B)):
            pod, mark = w.pods[name], w.lab.log.mark()
            reply = pod.dial(mode, **options_of(mode, pod))
            if reply["result"] == "unsupported":
                raise Skip(f"this kernel has no {mode}")
            assert reply.status == 200 and reply.appid == client_id, reply
            peer = f"[::ffff:{IMDS}]:80" if mode.startswith("v6") else f"{IMDS}:80"
            if mode == "mptcp":  # the hook sees the subflow at connect, the whole afterwards
                peer = "127.0.0.1:254"
            assert reply["peername"] == peer, reply
            w.lab.never_reached(mark)
    return check


for tcp_mode in TCP_MODES:
    if tcp_mode != "bind-device":
        suite.test(f"{tcp_mode}: each pod gets its own token")(gets_own_token(tcp_mode))


@suite.test("a socket bound to a device is served or refused at once")
def bind_device(w):
    mark = w.lab.log.mark()
    reply = w.pods["a"].dial("bind-device")
    assert reply.appid == A or reply.refused, reply
    assert reply["ms"] < 3000, reply
    w.lab.never_reached(mark)


@suite.test("UDP to the metadata service is refused")
def udp(w):
    reply = w.pods["a"].dial("udp-connect", addr=IMDS, port=80)
    assert reply.refused and reply["stage"] == "connect", reply
    w.agent.audit.wait_for(lambda r: r.get("connection", {}).get("protocol") == "udp"
                           and r.get("decision") == "deny")


@suite.test("a Java client is served")
def java_client(w):
    compile_dial(w.tmp)
    reply = w.pods["a"].dial_by(dial(w.tmp, IMDS, "80"))
    assert reply.status == 200 and reply.appid == A, reply
    w.lab.never_reached()


@suite.test("a socket that another process made counts for the one that connects it")
def passed(w):
    path, mark = f"{w.tmp}/pass", w.lab.log.mark()
    giver = w.pods["a"].dialer("scm-give", socket=path)
    assert giver.read()["result"] == "listening"
    reply = w.pods["b"].dial("scm-take", socket=path)
    giver.close()
    assert reply.appid == B, reply
    w.lab.never_reached(mark)


@suite.test("a socket that is given to a pod without a binding brings no identity along")
def passed_to_nobody(w):
    path = f"{w.tmp}/pass2"
    giver = w.pods["a"].dialer("scm-give", socket=path)
    assert giver.read()["result"] == "listening"
    reply = w.pods["c"].dial("scm-take", socket=path)
    giver.close()
    assert reply.status == 400 and reply.body == NOT_FOUND, reply


@suite.test("a task that changes its control group counts for the new one")
def moved(w):
    mark = w.lab.log.mark()
    reply = w.pods["a"].dial("cgroup-move", cgroup=w.pods["b"].cgroup.path)
    assert reply.appid == B, reply
    w.lab.never_reached(mark)


@suite.test("two workloads in the host's namespace are told apart")
def host_network(w):
    one = w.add_pod("host-a", "sel-a", host_network=True)
    two = w.add_pod("host-b", "sel-b", host_network=True)
    w.apply_pods()
    mark = w.lab.log.mark()
    for _ in range(3):
        assert one.dial().appid == A
        assert two.dial("v6mapped").appid == B
    w.lab.never_reached(mark)


@suite.test("two pods that share a namespace are told apart")
def shared_namespace(w):
    beside = w.add_pod("beside-a", "sel-b", beside=w.pods["a"])
    w.apply_pods()
    assert (w.pods["a"].dial().appid, beside.dial().appid) == (A, B)


@suite.test("a connection's address and port forged from another namespace bring nothing")
def forged(w):
    victim, forger = w.pods["a"], w.pods["c"]
    dialer = victim.dialer(requests=2)
    first = dialer.read()
    port = int(first["sockname"].rsplit(":", 1)[1])
    assert first.appid == A
    (gate,) = forger.gate_ports()
    mark = w.agent.audit.mark()
    reply = forger.dial("forge", addr="127.0.0.1", port=gate, bind_port=port)
    assert reply.status != 200 and reply.appid is None, reply
    w.agent.audit.wait_for(event("connect.unattributed", connection__source=f"127.0.0.1:{port}"),
                           mark)
    assert dialer.next().appid == A, "the forger broke the victim's connection"
    dialer.close()


@suite.test("WireServer and HostGAPlugin are denied to pods and recorded")
def wireserver(w):
    for endpoint, (address, port) in zip(("wireserver", "hostgaplugin"), GUARDED[1:]):
        for mode in ("plain", "v6mapped", "nonblocking", "udp-connect"):
            lab, audit = w.lab.log.mark(), w.agent.audit.mark()
            reply = w.pods["a"].dial(mode, addr=address, port=port)
            assert reply.refused, reply
            w.agent.audit.wait_for(event("connect.denied", connection__endpoint=endpoint,
                                         pod__name="a", process__pid=reply["pid"]), audit)
            w.lab.never_reached(lab, strict=True)


@suite.test("WireServer and IMDS are left to the host by default, and recorded")
def host_passes(w):
    for address, port in GUARDED:
        lab, audit = w.lab.log.mark(), w.agent.audit.mark()
        assert w.host.dial(addr=address, port=port).status > 0
        assert [c["local"] for c in w.lab.connections(lab)] == [f"{address}:{port}"]
        w.agent.audit.wait_for(event("connect.passed",
                                     connection__destination=f"{address}:{port}"), audit)


@suite.test("port 53 and unrelated destinations are left alone")
def untouched(w):
    pod, mark = w.pods["a"], w.agent.audit.mark()
    assert pod.dial("udp-sendto", addr=WIRESERVER, port=53).body == "echo:dial"
    assert pod.dial("udp-connect", addr=WIRESERVER, port=53).body == "echo:dial"
    assert pod.dial(addr=WIRESERVER, port=53).status > 0
    for mode in ("plain", "v6mapped"):
        for address, port in ((UNRELATED, 80), (IMDS, 8080)):
            reply = pod.dial(mode, addr=address, port=port)
            peer = f"{address}:{port}" if mode == "plain" else f"[::ffff:{address}]:{port}"
            assert reply.body == "unrelated" and reply["peername"] == peer, reply
    assert not w.agent.audit.since(mark), "what is not guarded is none of the gate's business"


@suite.test("a pod without a binding gets exactly: 400, Identity not found")
def unbound(w):
    mark = w.lab.log.mark()
    reply = w.pods["c"].dial()
    assert (reply.status, reply.body) == (400, NOT_FOUND), reply
    w.lab.never_reached(mark, strict=True)


@suite.test("a probe without the Metadata header gets its 400, bound or not")
def probe(w):
    mark = w.lab.log.mark()
    for name in ("a", "c"):
        reply = w.pods[name].dial(no_metadata=True)
        assert reply.status == 400 and "Required metadata header" in reply.body, reply
    w.lab.never_reached(mark, strict=True)


@suite.test("a process in no workload at all gets no token")
def stranger(w):
    reply = w.dial_as_stranger()
    assert reply.appid is None and (reply.refused or reply.status == 400), reply


@suite.test("a namespace that appears while the agent runs is served from its first connect on")
def late_namespace(w):
    mark = w.agent.audit.mark()
    pod = w.add_pod("late", "sel-a")
    w.agent.audit.wait_for(event("listener.opened"), mark)
    w.apply_pods()
    assert pod.dial().appid == A


@suite.test("a pod that goes away takes its listener with it")
def namespace_gone(w):
    mark = w.agent.audit.mark()
    w.remove_netns("late")
    record = w.agent.audit.wait_for(event("listener.closed"), mark)
    assert record["pod"] == {"namespace": manifests.NAMESPACE, "name": "late",
                             "uid": w.pods["late"].uid, "host_network": False}, record
    assert record["message"] == "late", record


@suite.test("a namespace with two names keeps its listener until the second is gone, too")
def two_names(w):
    audit, mark = w.agent.audit, w.agent.audit.mark()
    pod, second = w.add_pod("named", "sel-a"), os.path.join(w.netns_dir, "second")
    w.declare()

    def all_handled():
        """Notices come in order."""
        since = audit.mark()
        kernel.make_netns(f"{w.netns_dir}/last")
        last = audit.wait_for(event("listener.opened", message="last"), since)["netns"]
        kernel.remove_netns(f"{w.netns_dir}/last")
        audit.wait_for(event("listener.closed", netns=last), since)

    netns = audit.wait_for(event("listener.opened", message="named"), mark)["netns"]
    kernel.make_file(second)
    kernel.bind(pod.netns, second)
    all_handled()
    w.remove_netns("named")
    all_handled()
    assert Place(w, second, pod.cgroup).dial().appid == A
    assert not audit.find(event("listener.closed", netns=netns), mark)
    kernel.remove_netns(second)
    audit.wait_for(event("listener.closed", netns=netns), mark)


@suite.test("a namespace without a name: the first connect is refused, the next served")
def anonymous(w):
    lab, audit = w.lab.log.mark(), w.agent.audit.mark()
    dialer = w.pods["a"].dialer(attempts=2, argv_prefix=[
        "unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"])
    first = dialer.read()
    assert first.refused, first
    w.agent.audit.wait_for(event("listener.opened"), audit)
    second = dialer.next()
    assert second.appid == A, second
    dialer.close()
    w.agent.audit.wait_for(event("connect.refused", pod__name="a"), audit)
    w.lab.never_reached(lab)


@suite.test("a process far below its workload's cgroup, and deeper than one looks, is that workload's")
def deep(w):
    for levels in (1, 3, 2 * LEVELS):
        group = w.pods["a"].cgroup.child("/".join(["below"] * levels))
        mark = w.lab.log.mark()
        reply = Place(w, w.pods["a"].netns, group).dial()
        assert reply.appid == A, (levels, reply)
        w.lab.never_reached(mark)


@suite.test("a cgroup whose path nobody can read is its workload's, too")
def unreadable(w):
    for name in ("own (deleted)", "/".join(["n" * 250] * 5)):
        mark = w.agent.audit.mark()
        place = Place(w, w.pods["a"].netns, w.pods["a"].cgroup.child(name))
        assert place.dial("udp-connect", addr=IMDS, port=80).refused
        record = w.agent.audit.wait_for(event("connect.denied", reason="not_tcp"), mark)
        assert record["pod"]["name"] == "a", record
        reply = place.dial()
        assert reply.appid == A, reply


@suite.test("a namespace without a name that runs when the agent starts is served at once")
def running(w):
    dialer = w.pods["a"].dialer(attempts=3, argv_prefix=[
        "unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"])
    assert dialer.read().refused
    w.agent.stop()
    assert dialer.next().refused, "without the agent"
    w.agent.start()
    reply = dialer.next()
    assert reply.appid == A, reply
    dialer.close()


if __name__ == "__main__":
    suite.run()
