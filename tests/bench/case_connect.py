"""What connect() and close() cost: of connections that have nothing to do with the gate, of those
that it redirects, and of those that packet filters redirect instead."""

from connects import Client, away_from_client, bare_cgroup
from harness import IMDS, standard_world
from packet_rules import KINDS, Rules

RULES = (10, 1000, 10000)
FEW = 200  # connections of one round that somebody else has to accept; well below the backlog


def microseconds(values):
    return [value / 1000 for value in values]


def unrelated(bench, w, bare):
    client, gated = Client(w.pods["a"]), w.cgroup.child("bystander")
    for name, address in (("lo", "127.0.0.1"), ("own address", w.pods["a"].address)):
        without, attached = bench.pairs(lambda to=address: client.round(bare, to, client.port),
                                        lambda to=address: client.round(gated, to, client.port),
                                        rounds=bench.rounds * 3)
        bench.row(f"unrelated connect and close, {name}", "µs", microseconds(attached),
                  baseline=microseconds(without), ratio="<= 1.02")


class Redirected:
    """Connects of a pod that end at its gate listener. bare: a control group without programs."""

    def __init__(self, pod):
        self._pod, self._client = pod, Client(pod)
        (self.port,) = pod.gate_ports()

    def by_gate(self):
        return self._client.round(self._pod.cgroup, IMDS, 80, FEW)

    def direct(self, bare):
        return self._client.round(bare, "127.0.0.1", self.port, FEW)

    def by_rules(self, bare):
        return self._client.round(bare, IMDS, 80, FEW)


def against_rules(bench, w, bare, gate):
    """The same connections, translated by packet filters in a pod without our programs."""
    other = Redirected(w.pods["b"])
    for kind in KINDS:
        for n in RULES:
            with Rules(w.pods["b"], kind, n, other.port):
                translated, redirected = bench.pairs(lambda: other.by_rules(bare), gate.by_gate)
            bench.row(f"redirected; by {kind}, {n} rules", "µs",
                      microseconds(redirected), baseline=microseconds(translated), ratio="<= 1.0")
    w.lab.never_reached()  # all of them ended at a gate listener


def beside_rules(bench, w, gate):
    """Ours does not depend on how many rules the node has."""
    def with_rules():
        with Rules(w.host, "iptables-nft", RULES[-1], gate.port):
            return gate.by_gate()
    without, beside = bench.pairs(gate.by_gate, with_rules)
    bench.row(f"redirected, {RULES[-1]} rules on the node", "µs", microseconds(beside),
              baseline=microseconds(without), ratio="<= 1.02")


def run(bench):
    with standard_world() as w, bare_cgroup(w) as bare:
        away_from_client(w)
        unrelated(bench, w, bare)
        gate = Redirected(w.pods["a"])
        direct, redirected = bench.pairs(lambda: gate.direct(bare), gate.by_gate)
        bench.row("redirected connect and close", "µs", microseconds(redirected),
                  baseline=microseconds(direct), ratio="<= 1.10")
        against_rules(bench, w, bare, gate)
        beside_rules(bench, w, gate)
