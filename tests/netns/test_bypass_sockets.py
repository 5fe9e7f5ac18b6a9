"""Ways to reach an endpoint by kind of socket and form of address; the tables are in
bypass/sockets.py. Each is shown to work without the gate first."""

from bypass import sockets
from bypass.way import add_tests
from bypass.world import bypass_world
from harness import TRACES
from tap import Suite

suite = Suite(bypass_world, TRACES)
add_tests(suite, sockets.TCP + sockets.OTHERS + sockets.NAMES, lambda w: w.agent.start())


@suite.test("IPv6 forms that somebody else would have to translate lead nowhere")
def translated(w):
    w.usual = {"timeout": 600}
    mark = w.seen.mark()
    for name, text in sockets.TRANSLATED.items():
        reply = w.attempt(w.pods["c"], "by_name", name=text)
        assert reply["result"] == "error", (name, reply)
    assert not w.arrived(mark)


if __name__ == "__main__":
    suite.run()
