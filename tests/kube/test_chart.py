#!/usr/bin/python3
"""The life of a release: installed, upgraded, rolled back, with the exact capabilities instead of
all, and uninstalled in two steps, after which nothing of it is on the node. The other tests use the
chart, too, for what it installs."""

import json
import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import agent
import cluster
import tools
from config import NODE
from tap import Suite
from tokens import A, ask, expect_token, labels, make_namespace

REFUSED = ("ECONNREFUSED", "EPERM")
METRICS = 9254
# forms of the chart that differ in what the API server is told
VARIANTS = (
    {}, {"detach": True}, {"privileged": False},
    {"startupTaint.key": "imdsgate.dev/agent-not-ready"},
    {"federation.namespaces": ["default"],
     "federation.serviceAccounts": [{"namespace": "kube-system", "name": "a"}]},
    {"metrics.port": METRICS, "metrics.dashboard.enabled": True},
    {"credentials": [{"namespace": "shop", "name": "a", "secret": "shop-a"}],
     "audit.otlpHeadersSecret": "otlp", "audit.otlp": "http://127.0.0.1:4318/v1/logs"},
    {"audit.syslog": "unix:/dev/log", "hostToken.socket": "/run/gate/host.sock",
     "netnsDirs": ["/run/docker/netns"], "nodeSelector": {"gate": "yes"},
     "affinity": {"nodeAffinity": {}}, "image.pullSecrets": ["registry"]},
)

suite = Suite(agent.build, agent.TRACES, seconds=240)


def flags(values):
    return [part for name, value in values.items()
            for part in ("--set-json", f"{name}={json.dumps(value)}")]


def token(c):
    audit = c.agent.audit.mark()
    return expect_token(c, ask(c, "web"), A, "web", audit)


def upgrade(c, **values):
    c.agent.helm("upgrade", agent.NAME, tools.CHART, *agent.VALUES,
                 *flags({name.replace("__", "."): value for name, value in values.items()}))
    return c.agent.wait_rolled()


def args_of(pod):
    return pod["spec"]["containers"][0]["args"]


def monitor_capabilities(c):
    """{set: bits} of the privileged process."""
    with open(f"/proc/{c.agent.status()['monitor_pid']}/status", encoding="ascii") as f:
        return {line.split(":")[0]: int(line.split()[1], 16) for line in f if line.startswith("Cap")}


@suite.test("the API server takes it in every form")
def _(c):
    c.agent.add_kinds()
    c.kubectl("create", "namespace", agent.NAMESPACE)
    for values in VARIANTS:
        text = c.agent.helm("template", agent.NAME, tools.CHART, "--kube-version", "1.20.2",
                            *agent.VALUES, *flags(values))
        said = c.kubectl("apply", "--dry-run=server", "-f", "-", stdin=text)
        assert "(server dry run)" in said and "daemonset.apps/imdsgate" in said, said
    c.kubectl("delete", "namespace", agent.NAMESPACE)


@suite.test("installed: a pod gets what it is bound to")
def _(c):
    c.first = c.agent.install()
    make_namespace(c, "default")
    c.web = c.add_pod("web", labels=labels("a"))
    token(c)
    assert 254 in c.agent.listening(c.web) and c.agent.attached()
    c.pids = [c.agent.status()[name] for name in ("monitor_pid", "server_pid")]


@suite.test("upgraded: the new values hold, and metrics are where a scraper can reach them")
def _(c):
    pod = upgrade(c, logLevel="debug", metrics__port=METRICS)
    assert "--log-level=debug" in args_of(pod) and args_of(pod) != args_of(c.first)
    token(c)
    status, out, err = c.run(["curl", "-sS", "--noproxy", "*", "--max-time", "5",
                              f"http://{pod['status']['hostIP']}:{METRICS}/healthz"])
    assert (status, out) == (0, "ok\n"), err
    c.pids += [c.agent.status()[name] for name in ("monitor_pid", "server_pid")]


