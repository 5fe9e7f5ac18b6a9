#!/usr/bin/python3
"""The agent on a real node, as deploy/kubernetes installs it: what each kind of workload gets."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import agent
import cluster
import manifests
import workloads
from tap import Suite
from watch import event

A, B = manifests.ID_A, manifests.ID_B


suite = Suite(agent.build, agent.TRACES, seconds=100)


@suite.test("deploy/kubernetes, applied as it is, brings an agent that is ready")
def _(c):
    c.agent.install()


@suite.test("a bound pod gets its token")
def _(c):
    c.apply(workloads.identity(A), workloads.binding("a", A.name, "sel-a"))
    c.add_pod("web", labels={"aadpodidbinding": "sel-a"})
    mark = c.lab.mark()
    reply = c.dial("web")
    assert reply.appid == A.client_id, reply


if __name__ == "__main__":
    cluster.run(suite)
