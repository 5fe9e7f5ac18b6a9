#!/usr/bin/python3
"""When parts of the cluster are away: the API server, its memory, the definitions, the agent itself.
What is known goes on; what is not known is refused; nothing ever gets past the gate."""

import collections
import json
import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import agent
import cluster
import workloads
from tap import Suite
from tokens import A, B, ask, bindings, expect_refusal, expect_token, labels, make_namespace
from tokens import token_path

PODS = "/api/v1/namespaces/default/pods"
BINDINGS = "/apis/aadpodidentity.k8s.io/v1/namespaces/default/azureidentitybindings"
AWAY = 503  # come back later
REFUSED = ("ECONNREFUSED", "EPERM", "ECONNRESET", "ENODATA", "EPIPE")

suite = Suite(agent.build, agent.TRACES, seconds=240)


def loop(name, selector, **more):
    dial = workloads.repeated(20, "plain", "--timeout", "20000", "--path", token_path())
    return workloads.pod(name, labels=labels(selector),
                         containers=[workloads.container(command=dial)], **more)


def restart_container(c, pod):
    """As after a crash; kubelet starts it again, from what it knows."""
    status, out, err = c.run(["ctr", "-n", "k8s.io", "tasks", "kill", "-s", "SIGKILL",
                              workloads.container_id(pod)])
    assert status == 0, f"{out}{err}"


def watches(c):
    return c.agent.status()["kubernetes"]["resources"]


def wait_synced(c):
    c.until(lambda: {watch["state"] for watch in watches(c).values()},
            lambda states: states == {"synced"}, timeout=60)


def outcomes(replies, ident):
    """How often what; a token of another identity is none of it."""
    found = collections.Counter()
    for reply in replies:
        if reply.status == 200:
            assert reply.appid == ident.client_id, reply
        found[reply.status or reply["errno"]] += 1
    return found


@suite.test("the agent and pods that it knows")
def _(c):
    c.agent.install()
    make_namespace(c, "default")
    c.apply(*bindings("kube-system"))
    c.known = c.add_pod("known", labels=labels("a"))
    c.apply(loop("again", "b"))
    c.again = c.wait_pod("again")
    audit = c.agent.audit.mark()
    expect_token(c, ask(c, "known"), A, "known", audit)


@suite.test("API server away: pods that are known go on, also after a restart of their container")
def _(c):
    wait_synced(c)
    c.stop_apiserver()
    lab, audit = c.lab.mark(), c.agent.audit.mark()
    expect_token(c, c.dialer(c.known, path=token_path()).read(), A, "known", audit)
    expect_token(c, c.dialer(c.known, path=token_path("https://storage.azure.com")).read(), A,
                 "known", audit)
    before = len(c.said(c.again))
    restart_container(c, c.again)
    replies = c.until(lambda: c.said(c.again), lambda found: len(found) > before + 20)
    assert {reply.appid for reply in replies} <= {B.client_id, None}, replies
    assert replies[-1].appid == B.client_id, replies[-1]
    c.lab.only_the_agent(lab)


@suite.test("API server away: a new pod waits and is told to come back")
def _(c):
    lab, audit = c.lab.mark(), c.agent.audit.mark()
    dial = workloads.repeated(100, "plain", "--timeout", "20000", "--path", token_path())
    c.static = workloads.pod("static", "kube-system", labels("a"), host_network=False,
                             containers=[workloads.container(command=dial)])
    c.files.write("static/pod.json", json.dumps(c.static))
    c.static["metadata"]["name"] = "static-node-1"
    (reply, *_) = c.until(lambda: c.said(c.static), bool, timeout=60)
    assert reply.status == AWAY and reply["ms"] >= 9000, reply
    assert not c.agent.audit.find(lambda r: r["kind"] == "token.issued"
                                  and r["pod"].get("name") == "static-node-1", audit)
    c.lab.only_the_agent(lab)


@suite.test("API server away: an agent that starts refuses everybody")
def _(c):
    before, lab = c.agent.status()["server_pid"], c.lab.mark()
    os.kill(c.agent.status()["monitor_pid"], signal.SIGKILL)  # the server goes with it
    c.until(lambda: c.agent.cli_run("status"), lambda r: r[0] == 0
            and json.loads(r[1])["server_pid"] != before, timeout=60)
    audit = c.agent.audit.mark()
    assert not c.agent.status()["kubernetes"]["synced"]
    for options in ({}, {"path": "/metadata/instance?api-version=2021-02-01"}):
        reply = c.dialer(c.known, timeout=20000, **options).read(30)
        assert reply.status == AWAY and not reply.appid, reply
    # kubelet's probes are answered all the same
    assert not c.agent.audit.find(
        lambda r: r["kind"] in ("token.issued", "metadata.forwarded", "connect.passed")
        and r.get("request", {}).get("path") != "/metadata/versions", audit)
    assert not c.lab.connections(lab)


