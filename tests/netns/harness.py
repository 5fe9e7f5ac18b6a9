"""Builds a small node out of network namespaces and control groups, runs the agent and a stand-in
for the metadata service on it, and reports in TAP. See World for what there is.

Safety: the metadata addresses exist on `lo` of a namespace without any way out, and nothing here
runs a client anywhere else. World refuses to start when a route says otherwise, every child is
checked after it changed its namespace, and dial.c checks once more for itself.

Everything is bound to the life of the test process: children get a death signal, mounts live in a
mount namespace of its own, and what can be left (control groups, empty directories) is removed by
the next run.
"""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import tempfile
import uuid

import admin
import audit_schema
import kernel
import manifests
import sanitizers
from places import BUILD, TOKEN_TEXT, Place, Pod
from watch import PATIENCE, Lines, event, wait_gone, wait_ready

IMDS, WIRESERVER = "169.254.169.254", "168.63.129.16"
UNRELATED = "10.77.255.1"
GUARDED = ((IMDS, 80), (WIRESERVER, 80), (WIRESERVER, 32526))
AGENT_UID = 64929
NOT_FOUND = '{"error":"invalid_request","error_description":"Identity not found"}'


# ---- the stand-in for the metadata service ------------------------------------------------------

class Lab:
    """Knows what reached the guarded addresses, which is what matters most."""

    def __init__(self, world):
        self.world, self._sentinels = world, set()
        self.place = Place(world, world.lab_netns, world.cgroup.child("lab"))
        self.log = Lines(os.path.join(world.tmp, "lab.jsonl"), json.loads)
        self.admin_path = os.path.join(world.tmp, "lab.sock")

    def admin(self, **command):
        """Faults, see tests/lab/README.md."""
        return admin.tell_lab(self.admin_path, **command)

    def start(self):
        reader, writer = os.pipe()
        argv = [f"{BUILD}/tests/lab/imdsgate-lab", "--log", self.log.path, "--ready-fd",
                str(writer), "--admin", self.admin_path]
        for address, port in (*GUARDED, (WIRESERVER, 53)):
            argv += ["--listen", f"{address}:{port}"]
        for ident in self.world.identities:
            argv += ["--identity", ident.lab_option]
        self.place.spawn(argv, pass_fds=[writer])
        os.close(writer)
        assert wait_ready(reader).count(b"\n") == 4, "the lab does not listen everywhere"
        self.place.respond(f"udp:{WIRESERVER}:53", f"udp:{WIRESERVER}:80", f"udp:{IMDS}:80",
                           f"tcp:{IMDS}:8080", f"tcp:{UNRELATED}:80")

    def _settle(self):
        """Connections are accepted in order: once ours is in the log, all before it are."""
        outside = Place(self.world, self.world.lab_netns, None)  # where no program is attached
        for address, port in GUARDED:
            reply = outside.dial("connect-only", addr=address, port=port)
            assert reply["result"] == "ok", f"the lab does not answer: {reply}"
            self._sentinels.add(reply["sockname"])
            self.log.wait_for(lambda e, peer=reply["sockname"]:
                              e["event"] == "connection" and e["peer"] == peer)

    def connections(self, since=0):
        self._settle()
        return self.log.find(lambda e: e["event"] == "connection"
                             and e["peer"] not in self._sentinels, since)

    def requests(self, since=0):
        return self.log.find(lambda e: e["event"] == "request", since)

    def never_reached(self, since=0, strict=False):
        """No client got through to a guarded address. The agent's own calls come from the address
        that it calls, and its requests do not carry a dialer's name."""
        for connection in self.connections(since):
            client = connection["peer"].startswith("10.77.") or strict
            assert not client and connection["local"] == f"{IMDS}:80", f"reached: {connection}"
        for request in self.requests(since):
            headers = {k.lower(): v for k, v in request["headers"].items()}
            agent = headers.get("user-agent", "")
            assert not agent.startswith(("igdial", "Java")), f"reached: {request}"


# ---- the agent ----------------------------------------------------------------------------------

