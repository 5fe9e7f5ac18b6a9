"""--startup-taint: once the gate serves, and not before, the agent takes the taint with this key off its
node; only that one, whatever happens to the others meanwhile, and it does not give up."""

import contextlib

import cluster
from cluster import Cluster
from harness import TRACES, standard_world
from tap import Suite
from watch import wait_ready

KEY = "imdsgate.dev/agent-not-ready"
NODES = "/api/v1/nodes"
NODE = f"{NODES}/{cluster.NODE}"
OURS = [{"key": KEY, "value": "true", "effect": effect} for effect in ("NoSchedule", "NoExecute")]
THEIRS = [{"key": "dedicated", "value": KEY, "effect": "NoSchedule"},
          {"key": f"{KEY}-either", "effect": "NoSchedule"},
          {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute",
           "timeAdded": "2026-01-02T03:04:05Z"}]


@contextlib.contextmanager
def build():
    with standard_world(agent=False) as w:
        w.cluster = Cluster(w)
        w.cluster.start()
        w.cluster.admin(up=True)
        yield w


suite = Suite(build, TRACES)


def node(taints):
    return {"metadata": {"namespace": "", "name": cluster.NODE},
            "spec": {"podCIDR": "10.0.0.0/24", "taints": taints}}


def taint(w, taints):
    w.cluster.put(NODES, node(taints))


def start(w):
    w.agent.start(kubeconfig=w.cluster.kubeconfig, node=cluster.NODE, startup_taint=KEY)


def said(w, text, since):
    return w.agent.log.wait_for(lambda line: text in line, since)


def patches(w, since):
    return [e for e in w.cluster.log.since(since) if e["path"] == NODE and e["method"] == "PATCH"]


def expected(taints, ours):
    """What removes these and nothing else, if they are where they were seen."""
    found = []
    for index in reversed([i for i, t in enumerate(taints) if t in ours]):
        found += [{"op": "test", "path": f"/spec/taints/{index}", "value": taints[index]},
                  {"op": "remove", "path": f"/spec/taints/{index}"}]
    return found


@suite.test("it goes once the gate serves, with every effect, and the others stay")
def goes(w):
    taints = [THEIRS[0], OURS[0], THEIRS[1], OURS[1], THEIRS[2]]
    taint(w, taints)
    log, asked = w.agent.log.mark(), w.cluster.log.mark()
    start(w)
    said(w, "was taken off this node", log)
    (patch,) = patches(w, asked)
    assert patch["type"] == "application/json-patch+json"
    assert patch["body"] == expected(taints, OURS), patch
    w.agent.stop()


@suite.test("what remains is what the others wrote: the next agent finds nothing to do")
def remains(w):
    log, asked = w.agent.log.mark(), w.cluster.log.mark()
    start(w)
    said(w, "has no start-up taint", log)
    assert not patches(w, asked)
    w.agent.stop()


@suite.test("taints that move between reading and writing: it looks again, and removes only its own")
def moves(w):
    before, after = [OURS[0], THEIRS[0]], [THEIRS[0], OURS[0]]
    taint(w, before)
    w.cluster.admin(next=NODE, object=node(after))
    log, asked = w.agent.log.mark(), w.cluster.log.mark()
    start(w)
    said(w, "was taken off this node", log)
    assert [p["body"] for p in patches(w, asked)] == [expected(before, OURS), expected(after, OURS)]
    assert not [line for line in w.agent.log.since(log) if "trying again" in line]
    w.agent.stop()


@suite.test("an agent that stands by leaves the taint alone until it has taken over")
def stands_by(w):
    taint(w, [OURS[0]])
    w.agent.start()
    log, asked = w.agent.log.mark(), w.cluster.log.mark()
    w.cluster.admin(hold=cluster.POLICIES)
    process, ready = w.agent.start_beside(kubeconfig=w.cluster.kubeconfig, node=cluster.NODE,
                                          startup_taint=KEY)
    said(w, "standing by", log)
    w.cluster.log.wait_for(lambda e: e["path"] == cluster.POLICIES, asked)
    assert not [e for e in w.cluster.log.since(asked) if e["path"] == NODE]
    w.cluster.admin(release=cluster.POLICIES)
    assert b"ready" in wait_ready(ready)
    said(w, "was taken off this node", log)
    assert w.agent.process.wait(10) == 0
    w.agent.process = process
    w.agent.stop()


@suite.test("without the right it says so once, and goes on trying")
def forbidden(w):
    taint(w, [OURS[0]])
    w.cluster.admin(reply=NODE, status=403)
    log, asked = w.agent.log.mark(), w.cluster.log.mark()
    start(w)
    said(w, "lacks the right", log)
    w.cluster.until(lambda: len([e for e in w.cluster.log.since(asked) if e["path"] == NODE]) > 2,
                    "asked again")
    w.cluster.admin(reply=NODE, status=None)
    said(w, "was taken off this node", log)
    assert len([line for line in w.agent.log.since(log) if "lacks the right" in line]) == 1
    w.agent.stop()


@suite.test("an API server that is away when the gate begins to serve")
def away(w):
    taint(w, [OURS[0]])
    w.cluster.admin(up=False)
    log = w.agent.log.mark()
    start(w)
    said(w, "cannot take the start-up taint off", log)
    w.cluster.admin(up=True)
    said(w, "was taken off this node", log)


if __name__ == "__main__":
    suite.run()
