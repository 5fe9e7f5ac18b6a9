#!/usr/bin/python3
"""The admission rules around the agent's rights, evaluated: what the agent does passes, and each thing
more that the right alone would allow does not. By an interpreter of CEL, since the API server of
`make e2e` is older than these rules."""

import copy
import json
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import tools
import yaml
from tap import Suite
from tools import REPO

KEY = "imdsgate.dev/agent-not-ready"
AGENT = {"username": "system:serviceaccount:imdsgate-system:imdsgate",
         "extra": {"authentication.kubernetes.io/node-name": ["node-1"]}}
OTHER_TAINT = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
NODE = {"metadata": {"name": "node-1", "labels": {"pool": "a"}, "annotations": {"x": "y"}},
        "spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"], "providerID": "azure:///1", "taints": [
            OTHER_TAINT, {"key": KEY, "value": "true", "effect": "NoSchedule"}]}}
POD = {"metadata": {"name": "web"}, "spec": {"nodeName": "node-1"}}
# expressions and what they are about; an error denies, as with failurePolicy Fail
SCRIPT = """
import {evaluate} from '@marcbachmann/cel-js'
import {readFileSync} from 'node:fs'
const value = (text, about) => { try { return evaluate(text, about) === true } catch { return false } }
console.log(JSON.stringify(JSON.parse(readFileSync(0, 'utf8')).map(([text, about]) => value(text, about))))
"""

suite = Suite(tools.Desk, seconds=120)


def policies(*path):
    with open(os.path.join(REPO, "deploy", "kubernetes", *path), encoding="utf-8") as file:
        return {thing["metadata"]["name"]: thing["spec"] for thing in yaml.safe_load_all(file)
                if thing["kind"] == "ValidatingAdmissionPolicy"}


TAINT = policies("startup-taint", "admission-policy.yaml")["imdsgate-startup-taint"]
TOKENS = policies("federation", "admission-policy.yaml")


def evaluate(pairs):
    # from standard input, modules are looked for where it runs
    done = subprocess.run(["node", "--input-type=module", "--eval", SCRIPT], input=json.dumps(pairs),
                          capture_output=True, text=True, check=False, cwd=tools.directory())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def admits(policy, user=None, **about):
    """None: it is not about this request; else whether all of its rules hold."""
    assert policy["failurePolicy"] == "Fail"
    about["request"] = {"userInfo": user or AGENT}
    conditions = [c["expression"] for c in policy["matchConditions"]]
    rules = [v["expression"] for v in policy["validations"]]
    results = evaluate([(text, about) for text in conditions + rules])
    if not all(results[:len(conditions)]):
        return None
    return all(results[len(conditions):])


def changed(*path, to=None, of=NODE):
    """A copy with the member at path as `to`, or without it."""
    thing = copy.deepcopy(of)
    *way, last = path
    place = thing
    for name in way:
        place = place.setdefault(name, {})
    if to is None:
        place.pop(last, None)
    else:
        place[last] = to
    return thing


def untainted(of=NODE):
    return changed("spec", "taints", to=[OTHER_TAINT], of=of)


@suite.test("start-up taint: it may go, with others there or none, and be gone already")
def _(_):
    assert admits(TAINT, object=untainted(), oldObject=NODE)
    assert admits(TAINT, object=untainted(), oldObject=untainted())
    alone = changed("spec", "taints", to=[{"key": KEY, "effect": "NoExecute"}])
    assert admits(TAINT, object=changed("spec", "taints"), oldObject=alone)
    bare = {"metadata": {"name": "node-1"}, "spec": {}}
    assert admits(TAINT, object=bare, oldObject=bare)


@suite.test("start-up taint: nothing else of the node may change with it")
def _(_):
    now = untainted()
    for what, new in (
            ("another taint taken", changed("spec", "taints")),
            ("another taint added", changed("spec", "taints", to=[OTHER_TAINT, {"key": "b"}])),
            ("its own put back", NODE),
            ("another taint changed", changed("spec", "taints", to=[{**OTHER_TAINT, "value": "x"}])),
            ("a label", changed("metadata", "labels", to={"pool": "b"}, of=now)),
            ("no labels", changed("metadata", "labels", of=now)),
            ("an annotation", changed("metadata", "annotations", to={"x": "z"}, of=now)),
            ("a finalizer", changed("metadata", "finalizers", to=["a/b"], of=now)),
            ("an owner", changed("metadata", "ownerReferences", to=[{"name": "a"}], of=now)),
            ("a network for pods", changed("spec", "podCIDRs", to=["10.0.1.0/24"], of=now)),
            ("another network", changed("spec", "podCIDR", to="10.0.1.0/24", of=now)),
            ("a machine", changed("spec", "providerID", to="azure:///other", of=now)),
            ("a kubelet's settings", changed("spec", "configSource", to={"configMap": {"name": "x"}}, of=now)),
            ("closed", changed("spec", "unschedulable", to=True, of=now))):
        assert admits(TAINT, object=new, oldObject=now if what == "its own put back" else NODE) \
            is False, what


@suite.test("start-up taint: of its own node, known by its token; others are not concerned")
def _(_):
    nodes = {"object": untainted(), "oldObject": NODE}
    elsewhere = {**AGENT, "extra": {"authentication.kubernetes.io/node-name": ["node-2"]}}
    assert admits(TAINT, user=elsewhere, **nodes) is False
    assert admits(TAINT, user={**AGENT, "extra": {}}, **nodes) is False
    assert admits(TAINT, user={"username": "system:serviceaccount:kube-system:other"}, **nodes) is None


def token_request(**spec):
    return {"spec": {"audiences": ["api://AzureADTokenExchange"],
                     "boundObjectRef": {"kind": "Pod", "name": "web", "uid": "u"}, **spec}}


@suite.test("token requests: Entra's audiences, and a pod that the token ends with")
def _(_):
    policy = TOKENS["imdsgate-token-requests"]
    assert admits(policy, object=token_request())
    for what, request in (
            ("another audience", token_request(audiences=["https://kubernetes.default.svc"])),
            ("one more", token_request(audiences=["api://AzureADTokenExchange", "x"])),
            ("none", token_request(audiences=[])),
            ("bound to a Secret", token_request(boundObjectRef={"kind": "Secret", "name": "web",
                                                                "uid": "u"})),
            ("without uid", token_request(boundObjectRef={"kind": "Pod", "name": "web", "uid": ""})),
            ("not bound", {"spec": {"audiences": ["api://AzureADTokenExchange"]}})):
        assert admits(policy, object=request) is False, what
    assert admits(policy, user={**AGENT, "extra": {}}, object=token_request()) is False
    assert admits(policy, user={"username": "somebody"}, object=token_request()) is None


@suite.test("token requests: of pods on the agent's own node")
def _(_):
    policy = TOKENS["imdsgate-token-requests-node"]
    assert admits(policy, object=token_request(), params=POD)
    assert admits(policy, object=token_request(), params=changed("metadata", "name", to="b", of=POD))
    for pod in (changed("spec", "nodeName", to="node-2", of=POD), changed("spec", "nodeName", of=POD)):
        assert admits(policy, object=token_request(), params=pod) is False, pod


if __name__ == "__main__":
    suite.run()