class Agent:
    def __init__(self, world):
        self.world, self.process = world, None
        self.place = Place(world, world.host_netns, world.cgroup.child("agent"))
        self.audit = Lines(os.path.join(world.tmp, "audit.jsonl"), json.loads)
        self.log = Lines(os.path.join(world.tmp, "agent.log"))
        self.socket = os.path.join(world.tmp, "imdsgate.sock")
        self.options = {
            "manifests": world.manifests, "cgroup-root": world.cgroup.path, "bpffs": world.bpffs,
            "netns-dir": world.netns_dir, "audit-file": self.audit.path, "socket": self.socket,
            "user": AGENT_UID, "imds-url": f"http://{IMDS}", "node": "test-node",
        }

    def argv(self, *flags, **changes):
        """changes: option_name=value, None leaves the option out."""
        options = {**self.options, **{k.replace("_", "-"): v for k, v in changes.items()}}
        argv = [f"{BUILD}/imdsgated"]
        for name, value in options.items():
            argv += [f"--{name}", str(value)] if value is not None else []
        return argv + list(flags)

    def _spawn(self, flags, uid, changes):
        """(process, what it wrote to its readiness pipe)"""
        process, reader = self.start_beside(*flags, uid=uid, **changes)
        return process, wait_ready(reader)

    def start(self, *flags, **changes):
        mark = self.log.mark()
        self.process, ready = self._spawn(flags, None, changes)
        assert b"ready" in ready, (f"the agent did not start: exit {self.process.wait(10)}\n"
                                   + "\n".join(self.log.since(mark)))

    def start_beside(self, *flags, uid=None, **changes):
        """(process, its readiness pipe), whether or not another one runs."""
        reader, writer = os.pipe()
        with open(self.log.path, "ab") as log:
            argv = self.argv(*flags, ready_fd=writer, **changes)
            process = self.place.spawn(argv, uid=uid, pass_fds=[writer], stdout=log, stderr=log)
        os.close(writer)
        return process, reader

    def upgrade(self, *flags, **changes):
        """A new agent takes over from the one that runs; returns the old one's process."""
        mark = self.log.mark()
        process, reader = self.start_beside(*flags, **changes)
        assert b"ready" in wait_ready(reader), "\n".join(self.log.since(mark))
        old, self.process = self.process, process
        return old

    def fail_to_start(self, *flags, uid=None, **changes):
        """(exit status, all that it said); it is an error when it does start."""
        mark = self.log.mark()
        process, ready = self._spawn(flags, uid, changes)
        assert b"ready" not in ready, "the agent did start"
        return process.wait(10), "\n".join(self.log.since(mark))

    def stop(self):
        self.process.terminate()
        status = self.process.wait(15)
        self.place.cgroup.kill()
        return status

    def pids(self):
        """(monitor, server)"""
        status = self.cli("status")
        return status["monitor_pid"], status["server_pid"]

    @contextlib.contextmanager
    def halted(self):
        """Neither process does anything until the end of the block; a monitor that runs would
        replace a server that does not."""
        monitor, server = self.pids()
        for pid in (monitor, server):
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in (server, monitor):
                os.kill(pid, signal.SIGCONT)

    def kill_server(self):
        _, server = self.pids()
        os.kill(server, signal.SIGKILL)
        wait_gone(server)

    def kill_monitor(self):
        monitor, _ = self.pids()
        os.kill(monitor, signal.SIGKILL)
        self.process.wait(10)

    def kill_both(self):
        """At once, so that neither can bring the other back."""
        self.place.cgroup.kill()
        self.process.wait(10)

    def cli_start(self, *args):
        argv = [f"{BUILD}/imdsgate", "--json", "--socket", self.socket, *args]
        return self.world.adopt(subprocess.Popen(argv, stdin=subprocess.DEVNULL, text=True,
                                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                                 preexec_fn=kernel.die_with_parent))

    def cli_run(self, *args):
        """(exit status, stdout, stderr) of the tool."""
        process = self.cli_start(*args)
        out, err = process.communicate(timeout=20 * PATIENCE)
        self.world.outputs.append(out + err)
        return process.returncode, out, err

    def cli(self, *args):
        status, out, err = self.cli_run(*args)
        assert status == 0, f"imdsgate {' '.join(args)}: exit {status}: {out}{err}"
        return json.loads(out)


# ---- the world ----------------------------------------------------------------------------------

