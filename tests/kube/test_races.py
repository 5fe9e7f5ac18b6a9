#!/usr/bin/python3
"""What comes in an unlucky order: a request before the API server's word of its pod, a pod that goes
while it is connected, a name and an address that are used again, a binding that changes under an
open connection."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import agent
import cluster
import workloads
from tap import Suite
from tokens import A, B, ask, expect_refusal, expect_token, labels, make_namespace, token_path

PODS = "/api/v1/namespaces/default/pods"
BINDINGS = "/apis/aadpodidentity.k8s.io/v1/namespaces/default/azureidentitybindings"
LAST_ADDRESS = "/var/lib/cni/networks/pods/last_reserved_ip.0"
# the peer has closed: seen when reading or when writing
ENDED = ("ENODATA", "ECONNRESET", "EPIPE")

suite = Suite(agent.build, agent.TRACES, seconds=100)


def asking(name, group, selector=None, **more):
    """A pod whose first and only instruction is to ask."""
    dial = workloads.container(command=[workloads.DIAL, "plain", "--timeout", "20000", "--path",
                                        token_path()])
    return workloads.pod(name, labels={"group": group, **(labels(selector) if selector else {})},
                         containers=[dial], restartPolicy="Never", **more)


@suite.test("the agent is there")
def _(c):
    c.agent.install()
    make_namespace(c, "default")


@suite.test("20 pods whose first instruction is the request get their tokens")
def _(c):
    lab, audit = c.lab.mark(), c.agent.audit.mark()
    c.apply(*(asking(f"first-{i}", "first", "ab"[i % 2]) for i in range(20)))
    pods = c.wait_ended("group=first", 20)
    waited = []
    for pod in pods:
        name = pod["metadata"]["name"]
        (reply,) = c.said(pod)
        expect_token(c, reply, (A, B)[int(name.split("-")[1]) % 2], name, audit)
        waited.append(reply["ms"])
    print(f"# 20 pods, 20 tokens; slowest answer after {max(waited)} ms")
    c.lab.only_the_agent(lab)
    c.api.request("DELETE", f"{PODS}?labelSelector=group%3Dfirst", {"gracePeriodSeconds": 0})


@suite.test("the same of host network")
def _(c):
    audit = c.agent.audit.mark()
    c.apply(*(asking(f"node-{i}", "node", "ab"[i % 2], host_network=True) for i in range(6)))
    for pod in c.wait_ended("group=node", 6):
        name = pod["metadata"]["name"]
        (reply,) = c.said(pod)
        expect_token(c, reply, (A, B)[int(name.split("-")[1]) % 2], name, audit)


@suite.test("a binding that comes after the request is in time")
def _(c):
    audit = c.agent.audit.mark()
    c.api.request("POST", PODS, asking("early", "early", "late"))
    c.until(lambda: c.agent.status()["connections"], lambda n: n == 1)
    c.api.request("POST", BINDINGS, workloads.binding("late", A.name, "sel-late"))
    (pod,) = c.wait_ended("group=early", 1)
    (reply,) = c.said(pod)
    expect_token(c, reply, A, "early", audit)


@suite.test("a pod that is deleted loses connection and token at once, though it still runs")
def _(c):
    pod = c.add_pod("doomed", labels=labels("a"))
    lab, audit = c.lab.mark(), c.agent.audit.mark()
    connected = c.dialer(pod, path=token_path(), requests=2)
    again = c.dialer(pod, path=token_path(), attempts=2, timeout=20000)
    for dialer in (connected, again):
        expect_token(c, dialer.read(), A, "doomed", audit)
    with c.paused("kubelet"):  # so that it goes on running
        audit = c.agent.audit.mark()
        c.api.delete(f"{PODS}/doomed")
        c.until(c.agent.pods, lambda names: "doomed" not in names)
        reply = connected.next()
        assert reply["result"] == "error" and reply["errno"] in ENDED, reply
        reply = again.next()
        assert not reply.appid and reply["result"] == "error" or reply.status == 503, reply
    assert not c.agent.audit.find(lambda r: r["kind"] == "token.issued", audit)
    c.lab.only_the_agent(lab)
    c.wait_pods("group=doomed", 0)


@suite.test("a name and an address that are used again give nothing of the former pod's")
def _(c):
    old = c.add_pod("twice", labels=labels("a"))
    address, audit = old["status"]["podIP"], c.agent.audit.mark()
    expect_token(c, ask(c, "twice"), A, "twice", audit)
    c.remove_pod("twice")
    c.until(lambda: os.path.exists(f"{os.path.dirname(LAST_ADDRESS)}/{address}"),
            lambda taken: not taken)
    before = address.rsplit(".", 1)
    with open(LAST_ADDRESS, "w", encoding="ascii") as f:
        f.write(f"{before[0]}.{int(before[1]) - 1}")
    new = c.add_pod("twice")
    assert new["status"]["podIP"] == address, new["status"]
    lab, audit = c.lab.mark(), c.agent.audit.mark()
    for selector in ({}, {"client_id": A.client_id}):
        record = expect_refusal(c, ask(c, "twice", selector=selector), 400, "not_bound", "twice",
                                audit)
        assert record["pod"]["uid"] == new["metadata"]["uid"], record
    assert not c.lab.connections(lab)


@suite.test("a binding that changes takes effect on an open connection")
def _(c):
    c.apply(workloads.binding("moving", A.name, "sel-moving"))
    pod, audit = c.add_pod("tenant", labels=labels("moving")), c.agent.audit.mark()
    dialer = c.dialer(pod, path=token_path(), requests=3)
    expect_token(c, dialer.read(), A, "tenant", audit)
    audit = c.agent.audit.mark()
    c.api.patch(f"{BINDINGS}/moving", {"spec": {"azureIdentity": B.name}})
    c.agent.recorded("policy.changed", audit)
    expect_token(c, dialer.next(), B, "tenant", audit)
    expect_token(c, dialer.next(), B, "tenant", audit)


@suite.test("a binding that goes away does, too")
def _(c):
    pod, audit = c.wait_pod("tenant"), c.agent.audit.mark()
    dialer = c.dialer(pod, path=token_path(), requests=2)
    expect_token(c, dialer.read(), B, "tenant", audit)
    audit = c.agent.audit.mark()
    c.api.delete(f"{BINDINGS}/moving")
    c.agent.recorded("policy.changed", audit)
    expect_refusal(c, dialer.next(), 400, "not_bound", "tenant", audit)


@suite.test("a rule about containers holds for a first instruction, too")
def _(c):
    make_namespace(c, "strict")
    c.apply(workloads.policy("one", "strict", allow={"containers": ["client"]}))
    audit = c.agent.audit.mark()
    pods = [asking(f"strict-{i}", "strict", "a") for i in range(5)]
    for pod in pods:
        pod["metadata"]["namespace"] = "strict"
    c.apply(*pods)
    for pod in c.wait_ended("group=strict", 5, "strict"):
        (reply,) = c.said(pod)
        print(f"# an answer after {reply['ms']} ms")
        expect_token(c, reply, A, pod["metadata"]["name"], audit)


if __name__ == "__main__":
    cluster.run(suite)
