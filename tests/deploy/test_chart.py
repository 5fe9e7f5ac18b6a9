#!/usr/bin/python3
"""The chart against what deploy/kubernetes says, which is what `make e2e` runs: the same objects
unless a value says otherwise; no value without effect; nothing else taken."""

import json
import os
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import tools
import yaml
from tap import Suite
from tools import BUILD, CHART, NAMESPACE, REPO

KUBERNETES = os.path.join(REPO, "deploy", "kubernetes")
# helm's own labels
HELM = {"app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by",
        "helm.sh/chart"}
# another value for each, where turning it around or lengthening it would be none
OTHERWISE = {
    "image.digest": "sha256:" + "0" * 64, "image.pullPolicy": "Always", "image.pullSecrets": ["x"],
    "policyNamespace": "gate", "hostVerdict": "deny", "requestsPerSecond": 1000,
    "authorityHost": "https://login.test",
    "federation.serviceAccounts": [{"namespace": "shop", "name": "orders"}],
    "federation.namespaces": ["shop"], "federation.admissionPolicy": True,
    "credentials": [{"namespace": "shop", "name": "orders", "secret": "shop-orders"}],
    "hostToken.socket": "/run/gate/host.sock", "hostToken.port": 2579,
    "hostToken.serviceAccounts": ["kube-system/csi"], "hostToken.cgroups": ["/csi"],
    "logLevel": "debug", "audit.file": "none", "audit.rotateSize": "1G", "audit.rotateAge": "7d",
    "audit.keep": 3, "audit.fsync": "always", "audit.syslog": "unix:/dev/log",
    "audit.otlp": "http://collector:4318/v1/logs", "audit.otlpHeadersSecret": "otlp",
    "metrics.port": 9254, "metrics.address": "127.0.0.1", "metrics.podMonitor.interval": "5s",
    "guard.interfaces": "eth0",
    "guard.hook": "clsact", "gatePort": 1254, "netnsDirs": ["/run/docker/netns"],
    "startupTaint.key": "example.com/agent-not-ready", "startupTaint.admissionPolicy": True,
    "extraArgs": ["--tenant-id=t"], "tolerations": [], "nodeSelector": {"a": "b"},
    "affinity": {"nodeAffinity": {}}, "resources": {"requests": {"cpu": "1m"}}, "terminationGracePeriodSeconds": 99,
}
# values that say something only beside others
NEEDS = {
    "hostToken.port": {"hostToken.socket": "/run/gate/host.sock", "hostToken.cgroups": ["/csi"]},
    "hostToken.serviceAccounts": {"hostToken.socket": "/run/gate/host.sock"},
    "hostToken.cgroups": {"hostToken.socket": "/run/gate/host.sock"},
    "startupTaint.admissionPolicy": {"startupTaint.key": "example.com/agent-not-ready"},
    "metrics.address": {"metrics.port": 9254}, "metrics.podMonitor.enabled": {"metrics.port": 9254},
    "metrics.podMonitor.interval": {"metrics.port": 9254, "metrics.podMonitor.enabled": True},
    "metrics.podMonitor.labels": {"metrics.port": 9254, "metrics.podMonitor.enabled": True},
    "metrics.rules.labels": {"metrics.rules.enabled": True},
    "metrics.dashboard.labels": {"metrics.dashboard.enabled": True},
}

