#!/usr/bin/python3
"""What the watches of many agents cost the API server, and what a cluster's objects cost an agent:
`make scale`. Prints what docs/scale.md has; test_scale.py sees with small numbers that it works.

The agents are those of swarm.c: the real client, feeder and store, many of them in one process."""

import argparse
import concurrent.futures
import json
import os
import subprocess
import sys
import time

# pylint: disable=wrong-import-position
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster
import kernel
import workloads
from places import BUILD, REPO

AAD, POLICY = "/apis/aadpodidentity.k8s.io/v1", "/apis/imdsgate.dev/v1alpha1"
WRITERS = 8
PODS = 110


class Swarm:
    """The agents' watches; report() asks for their counters."""

    def __init__(self, c, agents, prefix="node-"):
        self._process = subprocess.Popen(
            [f"{BUILD}/tests/kube/swarm", c.files.kubeconfigs["admin"], str(agents), prefix],
            env=c.env(), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            preexec_fn=kernel.die_with_parent)
        started = time.monotonic()
        self.first = self._read()
        self.seconds = time.monotonic() - started

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self._process.kill()
        self._process.wait()

    def _read(self):
        line = self._process.stdout.readline()
        assert line, "the swarm ended"
        return json.loads(line)

    def report(self):
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def wait(self, wanted, timeout=60):
        """The first report for which wanted(report) holds. There is no event to wait for: the
        objects' last event reaches each agent at a time of its own."""
        deadline = time.monotonic() + timeout
        while True:
            report = self.report()
            if wanted(report):
                return report
            assert time.monotonic() < deadline, f"not within {timeout} s: {report}"
            time.sleep(0.05)


class Writer:
    """Makes objects, several at a time."""

    def __init__(self, c):
        self._api = c.api

    def each(self, function, items):
        with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(function, items))

    def post(self, path, objects):
        self.each(lambda item: self._api.request("POST", path, item, timeout=60), objects)


def custom(api, kind, name, spec):
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec}


def identity(i):
    return custom("aadpodidentity.k8s.io/v1", "AzureIdentity", f"id-{i}", {
        "type": 0, "clientID": f"00000000-0000-0000-0000-{i:012d}",
        "resourceID": "/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/group/"
                      f"providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-{i}"})


def binding(i):
    return custom("aadpodidentity.k8s.io/v1", "AzureIdentityBinding", f"binding-{i}",
                  {"azureIdentity": f"id-{i}", "selector": f"sel-{i}"})


def policy(i):
    return custom("imdsgate.dev/v1alpha1", "MetadataPolicy", f"policy-{i}", {
        "mode": "Enforce", "podSelector": {"matchLabels": {"app": f"app-{i}"}},
        "allow": {"resources": ["https://vault.azure.net", "https://storage.azure.com"]}})


def account(i):
    return workloads.service_account(f"account-{i}", "scale", {
        "azure.workload.identity/client-id": f"00000000-0000-0000-0001-{i:012d}"})


def pod(i):
    """On a node that there is none of: nobody runs it."""
    return workloads.pod(f"pod-{i}", "scale", nodeName="crowded0",
                         labels={"aadpodidbinding": f"sel-{i}", "app": f"app-{i}"})


def pods(c, count):
    """The pods of one node, which its agent alone asks for."""
    Writer(c).post("/api/v1/namespaces/scale/pods", map(pod, range(count)))
    with Swarm(c, 1, "lonely") as lonely, Swarm(c, 1, "crowded") as crowded:
        more = crowded.first["bytes"] - lonely.first["bytes"]
        assert crowded.first["objects"] - lonely.first["objects"] == count
    return {"pods": count, "list_bytes_per_pod": more / count}


def fill(c, objects):
    """`objects` of each kind that agents watch in the whole cluster."""
    writer, numbers = Writer(c), range(objects)
    writer.post("/api/v1/namespaces/scale/serviceaccounts", map(account, numbers))
    writer.post(f"{AAD}/namespaces/scale/azureidentities", map(identity, numbers))
    writer.post(f"{AAD}/namespaces/scale/azureidentitybindings", map(binding, numbers))
    writer.post(f"{POLICY}/namespaces/scale/metadatapolicies", map(policy, numbers))


