#!/usr/bin/python3
"""What deploy/kubernetes/README.md says of installing, checking and uninstalling, command by command:
between the agent's end and the detaching of its programs pods stay refused, and afterwards nothing
of it is left."""

import os
import re
import shlex
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import agent
import cluster
import documents
from places import REPO
from tap import Suite
from tokens import A, ask, expect_token, labels, make_namespace, token_path

REFUSED = ("ECONNREFUSED", "EPERM")

suite = Suite(agent.build, agent.TRACES, seconds=100)


SCRIPT = documents.Script("kube/test_install")


def commands(section):
    """The commands that the README has there, each without "kubectl"."""
    found = [command.removeprefix("kubectl ").replace("deploy/kubernetes/daemonset.yaml",
                                                      agent.daemonset_here())
             for command in SCRIPT.take("deploy/kubernetes/README.md", section, "kubectl ")]
    return [re.sub(r"(?<=-f )(?=deploy/)", f"{REPO}/", command) for command in found]


def do(c, command):
    return c.kubectl(*shlex.split(command), timeout=90)


def ask_from_host_network(c):
    return ask(c, "node", selector={"client_id": A.client_id})


@suite.test("installed: programs, pins, a listener in each namespace, a control socket")
def _(c):
    c.agent.add_image()
    for command in commands("Install"):
        do(c, command)
    make_namespace(c, "default")
    c.web = c.add_pod("web", labels=labels("a"))
    c.node = c.add_pod("node", labels=labels("a"), host_network=True)
    audit = c.agent.audit.mark()
    expect_token(c, ask(c, "web"), A, "web", audit)
    expect_token(c, ask_from_host_network(c), A, "node", audit)
    assert c.agent.attached() and os.listdir(agent.PINS) and os.listdir("/run/imdsgate")
    assert 254 in c.agent.listening(c.web) and 254 in c.agent.listening(c.node)


@suite.test("checked: what the README names says how it is")
def _(c):
    said = [do(c, command) for command in commands("Check")]
    assert len(said) == 4 and "1/1" in said[0] and "Running" in said[0], said
    assert "node-1" in said[1] and "web" in said[2] and "default/id-a" in said[2], said[1:3]


@suite.test("the agent deleted: refused, as long as its programs are there")
def _(c):
    c.pids = [c.agent.status()[name] for name in ("monitor_pid", "server_pid")]
    lab = c.lab.mark()
    c.kubectl("delete", "-f", agent.daemonset_here())
    c.agent.wait_gone()
    for pod in ("web", "node"):
        reply = ask(c, pod)
        assert reply["result"] == "error" and reply["errno"] in REFUSED, reply
    assert c.agent.attached() and not c.lab.connections(lab)


@suite.test("another agent takes over what is there")
def _(c):
    c.kubectl("apply", "-f", agent.daemonset_here())
    c.agent.wait()
    audit = c.agent.audit.mark()
    expect_token(c, ask(c, "web"), A, "web", audit)
    expect_token(c, ask_from_host_network(c), A, "node", audit)
    c.pids += [c.agent.status()[name] for name in ("monitor_pid", "server_pid")]


@suite.test("uninstalled: nothing is left but the audit")
def _(c):
    logs = c.agent.logs()  # kubelet deletes them with the pod
    c.agent.logs = lambda: logs
    for command in commands("Uninstall"):
        do(c, command)
    c.agent.check_nothing_left(c.pids, [c.web, c.node])
    for kind in ("clusterroles", "clusterrolebindings", "customresourcedefinitions", "namespaces"):
        left = [line for line in c.kubectl("get", kind, "-o", "name").splitlines()
                if "imdsgate" in line or "aadpodidentity" in line]
        assert not left, left


@suite.test("control: without it a pod reaches the metadata service")
def _(c):
    SCRIPT.check_done()
    lab = c.lab.mark()
    reply = ask(c, "web", selector={"client_id": A.client_id})
    assert reply.appid == A.client_id, reply
    assert len(c.lab.requests(lab)) == 1 and token_path() in c.lab.requests(lab)[0]["target"]


if __name__ == "__main__":
    cluster.run(suite)
