#!/usr/bin/python3
"""docs/migration.md, command by command: a cluster with what aad-pod-identity leaves in it is looked
at, taken over, taken back, and cleaned up. Of aad-pod-identity itself there are the objects, the
workloads by name, and NMI's rules in the node's packet filter."""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import agent
import box
import cluster
import documents
import workloads
from places import BUILD
from tap import Suite
from tokens import A, ask, expect_token, labels, make_namespace

SCRIPT = documents.Script("kube/test_migration")
PAGE = "docs/migration.md"
ASSIGNED = "azureassignedidentities"
ACCOUNTS = ("aad-pod-id-mic-service-account", "aad-pod-id-nmi-service-account")
# what a crashed NMI leaves
RULES = ("-N aad-metadata", "-A PREROUTING -j aad-metadata",
         "-A aad-metadata -d 169.254.169.254/32 -p tcp --dport 80 -j DNAT --to-destination 127.0.0.1:2579")

suite = Suite(agent.build, agent.TRACES, seconds=200)


def shell(c, text, timeout=60):
    """In a directory of its own, as one reads it: with the tools in the PATH."""
    os.makedirs(f"{box.TMP}/migration", exist_ok=True)
    text = f"PATH={BUILD}:$PATH\ncd {box.TMP}/migration\n{text}"
    status, out, err = c.run(["bash", "-euo", "pipefail", "-c", text], timeout=timeout)
    assert status == 0, f"{text}: exit {status}: {out}{err}"
    return out


def do(c, section, begin):
    return [shell(c, text) for text in SCRIPT.take(PAGE, section, begin)]


def definition():
    """AzureAssignedIdentity's, which is none of ours."""
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{ASSIGNED}.aadpodidentity.k8s.io",
                         "annotations": {"api-approved.kubernetes.io": "unapproved"}},
            "spec": {"group": "aadpodidentity.k8s.io", "scope": "Namespaced", "versions": [{
                "name": "v1", "served": True, "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object",
                                               "x-kubernetes-preserve-unknown-fields": True}}}],
                "names": {"kind": "AzureAssignedIdentity", "plural": ASSIGNED,
                          "singular": "azureassignedidentity"}}}


def daemonset(name, container_labels):
    return {"apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": workloads.metadata(name, "default", container_labels),
            "spec": {"selector": {"matchLabels": container_labels},
                     "template": {"metadata": {"labels": container_labels},
                                  "spec": workloads.pod_spec(host_network=True)}}}


def role(name, account):
    subject = {"kind": "ServiceAccount", "name": account, "namespace": "default"}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": f"{name}-role"}
    return ({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
             "metadata": {"name": f"{name}-role"}, "rules": []},
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
             "metadata": {"name": f"{name}-binding"}, "roleRef": reference, "subjects": [subject]})


def rules_left(c):
    return [line for line in c.run(["iptables-save", "-t", "nat"])[1].splitlines() if "aad-" in line]


def token(c):
    audit = c.agent.audit.mark()
    return expect_token(c, ask(c, "web"), A, "web", audit)


def ask_without_gate(c):
    """By name, as every pod can that reaches the metadata service."""
    lab = c.lab.mark()
    assert ask(c, "web", selector={"client_id": A.client_id}).appid == A.client_id
    assert len(c.lab.requests(lab)) == 1


@suite.test("there is a cluster with aad-pod-identity in standard mode")
def _(c):
    c.agent.add_kinds()
    c.apply(definition(), *(workloads.service_account(name) for name in ACCOUNTS),
            *role("aad-pod-id-mic", ACCOUNTS[0]), *role("aad-pod-id-nmi", ACCOUNTS[1]))
    c.api.wait_for("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", lambda found: any(
        "status" in crd and any(cond["type"] == "Established" and cond["status"] == "True"
                                for cond in crd["status"].get("conditions") or ())
        for (_, name), crd in found.items() if name.startswith(ASSIGNED)), what="its definition")
    make_namespace(c, "default")
    mic = workloads.deployment("mic", 2, labels={"component": "mic"})
    mic["metadata"]["labels"] = {"component": "mic"}
    c.apply(daemonset("nmi", {"component": "nmi"}), mic)
    c.kubectl("apply", "-f", "-", stdin=json.dumps({
        "apiVersion": "aadpodidentity.k8s.io/v1", "kind": "AzureAssignedIdentity",
        "metadata": {"name": "web-default-id-a", "namespace": "default",
                     "finalizers": ["assignedidentity.finalizers.aadpodidentity.k8s.io"]}}))
    c.web = c.add_pod("web", labels=labels("a"))
    c.wait_pods("component=nmi", 1)
    ask_without_gate(c)
    for rule in RULES:
        status, out, err = c.run(["iptables", "-t", "nat", *rule.split()])
        assert status == 0, out + err


