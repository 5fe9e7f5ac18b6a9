"""`imdsgate explain`: what it says is what happens. Each question is asked of the agent, and the same
request is made by the workload itself."""

import contextlib
import json
import os
import subprocess

from harness import TRACES, manifests, standard_world
from places import BUILD, TOKEN_PATH
from tap import Suite

VAULT, STORAGE = "https://vault.azure.net", "https://storage.azure.com"
VERSION = "api-version=2021-02-01"
CLUSTER = manifests.POLICY_NAMESPACE
A, B = manifests.ID_A.client_id, manifests.ID_B.client_id
DIAL = f"{BUILD}/tests/netns/dial"
ACCOUNT = "cccccccc-0000-4000-8000-000000000003"


@contextlib.contextmanager
def build():
    with standard_world(agent=False) as w:
        w.add_pod("both", "sel-both")
        w.add_pod("free", "sel-none")
        w.pods["free"].manifest = w.pods["free"].manifest.replace(
            "  labels:\n", "  labels:\n    trusted: very\n")
        w.add_pod("account", "sel-a")
        w.pods["account"].manifest = w.pods["account"].manifest.replace(
            "  labels:\n", '  labels:\n    azure.workload.identity/use: "true"\n')
        w.pods["account"].manifest += "  serviceAccountName: web\n"
        w.declare()
        w.write("more.yaml", manifests.join(
            manifests.binding("both-a", manifests.ID_A, "sel-both"),
            manifests.binding("both-b", manifests.ID_B, "sel-both"),
            manifests.exception("trust", {"trusted": "very"}),
            manifests.service_account("web", ACCOUNT)))
        w.agent.options["host-verdict"] = "redirect"
        w.agent.start()
        yield w


suite = Suite(build, TRACES)


def explain(w, *args, allowed):
    """What is said; the exit status says whether it is allowed."""
    status, out, err = w.agent.cli_run("explain", *args)
    assert status == (0 if allowed else 4), (status, out, err)
    answer = json.loads(out)
    assert (answer["verdict"] in ("allow", "pass")) == allowed, answer
    return answer


def steps(answer, rule):
    return {step["name"]: step["outcome"] for step in answer["steps"] if step["rule"] == rule}


def chosen(answer, rule):
    return [step["name"] for step in answer["steps"] if step["rule"] == rule and step["chosen"]]


def happens(place, allowed, path, **options):
    reply = place.dial(path=path, **options)
    assert (reply.status == 200) == allowed, reply


def token(resource=VAULT, selector=""):
    return f"{TOKEN_PATH}&resource={resource}{selector}"


def text_of(w, *args):
    """For people, as it is printed."""
    done = subprocess.run([f"{BUILD}/imdsgate", "--socket", w.agent.socket, "explain", *args],
                          capture_output=True, text=True, timeout=20, check=False)
    w.outputs.append(done.stdout + done.stderr)
    return done.returncode, done.stdout, done.stderr


@suite.test("a bound pod: which binding gives which identity, from where, how often")
def bound(w):
    answer = explain(w, "demo/a", "--resource", VAULT, allowed=True)
    happens(w.pods["a"], True, token())
    assert (answer["reason"], answer["connection"]) == ("grant", "redirect"), answer
    assert answer["caller"]["name"] == "a" and answer["caller"]["service_account"] == "default"
    assert answer["request"] == {"kind": "token", "resource": VAULT, "selector_kind": None,
                                 "selector_value": None}, answer["request"]
    assert steps(answer, "binding")["bind-a"] == "gives_identity", answer
    assert steps(answer, "binding")["bind-b"] == "selector_differs", answer
    assert chosen(answer, "binding") == ["bind-a"] and chosen(answer, "selection") == ["id-a"]
    assert answer["identity"] == {"source": "imds", "namespace": "demo", "name": "id-a",
                                  "client_id": A, "rule": "bind-a"}, answer["identity"]
    assert answer["rate"]["by"] == "gate" and answer["policy"] is None, answer
    rules = [step["rule"] for step in answer["steps"]]
    order = ["caller", "exception", "label", "service_account", "binding", "selection", "verdict"]
    assert sorted(rules, key=order.index) == rules, rules
    answer = explain(w, "demo/a", allowed=True)
    assert answer["request"]["resource"] == "https://management.azure.com/", answer


