#!/usr/bin/python3
"""That what scale.py measures is what happens: many agents' watches are equal to the API server."""

import cluster
import scale
from tap import Suite

AGENTS, OBJECTS = 20, 40

suite = Suite(cluster.build, seconds=150)


@suite.test("the objects of the cluster reach every agent, and each change of one")
def everything(c):
    scale.prepare(c)
    one = scale.memory_and_list(c, AGENTS, OBJECTS)
    assert one["objects"] >= 4 * OBJECTS, one
    assert one["list_bytes_per_agent"] > one["objects"] * 100, one
    changed = scale.events(c, AGENTS, OBJECTS, 2)
    assert changed["events"] >= 2 * OBJECTS, changed


@suite.test("an agent asks for the pods of its own node and no others")
def own_pods(c):
    assert scale.pods(c, 10)["list_bytes_per_pod"] > 500


@suite.test("many agents that start at once are all served")
def many(c):
    result = scale.many(c, AGENTS, 3)
    assert result["synced"] == AGENTS and result["errors"] == 0, result


if __name__ == "__main__":
    cluster.run(suite)
