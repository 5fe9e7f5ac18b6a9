"""Ways to reach an endpoint by what a request says; the table is in bypass/requests.py. Each is shown
to arrive without the gate first."""

from bypass import requests
from bypass.way import add_tests
from bypass.world import bypass_world
from harness import TRACES
from tap import Suite

suite = Suite(bypass_world, TRACES)
add_tests(suite, requests.WAYS, lambda w: w.agent.start())

if __name__ == "__main__":
    suite.run()
