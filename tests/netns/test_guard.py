"""The guard on the uplinks: packets to an endpoint that the gate did not let through do not reach
the far side, each leaves a record and is counted; what was let through passes. Each form is sent
without the guard first, and arrives: otherwise that it does not arrive later would prove nothing."""

import json
import os
import subprocess
import sys
import time

from fabric import NODE, SECOND_FABRIC, SECOND_NODE, fabric_world, guarded_only
from harness import IMDS, TRACES, UNRELATED, WIRESERVER, manifests
from places import BUILD
from programs import Program
from tap import Suite
from watch import event

suite = Suite(fabric_world, TRACES, seconds=120)
A = manifests.ID_A.client_id


def forms(w):
    """name → (from where, arguments of packets.py, reason of the record)"""
    pod, host, hostnet = w.pods["c"], w.host, w.pods["h"]
    up, far = "up0", w.mac(w.fabric, "fab0")
    gateway = w.mac(w.host, "v2")
    pod_frame = (pod, ("frame", pod.address, IMDS, 80, "eth0", gateway))
    return {
        "raw socket of a pod": (pod, ("raw", pod.address, IMDS, 80), "forwarded"),
        "raw socket, data without a handshake":
            (pod, ("raw", pod.address, IMDS, 80, "--data"), "forwarded"),
        "raw socket, forged source": (pod, ("raw", "10.77.1.2", IMDS, 80), "forwarded"),
        "raw socket, IP options": (pod, ("raw", pod.address, IMDS, 80, "--options"), "forwarded"),
        "raw socket, WireServer": (pod, ("raw", pod.address, WIRESERVER, 80), "forwarded"),
        "raw socket, HostGAPlugin": (pod, ("raw", pod.address, WIRESERVER, 32526), "forwarded"),
        "raw socket, UDP": (pod, ("raw", pod.address, IMDS, 80, "--udp"), "forwarded"),
        "first fragment":
            (pod, ("raw", pod.address, IMDS, 80, "--data", "--fragment", "first"), "forwarded"),
        "later fragment":
            (pod, ("raw", pod.address, IMDS, 80, "--data", "--fragment", "second"), "forwarded"),
        "packet socket of a pod": (*pod_frame, "forwarded"),
        "packet socket of a pod, past its own traffic control":
            (pod, (*pod_frame[1], "--bypass"), "forwarded"),
        "raw socket of the host": (host, ("raw", NODE, IMDS, 80), "raw_socket"),
        "packet socket of the host": (host, ("frame", NODE, IMDS, 80, up, far), "raw_socket"),
        "raw socket of a pod with hostNetwork": (hostnet, ("raw", NODE, IMDS, 80), "raw_socket"),
        "packet socket of a pod with hostNetwork":
            (hostnet, ("frame", NODE, IMDS, 80, up, far), "raw_socket"),
        "VLAN tag": (hostnet, ("frame", NODE, IMDS, 80, up, far, "--vlan", 7), "raw_socket"),
        "two VLAN tags":
            (hostnet, ("frame", NODE, IMDS, 80, up, far, "--vlan", 7, "--vlan", 8), "raw_socket"),
    }


def all_stopped(w, device="up0"):
    """Every form: nothing arrives, the counter counts it, and the kind of sender has a record."""
    for name, (place, args, reason) in forms(w).items():
        seen, audit = w.seen.mark(), w.agent.audit.mark()
        before = w.counter("guard_dropped")
        w.send(place, *args)
        arrived = w.sent(seen, device)  # not what older connections of the host still say
        assert not arrived, f"{name}: {arrived}"
        dropped = w.counter("guard_dropped") - before
        assert dropped == 1, f"{name}: {dropped} dropped"
        for record in w.agent.audit.find(event("guard.drop"), audit):
            if record["connection"]["source"].split(":")[1] in ("0", "40961"):
                assert record["reason"] == reason, (name, record)


