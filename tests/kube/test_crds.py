#!/usr/bin/python3
"""The custom resources of deploy/kubernetes/crds on a real API server: it takes the definitions,
judges the examples of tests/unit/data/examples.yaml as the table says, keeps what the agent has to
see, and lets the agent read all of it and write nothing but a policy's status."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import cluster
import config
import workloads
from api import ApiError, request_token, status_of
from places import REPO
from tap import Skip, Suite

GROUPS = {"azureidentities": "aadpodidentity.k8s.io/v1",
          "azureidentitybindings": "aadpodidentity.k8s.io/v1",
          "azurepodidentityexceptions": "aadpodidentity.k8s.io/v1",
          "metadatapolicies": "imdsgate.dev/v1alpha1"}
PLURALS = {"AzureIdentity": "azureidentities", "AzureIdentityBinding": "azureidentitybindings",
           "AzurePodIdentityException": "azurepodidentityexceptions",
           "MetadataPolicy": "metadatapolicies"}
POLICIES = "/apis/imdsgate.dev/v1alpha1/namespaces/shop/metadatapolicies"

suite = Suite(cluster.build, seconds=100)


def examples():
    try:
        import yaml  # pylint: disable=import-outside-toplevel
    except ImportError as error:
        raise Skip("python3-yaml is not installed") from error
    with open(f"{REPO}/tests/unit/data/examples.yaml", encoding="utf-8") as f:
        return list(yaml.safe_load_all(f))


def policy(name, **spec):
    return {"apiVersion": "imdsgate.dev/v1alpha1", "kind": "MetadataPolicy",
            "metadata": {"name": name, "namespace": "shop"}, "spec": spec}


def verdict(c, thing):
    """What the API server says of an object: None, or why not. Nothing is stored."""
    namespace = thing["metadata"].get("namespace", "default")
    path = (f"/apis/{thing['apiVersion']}/namespaces/{namespace}/{PLURALS[thing['kind']]}"
            "?dryRun=All")
    try:
        c.api.request("POST", path, thing)
    except ApiError as error:
        return str(error)
    return None


@suite.test("the definitions are accepted and served")
def _(c):
    c.kubectl("apply", "-f", f"{REPO}/deploy/kubernetes/crds")

    def established(found):
        return len(found) == len(GROUPS) and all(
            any(cond["type"] == "Established" and cond["status"] == "True"
                for cond in crd.get("status", {}).get("conditions") or ()) for crd in found.values())
    c.api.wait_for("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", established,
                   what="definitions established")
    for plural, group in GROUPS.items():
        assert c.api.get(f"/apis/{group}/{plural}")["items"] == []
    for crd in c.api.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")["items"]:
        wrong = [cond for cond in crd["status"]["conditions"]
                 if cond["type"] == "NonStructuralSchema" and cond["status"] == "True"]
        assert not wrong, f"{crd['metadata']['name']}: {wrong}"


@suite.test("every example is accepted or refused as the table says")
def _(c):
    rows = examples()
    for name in {row["object"]["metadata"].get("namespace", "default") for row in rows
                 if row["object"]["kind"] in PLURALS} | {"shop"}:
        c.apply(workloads.namespace(name))
    wrong, judged = [], 0
    for row in rows:
        if row["object"]["kind"] not in PLURALS:
            continue
        judged += 1
        reason = verdict(c, row["object"])
        if row["schema"] is not (reason is None):
            wrong.append(f"{row['name']}: {reason or 'is accepted'}")
    assert judged > 50 and not wrong, f"{len(wrong)} of {judged}:\n" + "\n".join(wrong)


@suite.test("a policy's unknown fields and nulls stay, for the agent to refuse")
def _(c):
    c.apply(policy("misspelt", alow={"resources": ["x"]}))
    assert c.api.get(f"{POLICIES}/misspelt")["spec"]["alow"] == {"resources": ["x"]}
    c.api.request("POST", POLICIES, policy("null", allow=None))
    spec = c.api.get(f"{POLICIES}/null")["spec"]
    assert spec == {"allow": None, "mode": "Enforce", "subject": "Pods"}, spec


@suite.test("the agent reads all kinds, and writes the status of a policy only")
def _(c):
    c.kubectl("apply", "-f", f"{REPO}/deploy/kubernetes/namespace.yaml", "-f",
              f"{REPO}/deploy/kubernetes/rbac.yaml")
    agent = c.api.as_user(request_token(c.api, "imdsgate-system", "imdsgate", config.ISSUER))
    for plural, group in GROUPS.items():
        agent.get(f"/apis/{group}/{plural}")
    condition = {"type": "Accepted", "status": "False", "reason": "Invalid", "message": "no",
                 "observedGeneration": 1, "lastTransitionTime": "2020-01-02T03:04:05Z"}
    path = f"{POLICIES}/misspelt"
    agent.patch(f"{path}/status", {"status": {"conditions": [condition]},
                                   "spec": {"mode": "Disabled"}})
    stored = c.api.get(path)
    assert stored["status"]["conditions"] == [condition]
    assert stored["spec"]["mode"] == "Enforce", "the status request changed the policy"
    assert status_of(agent.patch, path, {"spec": {"mode": "Disabled"}}) == 403
    assert status_of(agent.delete, path) == 403
    assert "False" in c.kubectl("get", "metadatapolicies", "-n", "shop", "misspelt")


if __name__ == "__main__":
    cluster.run(suite)
