#!/usr/bin/python3
"""Real Azure clients, unchanged, in real pods: azure-identity for Python and for Node.js, MSAL, curl.
Their programs are the machine's and the cache's (tests/clients), mounted read-only. What each does in
every case is tests/clients' business; here it is that they work in a pod at all."""

import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "clients")]
# pylint: disable=wrong-import-position
import agent
import cluster
import images
import packages
import workloads
from tap import Skip, Suite
from tokens import B, VAULT, labels, make_namespace, token_path

IMAGE = images.name_of("machine:1")
ENV = ("HOME=/tmp", "PATH=/usr/bin", "LC_ALL=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1",
       "PYTHONPATH=/sdk", "IG_NODE_MODULES=/npm")
# name: (what it needs, command line)
CLIENTS = {
    "azure-identity (Python) ManagedIdentityCredential":
        ("sdk", ["/usr/bin/python3", "/clients/azure_python.py", "managed"]),
    "azure-identity (Python) DefaultAzureCredential":
        ("sdk", ["/usr/bin/python3", "/clients/azure_python.py", "default"]),
    "@azure/identity ManagedIdentityCredential":
        ("npm", ["/usr/bin/node", "/clients/azure_node.mjs", "managed"]),
    "@azure/identity DefaultAzureCredential":
        ("npm", ["/usr/bin/node", "/clients/azure_node.mjs", "default"]),
    "@azure/msal-node ManagedIdentityApplication":
        ("npm", ["/usr/bin/node", "/clients/azure_node.mjs", "msal"]),
}
places, missing = {"clients": packages.HERE, "usr": "/usr"}, {}

suite = Suite(agent.build, agent.TRACES, seconds=100)


def fetch():
    """While there still is a network; what cannot be had is a reason to skip."""
    for name, get in (("sdk", packages.python_sdk), ("npm", packages.npm_packages)):
        try:
            places[name] = get()
        except Skip as skip:
            missing[name] = str(skip)
    if "npm" in places and not os.path.exists("/usr/bin/node"):
        missing["npm"] = "node is not in /usr"


def machine_pod(name, **more):
    """A pod that sees the machine's programs."""
    mounts = [{"name": place, "mountPath": f"/{place}", "readOnly": True} for place in places]
    volumes = [{"name": place, "hostPath": {"path": path, "type": "Directory"}}
               for place, path in places.items()]
    container = workloads.container(image=IMAGE, volumeMounts=mounts)
    return workloads.pod(name, containers=[container], volumes=volumes, **more)


@suite.test("the agent, and pods that see the machine's programs")
def _(c):
    c.agent.install()
    make_namespace(c, "default")
    tools = {name: f"{cluster.BUILD}/tests/kube/{name}" for name in ("stay", "dial")}
    links = {name: f"usr/{name}" for name in ("bin", "lib", "lib64") if os.path.islink(f"/{name}")}
    c.add_image(IMAGE, tools, links=links)
    c.apply(machine_pod("bound", labels=labels("ab")), machine_pod("none"))
    for name in ("bound", "none"):
        c.wait_pod(name)


def run_in(c, pod, *argv):
    return c.kubectl("exec", pod, "--", "/usr/bin/env", *ENV, *argv, check=False)


def answer_of(c, pod, name):
    needs, argv = CLIENTS[name]
    if needs in missing:
        raise Skip(missing[needs])
    status, out, err = run_in(c, pod, *argv, "client_id", B.client_id)
    assert out, f"exit {status}: {err}"
    return json.loads(out.splitlines()[-1])


def define(name):
    @suite.test(f"{name}: its token, and without a binding none")
    def _(c):
        lab, audit = c.lab.mark(), c.agent.audit.mark()
        answer = answer_of(c, "bound", name)
        assert answer.get("appid") == B.client_id and answer["aud"] == VAULT, answer
        record = c.agent.recorded("token.issued", audit, pod__name="bound")
        assert record["identity"]["client_id"] == B.client_id, record
        assert re.search("python|node", record["process"]["exe"]), record
        answer = answer_of(c, "none", name)
        assert answer["result"] == "error", answer
        c.agent.recorded("token.denied", audit, pod__name="none")
        c.lab.only_the_agent(lab)


for client in CLIENTS:
    define(client)


@suite.test("curl: its token, and without a binding none")
def _(c):
    lab, audit = c.lab.mark(), c.agent.audit.mark()
    argv = ["/usr/bin/curl", "-s", "-w", "\n%{http_code}", "-H", "Metadata: true",
            "http://169.254.169.254" + token_path(client_id=B.client_id)]
    _, out, _ = run_in(c, "bound", *argv)
    body, status = out.rsplit("\n", 1)
    assert status == "200" and json.loads(body)["client_id"] == B.client_id, status
    record = c.agent.recorded("token.issued", audit, pod__name="bound")
    assert record["process"]["exe"] == "/usr/bin/curl", record
    _, out, _ = run_in(c, "none", *argv)
    assert out.endswith("\n400") and "access_token" not in out, out
    c.lab.only_the_agent(lab)


if __name__ == "__main__":
    if os.geteuid() == 0:
        fetch()
    cluster.run(suite)
