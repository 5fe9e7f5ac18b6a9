"""A Kubernetes cluster for the system tests: the API server of api_server.py in the host's
namespace, objects as its clients would write them, and pods in the cgroups that kubelet's cgroupfs
driver makes. Used by test_kubernetes.py."""

import json
import os
import secrets
import subprocess
import sys
import time
import uuid

from admin import tell
from harness import manifests
from places import HERE, Place, Pod
from watch import Lines

NODE, NAMESPACE = "test-node", manifests.NAMESPACE
PODS, ACCOUNTS = "/api/v1/pods", "/api/v1/serviceaccounts"
AADPODIDENTITY = "/apis/aadpodidentity.k8s.io/v1"
BINDINGS = f"{AADPODIDENTITY}/azureidentitybindings"
POLICIES = "/apis/imdsgate.dev/v1alpha1/metadatapolicies"
# everything that the agent lists
LISTED = {PODS, ACCOUNTS, BINDINGS, POLICIES, f"{AADPODIDENTITY}/azureidentities",
          f"{AADPODIDENTITY}/azurepodidentityexceptions"}

KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: agent}}]
clusters: [{name: test, cluster: {server: "http://127.0.0.1:%d"}}]
users: [{name: agent, user: {token: "%s"}}]
"""


def metadata(name, **more):
    return {"name": name, "namespace": NAMESPACE, "uid": str(uuid.uuid4()), **more}


def binding(name, ident, selector):
    return {"metadata": metadata(name),
            "spec": {"azureIdentity": ident.name, "selector": selector}}


def policy(name, resources):
    return {"metadata": metadata(name, generation=1),
            "spec": {"mode": "Enforce", "allow": {"resources": resources}}}


class Cluster:
    """The API server, and how to change what it says."""

    def __init__(self, world):
        self.world = world
        self.bearer = f"b34r3r-{secrets.token_hex(8)}"
        self.place = Place(world, world.host_netns, world.cgroup.child("api"))
        self.log = Lines(os.path.join(world.tmp, "api.jsonl"), json.loads)
        self._admin_path = os.path.join(world.tmp, "api.sock")
        self.kubeconfig = os.path.join(world.tmp, "kubeconfig")

    def start(self):
        process = self.place.spawn(
            [sys.executable, "-S", f"{HERE}/api_server.py", self.log.path, self._admin_path],
            stdout=subprocess.PIPE, env={**os.environ, "IG_API_BEARER": self.bearer})
        port = process.stdout.readline().strip()
        assert port, f"the API server does not start: {process.wait(10)}"
        with open(self.kubeconfig, "w", encoding="ascii",
                  opener=lambda path, flags: os.open(path, flags, 0o600)) as f:
            f.write(KUBECONFIG % (int(port), self.bearer))

    def admin(self, **command):
        assert tell(self._admin_path, **command) == {}, command

    def put(self, path, thing):
        self.admin(put=path, object=thing)

    def delete(self, path, name):
        self.admin(delete=path, namespace=NAMESPACE, name=name)

    def put_pod(self, pod):
        self.put(PODS, pod.object)

    def delete_pod(self, pod):
        self.delete(PODS, pod.name)

    def add_pod(self, name, labels=None, account=None, beside=None):
        """In kubelet's cgroup, and with an object that nobody knows before put_pod(). beside: the
        pod that had its name and has its network namespace (its cgroup is another)."""
        uid, container = str(uuid.uuid4()), secrets.token_hex(32)
        netns, address = (beside.netns, beside.address) if beside else self.world.add_netns(name)
        cgroup = self.world.cgroup.child(f"kubepods/burstable/pod{uid}/{container}")
        pod = Pod(self.world, name, netns, cgroup, None)
        pod.address, pod.uid = address, uid
        pod.object = {
            "metadata": metadata(name, uid=uid, labels=labels or {}),
            "spec": {"nodeName": NODE, "serviceAccountName": account or "default",
                     "containers": [{"name": "main"}]},
            "status": {"phase": "Running", "containerStatuses": [
                {"name": "main", "containerID": f"containerd://{container}"}]}}
        return pod

    def waits(self, requests):
        """Until so many requests wait in the agent for something to be declared."""
        self.until(lambda: self.world.agent.cli("status")["waiting"] == requests,
                   f"{requests} requests wait")

    def is_known(self, name):
        return any(pod["name"] == name for pod in self.world.agent.cli("workload", "list"))

    def until_synced(self):
        """The pauses between attempts have grown to half a minute when it was away for long."""
        self.until(lambda: self.world.agent.cli("status")["kubernetes"]["synced"], "synced", 50)

    @staticmethod
    def until(is_true, what, timeout=20):
        """Asks the agent itself, each time by a program that runs to its end."""
        deadline = time.monotonic() + timeout
        while not is_true():
            assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