# values that the agent would not start with
REFUSED = (
    ("audit.file", "/var/log/imdsgate/"), ("audit.keep", 0), ("audit.rotateSize", "10K"),
    ("audit.rotateSize", "99999999999G"), ("audit.rotateAge", "30"), ("audit.syslog", "tcp://"),
    ("audit.syslog", "tls://h:x"), ("audit.otlp", "http://"), ("audit.otlp", "https://u:p@h/v1/logs"),
    ("authorityHost", "http://login.test"), ("tenantID", "a b"), ("hostToken.cgroups", ["/"]),
    ("hostToken.cgroups", ["/a/../b"]), ("hostToken.cgroups", ["/a/"]),
    ("hostToken.serviceAccounts", ["A/b"]), ("metrics.address", "localhost"),
    ("guard.interfaces", "eth0, eth1"), ("guard.interfaces", "abcdefghijklmnop"),
    ("netnsDirs", ["/run/docker/netns/"]), ("startupTaint.key", "x" * 64), ("startupTaint.key", "a..b/c"),
)
# and such as are near those
TAKEN = (
    ("audit.file", "/var/log/imdsgate/a/b"), ("audit.keep", 1), ("audit.keep", 999), ("audit.rotateSize", "64K"),
    ("audit.rotateSize", "65536"), ("audit.rotateSize", "0"), ("audit.rotateAge", "0"),
    ("audit.rotateAge", "90s"), ("audit.syslog", "tls://[fd00::1]:6514"), ("audit.syslog", "tcp://h"),
    ("audit.otlp", "https://h:4318/v1/logs"), ("authorityHost", "http://127.0.0.1:8080"),
    ("authorityHost", "https://login.test/x"), ("tenantID", "contoso.onmicrosoft.com"),
    ("hostToken.cgroups", ["/system.slice/a.service", "/..a/.b"]), ("hostToken.serviceAccounts", ["a/b.c"]),
    ("metrics.address", "10.0.0.1"), ("metrics.address", "fd00::1"), ("metrics.address", "node"),
    ("guard.interfaces", "eth0,bond0.1"), ("guard.interfaces", "off"),
    ("netnsDirs", ["/run/docker/netns", "/a/b"]), ("startupTaint.key", "a.b/" + "x" * 63),
)

suite = Suite(tools.Desk, seconds=120)


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def objects(text):
    """{(kind, name): object}, without what helm adds."""
    found = {}
    for thing in yaml.safe_load_all(text):
        if not thing:
            continue
        for meta in (thing["metadata"], thing.get("spec", {}).get("template", {}).get("metadata")):
            if meta:
                meta["labels"] = {k: v for k, v in meta.get("labels", {}).items() if k not in HELM}
        key = thing["kind"], thing["metadata"]["name"]
        assert key not in found, f"{key} twice"
        found[key] = thing
    return found


def flags_of(values):
    return [word for name, value in values.items()
            for word in ("--set-json", f"{name}={json.dumps(value)}")]


def with_values(values):
    return tools.template(*flags_of(values))


def leaves(tree, path=()):
    """(path, value) of the values that a user sets as a whole."""
    for name, value in tree.items():
        here = (*path, name)
        if isinstance(value, dict) and value and ".".join(here) not in OTHERWISE \
                and name not in ("labels", "nodeSelector", "resources"):
            yield from leaves(value, here)
        else:
            yield ".".join(here), value


def otherwise(name, value):
    if name in OTHERWISE:
        return OTHERWISE[name]
    if isinstance(value, bool):
        return not value
    if isinstance(value, dict):
        return {"another": "label"}
    if isinstance(value, int):
        return value + 1
    assert isinstance(value, str), f"what else could {name} be?"
    return value + "x"


def args_of(text):
    """The agent's arguments in a rendered chart."""
    (container,) = objects(text)[("DaemonSet", "imdsgate")]["spec"]["template"]["spec"]["containers"]
    return container["args"]


@suite.test("helm has nothing against it")
def _(_):
    status, out, err = tools.run("helm", "lint", "--strict", CHART, check=False)
    assert status == 0 and "[WARNING]" not in out, out + err


@suite.test("without values it is what deploy/kubernetes says")
def _(_):
    plain = {}
    for name in ("rbac.yaml", "daemonset.yaml"):
        plain |= objects(read(KUBERNETES, name))
    rendered = objects(tools.template())
    assert set(rendered) == set(plain), set(rendered) ^ set(plain)
    for key, thing in rendered.items():
        if key[0] == "DaemonSet":
            for side in (thing, plain[key]):
                side["spec"]["template"]["spec"]["containers"][0].pop("image")
        assert thing == plain[key], f"{key}: chart {thing}\nplain {plain[key]}"