@suite.test("before: what there is, whether the objects hold, who selects what")
def _(c):
    there, objects = do(c, "Before", "kubectl get daemonsets")[0], SCRIPT.take(
        PAGE, "Before", "kubectl get azureidentities,")
    assert "nmi" in there and "mic" in there, there
    first, second = objects
    said = shell(c, first)
    assert "id-a" in said and "sel-b" not in there, said
    do(c, "Before", "mkdir")
    shell(c, second)
    checked = SCRIPT.take(PAGE, "Before", "imdsgated --check-config")[0]
    shell(c, checked)
    with open(f"{box.TMP}/migration/manifests/all.yaml", encoding="utf-8") as file:
        good = file.read()
    assert "kind: AzureIdentityBinding" in good
    with open(f"{box.TMP}/migration/manifests/all.yaml", "w", encoding="utf-8") as file:
        file.write(good.replace("type: 0", "type: 7"))
    status, _, err = c.run([f"{BUILD}/imdsgated", "--check-config", "--manifests",
                            f"{box.TMP}/migration/manifests"])
    assert status != 0 and "type" in err, err  # an object that does not hold is named
    bindings, pods = do(c, "Before", "kubectl get")
    assert "sel-a" in bindings and "web" in pods and "sel-a" in pods, bindings + pods


@suite.test("the change: MIC stops, the gate decides beside NMI, and says what is left of it")
def _(c):
    do(c, "The change", "kubectl scale")
    c.wait_pods("component=mic", 0)
    c.agent.install()
    token(c)
    doctor, known = do(c, "The change", "imdsgate doctor"), do(c, "The change", "imdsgate workload")
    assert "aad-pod-identity" in doctor[0] and "web" in known[0], doctor + known
    (tail,) = SCRIPT.take(PAGE, "The change", "imdsgate audit tail")
    assert ask(c, "web", selector={"client_id": "00000000-0000-4000-8000-000000000000"}).status == 400
    record = json.loads(shell(c, f"{tail} --since 0 --count 1 --pod web"))
    assert record["decision"] == "deny" and record["pod"]["name"] == "web", record
    c.pids = [c.agent.status()[name] for name in ("monitor_pid", "server_pid")]


@suite.test("the change: NMI goes, and the rules that it left")
def _(c):
    do(c, "The change", "kubectl delete --namespace default daemonset/nmi")
    c.wait_pods("component=nmi", 0)
    assert len(rules_left(c)) == 3, rules_left(c)
    do(c, "The change", "iptables")
    assert not rules_left(c), rules_left(c)
    status, out, _ = c.agent.cli_run("doctor")
    assert status == 0 and "aad-pod-identity" not in out, out
    token(c)


@suite.test("and back: the gate is taken off, MIC runs again, the objects are as they were")
def _(c):
    logs = c.agent.logs()  # kubelet deletes them with the pod
    c.agent.logs = lambda: logs
    c.agent.uninstall()
    c.agent.check_nothing_left(c.pids, [c.web])
    do(c, "And back", "kubectl scale")
    c.wait_pods("component=mic", 2)
    ask_without_gate(c)
    assert "id-a" in c.kubectl("get", "azureidentities", "-n", "default", "-o", "name")
    assert "web-default-id-a" in c.kubectl("get", ASSIGNED, "-n", "default", "-o", "name")


@suite.test("the change again, and the rest of standard mode removed")
def _(c):
    c.agent.install()
    token(c)
    do(c, "The change", "")
    left = c.kubectl("get", "clusterroles,clusterrolebindings,serviceaccounts,deployments,crd", "-n",
                     "default", "-o", "name")
    assert "aad-pod-id" not in left and "mic" not in left and ASSIGNED not in left, left
    assert "azureidentities" in left
    token(c)
    SCRIPT.check_done()


if __name__ == "__main__":
    cluster.run(suite)
