"""What a service manager is told (NOTIFY_SOCKET), and imdsgated --replace, by which it has one agent
replaced by another: it returns when the new one serves, or leaves everything as it was."""

import contextlib
import os
import re
import signal
import socket

from harness import TRACES, manifests, standard_world
from places import TokenLoad
from tap import Suite
from watch import wait_gone

A = manifests.ID_A.client_id


class Manager:
    """The socket of a service manager."""

    def __init__(self, w):
        self.path = f"{w.tmp}/notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(20)
        self._socket.bind(self.path)

    def hear(self):
        return self._socket.recv(256).decode()

    def heard_nothing(self):
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            return not self._socket.recv(256)
        self._socket.settimeout(20)
        return True


@contextlib.contextmanager
def world():
    with standard_world(agent=False) as w:
        w.manager = Manager(w)
        yield w


suite = Suite(world, TRACES)


def spawn(w, *flags, **changes):
    env = {**os.environ, **w.env, "NOTIFY_SOCKET": w.manager.path}
    with open(w.agent.log.path, "ab") as log:
        return w.agent.place.spawn(w.agent.argv(*flags, **changes), stdout=log, stderr=log, env=env)


def environment(pid):
    with open(f"/proc/{pid}/environ", "rb") as file:
        return file.read()


@suite.test("started is it when the gate serves, and the server has nothing to do with the service manager")
def started(w):
    w.agent.process = spawn(w)
    assert w.manager.hear() == "READY=1\n"
    assert w.pods["a"].dial().appid == A
    _, server = w.agent.pids()
    assert b"NOTIFY_SOCKET" not in environment(server)


@suite.test("--replace returns when a new agent serves, and says which process that is; no request fails")
def replaced(w):
    load = TokenLoad(w.pods["a"], A)
    old = w.agent.process
    assert spawn(w, "--replace").wait(20) == 0
    (pid,) = re.fullmatch(r"MAINPID=(\d+)\n", w.manager.hear()).groups()
    assert w.agent.pids()[0] == int(pid) != old.pid
    result = load.stop()
    assert not result["failures"] and result["kept"] > 1 and result["new"] > 1, result
    assert old.wait(20) == 0
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        parent = int(file.read().rsplit(")", 1)[1].split()[1])
    assert parent != os.getpid() and w.manager.heard_nothing()


@suite.test("the agent that replaced one is replaced as well")
def again(w):
    before = w.agent.pids()[0]
    assert spawn(w, "--replace").wait(20) == 0
    assert w.manager.hear() == f"MAINPID={w.agent.pids()[0]}\n"
    wait_gone(before)
    assert w.pods["a"].dial().appid == A


@suite.test("a signal to every process of the service, as logrotate sends it, does not end --replace")
def hangup(w):
    before, mark = w.agent.pids()[0], w.agent.log.mark()
    with open(f"{w.manifests}/pods.yaml", encoding="utf-8") as file:
        good = file.read()
    w.apply("pods.yaml", good + "---\nkind: [\n", "policy.rejected")
    process = spawn(w, "--replace")
    w.agent.log.wait_for(lambda line: "standing by" in line, mark)
    process.send_signal(signal.SIGHUP)
    w.write("pods.yaml", good)
    assert process.wait(20) == 0
    assert w.manager.hear() == f"MAINPID={w.agent.pids()[0]}\n"
    wait_gone(before)
    assert w.pods["a"].dial().appid == A


@suite.test("a new agent that cannot start: --replace fails, and the old one goes on")
def failed(w):
    before, mark = w.agent.pids(), w.agent.log.mark()
    assert spawn(w, "--replace", imds_url=None, audit_file="/nonexistent/directory/file").wait(20) == 1
    assert w.agent.log.find(lambda line: "the new agent could not start, see above" in line, mark)
    assert w.agent.pids() == before and w.manager.heard_nothing()
    assert w.pods["a"].dial().appid == A


@suite.test("a socket of the service manager that is not there is said before anything happens")
def no_socket(w):
    before = w.agent.pids()
    env = {**os.environ, **w.env, "NOTIFY_SOCKET": f"{w.tmp}/nobody"}
    status, _, err = w.agent.place.run(w.agent.argv("--replace"), env=env)
    assert status == 1 and "NOTIFY_SOCKET" in err, err
    env["NOTIFY_SOCKET"] = "relative"
    status, _, err = w.agent.place.run(w.agent.argv("--replace"), env=env)
    assert status == 1 and "is no address" in err, err
    assert w.agent.pids() == before


if __name__ == "__main__":
    suite.run()
