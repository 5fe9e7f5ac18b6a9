"""Ways that change what the network does with the packets, in the pod (as NET_ADMIN lets it) or, as
others do for good reasons, on the node."""

import subprocess
import sys

from bypass.way import (HERE, Counted, Way, attempt, denied, dial, dropped, event, reached, send,
                        wait_until)
from harness import IMDS, WIRESERVER
from programs import Program
from tap import Skip

ELSEWHERE, SERVICE = "10.77.255.9", "10.77.254.1"  # nobody's
BY_TUNNEL, BY_MACVLAN = "10.77.3.111", "10.99.5.2"


def nft(place, *commands):
    status, _, err = place.run(["nft", "; ".join(commands)])
    assert status == 0, err


def translate(place, hook, address, port, to):
    nft(place, "add table ip bypass",
        f"add chain ip bypass {hook} {{ type nat hook {hook} priority -100; }}",
        f"add rule ip bypass {hook} ip daddr {address} tcp dport {port} dnat to {to}")


def translate_no_more(place):
    nft(place, "delete table ip bypass")


def pod_translates(w):
    translate(w.pods["c"], "output", ELSEWHERE, 8080, f"{IMDS}:80")


def node_translates(w):
    """As a Service does whose endpoint somebody set to WireServer."""
    for hook in ("prerouting", "output"):
        translate(w.host, hook, SERVICE, 80, f"{WIRESERVER}:80")


def undo_pod(w):
    translate_no_more(w.pods["c"])


def undo_node(w):
    translate_no_more(w.host)


