"""What the running agent has given up, as the kernel tells it: users, capabilities, filters of
system calls, core dumps, and what the sandbox has to leave working. That forbidden things really
are is tried from inside by tests/unit/test_sandbox_*.c."""

import os
import re
import subprocess

import sanitizers
from harness import AGENT_UID, TRACES, manifests, standard_world
from tap import Suite
from watch import event, wait_gone

suite = Suite(standard_world, TRACES)
A = manifests.ID_A.client_id

# Numbers of the capabilities in docs/architecture.md, which the monitor keeps.
CAPABILITIES = {
    "chown": 0, "dac_override": 1, "dac_read_search": 2, "kill": 5, "setgid": 6,
    "setuid": 7, "setpcap": 8, "net_bind_service": 10, "net_admin": 12, "sys_ptrace": 19,
    "sys_admin": 21,
}
KEPT = sum(1 << number for number in CAPABILITIES.values())


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def capabilities(status):
    return {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}


def is_confined(status, filters):
    assert status["NoNewPrivs"] == "1", status
    assert status["Seccomp"] == "2", status
    assert int(status.get("Seccomp_filters", filters)) == filters, status


def no_core(pid, dumpable=False):
    with open(f"/proc/{pid}/limits", encoding="utf-8") as f:
        assert re.search(r"^Max core file size +0 +0 ", f.read(), re.MULTILINE)
    # what is not dumpable belongs to root, whoever runs it
    assert os.stat(f"/proc/{pid}/environ").st_uid == (AGENT_UID if dumpable else 0)


def check_server(pid):
    for thread in os.listdir(f"/proc/{pid}/task"):
        status = status_of(f"{pid}/task/{thread}")
        assert status["Uid"].split() == [str(AGENT_UID)] * 4, status
        assert status["Gid"].split() == [str(AGENT_UID)] * 4, status
        assert status["Groups"].strip() == "", status
        assert set(capabilities(status).values()) == {0}, status
        is_confined(status, 2)  # the monitor's, which it inherits, and its own
    no_core(pid, dumpable=sanitizers.INSTRUMENTED)  # for its leak check


@suite.test("the server has no capability, a filter in each thread, and leaves no core")
def server(w):
    _, pid = w.agent.pids()
    check_server(pid)


@suite.test("the monitor has the capabilities that the documentation lists, and a filter")
def monitor(w):
    pid, _ = w.agent.pids()
    status = status_of(pid)
    available = int(status_of("self")["CapPrm"], 16)
    got = capabilities(status)
    assert got["CapInh"] == got["CapAmb"] == 0, got
    assert got["CapPrm"] == got["CapEff"] == KEPT & available, got
    assert got["CapBnd"] == KEPT & int(status_of("self")["CapBnd"], 16), got
    is_confined(status, 1)
    no_core(pid)


@suite.test("the next server is confined as the first one was, and serves")
def restarted(w):
    _, first = w.agent.pids()
    mark = w.agent.audit.mark()
    w.agent.kill_server()
    w.agent.audit.wait_for(event("agent.started"), mark)
    _, second = w.agent.pids()
    assert second != first
    check_server(second)
    assert w.pods["a"].dial().appid == A


@suite.test("a directory of manifests that another takes the place of is read")
def replaced(w):
    aside = w.manifests + ".aside"
    subprocess.run(["cp", "-a", w.manifests, aside], check=True)
    os.rename(w.manifests, w.manifests + ".old")
    os.rename(aside, w.manifests)
    w.apply("more.yaml", manifests.binding("bind-c", manifests.ID_A, "sel-c"))
    w.apply("more.yaml", None)


@suite.test("both end when they are told to")
def stopped(w):
    pids = w.agent.pids()
    assert w.agent.stop() == 0
    for pid in pids:
        wait_gone(pid)
    assert "killing" not in "\n".join(w.agent.log.all())


if __name__ == "__main__":
    suite.run()
