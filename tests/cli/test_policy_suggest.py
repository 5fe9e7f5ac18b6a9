"""`imdsgate policy suggest`: what it suggests is valid, allows everything that was recorded with
success, and denies what was not (by policy replay, on logs made at random)."""

import copy
import importlib.machinery
import importlib.util
import json
import os
import random

import jsonschema
import yaml

import rules
import suite as suites
from records import ARM, REPO, STORAGE, VAULT, Log, at, tool

suite = suites.new()
SERVER, HELPER = "a" * 64, "b" * 64


def crd_schema():
    """The schema of MetadataPolicy as tests/check/crds reads it."""
    path = os.path.join(REPO, "tests/check/crds")
    loader = importlib.machinery.SourceFileLoader("crds", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("crds", loader))
    import sys  # pylint: disable=C0415
    sys.path.insert(1, os.path.dirname(path))
    # its own tap module is another one than ours
    ours = sys.modules.pop("tap")
    try:
        loader.exec_module(module)
    finally:
        sys.path.pop(1)
        sys.modules["tap"] = ours
    with open(f"{REPO}/deploy/kubernetes/crds/metadatapolicies.yaml", encoding="utf-8") as file:
        return module.plain(module.schema_of(yaml.safe_load(file)))


SCHEMA = crd_schema()


def suggest(log, *args):
    text = tool("policy", "suggest", *args, stdin=log.text())
    assert text.isascii() and "\t" not in text, text
    documents = [d for d in yaml.safe_load_all(text) if d]
    for document in documents:
        jsonschema.Draft4Validator(SCHEMA).validate(document)
    names = [(d["metadata"]["namespace"], d["metadata"]["name"]) for d in documents]
    assert len(names) == len(set(names)), names
    result = tool("--json", "policy", "suggest", *args, stdin=log.text()).json()
    assert [s["policy"] for s in result["suggestions"]] == documents, (result, documents)
    return text, documents


def replay(desk, text, log, pods=""):
    """Changes when the suggestion is all there is."""
    desk.write(text, "m", "suggested.yaml")
    desk.write(pods, "m", "pods.yaml")
    run = tool("--json", "policy", "replay", "--manifests", desk.path("m"), stdin=log.text(),
               status=None)
    return {change: n for change, n in run.json()["changes"].items() if n}, run.json()["rows"]


def sample():
    log = Log()
    for n in range(5):
        log.token(n, resource=VAULT.upper() + "/")
        log.token(10 + n, resource=STORAGE, exe="/usr/bin/curl")
    log.token(20, resource=ARM, decision="deny", reason="resource_not_allowed")
    log.document(30, path="/metadata/instance/compute/name")
    log.document(31, path="/metadata/instance/compute")
    log.token(40, pod="web/front-0", account="", identity="front", resource=ARM, exe="/bin/front")
    return log


@suite.test("by ServiceAccount: exactly what was used")
def by_account(desk):
    text, documents = suggest(sample())
    assert [d["spec"] for d in documents] == [
        {"serviceAccounts": ["cart"], "allow": {
            "resources": [STORAGE, VAULT], "metadataPaths": ["/metadata/instance/compute"],
            "executables": ["/usr/bin/curl", "/usr/bin/python3.11"], "hostNetwork": False}},
        {"serviceAccounts": ["default"], "allow": {
            "resources": [ARM.rstrip("/")], "metadataPaths": [], "executables": ["/bin/front"],
            "hostNetwork": False}}], documents
    assert documents[0]["metadata"] == {"name": "suggested-cart", "namespace": "shop"}
    for line in (f"13 requests, {at(0)[:19]}Z to {at(40)[:19]}Z", "# 1 requests that were denied",
                 f"# 12 requests, {at(0)[:19]}Z to {at(31)[:19]}Z",
                 "# - no allow.containers: in 12 requests it was not known"):
        assert line in text, (line, text)
    assert replay(desk, text, sample())[0] == {"unchanged": 14}


@suite.test("by identity: tokens only")
def by_identity(desk):
    text, documents = suggest(sample(), "--per", "identity")
    assert [(d["metadata"]["namespace"], d["spec"]["identities"], d["spec"]["allow"]["resources"])
            for d in documents] == [("shop", ["cart"], [STORAGE, VAULT]),
                                    ("web", ["front"], [ARM.rstrip("/")])], documents
    assert all("metadataPaths" not in d["spec"]["allow"] for d in documents)
    assert "# - 2 requests of shop/cart-0: a document" in text, text
    assert replay(desk, text, sample())[0] == {"unchanged": 14}


