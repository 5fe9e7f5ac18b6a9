#!/usr/bin/python3
"""A real Kubernetes of one node for the tests, in a box (box.py): etcd, API server with RBAC,
controller manager, scheduler, containerd, runc, CNI bridge and kubelet. The node's metadata service
is the lab, at the addresses where Azure has it; its log shows whatever got through to it.

    cluster.py --shell           a shell with kubectl in a cluster that lives as long as the shell
    cluster.py COMMAND [ARG]…    the same for one command

Safety: all of it runs in a network namespace without any way out. Nothing starts unless the
metadata addresses are this namespace's own. Used by test_*.py, which call run()."""

import argparse
import contextlib
import glob
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "netns"))
# pylint: disable=wrong-import-position
import box
import config
import images
import kernel
import labs
import workloads
from api import Api
from places import BUILD, REPO, TOKEN_TEXT, Dialer, Place, Reply
from watch import Lines

HOME = "/run/igkube"
LOGS = "/var/log/pods"


class CannotRun(Exception):
    """Why there can be no cluster here."""


def programs():
    """The directory with the node's programs; made now if need be, which takes minutes."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "build")
    done = subprocess.run([script], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False)
    if done.returncode == 77:
        raise CannotRun(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, f"{script}: exit {done.returncode}: {done.stderr}"
    return done.stdout.strip()


# ---- the cluster --------------------------------------------------------------------------------

class Cluster:
    """Attributes: api (administrator), files (config.Files), lab, outside (inode numbers of network
    namespaces that lead out), took ({stage: seconds since the start})."""

    def __init__(self, directory, outside):
        self.directory, self.outside = directory, outside
        self.took, self._started_at = {}, time.monotonic()
        self._running, self._logs, self._execs = {}, {}, 0
        self.log_directory = f"{HOME}/log"
        self.lab = labs.Lab(self.spawn, self.log_directory)
        self.files = self.api = None
        self.diagnose = []  # functions that add to tails()
        self.cgroup2 = kernel.cgroup2_mount()  # all of it is the box's

    def __enter__(self):
        try:
            self._build()
        except BaseException:
            print(self.tails(), file=sys.stderr)
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error):
        """Containers are left to the box, which kills all that is in it."""
        for process in self._running.values():
            process.kill()
        for process in self._running.values():
            process.wait()

    def _stage(self, name):
        self.took[name] = round(time.monotonic() - self._started_at, 1)

    def _build(self):
        for directory in ("log", "home"):
            os.makedirs(f"{HOME}/{directory}")
        self._build_network()
        self.files = config.Files(f"{HOME}/etc", self.directory, workloads.PAUSE)
        self._start("etcd", self.files.etcd())
        self._start_apiserver()
        self._start("containerd", ["--config", self.files.containerd])
        self.lab.start()
        self._stage("lab")
        self._wait_log("containerd", "containerd successfully booted")
        tools = {name: f"{BUILD}/tests/kube/{name}" for name in ("stay", "dial")}
        tools["bin/dial"] = tools["dial"]  # another program, for rules about programs
        self.add_image(workloads.PAUSE, {"stay": tools["stay"]}, entrypoint=["/stay"])
        self.add_image(workloads.CLIENT, tools)
        self._stage("images")
        # it looks for Docker for five seconds before it does anything else
        self._start("kubelet", self.files.kubelet_args())
        self.api = Api(config.NODE_IP, config.PORT, self.files.path("ca.crt"),
                       self.files.tokens["admin"])
        self._wait_apiserver()
        self._stage("API server")
        self._start("kube-controller-manager", self.files.controller_manager())
        self._start("kube-scheduler", self.files.scheduler())
        self.api.wait_for("/api/v1/nodes", lambda nodes: nodes and all(
            workloads.is_ready(node) and not node["spec"].get("taints") for node in nodes.values()),
            timeout=60, what="node ready")
        self._stage("node")
        self.wait_account("default", "default")
        self._stage("ready")

    # -- network

    @staticmethod
    def _ip(*args):
        done = subprocess.run(["ip", *args], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    def _build_network(self):
        assert kernel.netns_inode("/proc/self/ns/net") not in self.outside
        self._ip("link", "set", "lo", "up")
        for address in (config.NODE_IP, config.SERVICE_IP, labs.IMDS, labs.WIRESERVER):
            status, _ = self._ip("address", "add", f"{address}/32", "dev", "lo")
            assert status == 0, f"cannot have {address}"
        with open("/proc/sys/net/ipv4/ip_forward", "w", encoding="ascii") as f:
            f.write("1")
        self.check_confined()

    def check_confined(self):
        """The metadata addresses must be ours and nothing may lead out, or nothing may run here."""
        for address in (labs.IMDS, labs.WIRESERVER):
            status, out = self._ip("-json", "route", "get", address)
            assert status == 0 and json.loads(out)[0]["dev"] == "lo", f"{address} leads out: {out}"
        for family, address in (("-4", "192.0.2.1"), ("-6", "2001:db8::1")):
            status, out = self._ip(family, "route", "get", address)
            assert status != 0, f"there is a way out of the box: {out}"

    # -- programs

    def env(self):
        """Without the caller's: a proxy in it would be asked for the API server."""
        return {"PATH": f"{self.directory}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": f"{HOME}/home", "TMPDIR": box.TMP,
                "KUBECONFIG": self.files.kubeconfigs["admin"], "TERM": os.environ.get("TERM", "dumb"),
                "LC_ALL": "C.UTF-8", "IG_FORBIDDEN_NETNS": self.forbidden}

    @property
    def forbidden(self):
        return ",".join(map(str, self.outside))

    def spawn(self, name, argv, **options):
        log = self._logs.setdefault(name, Lines(f"{HOME}/log/{name}.log"))
        with open(log.path, "ab") as f:
            self._running[name] = subprocess.Popen(
                argv, env=self.env(), stdin=subprocess.DEVNULL, stdout=f, stderr=f,
                preexec_fn=kernel.die_with_parent, **options)

    def _start(self, name, args):
        self.spawn(name, [f"{self.directory}/bin/{name}", *args])

    def pid_of(self, name):
        return self._running[name].pid

    def _wait_log(self, name, text, since=0, timeout=60):
        self._logs[name].wait_for(lambda line: text in line, since, timeout, f"'{text}' of {name}")

    def run(self, argv, stdin=None, timeout=60):
        """(exit status, stdout, stderr) of a program in the box."""
        process = subprocess.Popen(argv, env=self.env(), text=True, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   preexec_fn=kernel.die_with_parent)
        try:
            out, err = process.communicate(stdin, timeout=timeout)
        except BaseException:
            process.kill()
            process.wait()
            raise
        return process.returncode, out, err

    @contextlib.contextmanager
    def paused(self, name):
        """A program that does not run for a while, and does not know it."""
        self._running[name].send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._running[name].send_signal(signal.SIGCONT)

    # -- API server and etcd

    def _start_apiserver(self, port=config.PORT):
        self._start("kube-apiserver", self.files.apiserver(port))

    def _wait_apiserver(self, since=0, api=None):
        self._wait_log("kube-apiserver", "Serving securely on", since)
        (api or self.api).wait_ready()

    def stop_apiserver(self):
        process = self._running.pop("kube-apiserver")
        process.kill()
        process.wait()

    def start_apiserver(self):
        mark = self._logs["kube-apiserver"].mark()
        self._start_apiserver()
        self._wait_apiserver(mark)

    def restart_apiserver(self):
        """As after a crash: every watch breaks off."""
        self.stop_apiserver()
        self.start_apiserver()

    @contextlib.contextmanager
    def unseen(self):
        """The API server is where nobody looks for it: what is changed through the client that this
        gives nobody hears of, until it is back in its place."""
        api = Api(config.NODE_IP, config.OTHER_PORT, self.files.path("ca.crt"),
                  self.files.tokens["admin"])
        self.stop_apiserver()
        mark = self._logs["kube-apiserver"].mark()
        self._start_apiserver(config.OTHER_PORT)
        self._wait_apiserver(mark, api)
        yield api
        self.restart_apiserver()

    @staticmethod
    def _etcd(path, **body):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(f"http://127.0.0.1:2379/v3/{path}",
                                         json.dumps(body).encode())
        with opener.open(request, timeout=10) as response:
            return json.loads(response.read())

    def compact_etcd(self):
        """Forgets every revision but the present one, which is returned. Watches that go on from an
        older one end with 410 once the API server does not remember it either: restart it, too."""
        revision = self._etcd("kv/range", key="AA==")["header"]["revision"]
        self._etcd("kv/compaction", revision=revision, physical=True)
        return revision

    # -- images

    def add_image(self, name, files, entrypoint=(), env=(), links=()):
        """See images.write()."""
        env = (f"IG_FORBIDDEN_NETNS={self.forbidden}", *env)
        path = images.write(f"{box.TMP}/image.tar", name, files, entrypoint, env, links=links)
        status, out, err = self.run(["ctr", "-n", "k8s.io", "images", "import", path])
        assert status == 0, f"{name} cannot be imported: {out}{err}"
        os.unlink(path)

    # -- objects

    def kubectl(self, *args, stdin=None, check=True, timeout=60):
        """What it prints; (exit status, stdout, stderr) with check=False."""
        status, out, err = self.run(["kubectl", *args], stdin, timeout)
        if not check:
            return status, out, err
        assert status == 0, f"kubectl {' '.join(args)}: exit {status}: {out}{err}"
        return out

    def apply(self, *objects):
        """Dictionaries, or YAML texts; dictionaries first."""
        things = [item for item in objects if isinstance(item, dict)]
        texts = [item for item in objects if isinstance(item, str)]
        if things:
            texts.insert(0, json.dumps({"apiVersion": "v1", "kind": "List", "items": things}))
        return "".join(self.kubectl("apply", "-f", "-", stdin=text) for text in texts)

    def wait_account(self, namespace, name):
        """Without its ServiceAccount no pod can be made."""
        self.api.wait_for(f"/api/v1/namespaces/{namespace}/serviceaccounts",
                          lambda found: (namespace, name) in found, what=f"account {name}")

    def wait_pods(self, labels, count, namespace="default", timeout=60):
        """The pods with the label "key=value", when exactly `count` are there, all ready."""
        def wanted(pods):
            ready = [pod for pod in pods.values() if workloads.is_ready(pod)
                     and "deletionTimestamp" not in pod["metadata"]]
            return ready if len(ready) == count == len(pods) else None
        query = f"/api/v1/namespaces/{namespace}/pods?labelSelector={labels.replace('=', '%3D')}"
        if count == 0:
            self.api.wait_for(query, lambda pods: not pods, timeout, f"no pods {labels}")
            return []
        return self.api.wait_for(query, wanted, timeout, f"{count} pods {labels}")

    def wait_pod(self, name, namespace="default", timeout=60):
        """The pod, once it is ready."""
        query = f"/api/v1/namespaces/{namespace}/pods?fieldSelector=metadata.name%3D{name}"
        return self.api.wait_for(query, lambda pods: next(filter(
            workloads.is_ready, pods.values()), None), timeout, f"pod {name} ready")

    def wait_ended(self, labels, count, namespace="default", timeout=60):
        """The pods with the label, once so many have ended, well or not."""
        def wanted(pods):
            ended = [pod for pod in pods.values()
                     if pod["status"].get("phase") in ("Succeeded", "Failed")]
            return ended if len(ended) == count else None
        query = f"/api/v1/namespaces/{namespace}/pods?labelSelector={labels.replace('=', '%3D')}"
        return self.api.wait_for(query, wanted, timeout, f"{count} pods {labels} have ended")

    def add_pod(self, name, namespace="default", **more):
        self.apply(workloads.pod(name, namespace, **more))
        return self.wait_pod(name, namespace)

    def remove_pod(self, name, namespace="default"):
        path = f"/api/v1/namespaces/{namespace}/pods"
        self.api.delete(f"{path}/{name}")
        self.api.wait_for(path, lambda pods: (namespace, name) not in pods, what=f"{name} gone")

    # -- what pods say

    def dial(self, pod, mode="plain", namespace="default", container="client",
             program=workloads.DIAL, **options):
        """One attempt out of a container that is there; one reply."""
        argv = [program, *Place.dial_argv(mode, **options)[1:]]
        status, out, err = self.kubectl("exec", "-n", namespace, pod, "-c", container, "--", *argv,
                                        check=False)
        assert out, f"{argv} in {pod} said nothing: exit {status}: {err}"
        return Reply(json.loads(out.splitlines()[-1]))

    def dialer(self, pod, mode="plain", container="client", **options):
        """A Dialer in a container of a pod (the object). The runtime starts it: it needs neither
        kubelet nor API server, then or later."""
        self._execs += 1
        argv = ["ctr", "-n", "k8s.io", "tasks", "exec", "--exec-id", f"dialer-{self._execs}",
                workloads.container_id(pod, container),
                workloads.DIAL, *Place.dial_argv(mode, **options)[1:]]
        with open(f"{self.log_directory}/dialers.log", "ab") as f:
            return Dialer(subprocess.Popen(argv, env=self.env(), text=True, stdin=subprocess.PIPE,
                                           stdout=subprocess.PIPE, stderr=f,
                                           preexec_fn=kernel.die_with_parent))

    @staticmethod
    def said(pod, container="client"):
        """The replies in the logs of a pod's container (pod: the object), from kubelet's files:
        quicker than asking for each, and without the API server."""
        meta, found = pod["metadata"], []
        for path in sorted(glob.glob(f"{LOGS}/{meta['namespace']}_{meta['name']}_"
                                     f"{meta.get('uid', '*')}/{container}/*.log")):
            with open(path, encoding="utf-8") as f:
                found += [Reply(json.loads(line.split(" ", 3)[3])) for line in f
                          if " stdout F {" in line and line.endswith("\n")]
        return found

    @staticmethod
    def until(function, wanted, timeout=15):
        """The first result that is wanted, for what nobody announces. Each attempt is a program in
        a pod, which takes its time."""
        deadline = time.monotonic() + timeout
        while True:
            result = function()
            if wanted(result):
                return result
            assert time.monotonic() < deadline, f"not within {timeout} s: {result}"

    def replies(self, pod, count, namespace="default", container="client"):
        """The first `count` replies in the log of a container that dials again and again."""
        argv = ["kubectl", "logs", "-f", "-n", namespace, pod, "-c", container]
        found, process = [], subprocess.Popen(argv, env=self.env(), text=True,
                                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                              preexec_fn=kernel.die_with_parent)
        with process:
            for line in process.stdout:
                found.append(Reply(json.loads(line)))
                if len(found) == count:
                    break
            process.kill()
        assert len(found) == count, f"{pod} said only {found}"
        return found

    # -- for people

    def tails(self):
        text = ""
        for name, lines in self._logs.items():
            text += f"--- end of {name}.log\n" + "".join(f"{l}\n" for l in lines.all()[-12:])
        text += "".join(function() for function in self.diagnose)
        return TOKEN_TEXT.sub("eyJ…", text)