def record_of(w, place, *args):
    """The record of a drop: at most one a second of each source, so from a source of its own."""
    audit = w.agent.audit.mark()
    w.send(place, *args)
    return w.agent.audit.wait_for(event("guard.drop"), audit)


@suite.test("without the guard every form reaches the far side")
def control(w):
    for name, (place, args, _) in forms(w).items():
        mark = w.seen.mark()
        w.send(place, *args)
        assert len(w.sent(mark)) == 1, f"{name} does not arrive: this would prove nothing"
    for pod in ("a", "c", "d", "h"):
        assert w.pods[pod].dial("connect-only")["result"] == "ok", pod


@suite.test("a connection that is older than the gate ends")
def older(w):
    names = ("c", "h", "d")
    dialers = [w.pods[name].dialer(requests=2, timeout=3000) for name in names]
    for dialer in dialers:
        assert dialer.read()["result"] == "ok"
    kept = w.host.dialer(requests=2, timeout=3000)
    assert kept.read()["result"] == "ok"
    w.agent.start()
    mark = w.seen.mark()
    for name in names:
        record = w.agent.audit.wait_for(event("guard.drop", reason="older_connection",
                                              pod__name=name))
        assert record["decision"] == "deny", record
        assert record["connection"]["destination"] == f"{IMDS}:80", record
    for dialer in dialers:
        reply = dialer.next()
        assert reply["result"] == "error" and reply["errno"] in ("ECONNABORTED", "EPIPE"), reply
        dialer.close()
    assert not [p for p in guarded_only(w.arrived(mark)) if p["payload"]]
    assert kept.next()["result"] == "ok", "the host's own connection was ended"
    kept.close()
    ended = w.agent.audit.find(event("guard.drop", reason="older_connection"))
    assert {record["pod"]["name"] for record in ended} == set(names), ended


@suite.test("no form reaches the far side")
def stopped(w):
    all_stopped(w)


@suite.test("what the records say")
def records(w):
    pod, far = w.pods["c"], w.mac(w.fabric, "fab0")
    record = record_of(w, pod, "raw", "10.77.2.77", IMDS, 80)
    assert record["decision"] == "deny" and record["reason"] == "forwarded", record
    assert record["connection"]["source"].startswith("10.77.2.77:"), record
    assert record["connection"]["destination"] == f"{IMDS}:80", record
    assert record["connection"]["endpoint"] == "imds", record
    assert record["message"] == "from v2 to up0", record
    assert "process" not in record and "cgroup" not in record, record
    record = record_of(w, w.pods["h"], "frame", "10.99.0.77", WIRESERVER, 32526, "up0", far)
    assert record["reason"] == "raw_socket" and record["pod"]["name"] == "h", record
    assert record["connection"]["endpoint"] == "hostgaplugin", record


@suite.test("a flood costs a few records, and every drop is accounted for")
def flood(w):
    audit, seen = w.agent.audit.mark(), w.seen.mark()
    names = ("guard_dropped", "guard_suppressed", "events_lost")
    before = {name: w.counter(name) for name in names}
    w.send(w.pods["c"], "raw", "10.77.2.99", IMDS, 80, "--count", 5000)
    assert not w.arrived(seen)
    after = {name: w.counter(name) - before[name] for name in names}
    assert after["guard_dropped"] >= 5000, after
    mine = w.agent.audit.wait_for(event("guard.drop"), audit)
    found = w.agent.audit.find(event("guard.drop"), audit)
    assert mine and len(found) <= 40, len(found)
    assert (after["guard_suppressed"] + after["events_lost"] + len(found)
            == after["guard_dropped"]), (after, found)


@suite.test("what was let through passes: host, agent, a pod with an exception")
def passes(w):
    mark, before = w.seen.mark(), w.counter("guard_passed")
    for mode in ("plain", "v6mapped", "nonblocking", "mptcp", "io_uring", "fastopen-msg"):
        reply = w.host.dial(mode)
        assert reply["result"] in ("ok", "unsupported"), (mode, reply)
    assert w.host.dial("connect-only", addr=WIRESERVER, port=32526)["result"] == "ok"
    reply = w.pods["a"].dial(timeout=10000)
    assert reply.appid == A, reply
    for _ in range(3):
        reply = w.pods["d"].dial()
        assert reply["result"] == "ok", reply
    sources = {p["src"] for p in guarded_only(w.arrived(mark)) if p["payload"]}
    assert sources == {NODE, w.pods["d"].address}, sources
    assert w.counter("guard_passed") > before


