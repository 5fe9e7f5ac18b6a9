"""Places to run programs in (a network namespace, a control group), and what dial.c says when it
runs there. A process is moved before it executes, and checked after that, so nothing that these
functions start can run in a namespace that leads out of the machine."""

import base64
import contextlib
import json
import os
import re
import select
import socket
import subprocess
import sys

import kernel
from watch import PATIENCE

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.abspath(os.environ.get("IG_BUILD", os.path.join(REPO, "build")))
# what a refused connect looks like: the kernel sets the first from 5.17 on, else the second
REFUSED = ("ECONNREFUSED", "EPERM")
TOKEN_PATH = "/metadata/identity/oauth2/token?api-version=2018-02-01"
TOKEN_TEXT = re.compile(r"eyJ[A-Za-z0-9_-]{10,}")


class Reply(dict):
    """One line of dial.c, with what the tests ask for most."""

    @property
    def status(self):
        return self.get("status", 0)

    @property
    def body(self):
        return self.get("body", "")

    @property
    def appid(self):
        """The client id that the token in the body was issued for; None without a token."""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            claims = json.loads(self.body)["access_token"].split(".")[1]
            return json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["appid"]
        return None

    @property
    def refused(self):
        return self["result"] == "error" and self["errno"] in REFUSED

    def __repr__(self):
        return TOKEN_TEXT.sub("eyJ…", dict.__repr__(self))


class TokenLoad:
    """token_load.py in a pod: the connections that it keeps, makes anew, and those that wait."""

    def __init__(self, pod, client_id, kept=2, new=2, slow=1, per_second=10):
        self._process = pod.spawn(
            [sys.executable, "-S", f"{HERE}/token_load.py", "169.254.169.254", "80", client_id,
             *map(str, (kept, new, slow, per_second))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout.readline() == "ready\n", "the load does not start"

    def stop(self):
        """What became of it all, see token_load.py."""
        return json.loads(self._process.communicate(timeout=40)[0])


BIND = """
import errno, socket, sys
family, kind, protocol, address, port = sys.argv[1:]
try:
    with socket.socket(int(family), int(kind), int(protocol)) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((address, int(port)))
    print("bound")
except OSError as error:
    print(errno.errorcode[error.errno])
"""


SPIN = """
import socket, sys
print("trying", flush=True)
while True:
    with socket.socket() as s:
        try:
            s.bind((sys.argv[1], int(sys.argv[2])))
            s.listen()
            break
        except OSError:
            pass
"""


class Dialer:
    """A dialer that does more than one thing: next() lets it go on."""

    def __init__(self, process):
        self._process = process

    def read(self, timeout=15):
        ready, _, _ = select.select([self._process.stdout], [], [], timeout * PATIENCE)
        assert ready, "the dialer says nothing"
        line = self._process.stdout.readline()
        assert line, f"the dialer ended: {self._process.wait()}"
        return Reply(json.loads(line))

    def next(self):
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.read()

    def close(self):
        self._process.stdin.close()
        self._process.wait(15)


class Place:
    """A network namespace and a control group; the agent's idea of where a process is."""

    def __init__(self, world, netns, cgroup):
        self.world, self.netns, self.cgroup = world, netns, cgroup

    def _enter(self):
        kernel.die_with_parent()
        if self.cgroup:
            with open(os.path.join(self.cgroup.path, "cgroup.procs"), "w", encoding="ascii") as f:
                f.write("0")
        fd = os.open(self.netns, os.O_RDONLY | os.O_CLOEXEC)
        kernel.setns(fd, kernel.CLONE_NEWNET)
        os.close(fd)
        if kernel.netns_inode("/proc/self/ns/net") in self.world.outside:
            os._exit(99)

    def spawn(self, argv, uid=None, **options):
        def enter():
            self._enter()
            if uid is not None:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
        options.setdefault("env", {**os.environ, **self.world.env})
        return self.world.adopt(subprocess.Popen(argv, text=True, preexec_fn=enter, **options))

    def run(self, argv, timeout=30, **options):
        """(exit status, stdout, stderr)"""
        process = self.spawn(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, **options)
        out, err = process.communicate(timeout=timeout * PATIENCE)
        return process.returncode, out, err

    def ip(self, *commands):
        process = self.spawn(["ip", "-batch", "-"], stdin=subprocess.PIPE)
        # links go slowly on a busy machine
        process.communicate("\n".join(commands) + "\n", timeout=60 * PATIENCE)
        assert process.returncode == 0, f"ip: {commands}"

    @staticmethod
    def dial_argv(mode, **options):
        argv = [f"{BUILD}/tests/netns/dial", mode]
        for name, value in options.items():
            flag = "--" + name.replace("_", "-")
            values = value if isinstance(value, (list, tuple)) else [value]
            argv += [flag] if value is True else [x for v in values for x in (flag, str(v))]
        return argv

    def dial(self, mode="plain", uid=None, **options):
        """One attempt, one reply."""
        return self.dial_by(self.dial_argv(mode, **options), uid=uid)

    def dial_by(self, argv, **options):
        status, out, err = self.run(argv, **options)
        assert out, f"{argv} said nothing: exit {status}: {err}"
        return Reply(json.loads(out.splitlines()[-1]))

    def dialer(self, mode="plain", argv_prefix=(), **options):
        return self.dialer_by([*argv_prefix, *self.dial_argv(mode, **options)])

    def dialer_by(self, argv):
        return Dialer(self.spawn(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE))

    def respond(self, *where):
        """Somebody who answers at "tcp:ADDR:PORT" or "udp:ADDR:PORT" from here."""
        process = self.spawn([sys.executable, "-S", f"{HERE}/responder.py", *where],
                             stdout=subprocess.PIPE)
        assert process.stdout.readline() == "ready\n", f"cannot answer at {where}"
        return process

    def bind(self, address, port, kind=socket.SOCK_STREAM, protocol=0):
        """"bound", or the name of the error."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        status, out, err = self.run([sys.executable, "-S", "-c", BIND,
                                     *map(str, (int(family), int(kind), protocol, address, port))])
        assert status == 0, err
        return out.strip()

    def bind_without_end(self, address, port):
        """Tries to have the port until it is ended, or has it."""
        process = self.spawn([sys.executable, "-S", "-c", SPIN, address, str(port)],
                             stdout=subprocess.PIPE)
        assert process.stdout.readline() == "trying\n"
        return process

    def gate_ports(self):
        return kernel.listening_ports(self.run(["cat", "/proc/net/tcp"])[1])


class Pod(Place):
    """A place that is declared to the agent, too."""

    def __init__(self, world, name, netns, cgroup, manifest):
        super().__init__(world, netns, cgroup)
        self.name, self.manifest, self.address = name, manifest, None
