#!/usr/bin/python3
"""MetadataPolicies on a real node: what they say of resources, containers, programs, the host's
network and processes of the host holds, in mode Audit it is only recorded, and kubectl shows whether
the agent took a policy."""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import agent
import cluster
import workloads
from api import ApiError
from places import BUILD, Place, Reply
from tap import Suite
from tokens import A, STORAGE, VAULT, ask, expect_refusal, expect_token, labels, make_namespace
from tokens import token_path

POLICIES = "/apis/imdsgate.dev/v1alpha1/namespaces/{}/metadatapolicies"
DIALER = f"{BUILD}/tests/kube/dial"

suite = Suite(agent.build, agent.TRACES, seconds=240)


def place(c, namespace, **policy):
    """A namespace whose pods are covered by one policy, and a bound pod in it."""
    make_namespace(c, namespace)
    c.apply(workloads.policy("only", namespace, **policy))
    wait_accepted(c, namespace, "only")
    both = [workloads.container(name) for name in ("client", "side")]
    c.add_pod("web", namespace, labels=labels("a"), containers=both)


def accepted(item):
    """The condition, once the agent has looked at this version of the policy."""
    for condition in item.get("status", {}).get("conditions") or ():
        if condition["type"] == "Accepted" and \
                condition["observedGeneration"] == item["metadata"]["generation"]:
            return condition
    return None


def wait_accepted(c, namespace, name, status="True"):
    condition = c.api.wait_for(POLICIES.format(namespace), lambda found: accepted(
        found.get((namespace, name), {"metadata": {"generation": 0}})), what=f"status of {name}")
    assert condition["status"] == status, condition
    return condition


def shown(c, namespace, name, path):
    return c.kubectl("get", "metadatapolicy", "-n", namespace, name, "-o", f"jsonpath={path}")


CONDITION = '.status.conditions[?(@.type=="Accepted")]'


@suite.test("the agent is there")
def _(c):
    c.agent.install()


@suite.test("mode Enforce: tokens for the resources that are allowed, and no others")
def _(c):
    place(c, "narrow", allow={"resources": [VAULT]})
    lab, audit = c.lab.mark(), c.agent.audit.mark()
    record = expect_token(c, ask(c, "web", namespace="narrow"), A, "web", audit)
    assert record["policy"] == {"namespace": "narrow", "name": "only"}, record
    reply = ask(c, "web", STORAGE, namespace="narrow")
    record = expect_refusal(c, reply, 403, "resource_not_allowed", "web", audit)
    assert record["policy"]["name"] == "only" and record["request"]["resource"] == STORAGE, record
    assert [r["target"].count("storage") for r in c.lab.only_the_agent(lab)] == [0]


@suite.test("mode Audit: the same, and the record says what would have been denied")
def _(c):
    place(c, "observed", mode="Audit", allow={"resources": [VAULT]})
    audit = c.agent.audit.mark()
    expect_token(c, ask(c, "web", STORAGE, namespace="observed"), A, "web", audit,
                 policy={"namespace": "observed", "name": "only",
                         "would_deny": "resource_not_allowed"})


@suite.test("containers, by the names that the pod's status gives to their ids")
def _(c):
    place(c, "inside", allow={"containers": ["client"]})
    audit = c.agent.audit.mark()
    expect_token(c, ask(c, "web", namespace="inside"), A, "web", audit)
    reply = ask(c, "web", namespace="inside", container="side")
    expect_refusal(c, reply, 403, "container_not_allowed", "web", audit)


@suite.test("programs, by their file in the container")
def _(c):
    place(c, "programs", allow={"executables": [workloads.DIAL]})
    audit = c.agent.audit.mark()
    expect_token(c, ask(c, "web", namespace="programs"), A, "web", audit)
    reply = ask(c, "web", namespace="programs", program=workloads.OTHER_DIAL)
    record = expect_refusal(c, reply, 403, "executable_not_allowed", "web", audit)
    assert record["process"]["exe"] == workloads.OTHER_DIAL, record


@suite.test("a policy of the cluster covers pods of other namespaces")
def _(c):
    make_namespace(c, "plain")
    c.apply(workloads.policy("no-host-network", agent.NAMESPACE, namespaces=["plain"],
                             allow={"hostNetwork": False}))
    wait_accepted(c, agent.NAMESPACE, "no-host-network")
    c.add_pod("outside", "plain", labels=labels("a"), host_network=True)
    c.add_pod("inside", "plain", labels=labels("a"))
    audit = c.agent.audit.mark()
    reply = ask(c, "outside", namespace="plain")
    expect_refusal(c, reply, 403, "host_network_not_allowed", "outside", audit)
    expect_token(c, ask(c, "inside", namespace="plain"), A, "inside", audit)