@suite.test("after a permitted connection its addresses carry nothing more")
def reuse(w):
    assert w.pods["d"].dial("bound-port", bind_port=40961)["result"] == "ok"
    deadline = time.monotonic() + 10  # the far side's end of the connection has to arrive
    while "40961" in w.pods["d"].run(["ss", "-Htan", "state", "connected", "exclude",
                                      "time-wait"])[1]:
        assert time.monotonic() < deadline, "the connection does not end"
    w.arrived(w.seen.mark())  # with it, what the connection itself sent
    mark = w.seen.mark()
    w.send(w.pods["c"], "raw", w.pods["d"].address, IMDS, 80, "--data")
    w.send(w.pods["c"], "raw", w.pods["d"].address, IMDS, 80)
    arrived = guarded_only(w.arrived(mark))
    assert not [p for p in arrived if p["payload"] or p["flags"] & 2], arrived


@suite.test("a socket of a pod that a process of the host connects goes nowhere")
def made_elsewhere(w):
    path, audit, seen = os.path.join(w.tmp, "scm.sock"), w.agent.audit.mark(), w.seen.mark()
    giver = w.pods["h"].dialer("scm-give", socket=path, timeout=20000)
    giver.read()
    reply = w.host.dial("scm-take", socket=path, timeout=1500)
    giver.close()
    assert reply["result"] == "error", reply
    assert not guarded_only(w.arrived(seen))
    record = w.agent.audit.wait_for(event("guard.drop"), audit)
    assert record["reason"] == "not_allowed" and record["pod"]["name"] == "h", record


