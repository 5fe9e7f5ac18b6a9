"""SIGKILL of the server, of the monitor and of both, at random moments and under load: no request
reaches the real endpoint, nobody gets another's token, and the service is back by itself.

IG_KILLS (500) and IG_SEED (random, printed) may be given. Half of the kills come shortly after the
one before, in whatever the agent is doing to get up again; the others when all workloads have been
served since. The server is the process that pods can reach, so most kills are its."""

import collections
import contextlib
import os
import random
import select
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "netns"))

from fabric import FabricWorld, guarded_only  # noqa: E402
from harness import World, manifests  # noqa: E402
from load import NOBODY, Load  # noqa: E402
from supervised import Supervised  # noqa: E402
from tap import Suite  # noqa: E402

KILLS = int(os.environ.get("IG_KILLS", "500"))
RECOVERY_SECONDS = 60
A, B = manifests.ID_A.client_id, manifests.ID_B.client_id
SHARES = {"server": 0.8, "monitor": 0.12, "both": 0.08}


@contextlib.contextmanager
def stress_world():
    with FabricWorld() as w:
        w.add_usual()
        w.add_pod("h", "sel-a", host_network=True)
        w.declare()
        yield w


suite = Suite(stress_world, (("no token in audit, log or output", World.check_no_token),),
              seconds=600)


def pause(agent, seconds):
    """Meanwhile the agent is looked after."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if select.select(agent.watched(), [], [], left)[0]:
            agent.tend()


def wait_for_server(agent):
    """A process that appears is no event that others could wait for."""
    deadline = time.monotonic() + RECOVERY_SECONDS
    while not agent.servers():
        assert time.monotonic() < deadline, "the monitor starts no server"
        pause(agent, 0.002)


@suite.test(f"{KILLS} kills")
def kills(w):
    seed = int(os.environ.get("IG_SEED", random.SystemRandom().randrange(2 ** 32)))
    print(f"# IG_SEED={seed}", flush=True)
    chance, agent = random.Random(seed), Supervised(w.agent)
    agent.start()
    load = Load([(w.pods["a"], A), (w.pods["b"], B), (w.pods["h"], A), (w.pods["c"], NOBODY)])
    load.wait_served(RECOVERY_SECONDS, agent.watched, agent.tend)
    mark, started = w.seen.mark(), time.monotonic()
    killed, recoveries, longest = collections.Counter(), 0, 0
    for target in chance.choices(list(SHARES), SHARES.values(), k=KILLS):
        if target == "server":
            wait_for_server(agent)
        getattr(agent, f"kill_{target}")()
        killed[target] += 1
        if chance.random() < 0.5:
            begun = time.monotonic()
            load.wait_served(RECOVERY_SECONDS, agent.watched, agent.tend)
            longest, recoveries = max(longest, time.monotonic() - begun), recoveries + 1
        pause(agent, chance.random() * 0.03)
    load.wait_served(RECOVERY_SECONDS, agent.watched, agent.tend)
    seconds, counts = time.monotonic() - started, load.stop()
    print(f"# {dict(killed)} in {seconds:.0f} s, {agent.starts} starts, {recoveries} waits for all "
          f"to be served (the longest {longest:.1f} s); requests: {dict(counts)}; "
          f"ends by itself: {agent.ends}", flush=True)
    assert not [word for word in counts if word.startswith("WRONG")], counts
    assert counts["served"] > KILLS, counts
    assert not agent.ends, f"gave up where it should have gone on: {agent.ends}"
    unexpected = set(counts) - {"served", "refused", "ended", "503"}
    assert not unexpected, counts
    reached = [p for p in guarded_only(w.arrived(mark)) if p["src"].startswith("10.77.")]
    assert not reached, reached[:3]
    w.lab.never_reached()


if __name__ == "__main__":
    suite.run()