@suite.test("explaining fetches nothing and is no request")
def harmless(w):
    lab, audit = w.lab.log.mark(), w.agent.audit.mark()
    for _ in range(3):
        explain(w, "demo/a", "--resource", "https://never.asked.example", allowed=True)
        explain(w, "demo/a", "--object-id", "dddddddd-1111-4000-8000-000000000009", allowed=False)
    assert not w.lab.requests(lab) and not w.agent.audit.find(lambda e: "request" in e, audit)


@suite.test("an unbound pod, an ambiguous one, and one that names what is not its")
def no_identity(w):
    answer = explain(w, "demo/c", allowed=False)
    happens(w.pods["c"], False, token())
    assert answer["reason"] == "not_bound" and answer["identity"] is None, answer
    assert "missing" in steps(answer, "label").values(), answer
    assert not steps(answer, "verdict"), "policies were not reached"
    answer = explain(w, "demo/both", allowed=False)
    happens(w.pods["both"], False, token())
    assert answer["reason"] == "ambiguous", answer
    answer = explain(w, "demo/both", "--client-id", B, allowed=True)
    assert answer["identity"]["name"] == "id-b", answer
    answer = explain(w, "demo/both", "--resource-id", manifests.ID_A.resource_id.upper(),
                     allowed=True)
    assert answer["identity"]["name"] == "id-a", answer
    answer = explain(w, "demo/a", "--client-id", B, allowed=False)
    happens(w.pods["a"], False, token(selector=f"&client_id={B}"))
    assert answer["reason"] == "not_found", answer


@suite.test("a pod with a ServiceAccount's identity beside a binding's")
def account(w):
    answer = explain(w, "demo/account", "--client-id", ACCOUNT, allowed=True)
    assert answer["identity"]["source"] == "service_account", answer
    assert chosen(answer, "service_account") == ["web"], answer
    listed = {p["name"]: p for p in w.agent.cli("workload", "list")}["account"]
    assert listed["identities"] == ["demo/id-a", "serviceaccount:demo/web"], listed
    # a binding to an AzureIdentity that is not there; the account of that name is none
    w.apply("odd.yaml", manifests.binding("odd", manifests.Identity("web", "", ""), "sel-a"))
    bindings = w.agent.cli("workload", "show", "demo/account")["bindings"]
    assert [b["binding"] for b in bindings] == ["demo/bind-a"], bindings
    w.apply("odd.yaml", None)
    objects = w.agent.cli("status")["objects"]
    assert (objects["service_accounts"], objects["metadata_policies"]) == (1, 0), objects


@suite.test("an excepted pod: the node's identities, or past the gate")
def excepted(w):
    answer = explain(w, "demo/free", allowed=True)
    assert answer["reason"] == "grant_node" and answer["identity"]["source"] == "node", answer
    assert steps(answer, "exception") == {"trust": "covers"}, answer
    assert not steps(answer, "binding"), "they do not matter"
    w.apply("direct.yaml", manifests.exception("past", {"trusted": "very"}, mode="direct"))
    answer = explain(w, "demo/free", allowed=True)
    assert (answer["verdict"], answer["reason"]) == ("pass", "exception"), answer
    w.apply("direct.yaml", None)