@suite.test("by label: of declared pods")
def by_label(desk):
    pods = rules.pod("cart-0", {"app.kubernetes.io/name": "Cart_1"})
    desk.write(pods, "p", "pods.yaml")
    args = ("--per", "pod-label=app.kubernetes.io/name", "--manifests", desk.path("p"))
    text, (document,) = suggest(sample(), *args)
    assert document["spec"]["podSelector"] == {
        "matchLabels": {"app.kubernetes.io/name": "Cart_1"}}, document
    assert document["metadata"]["name"].startswith("suggested--art-1-"), document
    assert "1 requests of web/front-0: its pod is not declared" in text, text
    assert replay(desk, text, sample(), pods)[0] == {"unchanged": 14}


@suite.test("containers by their names, where all are known")
def containers(desk):
    log = Log()
    for n, container in enumerate((SERVER, SERVER, HELPER)):
        log.token(n)["pod"]["container_id"] = container
    pods = rules.pod("cart-0", containers=(("server", SERVER), ("helper", HELPER)))
    desk.write(pods, "p", "pods.yaml")
    text, (document,) = suggest(log, "--manifests", desk.path("p"))
    assert document["spec"]["allow"]["containers"] == ["helper", "server"], document
    assert replay(desk, text, log, pods)[0] == {"unchanged": 3}
    log.token(4)
    text, (document,) = suggest(log, "--manifests", desk.path("p"))
    assert "containers" not in document["spec"]["allow"], document
    assert "no allow.containers: in 1 requests it was not known" in text, text


@suite.test("what cannot be restricted is said, and what worked still works")
def left_out(desk):
    log = Log()
    log.token(0, exe=None)
    log.token(1, exe="/x\u2028y\"\\\U0001f600")
    log.token(2)["process"]["exe_deleted"] = True
    log.token(3, resource="with space")
    log.document(4, path="/metadata/identity/info")
    log.token(5)["pod"]["host_network"] = True
    log.token(6, policy={"namespace": "shop", "name": "p", "would_deny": "resource_not_allowed"})
    text, (document,) = suggest(log)
    assert document["spec"]["allow"] == {}, document
    for what in ("no allow.executables: in 2 requests", "no allow.resources: \\\"with space\\\" cannot",
                 "no allow.hostNetwork: pods in the host's network", "1 of the requests were allowed"):
        assert what in text, (what, text)
    assert replay(desk, text, log)[0] == {"unchanged": 7}
    log = Log()
    log.token(0, exe="/x\u2028y\"\\\U0001f600", resource="a\"b\\c")
    text, (document,) = suggest(log)
    assert document["spec"]["allow"]["executables"] == ["/x\u2028y\"\\\U0001f600"], document
    assert document["spec"]["allow"]["resources"] == ["a\"b\\c"], document
    assert replay(desk, text, log)[0] == {"unchanged": 1}


@suite.test("more entries than a list may have")
def too_many(desk):
    log = Log()
    for n in range(257):
        log.token(n, resource=f"https://r{n}.example")
    text, (document,) = suggest(log)
    assert "resources" not in document["spec"]["allow"], "a list of 257"
    assert "no allow.resources: there are more than 256" in text, text
    assert replay(desk, text, log)[0] == {"unchanged": 257}
    log.records.pop()
    _, (document,) = suggest(log)
    assert len(document["spec"]["allow"]["resources"]) == 256


@suite.test("too many different requests to keep: no suggestion, for what is not kept would be denied")
def too_many_requests(desk):
    log = Log()
    row = json.dumps(log.token(0, resource="RESOURCE"))
    path = desk.path("log.jsonl")
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(row.replace("RESOURCE", f"r{n}") + "\n" for n in range(66000))
    output = tool("policy", "suggest", path, status=1)
    assert output == "" and "too many different requests" in output.err, output.err


