"""`imdsgate top` against an agent at work: what it counts, and that a terminal is as it was before,
however the tool ends."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import termios
import time

from harness import TRACES, standard_world
from places import BUILD
from tap import Suite

suite = Suite(standard_world, TRACES)
VAULT = "https://vault.azure.net"
ON, OFF, DRAW = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[H"


class Screen:
    """The tool on a terminal of its own, which is its controlling one."""

    def __init__(self, w, *args, columns=100, rows=20):
        self.master, slave = pty.openpty()
        self._slave, self.text = slave, b""
        self.resize(columns, rows)
        self.before = termios.tcgetattr(slave)
        argv = [f"{BUILD}/imdsgate", "--socket", w.agent.socket, "top", *args]
        self.process = w.host.spawn(
            argv, stdin=slave, stdout=slave, stderr=slave,
            env={**os.environ, **w.env, "TERM": "xterm"}, start_new_session=True)

    def resize(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read_until(self, wanted, seconds=10):
        """What came up to and with that text; the rest is kept."""
        deadline = time.monotonic() + seconds
        while wanted not in self.text:
            left = deadline - time.monotonic()
            assert left > 0, f"no {wanted} within {seconds} s: {self.text[-2000:]}"
            if select.select([self.master], [], [], left)[0]:
                self.text += os.read(self.master, 65536)
        end = self.text.index(wanted) + len(wanted)
        part, self.text = self.text[:end], self.text[end:]
        return part

    def frame(self):
        """The lines of the next whole picture."""
        self.read_until(DRAW)
        return self.read_until(b"\x1b[J").decode().split("\x1b[K\r\n")[:-1]

    def ended(self):
        """The exit status, after the terminal is as it was."""
        self.read_until(OFF)
        status = self.process.wait(10)
        assert termios.tcgetattr(self._slave) == self.before, "the terminal was left changed"
        self.close()
        return status

    def close(self):
        for fd in (self.master, self._slave):
            os.close(fd)


def plain(line):
    return re.sub(r"\x1b\[\d*m", "", line)


@suite.test("rates by workload, as JSON lines: one for each interval")
def as_json(w):
    top = w.agent.cli_start("top", "--interval", "1", "--count", "3")
    end = time.monotonic() + 2
    n = {"a": 0, "c": 0}
    while time.monotonic() < end:
        assert w.pods["a"].dial().status == 200
        assert w.pods["c"].dial().status == 400
        n = {name: count + 1 for name, count in n.items()}
    out, err = top.communicate(timeout=20)
    w.outputs.append(out + err)
    assert top.returncode == 0 and not err, (top.returncode, err)
    reports = [json.loads(line) for line in out.splitlines()]
    assert len(reports) == 3, out
    total = {name: {"allowed": 0, "denied": 0} for name in "abc"}
    for report in reports:
        assert 0.9 < report["interval_sec"] < 5 and report["node"] == "test-node", report
        for workload in report["workloads"]:
            for what, count in total[workload["name"]].items():
                total[workload["name"]][what] = count + (workload[f"{what}_per_sec"]
                                                         * report["interval_sec"])
    # what came before the first look is not in it; rates are rounded
    assert 1 <= total["a"]["allowed"] <= n["a"] * 1.01 and total["a"]["denied"] == 0, (total, n)
    assert 1 <= total["c"]["denied"] <= n["c"] * 1.01 and total["c"]["allowed"] == 0, (total, n)
    assert total["b"] == {"allowed": 0, "denied": 0}, total
    last = {workload["name"]: workload for workload in reports[-1]["workloads"]}
    assert last["a"]["allowed"] == n["a"] and last["a"]["last_resource"] == VAULT, last
    assert any(r["latency_usec"] and r["per_sec"]["redirected"] > 0 for r in reports), reports
    listed = {p["name"]: p for p in w.agent.cli("workload", "list")}["a"]["requests"]
    assert listed["allowed"] == n["a"] and listed["latency_usec"] > 0, listed


@suite.test("to a file: plain text without a control character")
def as_text(w):
    argv = [f"{BUILD}/imdsgate", "--socket", w.agent.socket, "top", "--count", "2", "--sort",
            "name"]
    status, out, err = w.agent.place.run(argv)
    w.outputs.append(out + err)
    assert status == 0 and not err and "\x1b" not in out, (status, out, err)
    assert out.count("imdsgate top  20") == 2 and out.count("demo/a ") == 2, out
    names = re.findall(r"demo/(\w)", out)
    assert names == ["a", "b", "c"] * 2, names


@suite.test("on a terminal: the picture fits, also after the window changed; q ends it")
def screen(w):
    s = Screen(w)
    s.read_until(ON)
    lines = [plain(line) for line in s.frame()]
    assert lines[3].startswith("REQ/S") and len(lines) == 7, lines
    assert any("demo/a" in line for line in lines[4:]), lines
    s.resize(30, 6)
    os.kill(s.process.pid, signal.SIGWINCH)
    for _ in range(5):  # one may have been drawn before
        lines = [plain(line) for line in s.frame()]
        if len(lines) == 5:
            break
    assert len(lines) == 5 and max(map(len, lines)) <= 30, lines
    os.write(s.master, b"q")
    assert s.ended() == 0


@suite.test("Ctrl-C, SIGTERM and an agent that goes leave the terminal as it was")
def ends(w):
    for end in (lambda s: os.kill(s.process.pid, signal.SIGINT),
                lambda s: os.kill(s.process.pid, signal.SIGTERM)):
        s = Screen(w)
        s.frame()
        end(s)
        assert s.ended() == 0
    s = Screen(w)
    s.frame()
    w.agent.stop()
    assert s.ended() == 3
    w.agent.start()


@suite.test("stopped by Ctrl-Z the terminal is the shell's; continued it is drawn again")
def stopped(w):
    s = Screen(w)
    s.frame()
    os.kill(s.process.pid, signal.SIGTSTP)
    s.read_until(OFF)
    pid, status = os.waitpid(s.process.pid, os.WUNTRACED)
    assert pid == s.process.pid and os.WIFSTOPPED(status), status
    assert termios.tcgetattr(s.master) == s.before, "the shell gets a changed terminal"
    os.kill(s.process.pid, signal.SIGCONT)
    s.read_until(ON)
    s.frame()
    os.write(s.master, b"q")
    assert s.ended() == 0


@suite.test("wrong options are usage errors, and no agent is exit 3")
def wrong(w):
    for args in (["--interval", "0"], ["--interval", "3601"], ["--interval", "x"],
                 ["--count", "0"], ["--sort", "x"], ["now"]):
        status, out, _ = w.agent.cli_run("top", *args)
        assert status == 2 and json.loads(out)["error"]["code"] == "EINVAL", (args, out)
    argv = [f"{BUILD}/imdsgate", "--socket", w.agent.socket + ".none", "top", "--count", "1"]
    status, out, err = w.agent.place.run(argv)
    assert status == 3 and not out and "cannot reach the agent" in err, (status, out, err)


if __name__ == "__main__":
    suite.run()