@suite.test("denied by a cluster policy, which a namespace's cannot change")
def cluster(w):
    with w.policies(manifests.policy("cluster", CLUSTER, allow={"resources": [STORAGE]}),
                  manifests.policy("own", allow={"resources": ["*"]}, rate={"perSecond": 2})):
        answer = explain(w, "demo/a", "--resource", VAULT, allowed=False)
        happens(w.pods["a"], False, token())
        assert answer["reason"] == "resource_not_allowed", answer
        assert answer["policy"] == {"namespace": CLUSTER, "name": "cluster"}, answer
        assert steps(answer, "cluster_policy") == {"cluster": "resource_not_allowed"}, answer
        assert steps(answer, "namespace_policy") == {"own": "allows"}, answer
        answer = explain(w, "demo/a", "--resource", STORAGE + "/", allowed=True)
        happens(w.pods["a"], True, token(STORAGE + "/"))
        assert answer["rate"] == {"per_second": 2, "burst": 2, "by": "policy"}, answer
        listed = w.agent.cli("workload", "show", "demo/a")["policies"]
        assert listed == [{"namespace": "demo", "name": "own", "mode": "enforce"},
                          {"namespace": CLUSTER, "name": "cluster", "mode": "enforce"}], listed


@suite.test("mode Audit: allowed, and what would be denied; mode Disabled: nothing")
def modes(w):
    with w.policies(manifests.policy("watch", mode="Audit", allow={"resources": [STORAGE]})):
        answer = explain(w, "demo/a", "--resource", VAULT, allowed=True)
        happens(w.pods["a"], True, token())
        assert answer["would_deny"] == "resource_not_allowed", answer
        assert answer["policy"]["name"] == "watch", answer
        status, out, _ = text_of(w, "demo/a", "--resource", VAULT)
        assert status == 0 and "would be denied in mode Enforce: policy demo/watch" in out, out
    with w.policies(manifests.policy("none", mode="Disabled", allow={"resources": []})):
        answer = explain(w, "demo/a", allowed=True)
        assert steps(answer, "namespace_policy") == {"none": "disabled"}, answer
        assert answer["would_deny"] is None, answer


@suite.test("documents: what is open, what a policy opens or takes away")
def documents(w):
    compute, attested = "/metadata/instance/compute", "/metadata/attested/document"
    answer = explain(w, "demo/a", "--path", "/Metadata/instance/compute", allowed=True)
    assert answer["request"] == {"kind": "document", "path": compute,
                                 "open_by_default": True}, answer
    assert answer["rate"] is None and answer["identity"] is None, answer
    happens(w.pods["a"], True, f"{compute}?{VERSION}")
    answer = explain(w, "demo/a", "--path", attested, allowed=False)
    assert answer["reason"] == "path_not_allowed" and answer["policy"] is None, answer
    with w.policies(manifests.policy("p", CLUSTER, allow={"metadataPaths": [attested]})):
        explain(w, "demo/a", "--path", attested, allowed=True)
        happens(w.pods["a"], True, f"{attested}?{VERSION}")
        answer = explain(w, "demo/a", "--path", compute, allowed=False)
        happens(w.pods["a"], False, f"{compute}?{VERSION}")
        assert answer["policy"]["name"] == "p", answer
    for path in ("/metadata/other", "/metadata/instance/../x", "metadata", f"{compute}?a=b"):
        status, out, _ = w.agent.cli_run("explain", "demo/a", "--path", path)
        assert status == 4 and "ENOENT" in out, (path, status, out)


def container_id(pod):
    name = os.path.basename(pod.cgroup.path)
    return name.removeprefix("cri-containerd-").removesuffix(".scope")


