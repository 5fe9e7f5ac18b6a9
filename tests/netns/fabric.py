"""A node whose metadata service is not on it, but behind an uplink, as in a cloud:

    pod ── veth ── host_netns ── up0 ── fabric (the addresses on lo, the lab behind them)

Packets of pods are forwarded, without translation unless a test adds it. The fabric leads nowhere
else. Used by test_guard.py."""

import contextlib
import json
import os
import subprocess
import sys
import time

import manifests
from harness import GUARDED, IMDS, UNRELATED, WIRESERVER, World
from places import HERE, Place
from watch import PATIENCE, Lines

NODE, FABRIC = "10.99.0.2", "10.99.0.1"
SECOND_NODE, SECOND_FABRIC = "10.98.0.2", "10.98.0.1"


class FabricWorld(World):
    def _build_host(self):
        self.fabric_netns = self._netns(os.path.join(self.tmp, "host", "fabric"))
        self.lab_netns = self.fabric_netns
        self.fabric = Place(self, self.fabric_netns, None)
        self.fabric.ip("link set lo up", *(f"addr add {address}/32 dev lo"
                                           for address in (IMDS, WIRESERVER, UNRELATED)))
        self.host.ip("link set lo up")
        self.add_uplink("up0", "fab0", NODE, FABRIC)
        self.fabric.ip(f"route add 10.77.0.0/16 via {NODE}")
        self.host.ip(f"route add default via {FABRIC}")
        assert self.host.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])[0] == 0
        self._check_confined(self.host, "up0")
        self._check_confined(self.fabric, "lo")
        status, out, _ = self.fabric.run(["ip", "route", "get", "192.0.2.1"])
        assert status != 0, f"there is a way out of the test's namespaces: {out}"
        self.seen = Lines(os.path.join(self.tmp, "seen.jsonl"), json.loads)
        self.sniff("fab0")
        self._sentinel = 0

    def add_uplink(self, name, peer, ours, theirs):
        """Without a route by it."""
        self.host.ip(f"link add {name} type veth peer name {peer} netns {self.fabric_netns}",
                     f"addr add {ours}/30 dev {name}", f"link set {name} up")
        self.fabric.ip(f"addr add {theirs}/30 dev {peer}", f"link set {peer} up")

    def sniff(self, *devices):
        process = self.fabric.spawn([sys.executable, "-S", f"{HERE}/sniffer.py", self.seen.path,
                                     *devices], stdout=subprocess.PIPE)
        assert process.stdout.readline() == "ready\n", "cannot watch the uplinks"

    def mac(self, place, device):
        return json.loads(place.run(["ip", "-json", "link", "show", device])[1])[0]["address"]

    def send(self, place, *args):
        """packets.py"""
        status, _, err = place.run([sys.executable, "-S", f"{HERE}/packets.py", *map(str, args)])
        assert status == 0, err

    def arrived(self, mark, device="up0"):
        """Packets to a guarded address that came to the fabric since mark. Waits for one of our own
        that was sent after them, on the same way."""
        self._sentinel += 1
        port = 20000 + self._sentinel
        source = NODE if device == "up0" else SECOND_NODE
        far = {"up0": "fab0", "up1": "fab1"}[device]
        self.send(self.host, "frame", source, UNRELATED, port, device,
                  self.mac(self.fabric, far), "--udp")
        self.seen.wait_for(lambda p: p["dport"] == port, mark, what="packet of our own")
        return self.seen.find(lambda p: p["dst"] in (IMDS, WIRESERVER), mark)

    def sent(self, mark, device="up0"):
        """Those of packets.py that arrived (the kernels' own resets in answer are none)."""
        return [p for p in self.arrived(mark, device)
                if p["sport"] in (0, 40961) and not p["flags"] & 4]

    def pins(self):
        """The guard's links that are pinned."""
        return [n for n in os.listdir(f"{self.bpffs}/imdsgate/links") if n.startswith("guard_")]

    def wait_pins(self, count, seconds=10):
        """Until no more than so many interfaces have a pinned link of the guard. Its filters, on a
        kernel without tcx, go with their interface."""
        deadline = time.monotonic() + seconds * PATIENCE
        while len(self.pins()) > count:
            assert time.monotonic() < deadline, self.pins()

    def counter(self, name):
        return self.agent.cli("status")["counters"].get(name, 0)


def guarded_only(packets):
    """Those to an endpoint: address and port, or without a port and not UDP."""
    return [p for p in packets if (p["dst"], p["dport"]) in GUARDED
            or (p["offset"] and p["protocol"] == 6)]


def fabric_world():
    """Pods "a" (bound), "c" (nothing), "d" (exception: straight to the endpoint) and "h", in the
    host's network namespace. The agent is not running yet."""
    @contextlib.contextmanager
    def build():
        with FabricWorld() as w:
            w.write("identities.yaml", manifests.join(
                *(manifests.identity(ident) for ident in manifests.IDENTITIES),
                manifests.binding("bind-a", manifests.ID_A, "sel-a"),
                manifests.exception("direct", {"aadpodidbinding": "direct"}, mode="direct")))
            w.add_pod("a", "sel-a")
            w.add_pod("c")
            w.add_pod("d", "direct")
            w.add_pod("h", host_network=True)
            w.declare()
            yield w
    return build()