@suite.test("to detach it is what deploy/kubernetes/detach says")
def _(_):
    rendered = objects(with_values({"detach": True, "rbac.create": False,
                                    "serviceAccount.create": False}))
    plain = objects(read(KUBERNETES, "detach", "daemonset.yaml"))
    for side in (rendered, plain):
        spec = side[("DaemonSet", "imdsgate-detach")]["spec"]["template"]["spec"]
        for container in spec["initContainers"] + spec["containers"]:
            container.pop("image")
    assert rendered == plain, f"chart {rendered}\nplain {plain}"


@suite.test("every value has an effect, by itself")
def _(_):
    values = yaml.safe_load(read(CHART, "values.yaml"))
    names = dict(leaves(values))
    assert set(OTHERWISE) | set(NEEDS) <= set(names), (set(OTHERWISE) | set(NEEDS)) - set(names)
    for name, value in names.items():
        base = NEEDS.get(name, {})
        before, after = with_values(base), with_values({**base, name: otherwise(name, value)})
        assert before != after, f"{name} changes nothing"


@suite.test("the schema knows every value that there is, and no others")
def _(_):
    def shape(tree):
        return {name: shape(value) if isinstance(value, dict) and value else None
                for name, value in tree.items()}

    def known(schema):
        if "properties" not in schema:
            return None
        assert schema.get("additionalProperties") is False, schema
        return {name: known(value) for name, value in schema["properties"].items()}
    schema = json.loads(read(CHART, "values.schema.json"))
    have, want = known(schema), shape(yaml.safe_load(read(CHART, "values.yaml")))
    have.pop("global")  # helm's own

    def check(have, want, path=""):
        assert set(have) == set(want), f"{path}: {set(have) ^ set(want)}"
        for name, below in have.items():
            if below is not None:
                check(below, want[name], f"{path}.{name}")
    check(have, want)


@suite.test("what is misspelt or makes no sense is refused, with the place")
def _(_):
    for flag, named in (
            ("hostVerdit=deny", "hostVerdit"), ("hostVerdict=maybe", "/hostVerdict"),
            ("image.digest=latest", "/image/digest"), ("gatePort=0", "/gatePort"),
            ("federation.namespaces={Shop}", "/federation/namespaces/0"),
            ("audit.rotateSize=10MB", "/audit/rotateSize"), ("audit.file=/srv/audit.jsonl", "/audit/file"),
            ("privileged=yes-please", "/privileged"),
            ("metrics.podMonitor.enabled=true", "metrics.port")):
        status, _, err = tools.run("helm", "template", "imdsgate", CHART, "--set", flag, check=False)
        assert status != 0 and named in err, f"{flag}: {err}"


@suite.test("the agent knows every flag that can come out of it")
def _(_):
    known = set(re.findall(r"--[a-z-]+", subprocess.run(
        [f"{BUILD}/imdsgated", "--help"], capture_output=True, text=True, check=True).stdout))
    everything = {}
    for name, value in leaves(yaml.safe_load(read(CHART, "values.yaml"))):
        if name not in ("detach", "audit.file"):
            everything[name] = otherwise(name, value)
    args = args_of(with_values(everything))
    used = {arg.split("=")[0] for arg in args}
    assert len(used) > 20 and used <= known, used - known
    assert not agent_says(args), agent_says(args)