@suite.test("a forwarded packet names the pod that sent it, whatever source address it carries")
def names_the_sender(w):
    c, d = w.pods["c"], w.pods["d"]
    (netns,) = {r["netns"] for r in w.agent.audit.find(event("listener.opened", message="c"))}
    record = record_of(w, c, "raw", "10.77.1.77", IMDS, 80)
    assert record["netns"] == netns and "cgroup" not in record, record  # nobody lives there
    stays = c.spawn([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    # the agent does not look each time: soon it does, now that the process is there
    deadline, number = time.monotonic() + 20, 0
    while "pod" not in record and time.monotonic() < deadline:
        number += 1
        record = record_of(w, c, "raw", f"10.77.{100 + number // 200}.{number % 200 + 1}", IMDS, 80)
    assert record.get("pod", {}).get("uid") == c.uid, record
    record = record_of(w, c, "raw", d.address, IMDS, 80)
    assert (record["pod"]["name"], record["netns"]) == ("c", netns), record
    assert "cgroup" not in record and "process" not in record, record
    stays.communicate("\n", timeout=10)


@suite.test("a socket of the host that a pod connects goes to the gate")
def given_to_pod(w):
    path, seen = os.path.join(w.tmp, "scm2.sock"), w.seen.mark()
    giver = w.host.dialer("scm-give", socket=path, timeout=20000)
    giver.read()
    reply = w.pods["h"].dial("scm-take", socket=path)
    giver.close()
    assert reply.status in (400, 403), reply
    assert NODE not in {p["src"] for p in guarded_only(w.arrived(seen)) if p["payload"]}


@suite.test("migration: out of a pod's control group it is dropped, into one it goes to the gate")
def migration(w):
    seen, audit = w.seen.mark(), w.agent.audit.mark()
    reply = w.pods["h"].dial("cgroup-move", cgroup=w.host.cgroup.path, timeout=1500)
    assert reply["result"] == "error", reply
    assert not guarded_only(w.arrived(seen))
    w.agent.audit.wait_for(event("guard.drop"), audit)
    reply = w.host.dial("cgroup-move", cgroup=w.pods["h"].cgroup.path)
    assert reply.status in (400, 403), reply
    assert not [p for p in guarded_only(w.arrived(seen)) if p["payload"]]


@suite.test("DNS and what is not guarded are left alone")
def unguarded(w):
    for place in (w.pods["c"], w.host):
        assert place.dial("udp-connect", addr=WIRESERVER, port=53)["result"] == "ok"
        assert place.dial(addr=UNRELATED)["result"] == "ok"
        assert place.dial(addr=IMDS, port=8080)["result"] == "ok"
    mark, before = w.seen.mark(), w.counter("guard_dropped")
    for fragment in ("first", "second"):
        w.send(w.pods["c"], "raw", w.pods["c"].address, WIRESERVER, 53, "--udp", "--data",
               "--fragment", fragment)
    assert len(w.sent(mark)) == 2 and w.counter("guard_dropped") == before


SINK = """
import socket
s = socket.create_server(("10.77.255.1", 0))
print(s.getsockname()[1], flush=True)
c, n = s.accept()[0], 0
while data := c.recv(1 << 20):
    n += len(data)
print(n, flush=True)
"""
SOURCE = """
import socket, sys
c = socket.create_connection(("10.77.255.1", int(sys.argv[1])))
for _ in range(64):
    c.sendall(bytes(1 << 20))
"""


@suite.test("bulk traffic is not touched")
def bulk(w):
    for place in (w.host, w.pods["c"]):
        before = w.counter("guard_dropped"), w.counter("guard_passed")
        sink = w.fabric.spawn([sys.executable, "-S", "-c", SINK], stdout=subprocess.PIPE)
        port = sink.stdout.readline().strip()
        status, _, err = place.run([sys.executable, "-S", "-c", SOURCE, port])
        assert status == 0, err
        assert int(sink.stdout.readline()) == 64 << 20
        assert before == (w.counter("guard_dropped"), w.counter("guard_passed"))


@suite.test("an uplink that appears later is guarded; so is one that a route moves to")
def later(w):
    mark = w.agent.log.mark()
    w.add_uplink("up1", "fab1", SECOND_NODE, SECOND_FABRIC)
    w.sniff("fab1")
    w.host.ip(f"route add {IMDS}/32 via {SECOND_FABRIC} table 77")
    w.agent.log.wait_for(lambda line: "guarding an uplink" in line and "up1" in line, mark)
    w.host.ip(f"route add {IMDS}/32 via {SECOND_FABRIC}")
    seen = w.seen.mark()
    w.send(w.pods["c"], "raw", w.pods["c"].address, IMDS, 80)
    w.send(w.host, "raw", SECOND_NODE, IMDS, 80)
    assert not w.arrived(seen, "up1")
    assert w.host.dial()["result"] == "ok", "the host itself does not get through up1"
    w.host.ip(f"route del {IMDS}/32", "link del up1")
    w.agent.log.wait_for(lambda line: "an uplink is gone" in line, mark)
    w.wait_pins(1)


def connected(w):
    """Connections of the host's namespace to the service."""
    status, out, err = w.host.run(["ss", "-Htn", "state", "established", "dst", IMDS])
    assert status == 0, err
    return {line.split()[2] for line in out.splitlines()}


@suite.test("an uplink that appears ends no connection of the agent's own, whatever the host may")
def own(w):
    w.add_pod("e", "direct", host_network=True)
    w.declare()
    assert w.agent.stop() == 0
    w.agent.start(host_verdict="deny")
    w.lab.admin(hang=True)
    asked = w.lab.log.mark()
    caller = w.pods["a"].dialer(timeout=20000)
    w.lab.log.wait_for(lambda e: e["event"] == "request", asked)
    kept = connected(w)
    assert kept, "the agent asks nobody"
    w.lab.admin(clear=True)
    other = w.pods["e"].dialer(requests=2, timeout=3000)
    assert other.read()["result"] == "ok"
    w.add_uplink("up1", "fab1", SECOND_NODE, SECOND_FABRIC)
    w.host.ip(f"route add {IMDS}/32 via {SECOND_FABRIC} table 77")
    w.wait_pins(2)
    # who no longer may loses its connection: so the search is known to be over
    mark = w.agent.audit.mark()
    del w.pods["e"]
    w.apply_pods()
    w.agent.audit.wait_for(event("guard.drop", reason="older_connection"), mark)
    assert connected(w) == kept
    w.host.ip("link del up1")
    assert w.agent.stop() == 0
    for dialer in (caller, other):
        dialer.close()
    w.agent.start()


@suite.test("more uplinks than there may be: said, and those that have the guard keep it")
def many(w):
    mark, numbers = w.agent.log.mark(), range(66)
    w.host.ip(*(line for n in numbers for line in (
        f"link add x{n} type veth peer name y{n}", f"link set x{n} up", f"link set y{n} up",
        f"route add {IMDS}/32 dev x{n} table {1000 + n}")))
    w.agent.log.wait_for(lambda line: "cannot guard an uplink" in line and '"x65"' in line, mark)
    all_stopped(w)
    w.host.ip(*(f"link del x{n}" for n in numbers))
    w.agent.log.wait_for(lambda line: "an uplink is gone" in line, mark)
    mark = w.agent.log.mark()
    w.add_uplink("up2", "fab2", "10.97.0.2", "10.97.0.1")
    w.host.ip(f"route add {IMDS}/32 via 10.97.0.1 table 77")
    w.agent.log.wait_for(lambda line: "guarding an uplink" in line and "up2" in line, mark)
    w.host.ip("link del up2")
    w.agent.log.wait_for(lambda line: "an uplink is gone" in line, mark)
    w.wait_pins(1)


class Other(Program):
    """bpf/other_tc.bpf.c as a filter at up0 with the priority that ours has, too."""

    def __init__(self, w):
        super().__init__(w, "other_tc")
        for argv in (["qdisc", "replace", "dev", "up0", "clsact"],
                     ["filter", "add", "dev", "up0", "egress", "prio", "1", "handle", "1", "bpf",
                      "da", "object-pinned", self.path]):
            status, out, err = w.host.run(["tc", *argv])
            assert status == 0, out + err

    def packets(self):
        return self.count("other_packets")


def filters(w, device="up0"):
    """Egress filters of the classic kind."""
    status, out, err = w.host.run(["tc", "-json", "filter", "show", "dev", device, "egress"])
    assert status == 0, err
    return [f for f in json.loads(out or "[]") if "options" in f]


def attached(w, uplinks=("up0",)):
    """How many programs of ours are at these, and nowhere else: (tcx links, filters)"""
    links = [n for n in os.listdir(f"{w.bpffs}/imdsgate/links") if n.startswith("guard_")]
    found = len(links), len([f for device in uplinks for f in filters(w, device)
                             if "ig_guard" in json.dumps(f)])
    assert told_by_doctor(w) == found
    return found


def told_by_doctor(w):
    argv = [f"{BUILD}/imdsgate", "--json", "--socket", w.agent.socket, "doctor", "--no-self-test"]
    out = w.host.run(argv)[1]
    told = [c["found"] for c in json.loads(out)["checks"]
            if (c["name"], c["state"]) == ("guard", "ok")]
    assert all("on interface" in text for text in told), told
    return (len([text for text in told if text.startswith("link ")]),
            len([text for text in told if text.startswith("filter ")]))


@suite.test("the agent is killed: still closed; it starts again: attached once")
def killed(w):
    before, mark = attached(w), w.agent.log.mark()
    assert sum(before) == 1, before
    w.add_uplink("up3", "fab3", "10.96.0.2", "10.96.0.1")
    w.host.ip(f"route add {IMDS}/32 via 10.96.0.1 table 77")
    w.agent.log.wait_for(lambda line: "guarding an uplink" in line and "up3" in line, mark)
    assert attached(w, ("up0", "up3")) in ((2, 0), (0, 2))
    w.agent.kill_both()
    w.host.ip("link del up3")
    for name, (place, args, _) in forms(w).items():
        seen = w.seen.mark()
        w.send(place, *args)
        assert not w.arrived(seen), name
    w.agent.start()
    assert attached(w) == before
    all_stopped(w)


@suite.test("somebody else's filter stays and works, with the classic hook, too")
def beside(w):
    assert w.agent.stop() == 0
    detach(w)
    other = Other(w)
    for flags in ((), ("--guard-hook", "clsact")):
        w.agent.start(*flags)
        before = other.packets()
        assert w.pods["a"].dial(timeout=10000).appid == A
        assert other.packets() > before, "the other program no longer runs"
        all_stopped(w)
        assert w.agent.stop() == 0
        detach(w)
        assert len(filters(w)) == 1, filters(w)
    w.agent.start()


@suite.test("the classic hook: no form reaches the far side, before and after a restart")
def classic(w):
    assert w.agent.stop() == 0
    w.agent.start("--guard-hook", "clsact")
    assert attached(w) == (0, 1), attached(w)
    all_stopped(w)
    passes(w)
    w.agent.kill_both()
    w.agent.start("--guard-hook", "clsact")
    assert attached(w) == (0, 1) and len(filters(w)) == 2, filters(w)
    all_stopped(w)


@suite.test("from the classic hook to tcx and back: always exactly one")
def switch(w):
    for flags in ((), ("--guard-hook", "clsact"), ()):
        assert w.agent.stop() == 0
        w.agent.start(*flags)
        assert sum(attached(w)) == 1, attached(w)
        all_stopped(w)


def detach(w):
    status, out, err = w.agent.place.run([*w.agent.argv(), "--detach"])
    assert status == 0, f"exit {status}: {out}{err}"


@suite.test("--detach takes ours off, whichever hook, and leaves the others")
def off(w):
    for flags in ((), ("--guard-hook", "clsact")):
        w.agent.stop()
        w.agent.start(*flags)
        assert w.agent.stop() == 0
        detach(w)
        assert not os.path.exists(f"{w.bpffs}/imdsgate") and len(filters(w)) == 1
        for name, (place, args, _) in forms(w).items():
            seen = w.seen.mark()
            w.send(place, *args)
            assert len(w.sent(seen)) == 1, name


@suite.test("--guard off, and --guard with the name of another interface, guard nothing here")
def chosen(w):
    for choice in ("off", "up7"):
        w.agent.start(guard=choice)
        seen = w.seen.mark()
        w.send(w.pods["c"], "raw", w.pods["c"].address, IMDS, 80)
        assert len(w.sent(seen)) == 1, choice
        assert w.agent.stop() == 0
        detach(w)
    w.agent.start(guard="up7,up0")
    all_stopped(w)


# The last one: older kernels (5.10) put fragments together in a namespace from its first translation
# on, and a lone one gets no further than there.
@suite.test("a pod with an exception whose address is translated passes")
def translated(w):
    assert w.host.run(["nft", "add table ip t; add chain ip t c { type nat hook postrouting "
                       "priority 100; }; add rule ip t c oifname up0 masquerade"])[0] == 0
    mark = w.seen.mark()
    reply, refused = w.pods["d"].dial(), w.pods["c"].dial()
    assert reply["result"] == "ok", reply
    assert refused.body, refused
    w.send(w.pods["c"], "raw", w.pods["c"].address, IMDS, 80, "--data")
    w.send(w.pods["c"], "raw", w.pods["c"].address, IMDS, 80)
    sources = {(p["src"], p["payload"] > 0) for p in guarded_only(w.arrived(mark))}
    assert sources == {(NODE, True), (NODE, False)}, sources
    assert not [p for p in w.seen.since(mark) if p["sport"] == 40961 and p["dst"] == IMDS]
    assert w.host.run(["nft", "delete table ip t"])[0] == 0


if __name__ == "__main__":
    suite.run()
