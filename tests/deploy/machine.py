"""A machine in namespaces: this system's files, in a copy that is thrown away, systemd as process 1, a
control group of its own as the root of the tree, no network but lo, where the metadata addresses are
the stand-in's. See boot. Used by the tests of what is installed on plain hosts."""

import contextlib
import json
import os
import secrets
import select
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(1, HERE)
# pylint: disable=wrong-import-position
import tools  # noqa: E402
import kernel  # noqa: E402
import manifests  # noqa: E402
from places import TOKEN_TEXT, Place, Reply  # noqa: E402
from watch import PATIENCE, Lines  # noqa: E402

BOOT = os.path.join(HERE, "boot")
IMDS, AGENT_UID = "169.254.169.254", 64929


class Service:
    """What runs as a systemd service of that name; a place, as tests/netns has them."""

    def __init__(self, machine, name, *properties):
        self.machine, self.name = machine, name
        forbidden = ",".join(map(str, kernel.outside_netns()))
        self._options = [f"--property={text}" for text in properties] + [
            f"--setenv=IG_FORBIDDEN_NETNS={forbidden}"]

    def spawn(self, argv, **options):
        return self.machine.start("systemd-run", "--quiet", "--pipe", "--wait", "--collect",
                                  f"--unit={self.name}", *self._options, *argv, **options)

    def dial(self, mode="plain", **options):
        process = self.spawn(Place.dial_argv(mode, **options), stdout=subprocess.PIPE)
        out, _ = process.communicate(timeout=60 * PATIENCE)
        assert out, f"{self.name} said nothing: exit {process.returncode}"
        return Reply(json.loads(out.splitlines()[-1]))


class Lab:
    """The stand-in for the metadata service, beside all services; knows who reached it."""

    def __init__(self, machine):
        reader, writer = os.pipe()
        argv = [f"{tools.BUILD}/tests/lab/imdsgate-lab", "--log", "/run/lab.jsonl", "--ready-fd", str(writer),
                "--listen", f"{IMDS}:80"]
        for ident in manifests.IDENTITIES:
            argv += ["--identity", ident.lab_option]
        self._process = machine.start(*argv, pass_fds=[writer])
        os.close(writer)
        with open(reader, "rb") as file:  # nsenter keeps the other end open
            assert file.readline().strip() == f"{IMDS}:80".encode(), "the lab does not listen"
        self._log = Lines(machine.path("/run/lab.jsonl"), json.loads)

    def reached_by_clients(self):
        """Requests of others than the agent."""
        return self._log.find(lambda e: e["event"] == "request" and "igdial" in str(e["headers"]))

    def end(self):
        self._process.kill()
        self._process.wait()


class Machine:
    def __init__(self):
        self._stack = contextlib.ExitStack()
        self._init = None

    def __enter__(self):
        try:
            self._boot()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error):
        self._stack.close()

    def _boot(self):
        cgroup2 = kernel.cgroup2_mount()
        kernel.reap_stale([cgroup2])
        tmp = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="igtest-machine-"))
        self.cgroup = kernel.Cgroup(f"{cgroup2}/igtest-{os.getpid()}-{secrets.token_hex(4)}")
        self._stack.callback(self.cgroup.remove)
        os.mkfifo(f"{tmp}/up")
        up = os.open(f"{tmp}/up", os.O_RDWR | os.O_CLOEXEC)
        self._stack.callback(os.close, up)
        outer = subprocess.Popen(
            ["unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--cgroup", "--fork",
             "--kill-child", "--propagation", "private", BOOT, tmp, tools.REPO, tools.BUILD],
            preexec_fn=self._join, stdin=subprocess.DEVNULL)
        self._stack.callback(outer.wait)
        self._stack.callback(self.cgroup.kill)
        assert select.select([up], [], [], 60 * PATIENCE)[0], "the machine does not start"
        os.read(up, 16)
        with open(f"/proc/{outer.pid}/task/{outer.pid}/children", encoding="ascii") as file:
            self._init = int(file.read().split()[0])
        self.lab = Lab(self)
        self._stack.callback(self.lab.end)

    def _join(self):
        kernel.die_with_parent()
        with open(f"{self.cgroup.path}/cgroup.procs", "w", encoding="ascii") as file:
            file.write("0")

    # -- what happens inside

    def start(self, *argv, **options):
        """A process inside, beside all services."""
        tools_cgroup = self.cgroup.child("tools")

        def join():
            kernel.die_with_parent()
            with open(f"{tools_cgroup.path}/cgroup.procs", "w", encoding="ascii") as file:
                file.write("0")
        return subprocess.Popen(
            ["nsenter", f"--target={self._init}", "--mount", "--uts", "--ipc", "--net", "--pid",
             "--cgroup", "--", "env", "--chdir=/", *argv], preexec_fn=join, text=True,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                 "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "HOME": "/root"},
            **{"stdin": subprocess.DEVNULL, **options})

    def run(self, *argv, timeout=120):
        """(exit status, all that it said)"""
        process = self.start(*argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        out, _ = process.communicate(timeout=timeout * PATIENCE)
        return process.returncode, out

    def do(self, *argv, **options):
        status, out = self.run(*argv, **options)
        assert status == 0, f"{' '.join(argv)}: exit {status}: {out}"
        return out

    def path(self, inside):
        """Of a file inside, for this process."""
        return f"/proc/{self._init}/root{inside}"

    def write(self, inside, text):
        os.makedirs(os.path.dirname(self.path(inside)), exist_ok=True)
        with open(self.path(inside), "w", encoding="utf-8") as file:
            file.write(text)

    def has(self, inside):
        return os.path.lexists(self.path(inside))

    def start_agent(self, flags):
        """What was built, as `make install` would have it started."""
        with open(f"{tools.REPO}/deploy/systemd/imdsgated.service", encoding="utf-8") as file:
            unit = file.read().replace("/usr/local/sbin", tools.BUILD)
        self.write("/etc/systemd/system/imdsgated.service", unit)
        self.write("/etc/default/imdsgated", f'IMDSGATED_FLAGS="--user {AGENT_UID} {flags}"\n')
        self.do("systemctl", "daemon-reload")
        self.do("systemctl", "start", "imdsgated")

    def copy_in(self, path):
        """A file of ours, where those inside see it."""
        inside = f"/tmp/{os.path.basename(path)}"
        shutil.copy(path, self.path(inside))
        return inside

    def make_rootfs(self, inside):
        """Of containers that have this system's /usr mounted."""
        self.do("mkdir", "-p", *(f"{inside}/{name}" for name in ("usr", "proc", "dev", "sys", "etc", "tmp")))
        for name in ("bin", "lib", "lib64"):
            os.symlink(f"usr/{name}", self.path(f"{inside}/{name}"))

    def declare(self, cgroups):
        """Workloads by manifest: {name: (cgroup, selector or None)}"""
        self.write("/etc/imdsgate/manifests/all.yaml", manifests.join(
            *(manifests.identity(ident) for ident in manifests.IDENTITIES),
            manifests.binding("bind-a", manifests.ID_A, "sel-a"),
            manifests.binding("bind-b", manifests.ID_B, "sel-b"),
            *(manifests.pod(name, cgroup=cgroup, host_network=True,
                            labels=selector and {"aadpodidbinding": selector})
              for name, (cgroup, selector) in cgroups.items())))

    def tails(self):
        _, log = self.run("journalctl", "--no-pager", "--lines=60", "--output=cat")
        return TOKEN_TEXT.sub("eyJ…", log)