@suite.test("a change of a policy takes effect on an open connection")
def _(c):
    pod, audit = c.wait_pod("web", "narrow"), c.agent.audit.mark()
    dialer = c.dialer(pod, path=token_path(), requests=2)
    expect_token(c, dialer.read(), A, "web", audit)
    c.api.patch(f"{POLICIES.format('narrow')}/only", {"spec": {"allow": {"resources": []}}})
    wait_accepted(c, "narrow", "only")
    expect_refusal(c, dialer.next(), 403, "resource_not_allowed", "web", audit)


# ---- what kubectl shows -------------------------------------------------------------------------

@suite.test("kubectl shows that a policy was accepted")
def _(c):
    line = c.kubectl("get", "metadatapolicies", "-n", "inside", "--no-headers")
    assert line.split()[:3] == ["only", "Enforce", "True"], line
    assert shown(c, "inside", "only", "{" + CONDITION + ".reason}") == "Valid"


@suite.test("a policy that the schema lets through and the agent does not: kubectl says why")
def _(c):
    c.apply(workloads.policy("misspelt", "inside", alow={"resources": [VAULT]}))
    wait_accepted(c, "inside", "misspelt", "False")
    text = shown(c, "inside", "misspelt", "{" + CONDITION + ".reason}: {" + CONDITION + ".message}")
    assert text.startswith("Invalid: ") and "alow" in text, text
    assert "False" in c.kubectl("get", "metadatapolicies", "-n", "inside", "misspelt")
    c.apply(workloads.policy("misspelt", "inside", mode="Disabled",
                             podSelector={"matchLabels": {"app": "x"}}))
    c.api.patch(f"{POLICIES.format('inside')}/misspelt", {"spec": {"alow": None}})
    assert wait_accepted(c, "inside", "misspelt")["reason"] == "Valid"


@suite.test("a policy that becomes wrong stays in force as it was")
def _(c):
    c.api.patch(f"{POLICIES.format('programs')}/only", {"spec": {"alow": {}}})
    wait_accepted(c, "programs", "only", "False")
    audit = c.agent.audit.mark()
    expect_token(c, ask(c, "web", namespace="programs"), A, "web", audit)
    reply = ask(c, "web", namespace="programs", program=workloads.OTHER_DIAL)
    expect_refusal(c, reply, 403, "executable_not_allowed", "web", audit)


@suite.test("the schema refuses at once what it can")
def _(c):
    for spec in ({"mode": "Sometimes"}, {"allow": {"resources": ["https://*.azure.net"]}}):
        try:
            c.api.request("POST", POLICIES.format("inside"),
                          workloads.policy("impossible", "inside", **spec))
        except ApiError as error:
            assert error.status == 422, error
        else:
            raise AssertionError(f"{spec} was accepted")


# ---- processes of the host ----------------------------------------------------------------------

def ask_from_host(c, **options):
    status, out, err = c.run([DIALER, *Place.dial_argv("plain", path=token_path(
        client_id=A.client_id), **options)[1:]])
    assert out, f"exit {status}: {err}"
    return Reply(json.loads(out.splitlines()[-1]))


@suite.test("processes of the host pass, as long as the gate is not told otherwise")
def _(c):
    audit = c.agent.audit.mark()
    assert ask_from_host(c).appid == A.client_id
    c.agent.recorded("connect.passed", audit)


@suite.test("once they are redirected they get nothing, until a policy of the host says so")
def _(c):
    c.agent.add_args("--host-verdict=redirect")
    c.agent.wait_rolled()
    lab, audit = len(c.lab.requests()), c.agent.audit.mark()
    reply = ask_from_host(c)
    assert reply.status == 400 and not reply.appid, reply
    c.agent.recorded("token.denied", audit, process__exe=DIALER)
    assert len(c.lab.requests()) == lab
    c.apply(workloads.policy("host", agent.NAMESPACE, subject="Host",
                             allow={"executables": [DIALER], "resources": [VAULT]}))
    wait_accepted(c, agent.NAMESPACE, "host")
    reply = ask_from_host(c)
    assert reply.appid == A.client_id, reply
    record = c.agent.recorded("token.issued", audit, process__exe=DIALER)
    assert record["policy"]["name"] == "host" and "name" not in record.get("pod", {}), record


if __name__ == "__main__":
    cluster.run(suite)
