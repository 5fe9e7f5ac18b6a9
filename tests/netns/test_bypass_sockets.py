"""Ways to reach an endpoint by kind of socket and form of address; the tables are in
bypass/sockets.py. Each is shown to work without the gate first."""

from bypass import sockets
from bypass.way import add_tests
from bypass.world import bypass_world
from harness import IMDS, TRACES
from tap import Suite

suite = Suite(bypass_world, TRACES)
add_tests(suite, sockets.TCP + sockets.OTHERS + sockets.NAMES, lambda w: w.agent.start())


@suite.test("a frame that skips traffic control in the host's namespace: as SECURITY.md says")
def past_traffic_control(w):
    mark = w.seen.mark()
    w.send(w.pods["h"], "frame", "10.99.0.105", IMDS, 80, "up0", w.mac(w.fabric, "fab0"),
           "--bypass")
    assert len(w.sent(mark)) == 1, "it is stopped: SECURITY.md says that it is not"


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