@suite.test("rolled back: as it was installed")
def _(c):
    c.agent.helm("rollback", agent.NAME, "1")
    assert args_of(c.agent.wait_rolled()) == args_of(c.first)
    token(c)
    c.pids += [c.agent.status()[name] for name in ("monitor_pid", "server_pid")]


@suite.test("kubelet's probes go the way of a workload's request, and leave a record")
def _(c):
    record = c.agent.recorded("metadata.forwarded", c.agent.audit.mark(), 20)
    assert record["pod"]["namespace"] == agent.NAMESPACE and record["decision"] == "allow", record
    assert record["process"]["comm"] == "imdsgate", record


@suite.test("a monitor that hangs is noticed by kubelet alone, and its agent started anew")
def _(c):
    upgrade(c, probes__liveness__periodSeconds=1, probes__liveness__failureThreshold=3,
            terminationGracePeriodSeconds=1)
    old, audit = c.agent.status()["monitor_pid"], c.agent.audit.mark()
    c.pids += [c.agent.status()[name] for name in ("monitor_pid", "server_pid")]
    os.kill(old, signal.SIGSTOP)
    c.agent.recorded("agent.started", audit, 90)
    c.agent.wait()
    assert c.agent.status()["monitor_pid"] != old
    token(c)
    c.pids += [c.agent.status()[name] for name in ("monitor_pid", "server_pid")]


@suite.test("a node that came with the start-up taint takes pods once the gate is there")
def _(c):
    taint = "imdsgate.dev/agent-not-ready"
    c.kubectl("taint", "nodes", NODE, f"{taint}=true:NoSchedule")
    upgrade(c, startupTaint__key=taint)
    c.api.wait_for("/api/v1/nodes", lambda nodes: all(
        t["key"] != taint for node in nodes.values() for t in node["spec"].get("taints", ())),
        what="the taint is gone")
    token(c)
    c.pids += [c.agent.status()[name] for name in ("monitor_pid", "server_pid")]


@suite.test("not privileged: the capabilities that the chart names are enough, and all there are")
def _(c):
    pod = upgrade(c, privileged=False)
    context = pod["spec"]["containers"][0]["securityContext"]
    assert not context["privileged"] and context["capabilities"]["drop"] == ["ALL"], context
    token(c)
    sets = monitor_capabilities(c)
    assert bin(sets["CapBnd"]).count("1") <= len(context["capabilities"]["add"]), sets
    status, out, _ = c.agent.cli_run("doctor")
    problems = [check for check in json.loads(out)["checks"] if check["state"] == "problem"]
    assert not problems, f"exit {status}: {problems}"
    c.pids += [c.agent.status()[name] for name in ("monitor_pid", "server_pid")]


@suite.test("uninstalled in one step: the node stays closed")
def _(c):
    logs = c.agent.logs()  # kubelet deletes them with the pod
    c.agent.logs = lambda: logs
    c.agent.helm("uninstall", agent.NAME, "--wait")
    c.agent.wait_gone()
    lab, reply = c.lab.mark(), ask(c, "web")
    assert reply["result"] == "error" and reply["errno"] in REFUSED, reply
    assert not c.lab.connections(lab)


@suite.test("uninstalled in two: detached on every node first, and nothing is left but the audit")
def _(c):
    c.agent.install()
    token(c)
    c.agent.uninstall()
    c.agent.check_nothing_left(c.pids, [c.web])
    for kind in ("clusterroles", "clusterrolebindings"):
        assert "imdsgate" not in c.kubectl("get", kind, "-o", "name")
    lab = c.lab.mark()
    assert ask(c, "web", selector={"client_id": A.client_id}).appid == A.client_id
    assert len(c.lab.requests(lab)) == 1, "without the gate a pod reaches the metadata service"


@suite.test("what was declared is still there")
def _(c):
    kinds = c.kubectl("get", "customresourcedefinitions", "-o", "name").split()
    assert len(kinds) == agent.KINDS, kinds
    assert "id-a" in c.kubectl("get", "azureidentities", "-n", "default", "-o", "name")


if __name__ == "__main__":
    cluster.run(suite)
