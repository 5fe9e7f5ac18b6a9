"""How long it takes from the start of the agent until pods are guarded, and from its death until
they are served again."""

import os
import signal
import subprocess
import time

from crowd import Crowd
from harness import IMDS, standard_world
from places import BUILD
from watch import wait_ready

PODS = 250


class Client:
    """One of a pod, that is there already and only waits to be told to ask."""

    def __init__(self, pod):
        self._process = pod.spawn([f"{BUILD}/tests/bench/ask", IMDS, "80", "0", "fresh"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self):
        """Returns when its request, and one more, were answered."""
        self._process.stdin.write("1\n")
        self._process.stdin.flush()
        while True:
            line = self._process.stdout.readline()
            assert line, "the client got no answer"
            if line == "\n":
                return


def start(w):
    """In milliseconds from the program's first instruction until the programs are attached."""
    process, reader = w.agent.start_beside()
    begin = time.monotonic()
    assert b"ready" in wait_ready(reader), "the agent does not start"
    w.agent.process = process
    return (time.monotonic() - begin) * 1000


def first_start(w):
    """Where no agent was before."""
    if w.agent.process:
        w.agent.stop()
        status, out, err = w.agent.place.run(w.agent.argv("--detach"))
        assert status == 0, out + err
    return start(w)


def start_again(w, client):
    """Both processes are dead, the programs are in force."""
    w.agent.kill_both()
    begin = time.monotonic()
    start(w)
    client.ask()
    return (time.monotonic() - begin) * 1000


def server_again(w, client):
    _, server = w.agent.pids()
    begin = time.monotonic()
    os.kill(server, signal.SIGKILL)
    client.ask()
    return (time.monotonic() - begin) * 1000


def run(bench):
    with standard_world(agent=False) as w:
        bench.row("start to enforcing", "ms", [first_start(w) for _ in range(bench.rounds)],
                  limit="<= 100")
    with standard_world() as w:
        Crowd(w).grow(PODS)
        client = Client(w.pods["a"])
        client.ask()
        bench.row(f"start to serving, {PODS} listeners", "ms",
                  [start_again(w, client) for _ in range(bench.rounds)], limit="<= 300")
        bench.row(f"death of the server to serving, {PODS} listeners", "ms",
                  [server_again(w, client) for _ in range(bench.rounds)], limit="<= 300")