def agent_says(args):
    """What it has against its arguments; "" if nothing."""
    kubelet = {"$(NODE_NAME)": "n1", "$(NODE_ADDRESS)": "10.0.0.1"}
    words = [re.sub(r"\$\(\w+\)", lambda name: kubelet[name[0]], word) for word in args]
    with tempfile.TemporaryDirectory() as none:
        done = subprocess.run([f"{BUILD}/imdsgated", "--user=64929", *words, f"--manifests={none}",
                               "--check-config"], capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


@suite.test("the chart takes what the agent takes, and refuses what the agent would refuse")
def _(_):
    for name, value in TAKEN:
        said = agent_says(args_of(with_values({**NEEDS.get(name, {}), name: value})))
        assert not said, f"{name}={value}: {said}"
    for name, value in REFUSED:
        flags = flags_of({**NEEDS.get(name, {}), name: value})
        status, _, err = tools.run("helm", "template", "imdsgate", CHART, *flags, check=False)
        assert status != 0 and "/" + name.replace(".", "/") in err, f"{name}={value}: {err}"
        assert agent_says(args_of(tools.template("--skip-schema-validation", *flags))), f"{name}={value}"


@suite.test("values that do not go together are refused, with the reason")
def _(_):
    for values, named in (
            ({"hostToken.port": 2579}, "hostToken.port needs"),
            ({"hostToken.serviceAccounts": ["a/b"]}, "need hostToken.port"),
            ({"hostToken.cgroups": ["/a"]}, "need hostToken.port"),
            ({"hostToken.port": 254, "hostToken.cgroups": ["/a"]}, "different ports"),
            ({"hostToken.port": 77, "hostToken.cgroups": ["/a"], "metrics.port": 77}, "different ports"),
            ({"metrics.port": 1254, "gatePort": 1254}, "different ports")):
        status, _, err = tools.run("helm", "template", "imdsgate", CHART, *flags_of(values), check=False)
        assert status != 0 and named in err, f"{values}: {err}"


@suite.test("the rights grow only by what federation names")
def _(_):
    def granted(text):
        return {key: thing for key, thing in objects(text).items() if key[0] in ("Role", "ClusterRole")}
    before = granted(with_values({}))
    after = granted(with_values({"federation.serviceAccounts": [
        {"namespace": "shop", "name": "b"}, {"namespace": "shop", "name": "a"}]}))
    (new,) = set(after) - set(before)
    assert {key: after[key] for key in before} == before
    assert after[new]["metadata"]["namespace"] == "shop" and after[new]["rules"] == [{
        "apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": ["a", "b"],
        "verbs": ["create"]}], after[new]
    for thing in after.values():
        assert "secrets" not in str(thing["rules"]), thing


@suite.test("the fence names the ServiceAccount that the agent has")
def _(_):
    text = with_values({"federation.admissionPolicy": True, "serviceAccount.name": "gate"})
    expressions = re.findall(r"request\.userInfo\.username == '([^']*)'", text)
    assert expressions == [f"system:serviceaccount:{NAMESPACE}:gate"] * 2, expressions


@suite.test("the start-up taint: its flag, and the right and the fence of deploy/kubernetes")
def _(_):
    values = {"startupTaint.key": "imdsgate.dev/agent-not-ready", "startupTaint.admissionPolicy": True}
    rendered, before = objects(with_values(values)), objects(with_values({}))
    assert "--startup-taint=imdsgate.dev/agent-not-ready" in args_of(with_values(values))
    plain = {}
    for name in ("clusterrole.yaml", "admission-policy.yaml"):
        plain |= objects(read(KUBERNETES, "startup-taint", name))
    new = {key: thing for key, thing in rendered.items() if key not in before}
    assert new == plain, f"chart {new}\nplain {plain}"
    changed = {key for key in before if rendered[key] != before[key]}
    assert changed == {("DaemonSet", "imdsgate")}, changed
    text = with_values({**values, "startupTaint.key": "example.com/a", "serviceAccount.name": "gate"})
    assert "taint.key != 'example.com/a'" in text
    assert f"== 'system:serviceaccount:{NAMESPACE}:gate'" in text
    assert not [key for key in objects(with_values({**values, "detach": True})) if "taint" in key[1]]


def relabeled(labels, steps):
    """What Prometheus makes of them."""
    for step in steps:
        value = ";".join(labels.get(name, "") for name in step.get("sourceLabels", []))
        match = re.fullmatch(step.get("regex", "(.*)"), value)
        if match:
            template = re.sub(r"\$(\d)", r"\\\1", step.get("replacement", "$1"))
            labels = {**labels, step["targetLabel"]: match.expand(template)}
    return labels


@suite.test("scraped by the operator, a target has its address and the labels that the dashboard asks for")
def _(_):
    text = with_values({"metrics.port": 9254, "metrics.podMonitor.enabled": True})
    (endpoint,) = objects(text)[("PodMonitor", "imdsgate")]["spec"]["podMetricsEndpoints"]
    dashboard = json.loads(read(REPO, "deploy", "grafana", "imdsgate.json"))
    asked = {v["name"] for v in dashboard["templating"]["list"] if v["type"] == "query"}
    for ip, address in (("10.0.0.4", "10.0.0.4:9254"), ("fd00::4", "[fd00::4]:9254")):
        # the operator's own come first
        labels = relabeled({"__meta_kubernetes_pod_ip": ip, "__meta_kubernetes_pod_node_name": "n1",
                            "namespace": "x", "pod": "x", "container": "x", "job": "x"},
                           endpoint["relabelings"])
        assert labels["__address__"] == address, labels
        assert labels["job"] == "imdsgate" and labels["instance"] == "n1", labels
        assert asked <= set(labels) and labels["node"] == "n1", (asked, labels)


@suite.test("kustomize builds deploy/kubernetes, and adds nothing")
def _(_):
    built = objects(tools.run("kubectl", "kustomize", KUBERNETES))
    plain = {}
    for name in ["namespace.yaml", "rbac.yaml", "daemonset.yaml"] + [
            f"crds/{name}" for name in sorted(os.listdir(f"{KUBERNETES}/crds"))]:
        plain |= objects(read(KUBERNETES, name))
    assert built == plain, set(built) ^ set(plain)


@suite.test("the version is the program's")
def _(_):
    (version,) = re.findall(r"^VERSION := (\S+)$", read(REPO, "Makefile"), re.MULTILINE)
    chart = yaml.safe_load(read(CHART, "Chart.yaml"))
    assert chart["version"] == chart["appVersion"] == version, chart


@suite.test("the Terraform example is in its language")
def _(_):
    folder = os.path.join(REPO, "deploy", "terraform")
    files = sorted(os.path.join(folder, name) for name in os.listdir(folder)
                   if name.endswith((".tf", ".tfvars")))
    script = ("const {parse} = require('@cdktf/hcl2json'); const fs = require('fs');"
              "(async () => { const all = {}; for (const f of process.argv.slice(1))"
              " all[f] = await parse(f, fs.readFileSync(f, 'utf8'));"
              " console.log(JSON.stringify(all)); })()")
    done = subprocess.run(["node", "-e", script, *files], capture_output=True, text=True,
                          check=False, cwd=tools.directory())
    assert done.returncode == 0, done.stderr
    parsed = {os.path.basename(name): tree for name, tree in json.loads(done.stdout).items()}
    declared = set(parsed["variables.tf"]["variable"])
    used = set(re.findall(r"\bvar\.(\w+)", read(folder, "main.tf")))
    assert declared == used and set(parsed["example.tfvars"]) <= declared, (declared, used)
    # whatever azapi calls an update is a PUT of all that can be read, which is not all that there is
    resources = parsed["main.tf"]["resource"]
    assert "azapi_update_resource" not in resources, resources.keys()
    (assigned,) = resources["azapi_resource_action"]["assigned"]
    assert assigned["method"] == "PATCH" and set(assigned["body"]) == {"identity"}, assigned


if __name__ == "__main__":
    suite.run()
