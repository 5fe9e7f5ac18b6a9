#!/usr/bin/python3
"""The cluster itself, before any agent is in it: what the other tests of this folder rely on, the
control (a pod does reach the metadata service when nothing stops it), and the rights that
deploy/kubernetes gives to the agent's ServiceAccount."""

import glob
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import cluster
import config
import manifests
import workloads
from api import request_token, status_of
from places import REPO, TOKEN_PATH
from tap import Suite

DEPLOY = os.path.join(REPO, "deploy", "kubernetes")
AGENT = "imdsgate-system", "imdsgate"
NO_WAY = ("ENETUNREACH", "EHOSTUNREACH")
# (API group, resource): verbs. All that the agent may do.
RIGHTS = {
    ("", "pods"): {"list", "watch"},
    ("", "serviceaccounts"): {"list", "watch"},
    ("aadpodidentity.k8s.io", "azureidentities"): {"list", "watch"},
    ("aadpodidentity.k8s.io", "azureidentitybindings"): {"list", "watch"},
    ("aadpodidentity.k8s.io", "azurepodidentityexceptions"): {"list", "watch"},
    ("imdsgate.dev", "metadatapolicies"): {"list", "watch"},
    ("imdsgate.dev", "metadatapolicies/status"): {"patch"},
}


def token_path(ident):
    return f"{TOKEN_PATH}&resource=https://vault.azure.net&client_id={ident.client_id}"


def manifest(name):
    with open(os.path.join(DEPLOY, name), encoding="utf-8") as f:
        return f.read()


def daemonset_text():
    return cluster.without_surge(manifest("daemonset.yaml"))


def rules_of(api, namespace):
    """{(group, resource, name or None, verb)} that whoever asks has in a namespace."""
    review = api.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
                         {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
                          "spec": {"namespace": namespace}})
    assert not review["status"]["incomplete"]
    return {(group, resource, name, verb) for rule in review["status"]["resourceRules"]
            for group in rule.get("apiGroups", []) for resource in rule.get("resources", [])
            for name in rule.get("resourceNames") or [None] for verb in rule["verbs"]}


def as_agent(c):
    return c.api.as_user(request_token(c.api, *AGENT, config.ISSUER))


def rights_beyond_everybody(c, namespace):
    """What the agent may do in a namespace that not every ServiceAccount may."""
    stranger = c.api.as_user(request_token(c.api, "shop", "stranger", config.ISSUER))
    return rules_of(as_agent(c), namespace) - rules_of(stranger, namespace)


def make_shop(c):
    c.apply(workloads.namespace("shop"))
    for name in ("checkout", "stranger"):
        c.apply(workloads.service_account(name, "shop"))
    c.wait_account("shop", "default")


suite = Suite(cluster.build, seconds=100)


@suite.test("the node is ready and nothing leads out of it")
def _(c):
    node = c.api.get(f"/api/v1/nodes/{config.NODE}")
    assert workloads.is_ready(node) and node["status"]["nodeInfo"]["kubeletVersion"] == "v1.20.2"
    c.check_confined()


@suite.test("a pod runs in kubelet's control groups, and nothing leads out of it")
def _(c):
    uid = c.add_pod("first")["metadata"]["uid"]
    assert c.dial("first", addr="192.0.2.1", timeout=2000)["errno"] in NO_WAY
    groups = glob.glob(f"{c.cgroup2}/kubepods/*/pod{uid}/*/cgroup.procs")
    assert len(groups) == 2, f"not the sandbox and one container: {groups}"


@suite.test("control: without an agent a pod gets a token from the metadata service")
def _(c):
    mark = c.lab.mark()
    reply = c.dial("first", path=token_path(manifests.ID_A))
    assert reply.status == 200 and reply.appid == manifests.ID_A.client_id, reply
    peers = {connection["peer"].split(":")[0] for connection in c.lab.connections(mark)}
    assert c.api.get("/api/v1/namespaces/default/pods/first")["status"]["podIP"] in peers


@suite.test("control: a pod of the host's network reaches it, too")
def _(c):
    c.add_pod("host", host_network=True)
    mark = c.lab.mark()
    reply = c.dial("host", path=token_path(manifests.ID_B))
    assert reply.appid == manifests.ID_B.client_id, reply
    assert len(c.lab.requests(mark)) == 1


@suite.test("a deployment's pods come, carry their labels, report in their logs, and go")
def _(c):
    dial = workloads.repeated(100, "plain", "--path", token_path(manifests.ID_A))
    c.apply(workloads.deployment("many", 3, labels={"aadpodidbinding": "sel-a"},
                                 containers=[workloads.container(command=dial)]))
    pods = c.wait_pods("aadpodidbinding=sel-a", 3)
    for pod in pods:
        for reply in c.replies(pod["metadata"]["name"], 2):
            assert reply.appid == manifests.ID_A.client_id, reply
    c.kubectl("scale", "deployment/many", "--replicas=1")
    (left,) = c.wait_pods("app=many", 1)
    assert left["metadata"]["uid"] in [pod["metadata"]["uid"] for pod in pods]
    c.kubectl("delete", "deployment", "many")
    c.wait_pods("app=many", 0)