# ---- running it ---------------------------------------------------------------------------------

_place = {}  # arguments of Cluster(), once this process is in the box


def enter():
    """This process goes into the box, for good."""
    directory = programs()
    _place.update(directory=directory, outside=box.enter(config.NODE))


@contextlib.contextmanager
def build():
    """A cluster that lives as long as the context, for a Suite."""
    with Cluster(**_place) as cluster:
        stages = ", ".join(f"{name} {seconds} s" for name, seconds in cluster.took.items())
        print(f"# cluster: {stages}", flush=True)
        yield cluster


def without_surge(text):
    """A DaemonSet's manifest as this API server takes it, which does not know surge yet."""
    surge = "maxSurge: 1\n      maxUnavailable: 0\n"
    assert surge in text, "what does the manifest say of old API servers?"
    return text.replace(surge, "maxUnavailable: 1\n")


def run(suite):
    """Main program of a test whose suite is Suite(build)."""
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root: namespaces, control groups and BPF")
        sys.exit(77)
    try:
        enter()
    except CannotRun as error:
        print(f"1..0 # SKIP no Kubernetes here: {error}")
        sys.exit(77)
    suite.run()


def main():
    parser = argparse.ArgumentParser(description="A Kubernetes node in a box.")
    parser.add_argument("--shell", action="store_true", help="an interactive shell in it")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="or one command")
    options = parser.parse_args()
    if options.shell == bool(options.command):
        parser.error("either --shell or a command")
    if os.geteuid() != 0:
        sys.exit("cluster.py: needs root")
    try:
        enter()
    except CannotRun as error:
        sys.exit(f"cluster.py: {error}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with build() as cluster:
        argv = options.command or ["bash", "--norc", "-i"]
        env = {**cluster.env(), "PS1": "(cluster) \\w# ", "IG_BUILD": BUILD, "IG_REPO": REPO}
        status = subprocess.run(argv, env=env, check=False).returncode
    sys.exit(status)


if __name__ == "__main__":
    main()
