"""The agent in the cluster, as an operator would put it there: the image that `make image` makes,
installed with helm from the chart, as it is shipped (test_install.py has the same by kubectl). Its
paths are the node's own, so audit and control socket are where they are on every node. Used by the
tests beside it."""

import contextlib
import json
import os
import subprocess
import sys
import tarfile

import cluster
import box  # after cluster, which knows where the modules of the other suites are
import audit_schema
import kernel
import workloads
from places import BUILD, REPO, TOKEN_TEXT
from tap import Skip
from watch import Lines, event

sys.path.insert(1, os.path.join(REPO, "tests", "deploy"))
import tools  # noqa: E402  pylint: disable=wrong-import-position

DEPLOY = os.path.join(REPO, "deploy", "kubernetes")
NAMESPACE, NAME = "imdsgate-system", "imdsgate"
IMAGE = "docker.io/library/imdsgate:dev"
ARCHIVE = os.path.join(BUILD, "image", "imdsgate.tar")
# as the cluster has the image: pulled from nowhere. Kubelet 1.20 begins to ask whether a pod is ready
# when the period is over for the first time.
VALUES = ("--set", "image.repository=docker.io/library/imdsgate,image.tag=dev",
          "--set", "probes.readiness.periodSeconds=3")
AUDIT = "/var/log/imdsgate/audit/audit.jsonl"
PINS = "/sys/fs/bpf/imdsgate"
KINDS = 4  # definitions in deploy/kubernetes/crds


def daemonset_here():
    """The path of a copy of daemonset.yaml for the API server of this cluster."""
    path = f"{box.TMP}/daemonset.yaml"
    with open(path, "w", encoding="utf-8") as f:
        f.write(cluster.without_surge(deployed("daemonset.yaml")))
    return path


def deployed(name):
    with open(os.path.join(DEPLOY, name), encoding="utf-8") as f:
        return f.read()


def _find_helm():
    """(path, None) or (None, why not). Now, since there is no way to a registry in the box."""
    try:
        return f"{tools.directory()}/helm", None
    except Skip as skip:
        return None, str(skip)


HELM, NO_HELM = _find_helm()


