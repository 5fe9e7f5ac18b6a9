"""Ways to reach an endpoint in somebody else's name; the table is in bypass/handover.py. Each is
shown to work without the gate first."""

from bypass import handover
from bypass.way import add_tests
from bypass.world import bypass_world
from harness import TRACES
from tap import Suite

suite = Suite(bypass_world, TRACES)
add_tests(suite, handover.WAYS, lambda w: w.agent.start())

if __name__ == "__main__":
    suite.run()