class World:
    """A node:
        host_netns   the addresses 169.254.169.254 and 168.63.129.16 on lo, the lab behind them,
                     no route out; the agent runs here, as do pods with host_network
        pods         a namespace each, joined to the host by a veth pair, default route through it:
                     without the gate they do reach the lab
        cgroup       the root that the agent attaches to, with a group for each pod below it
    """

    _prepared = False

    def __init__(self, identities=manifests.IDENTITIES):
        self.identities = identities  # that the lab knows
        self.outputs, self.pods, self._children = [], {}, []
        self._stack, self._subnets, self._links = contextlib.ExitStack(), [*range(249, 0, -1)], {}
        cgroup2 = kernel.cgroup2_mount()
        if not World._prepared:
            kernel.reap_stale([cgroup2, tempfile.gettempdir()])
            kernel.private_mounts()
            World._prepared = True
        self.outside = kernel.outside_netns()
        self.env = {"IG_FORBIDDEN_NETNS": ",".join(map(str, self.outside))}
        name = f"igtest-{os.getpid()}-{secrets.token_hex(4)}"
        self.tmp = os.path.join(tempfile.gettempdir(), name)
        self.cgroup_name = os.path.join(cgroup2, name)

    def __enter__(self):
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error):
        self._stack.close()

    def _build(self):
        os.mkdir(self.tmp, 0o755)
        self._stack.callback(os.rmdir, self.tmp)
        kernel.mount("tmpfs", self.tmp, "mode=0755")
        self._stack.callback(kernel.umount, self.tmp)
        self.netns_dir, self.manifests, self.bpffs, host = (
            os.path.join(self.tmp, part) for part in ("netns", "manifests", "bpf", "host"))
        for directory in (self.netns_dir, self.manifests, self.bpffs, host):
            os.mkdir(directory)
        kernel.mount("bpf", self.bpffs)
        self._stack.callback(kernel.umount, self.bpffs)
        self.cgroup = kernel.Cgroup(self.cgroup_name)
        self._stack.callback(self.cgroup.remove)
        self._stack.callback(self._end_children)
        self.host_netns = self._netns(os.path.join(host, "host"))
        self.lab_netns = self.host_netns  # where the addresses are; see fabric.py
        self.host = Place(self, self.host_netns, self.cgroup.child("host.slice"))
        self._build_host()
        self.lab, self.agent = Lab(self), Agent(self)
        self.lab.start()

    def _netns(self, path):
        kernel.make_netns(path)
        self._stack.callback(lambda: os.path.exists(path) and kernel.remove_netns(path))
        return path

    def _build_host(self):
        self.host.ip("link set lo up", *(f"addr add {address}/32 dev lo"
                                         for address in (IMDS, WIRESERVER, UNRELATED)))
        assert self.host.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])[0] == 0
        self._check_confined(self.host, "lo")
        status, out, _ = self.host.run(["ip", "route", "get", "192.0.2.1"])
        assert status != 0, f"there is a way out of the test's namespace: {out}"

    @staticmethod
    def _check_confined(place, device):
        """The metadata addresses must be ours, or nothing may run here."""
        for address in (IMDS, WIRESERVER):
            status, out, err = place.run(["ip", "-json", "route", "get", address])
            assert status == 0, f"no route to {address}: {err}"
            assert json.loads(out)[0]["dev"] == device, f"{address} leads elsewhere: {out}"

    def adopt(self, process):
        self._children.append(process)
        return process

    def _end_children(self):
        for child in self._children:
            if child.poll() is None:
                child.kill()
        for child in self._children:
            child.wait()
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()

    def add_bare_netns(self, name):
        """A pod's namespace that leads nowhere; its loopback is down. Its path."""
        return self._netns(os.path.join(self.netns_dir, name))

    def add_netns(self, name):
        """A pod's namespace with its own link to the host: (path, address of the pod)."""
        path, number = self._netns(os.path.join(self.netns_dir, name)), self._subnets.pop()
        self._links[name] = number
        ours, theirs = f"10.77.{number}.1", f"10.77.{number}.2"
        self.host.ip(f"link add v{number} type veth peer name eth0 netns {path}",
                     f"addr add {ours}/30 dev v{number}", f"link set v{number} up")
        inside = Place(self, path, None)
        inside.ip("link set lo up", f"addr add {theirs}/30 dev eth0", "link set eth0 up",
                  f"route add default via {ours}")
        self._check_confined(inside, "eth0")
        return path, theirs

    def add_pod(self, name, selector=None, declared=False, host_network=False, beside=None):
        """declared: the cgroup is named by the annotation; otherwise it looks as kubelet's do.
        beside: a pod whose network namespace this one shares. The agent is told by declare()."""
        labels = {"aadpodidbinding": selector} if selector else {}
        uid = str(uuid.uuid4())
        if declared:
            path = f"demo.slice/{name}"
            manifest = manifests.pod(name, cgroup=f"/{path}", labels=labels,
                                     host_network=host_network)
        else:
            path = ("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod"
                    f"{uid.replace('-', '_')}.slice/cri-containerd-{secrets.token_hex(32)}.scope")
            manifest = manifests.pod(name, uid=uid, labels=labels, host_network=host_network)
        address = beside.address if beside else None
        netns = self.host_netns if host_network else beside.netns if beside else None
        if not netns:
            netns, address = self.add_netns(name)
        pod = Pod(self, name, netns, self.cgroup.child(path), manifest)
        pod.address, pod.uid = address, None if declared else uid
        self.pods[name] = pod
        return pod

    def add_usual(self, **of_c):
        """Pods "a" and "b" with an identity each, and "c" with none."""
        self.write("identities.yaml", manifests.join(
            *(manifests.identity(ident) for ident in manifests.IDENTITIES),
            manifests.binding("bind-a", manifests.ID_A, "sel-a"),
            manifests.binding("bind-b", manifests.ID_B, "sel-b")))
        self.add_pod("a", "sel-a")
        self.add_pod("b", "sel-b")
        self.add_pod("c", **of_c)

    def remove_netns(self, name):
        """As a CNI plugin and then the runtime do it: the pod's link, then the namespace."""
        number = self._links.pop(name)
        self.host.ip(f"link del v{number}")
        kernel.remove_netns(os.path.join(self.netns_dir, name))
        self._subnets.append(number)

    def dial_as_stranger(self, **options):
        """From a control group below the root that nobody declared, in a pod's namespace."""
        return Place(self, self.pods["a"].netns, self.cgroup.child("stranger")).dial(**options)

    def write(self, name, text):
        """Puts a manifest in place, whole; None removes it."""
        path = os.path.join(self.manifests, name)
        if text is None:
            os.unlink(path)
            return
        with open(os.path.join(self.tmp, "new"), "w", encoding="utf-8") as f:
            f.write(text)
        os.rename(f.name, path)

    def declare(self):
        self.write("pods.yaml", manifests.join(*(pod.manifest for pod in self.pods.values())))

    def apply(self, name, text, kind="policy.changed"):
        """write(), and wait until the running agent has taken (or refused) it."""
        mark = self.agent.audit.mark()
        self.write(name, text)
        return self.agent.audit.wait_for(event(kind), mark, what=kind)

    @contextlib.contextmanager
    def policies(self, *texts):
        """In force as long as the block runs."""
        self.apply("policies.yaml", manifests.join(*texts))
        try:
            yield
        finally:
            self.apply("policies.yaml", None)

    def apply_pods(self):
        self.apply("pods.yaml", manifests.join(*(pod.manifest for pod in self.pods.values())))

    # -- what holds for every run

    def check_schema(self):
        count = audit_schema.check(("audit", record) for record in self.agent.audit.all())
        assert count, "the agent wrote no audit record"

    def check_no_token(self):
        texts = {"output of imdsgate": "".join(self.outputs)}
        for lines in (self.agent.audit, self.agent.log):
            with contextlib.suppress(FileNotFoundError), open(lines.path, encoding="utf-8") as f:
                texts[lines.path] = f.read()
        for name, text in texts.items():
            assert not TOKEN_TEXT.search(text), f"there is a token in {name}"

    def tails(self):
        text = ""
        for lines, count in ((self.agent.log, 30), (self.agent.audit, 15), (self.lab.log, 8)):
            text += f"--- end of {os.path.basename(lines.path)}\n"
            text += "".join(f"{line}\n" for line in lines.all()[-count:])
        return TOKEN_TEXT.sub("eyJ…", text)


# What every run of an agent has to leave behind: the last points of each suite.
TRACES = (("every audit record matches the schema", World.check_schema),
          ("no token in audit, log or output", World.check_no_token),
          *sanitizers.TRACES)


def standard_world(agent=True):
    """Pods "a" and "b" with an identity each, in kubelet's control groups; "c" with none, in a
    declared one."""
    @contextlib.contextmanager
    def build():
        with World() as w:
            w.add_usual(declared=True)
            w.declare()
            if agent:
                w.agent.start()
            yield w
    return build()