def settle(c, objects):
    """An agent writes the policies' statuses, so that nobody does while something is measured."""
    def accepted(policies):
        return len(policies) == objects and all("status" in item for item in policies.values())
    with Swarm(c, 1):
        c.api.wait_for(f"{POLICY}/namespaces/scale/metadatapolicies", accepted, 120,
                       "status of every policy")


def prepare(c):
    c.kubectl("apply", "-f", os.path.join(REPO, "deploy/kubernetes/crds"))
    c.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    c.apply(workloads.namespace("scale"))
    c.wait_account("scale", "default")


class Server:
    """What the API server's process has used."""

    def __init__(self, c):
        self._pid = c.pid_of("kube-apiserver")

    def cpu_sec(self):
        with open(f"/proc/{self._pid}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mib(self):
        with open(f"/proc/{self._pid}/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


def memory_and_list(c, agents, objects):
    """({…} of one agent) before and after there are objects."""
    with Swarm(c, agents) as empty:
        before = empty.first
    fill(c, objects)
    settle(c, objects)
    with Swarm(c, agents) as full:
        after = full.first
    more = (after["objects"] - before["objects"]) / agents
    return {
        "objects": after["objects"] / agents,
        "list_bytes_per_agent": after["bytes"] / agents,
        "list_bytes_per_1000_objects": (after["bytes"] - before["bytes"]) / agents / more * 1000,
        "rss_kib_per_agent_empty": before["rss_kib"] / agents,
        "rss_kib_per_1000_objects": (after["rss_kib"] - before["rss_kib"]) / agents / more * 1000,
        "list_cpu_msec_per_1000_objects":
            (after["cpu_usec"] - before["cpu_usec"]) / 1000 / agents / more * 1000,
    }


def events(c, agents, objects, rounds):
    """Every identity changes `rounds` times; each change is one event for each agent."""
    with Swarm(c, agents) as swarm:
        before, writer = swarm.report(), Writer(c)
        for turn in range(rounds):
            writer.each(lambda i, t=turn: c.api.patch(
                f"{AAD}/namespaces/scale/azureidentities/id-{i}",
                {"metadata": {"annotations": {"example.com/turn": str(t)}}}), range(objects))
        want = before["events"] + agents * objects * rounds
        after = swarm.wait(lambda r: r["events"] >= want)
    n = after["events"] - before["events"]
    return {"events": n / agents, "event_bytes": (after["bytes"] - before["bytes"]) / n,
            "cpu_msec_per_1000_events": (after["cpu_usec"] - before["cpu_usec"]) / n}


def many(c, agents, idle_sec):
    """All start at once; then nothing happens for a while."""
    server = Server(c)
    cpu, rss = server.cpu_sec(), server.rss_mib()
    with Swarm(c, agents) as swarm:
        result = {
            "agents": agents, "synced": swarm.first["synced"], "seconds_to_sync": swarm.seconds,
            "server_cpu_sec_to_sync": server.cpu_sec() - cpu,
            "server_rss_mib_more": server.rss_mib() - rss,
            "bytes_to_sync": swarm.first["bytes"], "errors": swarm.first["errors"]}
        cpu, before = server.cpu_sec(), swarm.report()
        time.sleep(idle_sec)  # this is the time that is measured
        after = swarm.report()
        result["idle_bytes_per_agent_minute"] = \
            (after["bytes"] - before["bytes"]) / agents / idle_sec * 60
        result["idle_server_cpu_percent"] = (server.cpu_sec() - cpu) / idle_sec * 100
        result["idle_agent_cpu_msec_per_minute"] = \
            (after["cpu_usec"] - before["cpu_usec"]) / 1000 / agents / idle_sec * 60
    return result


def measure(c, agents, objects, rounds, idle_sec):
    prepare(c)
    return {"one": memory_and_list(c, max(1, agents // 10), objects),
            "pods": pods(c, PODS),
            "events": events(c, max(1, agents // 10), objects, rounds),
            "many": many(c, agents, idle_sec)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agents", type=int, default=200)
    parser.add_argument("--objects", type=int, default=500, help="of each kind")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--idle", type=int, default=120, help="seconds")
    options = parser.parse_args()
    cluster.enter()
    with cluster.build() as c:
        result = measure(c, options.agents, options.objects, options.rounds, options.idle)
    for part, values in result.items():
        for name, value in values.items():
            print(f"{part + '.' + name:48} {value:14.1f}")


if __name__ == "__main__":
    main()
