#!/usr/bin/python3
"""The box that the cluster lives in: nothing gets out of it, and nothing of it is left, however it
ends. Needs no Kubernetes."""

import glob
import os
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "netns")]
# pylint: disable=wrong-import-position
import box
import kernel
from tap import Suite
from watch import wait_gone

# A test in a box: starts a process that escapes from its session, as containers do, and says both
# pids. Then it does what it is told.
INSIDE = """
import os, subprocess, sys
sys.path[:0] = sys.argv[1].split(":")
import box
box.enter("box-test")
for tree in box._trees():
    os.makedirs(f"{tree.mount_point}/kubepods/burstable")
argv = ["setsid", "--fork", "sh", "-c", "echo $$; exec sleep 1000 >/dev/null 2>&1"]
escaped = subprocess.run(argv, stdout=subprocess.PIPE, text=True).stdout.strip()
print(os.getpid(), escaped, flush=True)
exec(sys.argv[2])
"""
WAIT = "input()"


class Box:
    """One run of INSIDE: pids of the process that was started (guard), the test, the escaped one
    and the keeper."""

    def __init__(self, then):
        self.process = subprocess.Popen(
            ["/usr/bin/python3", "-B", "-c", INSIDE, ":".join(sys.path[:2]), then], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True, preexec_fn=kernel.die_with_parent)
        self.guard = self.process.pid
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        self.test, self.escaped = map(int, line.split())
        with open(f"/proc/{self.guard}/task/{self.guard}/children", encoding="ascii") as f:
            children = set(map(int, f.read().split()))
        (self.keeper,) = children - {self.test, self.escaped}

    def check_nothing_left(self):
        for pid in (self.test, self.escaped, self.keeper):
            wait_gone(pid)
        for tree in box._trees():  # pylint: disable=protected-access
            assert not glob.glob(f"{tree.ours}/igkube-{self.guard}-*"), f"left in {tree}"

    def finish(self):
        """(exit status, the rest of its output, its error output)"""
        with self.process:
            self.process.stdin.close()
            out, err = self.process.stdout.read(), self.process.stderr.read()
        return self.process.returncode, out, err


class Machine:
    """What the box must not change."""

    def __enter__(self):
        self.sysctls = self.read()
        return self

    def __exit__(self, *_):
        pass

    @staticmethod
    def read():
        values = {}
        for name in box.SYSCTLS:
            with open(f"/proc/sys/{name}", encoding="ascii") as f:
                values[name] = f.read()
        return values

    @staticmethod
    def tails():
        return ""


suite = Suite(Machine)


@suite.test("the exit status comes out, and nothing is left")
def _(_machine):
    for status in (0, 3):
        b = Box(f"sys.exit({status})")
        assert b.finish()[0] == status
        b.check_nothing_left()


@suite.test("SIGTERM reaches the test, and nothing is left")
def _(_machine):
    b = Box(WAIT)
    os.kill(b.guard, signal.SIGTERM)
    assert b.process.wait(10) == 128 + signal.SIGTERM
    b.check_nothing_left()


@suite.test("killed with its session: nothing is left")
def _(_machine):
    b = Box(WAIT)
    os.killpg(b.guard, signal.SIGKILL)
    assert b.process.wait(10) == -signal.SIGKILL
    b.check_nothing_left()


@suite.test("killed alone: the test ends with it, and nothing is left")
def _(_machine):
    b = Box(WAIT)
    os.kill(b.guard, signal.SIGKILL)
    assert b.process.wait(10) == -signal.SIGKILL
    b.check_nothing_left()


@suite.test("killed with its keeper: the next box removes what is left")
def _(_machine):
    first = Box(WAIT)
    os.kill(first.keeper, signal.SIGKILL)
    os.killpg(first.guard, signal.SIGKILL)
    first.process.wait(10)
    wait_gone(first.test)
    os.kill(first.escaped, 0)  # nobody was left to end it
    second = Box("sys.exit(0)")
    second.finish()
    first.check_nothing_left()
    second.check_nothing_left()


@suite.test("no way out, no file, and no setting of the machine's")
def _(machine):
    look = ("import errno, socket\n"
            "def refused(f, *a):\n"
            "    try: f(*a)\n"
            "    except OSError as e: return errno.errorcode[e.errno]\n"
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "print(refused(s.connect, ('192.0.2.1', 9)), refused(open, '/ig-test', 'w'),\n"
            "      refused(open, '/usr/ig-test', 'w'))\n"
            "open('/run/ig-test', 'w'); open('/var/lib/ig-test', 'w')\n"
            "open('/proc/sys/vm/overcommit_memory', 'w').write('2')\n"
            "print(os.stat('/proc/self/ns/net').st_ino, socket.gethostname())")
    status, out, err = Box(look).finish()
    assert status == 0, err
    refused, (netns, name) = out.splitlines()[0], out.splitlines()[1].split()
    assert refused == "ENETUNREACH EROFS EROFS" and name == "box-test", out
    assert int(netns) not in kernel.outside_netns()
    assert not os.path.exists("/run/ig-test") and not os.path.exists("/var/lib/ig-test")
    assert machine.read() == machine.sysctls and os.uname().nodename != "box-test"


@suite.test("its control groups are all that it sees of them")
def _(_machine):
    look = ("for tree in box._trees():\n"
            "    print(sorted(os.listdir(tree.mount_point + '/kubepods'))[:1] and\n"
            "          not [n for n in os.listdir(tree.mount_point) if n.startswith('ig')])\n"
            "print({line.split(':')[2].strip() for line in open('/proc/self/cgroup')}\n"
            "      <= {'/', '/host'})")
    status, out, err = Box(look).finish()
    assert status == 0 and set(out.split()) == {"True"}, out + err


if __name__ == "__main__":
    suite.run()
