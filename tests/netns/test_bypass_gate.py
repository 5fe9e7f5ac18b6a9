"""Attacks on the gate itself; the tables are in bypass/gate.py."""

from bypass import gate
from bypass.way import add_tests
from bypass.world import bypass_world
from harness import TRACES
from tap import Suite

suite = Suite(bypass_world, TRACES)
add_tests(suite, gate.WAYS, lambda w: w.agent.start())
for function in gate.REFUSED_BY_KERNEL:
    suite.test(" ".join(function.__doc__.split()))(function)

if __name__ == "__main__":
    suite.run()