@suite.test("lists of containers and programs")
def lists(w):
    pod, plain = w.pods["a"], w.pods["a"].manifest
    pod.manifest += (
        "  containers:\n  - name: server\n  - name: sidecar\nstatus:\n  containerStatuses:\n"
        f"  - name: server\n    containerID: containerd://{container_id(pod)}\n")
    w.apply_pods()
    allow = {"containers": ["server"], "executables": [DIAL]}
    with w.policies(manifests.policy("p", allow=allow)):
        answer = explain(w, "demo/a", "--container", "server", "--exe", DIAL, allowed=True)
        happens(pod, True, token())
        assert answer["caller"]["containers"] == [
            {"name": "server", "known": True}, {"name": "sidecar", "known": False}], answer
        for args, reason in ((["--exe", DIAL], "container_not_known"),
                             (["--exe", DIAL, "--container", "sidecar"], "container_not_known"),
                             (["--container", "server"], "executable_not_allowed"),
                             (["--container", "server", "--exe", "/x"],
                              "executable_not_allowed")):
            answer = explain(w, "demo/a", *args, allowed=False)
            assert (answer["reason"], answer["policy"]["name"]) == (reason, "p"), (args, answer)
    with w.policies(manifests.policy("p", allow={"containers": ["sidecar"]})):
        answer = explain(w, "demo/a", "--container", "server", allowed=False)
        happens(pod, False, token())
        assert answer["reason"] == "container_not_allowed", answer
    status, out, _ = w.agent.cli_run("explain", "demo/a", "--container", "other")
    assert status == 4 and "has no container other" in out, (status, out)
    pod.manifest = plain
    w.apply_pods()


@suite.test("the host: closed, opened by a policy, within its lists")
def host(w):
    answer = explain(w, "--host", allowed=False)
    happens(w.host, False, token(selector=f"&client_id={A}"))
    assert answer["reason"] == "host_not_allowed" and answer["caller"] == {
        "kind": "host", "exe": None}, answer
    with w.policies(manifests.policy("host", CLUSTER, subject="Host", allow={
            "executables": [DIAL], "resources": [VAULT]})):
        answer = explain(w, "--host", "--exe", DIAL, "--resource", VAULT, allowed=True)
        happens(w.host, True, token(selector=f"&client_id={A}"))
        assert answer["identity"]["source"] == "node", answer
        answer = explain(w, "--host", "--exe", "/usr/bin/x", "--resource", VAULT, allowed=False)
        assert answer["reason"] == "executable_not_allowed", answer
        # pods are not the host
        assert steps(explain(w, "demo/a", allowed=True), "cluster_policy") == {
            "host": "other_subject"}


@suite.test("for people: who, what, the rules in their order, the verdict")
def text(w):
    status, out, _ = text_of(w, "demo/a", "--resource", VAULT, "--exe", "/usr/bin/app")
    lines = out.splitlines()
    assert status == 0 and "\x1b" not in out, out
    assert lines[0].split() == ["caller", "pod", "demo/a,", "ServiceAccount", "default"], lines
    assert f"asks for   a token for {VAULT}" in lines, lines
    assert any(line.startswith("*  binding") and "demo/bind-a" in line for line in lines), lines
    assert any(line.startswith("-  binding") and "demo/bind-b" in line for line in lines), lines
    assert f"identity  demo/id-a, client id {A}; tokens from the node's metadata service" in lines
    assert lines[-1].startswith("verdict") and "ALLOW: " in lines[-1], lines
    status, out, _ = text_of(w, "demo/c")
    assert status == 4 and "DENY: the pod has no identity" in out, out


@suite.test("no such pod; a namesake of another namespace does not count")
def unknown(w):
    for pod in ("demo/none", "a", "other/a"):
        status, out, _ = w.agent.cli_run("explain", pod)
        assert status == 4 and "ENOENT" in out, (pod, status, out)


@suite.test("status for people: the counts, and that Kubernetes is not used")
def status_text(w):
    done = subprocess.run([f"{BUILD}/imdsgate", "--socket", w.agent.socket, "status"],
                          capture_output=True, text=True, timeout=20, check=True)
    lines = {line.split("  ")[0]: line for line in done.stdout.splitlines()}
    assert "service accounts 1, metadata policies 0" in lines["objects"], lines
    assert lines["Kubernetes"].endswith("not used"), lines


if __name__ == "__main__":
    suite.run()