def must(place, reason, *commands):
    """Skips where the kernel lacks what these need."""
    process = place.spawn(["ip", "-batch", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    _, err = process.communicate("\n".join(commands) + "\n", timeout=10)
    if process.returncode:
        raise Skip(f"{reason}: {err.strip()}")


def add_tunnel(w):
    must(w.host, "this kernel has no VXLAN", "link add bypass type vxlan id 7 dstport 4789 local "
         f"10.77.3.1 remote {w.pods['c'].address}", "link set bypass up")


def remove_tunnel(w):
    w.host.ip("link del bypass")


def lead(group):
    """Somebody's program, which leads ELSEWHERE to the endpoint."""
    return lambda w: Program(w, "service").attach(group(w), "multi")


def lead_no_more(group):
    return lambda w: Program(w, "service").detach(group(w))


def pods_group(w):
    return w.pods["c"].cgroup.path


def gates_group(w):
    return w.cgroup.path


def add_macvlan(w):
    """An interface of the pod's on the uplink itself."""
    must(w.host, "this kernel has no macvlan",
         f"link add link up0 name bypass netns {w.pods['c'].netns} type macvlan mode bridge")
    w.fabric.ip("addr add 10.99.5.1/24 dev fab0")
    w.pods["c"].ip(f"addr add {BY_MACVLAN}/24 dev bypass", "link set bypass up",
                   f"route add {IMDS}/32 via 10.99.5.1")


def remove_macvlan(w):
    w.pods["c"].ip("link del bypass")
    w.fabric.ip("addr del 10.99.5.1/24 dev fab0")


def own_route(w):
    w.pods["c"].ip("route add default via 10.77.3.1 table 99", "rule add fwmark 99 table 99")


def not_own_route(w):
    w.pods["c"].ip("rule del fwmark 99 table 99", "route flush table 99")


def own_address(w):
    w.pods["c"].ip(f"addr add {IMDS}/32 dev lo")


def not_own_address(w):
    w.pods["c"].ip(f"addr del {IMDS}/32 dev lo")


# ---- MPTCP: the kernel connects by itself, in a worker that is in no control group ---------------

ANNOUNCED = "10.77.255.3"


def announce(w, client):
    """A server outside, which tells MPTCP clients that it can be reached at the endpoint, too."""
    must(w.fabric, "this kernel has no MPTCP", f"addr replace {ANNOUNCED}/32 dev lo")
    status, _, err = w.fabric.run(["ip", "mptcp", "endpoint", "add", IMDS, "signal"])
    if status:
        raise Skip(f"this kernel has no MPTCP: {err.strip()}")
    assert client.run(["ip", "mptcp", "limits", "set", "add_addr_accepted", "4", "subflows", "4"]
                      )[0] == 0
    w.announcer = w.fabric.spawn(
        [sys.executable, "-S", "-B", f"{HERE}/attempt.py", "mptcp_server", f"addr={ANNOUNCED}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert w.announcer.stdout.readline() == "ready\n"


def unannounce(w):
    w.announcer.stdin.close()
    w.announcer.wait(10)
    w.fabric.run(["ip", "mptcp", "endpoint", "flush"])


def counted(w):
    """What the gate did to connections to endpoints; without it, nothing."""
    if not w.agent.process:
        return 0
    return w.counter("redirected") + w.counter("guard_dropped")


def by_announcement(pod):
    """Waits until the kernel has tried: until the packet arrives, or the gate counts it."""
    def run(w):
        mark, before = w.seen.mark(), counted(w)
        client = w.pods[pod].spawn(
            [sys.executable, "-S", "-B", f"{HERE}/attempt.py", "mptcp_client",
             f"addr={ANNOUNCED}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert client.stdout.readline() == "ready\n"
        wait_until(lambda: reached(w, mark) or counted(w) > before, "the kernel's connect")
        client.stdin.close()
        client.wait(10)
        return []
    return run


WAYS = (
    Way("a translation in the pod", "NET_ADMIN: connect() to somebody else, DNAT to the endpoint",
        dial("plain", addr=ELSEWHERE, port=8080), dropped("forwarded"), silent=True,
        before=pod_translates, after=undo_pod),
    Way("a translation on the node", "a Service whose endpoint is WireServer",
        dial("plain", addr=SERVICE), dropped("forwarded"), silent=True,
        before=node_translates, after=undo_node),
    Way("the same for a pod with hostNetwork", "the node translates what it sends itself",
        dial("plain", who="h", addr=SERVICE), dropped("not_allowed", pod__name="h"), silent=True,
        before=node_translates, after=undo_node),
    Way("a route of the pod's own", "a table of its own, chosen by a mark",
        attempt("marked", mark=99), denied("c"), before=own_route,
        after=not_own_route),
    Way("the endpoint's address on the pod's lo", "a service of its own at that address",
        dial("plain"), denied("c"), before=own_address, after=not_own_address,
        unproven="without the gate it leads to the pod itself"),
    Way("a tunnel", "VXLAN to the node, which takes out what is in it",
        attempt("tunnelled", source=BY_TUNNEL, via="10.77.3.1",
                mac=lambda w: w.mac(w.host, "bypass")),
        dropped("forwarded"), before=add_tunnel, after=remove_tunnel),
    Way("an interface on the uplink, connect()", "macvlan: not forwarded by the node",
        dial("plain"), denied("c"), before=add_macvlan, after=remove_macvlan),
    Way("an interface on the uplink, raw", "macvlan: past the node's routing",
        send("c", "raw", BY_MACVLAN, IMDS, 80),
        event("guard.drop", connection__source=f"{BY_MACVLAN}:40961"),
        before=add_macvlan, after=remove_macvlan),
    Way("a program on the pod's group", "a connect4 program below ours: it runs before ours",
        dial("plain", addr=ELSEWHERE, port=8080), denied("c"),
        before=lead(pods_group), after=lead_no_more(pods_group)),
    Way("a program behind ours", "a load balancer by sockets, attached after the gate",
        dial("plain", addr=ELSEWHERE, port=8080), dropped("forwarded"), silent=True,
        before=lead(gates_group), after=lead_no_more(gates_group)),
    Way("an address that a server announces", "MPTCP: the kernel connects to it by itself",
        by_announcement("c"), Counted("redirected"),
        before=lambda w: announce(w, w.pods["c"]), after=unannounce),
    Way("the same in the host's namespace", "where workers of the kernel may pass",
        by_announcement("h"), dropped("not_allowed", pod__name="h"), silent=True,
        before=lambda w: announce(w, w.pods["h"]), after=unannounce),
)
