"""100 times a new agent takes over from the one that runs, under load and with slow requests under
way: not one request fails.

IG_UPGRADES (100) may be given."""

import contextlib
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "netns"))

from harness import TRACES, manifests, standard_world  # noqa: E402
from places import TokenLoad  # noqa: E402
from tap import Suite  # noqa: E402

UPGRADES = int(os.environ.get("IG_UPGRADES", "100"))
A, B = manifests.ID_A.client_id, manifests.ID_B.client_id


@contextlib.contextmanager
def world():
    with standard_world(agent=False) as w:
        w.add_pod("a2", "sel-a")
        w.declare()
        w.agent.start("--audit-chain")
        yield w


suite = Suite(world, TRACES, seconds=600)


@suite.test(f"{UPGRADES} upgrades under load: no request fails, nobody is left behind")
def upgrades(w):
    w.lab.admin(delay_ms=200)
    loads = [TokenLoad(w.pods[name], client, kept=2, new=2, slow=1, per_second=15)
             for name, client in (("a", A), ("b", B), ("a2", A))]
    old, took = [], []
    for _ in range(UPGRADES):
        begun = time.monotonic()
        old.append(w.agent.upgrade("--audit-chain"))
        took.append(time.monotonic() - begun)
        # those that still answer what they had begun
        old = [process for process in old if process.poll() is None]
    for process in old:
        assert process.wait(30) == 0
    results = [load.stop() for load in loads]
    w.lab.admin(clear=True)
    failures = [failure for r in results for failure in r["failures"]]
    total = {kind: sum(r[kind] for r in results) for kind in ("kept", "new", "slow", "announced")}
    longest = max(r["longest"] for r in results)
    print(f"# {UPGRADES} upgrades, {sum(took) / len(took):.2f} s each; requests: {total}; the longest "
          f"took {longest:.2f} s; {len(failures)} failed", flush=True)
    assert not failures, failures[:20]
    assert min(total.values()) >= UPGRADES / 2, total
    w.lab.never_reached()


@suite.test("every run is in the audit, whole, one behind the other")
def recorded(w):
    starts = [r for r in w.agent.audit.all() if r["kind"] == "agent.started"]
    assert [r.get("reason") for r in starts] == [None] + ["took_over"] * UPGRADES
    ends = [r["run"] for r in w.agent.audit.all() if r["kind"] == "agent.stopped"]
    assert sorted(ends) == sorted(r["run"] for r in starts[:-1])
    status, out, err = w.agent.cli_run("audit", "verify", w.agent.audit.path)
    assert status == 0, (out + err)[-2000:]


if __name__ == "__main__":
    suite.run()