@suite.test("an API server that restarts: pods stay, and a watch goes on")
def _(c):
    version = c.api.get("/api/v1/pods")["metadata"]["resourceVersion"]
    c.restart_apiserver()
    c.add_pod("second")
    seen = c.api.watch_until("/api/v1/pods", version, lambda kind, pod: kind == "ADDED"
                             and pod["metadata"]["name"] == "second")
    assert seen["metadata"]["uid"]
    assert c.dial("first", path=token_path(manifests.ID_A)).status == 200


@suite.test("after a compaction an old watch is told that its version is gone")
def _(c):
    version = c.api.get("/api/v1/pods")["metadata"]["resourceVersion"]
    c.apply(workloads.namespace("later"))
    c.compact_etcd()
    c.restart_apiserver()
    error = c.api.watch_until("/api/v1/pods", version, lambda kind, _: kind == "ERROR")
    assert error["code"] == 410 and error["reason"] == "Expired", error


@suite.test("the manifests of the agent are accepted")
def _(c):
    c.kubectl("apply", "-f", f"{DEPLOY}/namespace.yaml", "-f", f"{DEPLOY}/rbac.yaml")
    c.kubectl("apply", "--dry-run=server", "-f", "-", stdin=daemonset_text())


@suite.test("the agent may do what it needs, and nothing else")
def _(c):
    make_shop(c)
    expected = {(*what, None, verb) for what, verbs in RIGHTS.items() for verb in verbs}
    for namespace in ("shop", "imdsgate-system", "kube-system", "default"):
        found = rights_beyond_everybody(c, namespace)
        assert found == expected, f"in {namespace}: {sorted(found ^ expected, key=str)}"


@suite.test("the agent reads pods and accounts of all namespaces, and no secret of any")
def _(c):
    agent = as_agent(c)
    assert agent.get(f"/api/v1/pods?fieldSelector=spec.nodeName%3D{config.NODE}")["items"]
    assert agent.get("/api/v1/serviceaccounts")["items"]
    secrets = c.api.get("/api/v1/secrets")["items"]
    assert secrets, "there is no secret that could be refused"
    refused = ["/api/v1/secrets"] + [
        f"/api/v1/namespaces/{item['metadata']['namespace']}/secrets" + name
        for item in secrets for name in ("", f"/{item['metadata']['name']}")]
    for path in refused:
        assert status_of(agent.get, path) == 403, path
    for path in ("/api/v1/nodes", "/api/v1/configmaps", f"/api/v1/nodes/{config.NODE}/proxy/pods"):
        assert status_of(agent.get, path) == 403, path


@suite.test("the agent asks for no token, until it may for one account")
def _(c):
    agent, accounts = as_agent(c), (("shop", "checkout"), ("shop", "stranger"), AGENT,
                                    ("kube-system", "default"))
    for account in accounts:
        assert status_of(request_token, agent, *account) == 403, account
    c.apply(manifest("federation/account.example.yaml"))
    for account in accounts:
        allowed = account == ("shop", "checkout")
        assert status_of(request_token, agent, *account) == (200 if allowed else 403), account
    c.kubectl("delete", "-f", f"{DEPLOY}/federation/account.example.yaml")


@suite.test("the agent asks for tokens of the accounts of one namespace, bound to their pods")
def _(c):
    c.apply(manifest("federation/clusterrole.yaml"))
    agent = as_agent(c)
    assert status_of(request_token, agent, "shop", "checkout") == 403, "not bound to anything yet"
    c.apply(manifest("federation/namespace.example.yaml"))
    assert status_of(request_token, agent, "default", "default") == 403
    pod = c.add_pod("till", "shop", service_account="checkout")["metadata"]
    request_token(agent, "shop", "checkout", name="till", uid=pod["uid"])
    # the API server's own checks, which the agent counts on
    assert status_of(lambda: request_token(agent, "shop", "stranger", name="till",
                                           uid=pod["uid"])) == 400
    assert status_of(lambda: request_token(agent, "shop", "checkout", name="till",
                                           uid=pod["uid"][::-1])) == 409
    assert status_of(lambda: request_token(agent, "shop", "checkout", name="nobody",
                                           uid=pod["uid"])) == 404


@suite.test("secrets as files: the example fits the DaemonSet")
def _(c):
    c.apply(daemonset_text().replace("kubernetes.io/os: linux", "test/nowhere: here"))
    c.kubectl("patch", "-n", "imdsgate-system", "daemonset", "imdsgate", "--patch",
              manifest("secrets/daemonset-patch.example.yaml"))
    daemonset = c.api.get("/apis/apps/v1/namespaces/imdsgate-system/daemonsets/imdsgate")
    spec = daemonset["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    assert mounts["secrets"] == "/etc/imdsgate/secrets" and "netns" in mounts, mounts
    assert {volume["name"] for volume in spec["volumes"]} == set(mounts)


if __name__ == "__main__":
    cluster.run(suite)