@suite.test("processes of the host; requests on behalf of others; names that are none")
def others(desk):
    log = Log()
    log.token(0, pod=None, identity="", exe="/usr/sbin/agent")
    log.records[0]["pod"] = {"host_network": True}
    log.token(1, pod="kube-system/csi-0", account="csi", exe="/csi", on_behalf_of={
        "namespace": "shop", "name": "cart-0", "uid": "u", "service_account": "cart"})
    log.token(2, pod="Bad NS/x-0", account="y: z\n# ")
    text, documents = suggest(log)
    assert [d["metadata"]["namespace"] for d in documents] == ["imdsgate-system", "shop"], documents
    assert documents[0]["spec"] == {"subject": "Host", "allow": {
        "resources": [VAULT], "metadataPaths": [], "executables": ["/usr/sbin/agent"]}}, documents
    assert "executables" not in documents[1]["spec"]["allow"], documents[1]
    assert "1 requests of \\\"y: z\\u000a# \\\" in namespace" in text, text
    assert replay(desk, text, log)[0] == {"unchanged": 3}
    _, documents = suggest(log, "--policy-namespace", "gate")
    assert documents[0]["metadata"]["namespace"] == "gate", documents


@suite.test("names that would be the same, or too long")
def names(desk):
    log = Log()
    accounts = ["a.b", "a-b", "x" * 250, "x" * 249 + "y", "a"]
    for n, account in enumerate(accounts):
        log.token(n, account=account)
    text, documents = suggest(log)
    assert len(documents) == 5 and {d["spec"]["serviceAccounts"][0] for d in documents} == set(
        accounts), documents
    assert replay(desk, text, log)[0] == {"unchanged": 5}


def random_log(chance):
    """Workloads that each use some of what there is."""
    resources = [f"https://{name}.azure.net{end}" for name in "abcde" for end in ("", "/")]
    paths = [f"/metadata/instance{rest}" for rest in ("", "/compute", "/compute/name", "/network",
                                                      "/compute/location")]
    exes = [f"/usr/bin/{name}" for name in "pqrs"] + ["/with space/\u00e9"]
    log = Log()
    for n in range(chance.randint(1, 60)):
        account = chance.choice(["", "default", "web", "db"])
        options = {"pod": f"{chance.choice(['shop', 'shed'])}/{account or 'none'}-{chance.randint(0, 2)}",
                   "account": account, "exe": chance.choice(exes),
                   "decision": chance.choice(["allow"] * 4 + ["deny"])}
        if chance.random() < 0.7:
            log.token(n, resource=chance.choice(resources), identity=chance.choice(["i", "j"]),
                      reason=None if options["decision"] == "allow" else "resource_not_allowed",
                      **options)
        else:
            log.document(n, path=chance.choice(paths), **options)
    return log


def strangers(log):
    """Requests like the recorded ones, but for one thing that their workload never did."""
    other = Log()
    for record in log.records:
        if record["decision"] != "allow":
            continue
        changed = copy.deepcopy(record)
        if record["kind"] == "token.issued" and record["seq"] % 3 == 0:
            changed["request"]["resource"] = "https://never.example"
        elif record["kind"] == "metadata.forwarded" and record["seq"] % 3 == 0:
            changed["request"]["path"] = "/metadata/instanc" + "e/never"
        elif record["seq"] % 3 == 1:
            changed["process"]["exe"] = "/usr/bin/never"
        else:
            changed["pod"]["host_network"] = True
        other.records.append(changed)
    return other


@suite.test("logs at random: all that was allowed is allowed, and nothing else")
def properties(desk):
    chance = random.Random(4711)
    for _ in range(25):
        log = random_log(chance)
        text, _ = suggest(log)
        allowed = sum(record["decision"] == "allow" for record in log.records)
        changes, rows = replay(desk, text, log)
        assert "newly_denied" not in changes and "unknown" not in changes, rows
        # what was denied stays so, unless it is what somebody of the same account was allowed
        other = strangers(log)
        changes, rows = replay(desk, text, other)
        # a document below one that was read is read with it
        below = sum(record["request"]["path"].endswith("/never") for record in other.records
                    if record["kind"] == "metadata.forwarded")
        denied = changes.get("newly_denied", 0)
        assert allowed - below <= denied <= allowed and "unknown" not in changes, (rows, text)


@suite.test("nothing to suggest; filters; wrong usage")
def usage(_):
    text, documents = suggest(Log())
    assert not documents and "0 requests" in text, text
    _, documents = suggest(sample(), "--namespace", "web")
    assert [d["metadata"]["namespace"] for d in documents] == ["web"], documents
    for args in (("--per", "pod"), ("--per", "pod-label="), ("--per", "pod-label=a b"),
                 ("--per", "pod-label=app"), ("--since", "x")):
        tool("policy", "suggest", *args, stdin="", status=2)
    tool("policy", "suggest", "--manifests", "/nonexistent", stdin="", status=1)


if __name__ == "__main__":
    suite.run()
