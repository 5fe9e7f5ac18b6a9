"""How long our programs run for a connection that has nothing to do with the gate, against programs
of the same kinds that do nothing, at the same control group and for the same connections. What the
kernel takes to look at its clock is in both."""

import os

from bpf_stats import Runs, counted, links
from connects import COUNT, Client, away_from_client
from harness import standard_world
from programs import Program

HERE = os.path.dirname(os.path.abspath(__file__))
HOOKS = {"connect4": ("ig_connect4", "connect4"), "sockops": ("ig_sockops", "sock_ops")}


def run(bench):
    with standard_world() as w:
        away_from_client(w)
        client, gated, pins = Client(w.pods["a"]), w.cgroup.child("bystander"), links(w)
        ours, empty = {}, {}
        for hook, (pin, word) in HOOKS.items():
            program = Program(w, f"empty_{hook}", word, f"{HERE}/bpf")
            program.attach(w.cgroup.path, "multi")
            ours[hook] = Runs("link", "show", "pinned", pins[pin])
            empty[hook] = Runs("prog", "show", "pinned", program.path)

        def measure(address):
            client.round(gated, address, client.port)
            return {hook: (ours[hook].look(), empty[hook].look()) for hook in HOOKS}

        with counted():
            for name, address in (("lo", "127.0.0.1"), ("own address", w.pods["a"].address)):
                rounds = [measure(address) for _ in range(bench.rounds)]
                for hook in HOOKS:
                    bench.row(f"{hook}, unrelated connect, {name}", "ns",
                              [r[hook][0][1] for r in rounds],
                              baseline=[r[hook][1][1] for r in rounds], ratio="<= 1.5")
        bench.row("runs of sockops in one connect", "", [r["sockops"][0][0] / COUNT for r in rounds])