@suite.test("API server back: everybody is served again, by itself")
def _(c):
    c.start_apiserver()
    wait_synced(c)
    audit = c.agent.audit.mark()
    expect_token(c, c.dialer(c.known, path=token_path()).read(), A, "known", audit)
    replies = c.until(lambda: c.said(c.static), lambda found: found[-1].status == 200, timeout=60)
    said = outcomes(replies, A)  # refused: while there was no agent
    assert {200, AWAY} <= set(said) <= {200, AWAY, *REFUSED}, said
    os.unlink(c.files.path("static/pod.json"))


@suite.test("watches that the API server cannot continue are listed anew, and nothing is lost")
def _(c):
    for name in ("leaving", "coming"):
        c.apply(workloads.pod(name, labels={"aadpodidbinding": name}))
    c.apply(workloads.binding("leaving", A.name, "leaving"))
    pods = {name: c.wait_pod(name) for name in ("leaving", "coming")}
    audit = c.agent.audit.mark()
    expect_token(c, ask(c, "leaving"), A, "leaving", audit)
    server = c.agent.status()["server_pid"]
    lists = {kind: watch["lists"] for kind, watch in watches(c).items()}
    with c.unseen() as api:
        api.delete(f"{BINDINGS}/leaving")
        api.request("POST", BINDINGS, workloads.binding("coming", B.name, "coming"))
        api.delete(f"{PODS}/again")
        c.compact_etcd()
        assert "again" in c.agent.pods()
    c.until(lambda: watches(c), lambda found: all(
        found[kind]["lists"] > lists[kind] and found[kind]["state"] == "synced"
        for kind in ("AzureIdentityBinding", "Pod")), timeout=60)
    assert c.agent.status()["server_pid"] == server
    audit = c.agent.audit.mark()
    expect_refusal(c, c.dialer(pods["leaving"], path=token_path()).read(), 400, "not_bound",
                   "leaving", audit)
    expect_token(c, c.dialer(pods["coming"], path=token_path()).read(), B, "coming", audit)
    assert "again" not in c.agent.pods()


@suite.test("definitions removed: identities are gone; put back: they are served again")
def _(c):
    c.kubectl("delete", "-f", f"{agent.DEPLOY}/crds", timeout=90)
    c.until(lambda: ask(c, "known"), lambda reply: reply.status == 400, timeout=30)
    c.until(lambda: {kind for kind, watch in watches(c).items() if watch["state"] == "absent"},
            lambda absent: len(absent) == 4, timeout=60)
    lab = c.lab.mark()
    reply = ask(c, "known", selector={"client_id": A.client_id})
    assert reply.status == 400, reply
    assert not c.lab.connections(lab)
    c.agent.add_kinds()
    c.apply(*bindings("default"))
    wait_synced(c)
    audit = c.agent.audit.mark()
    expect_token(c, ask(c, "known"), A, "known", audit)


@suite.test("the agent is rolled and its pod deleted under load: refused meanwhile, never passed on")
def _(c):
    loads = {name: ident for i in range(3) for name, ident in ((f"load-a{i}", A), (f"load-b{i}", B))}
    c.apply(*(loop(name, f"{name[5]}", host_network=name.endswith("2")) for name in loads))
    pods = {name: c.wait_pod(name) for name in loads}
    lab = c.lab.mark()
    for change in (("rollout", "restart", f"daemonset/{agent.NAME}"),
                   ("delete", "pod", "-l", f"app.kubernetes.io/name={agent.NAME}", "--force",
                    "--grace-period=0")):
        c.kubectl(*change, "-n", agent.NAMESPACE)
        c.agent.wait_rolled()
        before = {name: len(c.said(pod)) for name, pod in pods.items()}
        for name, pod in pods.items():
            c.until(lambda pod=pod: c.said(pod), lambda found, name=name:
                    len(found) > before[name] + 10 and found[-1].status == 200, timeout=30)
    total = collections.Counter()
    for name, pod in pods.items():
        total += outcomes(c.said(pod), loads[name])
    print(f"# {sum(total.values())} requests: {dict(total)}")
    assert set(total) <= {200, AWAY, *REFUSED} and total[200] > 500, total
    c.lab.only_the_agent(lab)


if __name__ == "__main__":
    cluster.run(suite)
