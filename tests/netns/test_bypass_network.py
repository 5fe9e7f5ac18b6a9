"""Ways to reach an endpoint by changing the network; the table is in bypass/network.py. Each is
shown to work without the gate first."""

from bypass import network
from bypass.way import add_tests
from bypass.world import bypass_world
from harness import TRACES
from tap import Suite

suite = Suite(bypass_world, TRACES)
add_tests(suite, network.WAYS, lambda w: w.agent.start())

if __name__ == "__main__":
    suite.run()
