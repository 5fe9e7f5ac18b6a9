"""A node on which pods come and go: the world of the system tests with an API server, more identities,
and pods in numbers. Every pod runs caller.py; some may pass the gate (they ask for nothing here), and
so have an entry in the kernel's map of workloads. Used by soak.py."""

import contextlib
import json
import os
import random
import subprocess
import sys
import time

from cluster import AADPODIDENTITY, BINDINGS, NODE, Cluster, binding, metadata
from harness import AGENT_UID, UNRELATED, World, manifests
from truth import ABSENT, GONE, PRESENT, Timeline

HERE = os.path.dirname(os.path.abspath(__file__))
IDENTITIES = tuple(manifests.Identity(f"id-{i}", f"{i:08x}-0000-4000-8000-00000000000{i}",
                                      f"{i:08x}-1111-4000-8000-00000000000{i}")
                   for i in range(1, 7))
SELECTORS = tuple(f"sel-{i}" for i in range(8))
DIRECT, DIRECT_SHARE = "direct", 0.2
NAMES = 40  # fewer than pods that ever come: a name is another pod's before long
PER_SECOND = 10  # requests of a pod


class Application:
    """A pod with its caller. What it may get is its selector's timeline and its own presence."""

    def __init__(self, node, name, selector):
        self.passes = selector == DIRECT
        self.rules, self.presence = node.rules.get(selector), Timeline(ABSENT)
        self.pod = node.cluster.add_pod(name, {"aadpodidbinding": selector})
        self._node, self._text = node, b""
        self._process = self.pod.spawn(
            [sys.executable, "-S", "-B", f"{HERE}/caller.py", self.pod.uid, UNRELATED,
             str(0 if self.passes else PER_SECOND)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        os.set_blocking(self._process.stdout.fileno(), False)

    def fileno(self):
        return self._process.stdout.fileno()

    def declare(self):
        self.presence.change(time.monotonic(), PRESENT)
        self._node.cluster.put_pod(self.pod)

    def withdraw(self):
        self.presence.change(time.monotonic(), GONE)
        self._node.cluster.delete_pod(self.pod)

    def read(self):
        """The answers since the last time; None at its end."""
        data = os.read(self.fileno(), 1 << 20)
        *lines, self._text = (self._text + data).split(b"\n")
        return [json.loads(line) for line in lines] if data else None

    def end(self):
        """The rest of its answers; it is ended with its request, if there is one."""
        self.pod.cgroup.kill()
        answers = []
        while more := self.read():
            answers += more
        self._process.wait(10)
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        return answers

    def remove(self):
        """As kubelet and the container runtime do it: the control group, then the namespace."""
        os.rmdir(self.pod.cgroup.path)
        os.rmdir(os.path.dirname(self.pod.cgroup.path))
        self._node.world.remove_netns(self.pod.name)
        self._node.world.pods.pop(self.pod.name, None)


class Node:
    def __init__(self, world, chance):
        self.world, self.chance, self.cluster = world, chance, Cluster(world)
        self.rules = {selector: Timeline(None) for selector in SELECTORS}
        self.free_names = [f"app-{i}" for i in range(NAMES)]
        self.audit_path = os.path.join(world.tmp, "audit", "audit.jsonl")

    def start(self):
        os.mkdir(os.path.dirname(self.audit_path))
        os.chown(os.path.dirname(self.audit_path), AGENT_UID, AGENT_UID)
        self.cluster.start()
        self.cluster.admin(up=True)
        for ident in IDENTITIES:
            self.cluster.put(f"{AADPODIDENTITY}/azureidentities", {
                "metadata": metadata(ident.name),
                "spec": {"type": 0, "clientID": ident.client_id, "resourceID": ident.resource_id}})
        self.cluster.put(f"{AADPODIDENTITY}/azurepodidentityexceptions", {
            "metadata": metadata(DIRECT, annotations={"imdsgate.dev/exception-mode": "direct"}),
            "spec": {"podLabels": {"aadpodidbinding": DIRECT}}})
        for selector in SELECTORS:
            self.change_rule(selector)
        self.world.agent.audit.path = self.audit_path
        self.world.agent.start(kubeconfig=self.cluster.kubeconfig, node=NODE,
                               audit_file=self.audit_path, audit_rotate_size="16M", audit_keep=2)
        self.cluster.until_synced()

    def change_rule(self, selector=None):
        """Another identity, or none any more. The timeline changes first: the agent may be quick."""
        selector = selector or self.chance.choice(SELECTORS)
        timeline, now = self.rules[selector], time.monotonic()
        name = f"bind-{selector}"
        others = [i for i in IDENTITIES if i.client_id != timeline.value]
        if timeline.value and self.chance.random() < 0.3:
            timeline.change(now, None)
            self.cluster.delete(BINDINGS, name)
            return
        ident = self.chance.choice(others)
        timeline.change(now, ident.client_id)
        self.cluster.put(BINDINGS, binding(name, ident, selector))

    def add(self, passes=None):
        name = self.free_names.pop(self.chance.randrange(len(self.free_names)))
        passes = self.chance.random() < DIRECT_SHARE if passes is None else passes
        return Application(self, name, DIRECT if passes else self.chance.choice(SELECTORS))

    def remove(self, application):
        application.remove()
        self.free_names.append(application.pod.name)


@contextlib.contextmanager
def soak_node(seed):
    with World(identities=IDENTITIES) as world:
        node = Node(world, random.Random(seed))
        node.start()
        yield node
