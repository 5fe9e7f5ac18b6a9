#!/usr/bin/python3
"""The agent on a real node, as deploy/kubernetes installs it: what each kind of workload gets. Each
answer is looked at where it arrives, in the logs of the labs behind the gate, and in the audit."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import agent
import cluster
import config
import labs
import manifests
import workloads
from api import EXCHANGE
from tap import Suite
from tokens import ask, expect_refusal, expect_token, labels, make_namespace, token_path

A, B = manifests.ID_A, manifests.ID_B
CHECKOUT = "cccccccc-0000-4000-8000-000000000001"  # by federation
PRINCIPAL = "cccccccc-0000-4000-8000-000000000002"  # by client secret
NOT_FOUND = "Identity not found"

suite = Suite(agent.build, agent.TRACES, seconds=240)


@suite.test("deploy/kubernetes, applied as it is, brings an agent that is ready")
def _(c):
    pod = c.agent.install()
    status = c.agent.status()
    assert status["kubernetes"]["synced"], status
    with open(f"/proc/{status['server_pid']}/status", encoding="ascii") as f:
        server = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    assert server["Uid"].split() == ["64929"] * 4 and int(server["CapEff"], 16) == 0, server
    assert pod["spec"]["hostNetwork"] and pod["spec"]["serviceAccountName"] == agent.NAME


@suite.test("the programs are attached to the box's control groups, and nowhere else")
def _(c):
    status, out, err = c.run(["bpftool", "cgroup", "tree", c.cgroup2])
    assert status == 0, err
    groups = [line for line in out.splitlines() if line.startswith("/")]
    assert groups == [c.cgroup2] and "ig_connect4" in out, out


@suite.test("two replicas of a bound Deployment get the tokens of their identity")
def _(c):
    make_namespace(c, "default")
    lab, audit = c.lab.mark(), c.agent.audit.mark()
    dial = workloads.repeated(100, "plain", "--path", token_path())
    c.apply(workloads.deployment("web", 2, labels=labels("a"),
                                 containers=[workloads.container(command=dial)]))
    for pod in c.wait_pods("app=web", 2):
        name = pod["metadata"]["name"]
        for reply in c.replies(name, 3):
            record = expect_token(c, reply, A, name, audit, pod__uid=pod["metadata"]["uid"])
        (status,) = pod["status"]["containerStatuses"]
        assert status["containerID"].endswith(record["pod"]["container_id"]), record
        assert record["process"]["exe"] == "/dial" and record["decision"] == "allow", record
    assert len(c.lab.only_the_agent(lab)) == 1, "one token, from the cache after the first time"
    c.kubectl("delete", "deployment", "web", "--wait=false")


@suite.test("a pod with two identities gets the one that it names")
def _(c):
    c.add_pod("both", labels=labels("ab"))
    lab = c.lab.mark()
    for ident in (A, B):
        for selector in ({"client_id": ident.client_id}, {"object_id": ident.object_id},
                         {"mi_res_id": ident.resource_id.upper()}):
            audit = c.agent.audit.mark()
            expect_token(c, ask(c, "both", selector=selector), ident, "both", audit)
    audit = c.agent.audit.mark()
    reply = ask(c, "both")
    assert reply.status == 400 and "Multiple user assigned identities" in reply.body, reply
    c.agent.recorded("token.denied", audit, pod__name="both")
    c.lab.only_the_agent(lab)


@suite.test("a pod of the host's network is told apart by its control group")
def _(c):
    c.add_pod("host", labels=labels("b"), host_network=True)
    c.add_pod("stranger", host_network=True)
    lab, audit = c.lab.mark(), c.agent.audit.mark()
    record = expect_token(c, ask(c, "host"), B, "host", audit)
    assert record["pod"]["host_network"], record
    reply = ask(c, "stranger", selector={"client_id": B.client_id})
    expect_refusal(c, reply, 400, "not_bound", "stranger", audit)
    c.lab.only_the_agent(lab)


@suite.test("an init container that asks first thing gets its token")
def _(c):
    audit = c.agent.audit.mark()
    first = workloads.container("first", [workloads.DIAL, "plain", "--path", token_path()])
    pod = c.add_pod("starting", labels=labels("a"), initContainers=[first])
    (reply,) = c.replies("starting", 1, container="first")
    record = expect_token(c, reply, A, "starting", audit)
    (status,) = pod["status"]["initContainerStatuses"]
    assert status["containerID"].endswith(record["pod"]["container_id"]), record
    assert status["restartCount"] == 0


@suite.test("a pod without a binding gets nothing, whatever it names")
def _(c):
    c.add_pod("none")
    lab, audit = c.lab.mark(), c.agent.audit.mark()
    for selector in ({}, {"client_id": A.client_id}, {"mi_res_id": A.resource_id}):
        audit = c.agent.audit.mark()
        reply = ask(c, "none", selector=selector)
        expect_refusal(c, reply, 400, "not_bound", "none", audit)
        assert NOT_FOUND in reply.body, reply
    assert not c.lab.connections(lab)


@suite.test("a binding of another namespace gives nothing")
def _(c):
    c.apply(workloads.namespace("elsewhere"))
    c.wait_account("elsewhere", "default")
    c.add_pod("web", "elsewhere", labels=labels("a"))
    audit = c.agent.audit.mark()
    reply = ask(c, "web", namespace="elsewhere", selector={"client_id": A.client_id})
    expect_refusal(c, reply, 400, "not_bound", "web", audit)


@suite.test("an excepted pod has the node's identities, recorded")
def _(c):
    c.apply(workloads.exception("proxied", {"app": "proxied"}))
    c.add_pod("proxied", labels={"app": "proxied"})
    lab, audit = c.lab.mark(), c.agent.audit.mark()
    reply = ask(c, "proxied", selector={"client_id": B.client_id})
    assert reply.appid == B.client_id, reply
    c.agent.recorded("token.issued", audit, pod__name="proxied", reason="exception")
    assert c.lab.only_the_agent(lab)


@suite.test("a pod that is excepted in mode direct asks the metadata service itself")
def _(c):
    c.apply(workloads.exception("direct", {"app": "direct"}, mode="direct"))
    c.add_pod("direct", labels={"app": "direct"})
    lab, audit = c.lab.mark(), c.agent.audit.mark()
    reply = ask(c, "direct", selector={"client_id": A.client_id})
    assert reply.appid == A.client_id, reply
    c.agent.recorded("connect.passed", audit, pod__name="direct")
    (request,) = c.lab.requests(lab)
    names = {name.lower(): value for name, value in request["headers"].items()}
    assert names["user-agent"].startswith("igdial"), request


# ---- identities that are not the node's ---------------------------------------------------------

def put_secret(c, value):
    c.kubectl("create", "secret", "generic", "shop-azure", "-n", agent.NAMESPACE,
              f"--from-literal=clientSecret={value}")


@suite.test("credentials as files and an authority of its own: a patch and a roll-out")
def _(c):
    secret, c.entra = labs.new_secret(), labs.Entra(c)
    c.entra.start([
        {"name": "checkout", "client_id": CHECKOUT, "object_id":
         "cccccccc-1111-4000-8000-000000000001",
         "federated": [c.entra.federated("system:serviceaccount:shop:checkout")]},
        {"name": "principal", "client_id": PRINCIPAL,
         "object_id": "cccccccc-1111-4000-8000-000000000002", "secret": secret}])
    put_secret(c, secret)
    before = c.agent.wait()["metadata"]["uid"]
    c.agent.patch(agent.deployed("secrets/daemonset-patch.example.yaml"))
    c.agent.add_args(f"--authority-host={c.entra.authority}", f"--tenant-id={labs.TENANT}")
    assert c.agent.wait_rolled()["metadata"]["uid"] != before


@suite.test("a workload identity: a token of the account, bound to the pod, is shown to Entra")
def _(c):
    make_namespace(c, "shop")
    c.apply(workloads.service_account("checkout", "shop", {
        "azure.workload.identity/client-id": CHECKOUT}))
    c.wait_account("shop", "checkout")
    pod = c.add_pod("till", "shop", labels={"azure.workload.identity/use": "true"},
                    service_account="checkout")
    audit, entra = c.agent.audit.mark(), c.entra.log.mark()
    reply = ask(c, "till", namespace="shop")
    assert not reply.appid, f"without the right to ask for tokens of the account: {reply}"
    c.agent.recorded("token.failed", audit, pod__name="till")
    assert not c.entra.token_requests(entra)
    c.apply(agent.deployed("federation/account.example.yaml"))
    reply = c.until(lambda: ask(c, "till", namespace="shop"), lambda reply: reply.status == 200)
    expect_token(c, reply, CHECKOUT, "till", audit)
    (request,) = c.entra.token_requests(entra)
    claims = request["assertion"]["claims"]
    assert claims["iss"] == config.ISSUER and claims["aud"] in (EXCHANGE, [EXCHANGE]), claims
    assert claims["sub"] == "system:serviceaccount:shop:checkout", claims
    assert claims["kubernetes.io"]["pod"] == {"name": "till", "uid": pod["metadata"]["uid"]}, claims
    (answer,) = c.entra.replies(entra)
    assert answer["status"] == 200 and answer["credential"] == "federation", answer
    cached = c.agent.status()["tokens"]["cached"]
    c.remove_pod("till", "shop")  # and its token goes with it
    c.until(lambda: c.agent.status()["tokens"]["cached"], lambda n: n == cached - 1)


@suite.test("a service principal: its secret is a file that kubelet mounts")
def _(c):
    c.apply(workloads.aad("AzureIdentity", "principal", "shop", type=1, clientID=PRINCIPAL,
                          tenantID=labs.TENANT,
                          clientPassword={"name": "azure", "namespace": "shop"}),
            workloads.binding("principal", "principal", "principal", "shop"))
    c.add_pod("robot", "shop", labels={"aadpodidbinding": "principal"})
    audit, entra, lab = c.agent.audit.mark(), c.entra.log.mark(), c.lab.mark()
    expect_token(c, ask(c, "robot", namespace="shop"), PRINCIPAL, "robot", audit)
    (answer,) = c.entra.replies(entra)
    assert answer["status"] == 200 and answer["credential"] == "secret", answer
    assert not c.lab.connections(lab)


if __name__ == "__main__":
    cluster.run(suite)
