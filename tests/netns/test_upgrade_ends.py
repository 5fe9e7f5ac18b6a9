"""One agent takes over from another, and one of them ends or is told to end at a bad moment."""

import contextlib
import os
import signal
import socket

from harness import TRACES
from tap import Suite
from test_upgrade import APPLY, COMMIT, HELLO, NewAgent, log_of, world

suite = Suite(world, TRACES, seconds=90)


@suite.test("a new agent that ends before the old one is quiet is the last that the old one answers")
def ends_early(w):
    mark, (_, server) = w.agent.log.mark(), w.agent.pids()
    os.kill(server, signal.SIGSTOP)
    new = NewAgent(w)
    for kind in (HELLO, APPLY):
        assert new.ask(kind)[0] == 0
    new.send(COMMIT)
    log_of(w, "another agent takes over", mark)
    new.close()
    next_one = NewAgent(w)
    # its listeners and the lock are not the old one's any more
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        assert next_one.ask(HELLO)[0] is None
    next_one.close()
    os.kill(server, signal.SIGCONT)
    assert w.agent.process.wait(10) == 0
    w.agent.start("--audit-chain")


if __name__ == "__main__":
    suite.run()
