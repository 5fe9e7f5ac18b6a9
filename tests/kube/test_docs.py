#!/usr/bin/python3
"""What the chart's page says of installing, upgrading and uninstalling, the start-up taint's loop of
docs/operations.md, and what docs/audit.md and docs/tools.md have an agent asked: taken from the pages,
and run. (deploy/test_docs.py sees to it that no command is left out.)"""

import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import agent
import box
import cluster
import documents
from config import NODE
from places import BUILD, REPO
from tap import Skip, Suite
from tokens import A, B, ask, expect_token, labels, make_namespace

SCRIPT = documents.Script("kube/test_docs")
CHART = "deploy/helm/imdsgate/README.md"
TAINT = "imdsgate.dev/agent-not-ready"
POD, NAMESPACE = "cart-0", "shop"  # as the pages have them

suite = Suite(agent.build, agent.TRACES, seconds=200)


def shell(c, text, timeout=150):
    if agent.NO_HELM:
        raise Skip(agent.NO_HELM)
    homes = "".join(f"export HELM_{what}_HOME={box.TMP}/helm\n" for what in ("CACHE", "CONFIG", "DATA"))
    text = f'{homes}helm() {{ {agent.HELM} "$@"; }}\ncd {REPO}\n{text}'
    status, out, err = c.run(["bash", "-euo", "pipefail", "-c", text], timeout=timeout)
    assert status == 0, f"{text}: {out}{err}"
    return out


def do(c, section, begin, **changes):
    """The commands of the chart's page; changes: what a reader puts in place of a word."""
    for text in SCRIPT.take(CHART, section, begin):
        for word, other in changes.items():
            assert word in text, (word, text)
            text = text.replace(word, other)
        shell(c, text)


def remember(c):
    c.pids = getattr(c, "pids", []) + [
        c.agent.status()[name] for name in ("monitor_pid", "server_pid")]


def token(c):
    audit = c.agent.audit.mark()
    return expect_token(c, ask(c, POD, namespace=NAMESPACE), A, POD, audit)


@suite.test("the chart: installed")
def _(c):
    c.agent.add_image()
    do(c, "imdsgate, the chart", "helm install",
       REPOSITORY="docker.io/library/imdsgate,image.tag=dev,probes.readiness.periodSeconds=3")
    c.agent.wait()
    make_namespace(c, NAMESPACE)
    c.add_pod(POD, NAMESPACE, labels=labels("a"))
    token(c)
    remember(c)


@suite.test("the chart: upgraded, with the values that it had")
def _(c):
    do(c, "Upgrade", "helm upgrade")
    c.agent.wait_rolled()
    token(c)
    remember(c)


@suite.test("the start-up taint goes from the nodes where the agent is ready")
def _(c):
    c.kubectl("taint", "nodes", NODE, f"{TAINT}=true:NoSchedule")
    (loop,) = SCRIPT.take("docs/operations.md")
    said = shell(c, loop)
    assert f"node/{NODE} untainted" in said, said
    assert TAINT not in c.kubectl("get", "nodes", "-o", "jsonpath={.items[*].spec.taints[*].key}")


def follow(c, text):
    """(lines that it prints while pods ask, its exit status); without --count it is ended after the
    first of them."""
    tail = subprocess.Popen(["bash", "-c", f"exec {text}"], stdin=subprocess.DEVNULL, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            env={**os.environ, "PATH": f"{BUILD}:{os.environ['PATH']}"})
    try:
        for _ in range(12):  # the first may be told before it listens
            token(c)
            ask(c, POD, namespace=NAMESPACE, selector={"client_id": B.client_id})
        if "--count" not in text:
            return [tail.stdout.readline()], None
        said, _ = tail.communicate(timeout=20)
        return said.splitlines(), tail.returncode
    finally:
        tail.kill()
        tail.wait()


@suite.test("the audit is followed, as its page says")
def _(c):
    for begin in ("imdsgate audit tail", "imdsgate --json audit tail"):
        for text in SCRIPT.take("docs/audit.md", begin=begin):
            lines, status = follow(c, text.replace("4711", "1"))
            found = [json.loads(line) for line in lines]
            assert "--count 10" not in text or (status == 0 and len(found) == 10), (text, lines)
            assert "deny" not in text or found[0]["decision"] == "deny", lines


@suite.test("the rules of the running agent are asked, as the page of the tools says")
def _(c):
    (text,) = SCRIPT.take("docs/tools.md")
    said = shell(c, f"PATH={BUILD}:$PATH\n{text}")
    assert "ALLOW" in said and f"{NAMESPACE}/{POD}" in said, said


@suite.test("the chart: uninstalled, and nothing is left but the audit")
def _(c):
    logs = c.agent.logs()  # kubelet deletes them with the pod
    c.agent.logs = lambda: logs
    do(c, "Uninstall", "")
    c.wait_pods("app.kubernetes.io/name=imdsgate-detach", 0, agent.NAMESPACE)
    c.agent.check_nothing_left(c.pids, [])
    lab = c.lab.mark()
    assert ask(c, POD, namespace=NAMESPACE, selector={"client_id": A.client_id}).appid == A.client_id
    assert len(c.lab.requests(lab)) == 1, "without the gate a pod reaches the metadata service"
    SCRIPT.check_done()


if __name__ == "__main__":
    cluster.run(suite)