class Agent:
    """outputs: all that the tool said."""

    def __init__(self, c):
        self.c, self.outputs = c, []
        self.audit = Lines(AUDIT, json.loads)
        c.diagnose.append(self.tails)

    # -- installation

    def add_image(self):
        """The one of `make image`, under the name that the manifests have."""
        with tarfile.open(ARCHIVE) as tar:
            (image,) = json.load(tar.extractfile("index.json"))["manifests"]
        name = image["annotations"]["io.containerd.image.name"]
        for argv in (["import", ARCHIVE], ["tag", "--force", name, IMAGE]):
            status, out, err = self.c.run(["ctr", "-n", "k8s.io", "images", *argv])
            assert status == 0, f"{argv}: {out}{err}"

    def add_kinds(self):
        self.c.kubectl("apply", "-f", f"{DEPLOY}/crds")
        self.c.api.wait_for(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            lambda found: len(found) == KINDS and all(
                any(cond["type"] == "Established" and cond["status"] == "True"
                    for cond in crd.get("status", {}).get("conditions") or ())
                for crd in found.values()), what="definitions established")

    def helm(self, verb, *args, timeout=120):
        """What helm prints, in the agent's namespace."""
        if NO_HELM:
            raise Skip(NO_HELM)
        homes = [f"HELM_{what}_HOME={box.TMP}/helm" for what in ("CACHE", "CONFIG", "DATA")]
        argv = ["env", *homes, HELM, verb, *args, "--namespace", NAMESPACE]
        status, out, err = self.c.run(argv, timeout=timeout)
        assert status == 0, f"helm {verb} {' '.join(args)}: {out}{err}"
        return out

    def install(self, *flags):
        """flags: of `helm install`."""
        self.add_image()
        self.helm("install", NAME, tools.CHART, "--create-namespace", *VALUES, *flags)
        return self.wait()

    def wait(self, timeout=60):
        """The agent's pod, once it is ready."""
        (pod,) = self.c.wait_pods(f"app.kubernetes.io/name={NAME}", 1, NAMESPACE, timeout)
        return pod

    def patch(self, text):
        """Changes the DaemonSet, as JSON patch or as a strategic one."""
        kind = "json" if text.lstrip().startswith("[") else "strategic"
        self.c.kubectl("patch", "-n", NAMESPACE, "daemonset", NAME, f"--type={kind}", "--patch",
                       text)

    def add_args(self, *args):
        path = "/spec/template/spec/containers/0/args/-"
        self.patch(json.dumps([{"op": "add", "path": path, "value": arg} for arg in args]))

    def wait_rolled(self):
        """Until the pod of the DaemonSet's present template is ready; the pod. Kubelet lets a pod go
        when its containers were removed; if it overlooked one at first, a minute later."""
        self.c.kubectl("rollout", "status", "-n", NAMESPACE, f"daemonset/{NAME}", "--timeout=130s",
                       timeout=140)
        return self.wait()

    def uninstall(self):
        """In two steps: detached on every node first."""
        self.helm("upgrade", NAME, tools.CHART, "--reuse-values", "--set", "detach=true", "--wait")
        self.c.kubectl("rollout", "status", "-n", NAMESPACE, "daemonset/imdsgate-detach",
                       "--timeout=60s", timeout=70)
        self.helm("uninstall", NAME, "--wait")
        self.c.wait_pods(f"app.kubernetes.io/name={NAME}-detach", 0, NAMESPACE)

    def wait_gone(self):
        self.c.wait_pods(f"app.kubernetes.io/name={NAME}", 0, NAMESPACE)

    # -- what it says

    def cli_run(self, *args):
        """(exit status, stdout, stderr) of the tool on the node."""
        done = subprocess.run([f"{BUILD}/imdsgate", "--json", *args], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False, timeout=30)
        self.outputs.append(done.stdout + done.stderr)
        return done.returncode, done.stdout, done.stderr

    def cli(self, *args):
        status, out, err = self.cli_run(*args)
        assert status == 0, f"imdsgate {' '.join(args)}: exit {status}: {out}{err}"
        return json.loads(out)

    def status(self):
        return self.cli("status")

    def pods(self):
        """The names of those that it knows."""
        return {workload["name"] for workload in self.cli("workload", "list")}

    def recorded(self, kind, since, timeout=10, **members):
        """The first such record since the mark."""
        return self.audit.wait_for(event(kind, **members), since, timeout, f"{kind} {members}")

    def logs(self):
        """{path: text} of the agent's containers that kubelet still has."""
        found = {}
        for directory, _, names in os.walk(cluster.LOGS):
            if os.path.relpath(directory, cluster.LOGS).startswith(f"{NAMESPACE}_"):
                for name in names:
                    with open(os.path.join(directory, name), encoding="utf-8") as f:
                        found[os.path.join(directory, name)] = f.read()
        return found

    def tails(self):
        text = "--- end of the audit\n"
        text += "".join(f"{json.dumps(line)}\n" for line in self.audit.all()[-12:])
        for path, log in self.logs().items():
            text += f"--- end of {path}\n" + "".join(
                f"{line}\n" for line in log.splitlines()[-30:])
        return text

    def attached(self):
        """Lines of bpftool about our programs at the control groups."""
        status, out, err = self.c.run(["bpftool", "cgroup", "tree", self.c.cgroup2])
        assert status == 0, err
        return [line for line in out.splitlines() if " ig_" in line]

    def listening(self, pod):
        """Ports on which somebody listens at 127.0.0.1 in a pod's network namespace."""
        task = self.c.run(["ctr", "-n", "k8s.io", "tasks", "ls"])[1]
        (pid,) = (line.split()[1] for line in task.splitlines()
                  if line.startswith(workloads.container_id(pod)))
        with open(f"/proc/{pid}/net/tcp", encoding="ascii") as f:
            return kernel.listening_ports(f.read())

    def check_nothing_left(self, pids, pods):
        """On the node, but the audit; of an agent that had these processes."""
        assert not self.attached(), self.attached()
        assert not os.path.exists(PINS), os.listdir(PINS)
        for pod in pods:
            assert 254 not in self.listening(pod), pod["metadata"]["name"]
        assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
        assert os.listdir("/run/imdsgate") in ([], ["imdsgate.sock"]), os.listdir("/run/imdsgate")

    # -- what holds for every run

    def check_schema(self):
        count = audit_schema.check(("audit", record) for record in self.audit.all())
        assert count, "the agent wrote no audit record"

    def check_no_token(self):
        texts = {"output of imdsgate": "".join(self.outputs), **self.logs()}
        with open(AUDIT, encoding="utf-8") as f:
            texts[AUDIT] = f.read()
        assert len(texts) > 2, "the agent's log is not where it is expected"
        for name, text in texts.items():
            assert not TOKEN_TEXT.search(text), f"there is a token in {name}"


@contextlib.contextmanager
def build():
    """A cluster for a Suite, with an Agent as its attribute, which is not installed yet."""
    with cluster.build() as c:
        c.agent = Agent(c)
        yield c


# What every run of an agent has to leave behind: the last points of each suite.
TRACES = (("every audit record matches the schema", lambda c: c.agent.check_schema()),
          ("no token in audit, log or output", lambda c: c.agent.check_no_token()))
