"""250 pods that ask at once for a token of each of four identities, none of which is in the cache:
how often upstream is asked, and how long the last ones wait, against the time that upstream takes
(the stand-in waits so long before each answer; the real service takes some 30 to 200 ms).

The agent is told nothing about the pods beforehand but their manifests. Each round asks for a
resource that nobody has asked for; in the first one the callers themselves are unknown as well."""

import secrets
import statistics
import subprocess
import uuid

import manifests
from harness import IMDS, World
from places import BUILD

PODS, UPSTREAM_MSEC = 250, 100
IDENTITIES = [manifests.Identity(f"id-{n}", f"cccccccc-0000-4000-8000-{n:012}",
                                 f"cccccccc-1111-4000-8000-{n:012}") for n in range(4)]


class Herd:
    """herd.c with a process in each of so many pods, in which there is nothing else: a network
    namespace with loopback, and a control group as kubelet makes them."""

    def __init__(self, world):
        self._world, self._pods = world, []
        documents = [self._add(f"pod-{n}") for n in range(PODS)]
        world.write("pods.yaml", manifests.join(*documents))

    def _add(self, name):
        uid = str(uuid.uuid4())
        group = self._world.cgroup.child(
            "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod"
            f"{uid.replace('-', '_')}.slice/cri-containerd-{secrets.token_hex(32)}.scope")
        self._pods.append(f"{group.path}/cgroup.procs {self._world.add_bare_netns(name)}\n")
        return manifests.pod(name, uid=uid, labels={"aadpodidbinding": "herd"})

    def start(self):
        argv = [f"{BUILD}/tests/bench/herd", IMDS, "80", *(i.client_id for i in IDENTITIES)]
        self._process = self._world.host.spawn(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._process.stdin.write("".join(self._pods) + "\n")

    def round(self, resource):
        """How long each request took, in milliseconds."""
        self._process.stdin.write(f"{resource}\n")
        self._process.stdin.flush()
        times = []
        while (line := self._process.stdout.readline()) != "\n":
            assert line, "the herd ended"
            times.append(int(line) / 1000)
        assert len(times) == PODS * len(IDENTITIES)
        return times


def one_round(world, herd, resource):
    """(upstream calls for one token at most, p50, p99)"""
    mark = world.lab.log.mark()
    times = herd.round(resource)
    calls = [r["client_id"] for r in world.lab.log.since(mark)
             if r["event"] == "reply" and r.get("resource") == resource]
    assert set(calls) == {i.client_id for i in IDENTITIES}, calls
    return (max(map(calls.count, calls)), statistics.median(times),
            statistics.quantiles(times, n=100)[98])


def run(bench):
    with World(IDENTITIES) as w:
        w.write("identities.yaml", manifests.join(
            *(manifests.identity(i) for i in IDENTITIES),
            *(manifests.binding(f"bind-{i.name}", i, "herd") for i in IDENTITIES)))
        herd = Herd(w)
        w.agent.start()
        assert w.agent.cli("status")["listeners"] > PODS
        w.lab.admin(delay_ms=UPSTREAM_MSEC)
        herd.start()
        rounds = [one_round(w, herd, f"https://round-{n}.example") for n in range(bench.rounds)]
        upstream = [UPSTREAM_MSEC] * bench.rounds
        bench.row("cold, 250 pods × 4: calls for each token", "", [r[0] for r in rounds],
                  limit="<= 1")
        bench.row("cold, 250 pods × 4: p50", "ms", [r[1] for r in rounds], baseline=upstream)
        bench.row("cold, 250 pods × 4: p99", "ms", [r[2] for r in rounds], baseline=upstream,
                  ratio="<= 2.0")
