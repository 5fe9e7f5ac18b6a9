"""Pods and rules from an API server: requests that come before their pod or their binding wait and
are served, what is revoked is revoked on open connections too, an API server that is away takes
nothing with it, and identities of service accounts get their tokens by TokenRequest."""

import contextlib
import json
import re
import sys
import time

import cluster
from cluster import Cluster
from entra import ISSUER, SUBJECT, TENANT, Entra, client_id, federated_token
from harness import NOT_FOUND, TRACES, manifests, standard_world
from places import TOKEN_PATH, Place
from tap import Suite
from test_limits import CONNECTIONS, FILL, FLOWS, HOLD, IMDS, NAMESPACES
from watch import event

A, B = manifests.ID_A.client_id, manifests.ID_B.client_id
WAIT_POD_MS, WAIT_RULE_MS = 10000, 5000  # IG_WAIT_POD_SEC, IG_WAIT_RULE_SEC
PATIENT = 25000  # of a client
# IG_REJECTED_NAMESPACE_…
REJECTED_PER_SEC, REJECTED_BURST = 1, 100
TOKEN_REQUEST = "/api/v1/namespaces/demo/serviceaccounts/fed/token"


def kubernetes_world():
    @contextlib.contextmanager
    def build():
        with standard_world(agent=False) as w:
            w.entra = Entra(w)
            w.entra.start()
            w.cluster = Cluster(w)
            w.cluster.start()
            start_agent(w)
            yield w
    return build()


def start_agent(w):
    w.agent.start(kubeconfig=w.cluster.kubeconfig, node=cluster.NODE,
                  authority_host=w.entra.authority, tenant_id=TENANT)


def no_credential(w):
    """Tokens in the form of a JWT are looked for in TRACES."""
    texts = {"output of imdsgate": "".join(w.outputs)}
    for lines in (w.agent.audit, w.agent.log):
        with open(lines.path, encoding="utf-8") as f:
            texts[lines.path] = f.read()
    for name, text in texts.items():
        assert w.cluster.bearer not in text, f"the credential for the API server is in {name}"


def asked_for(w):
    """Nothing but what is watched, read by name of the node, and never a Secret."""
    status = re.compile(f"{cluster.POLICIES.replace('metadatapolicies', 'namespaces')}/[^/]+/"
                        "metadatapolicies/[^/]+/status")
    paths = {e["path"] for e in w.cluster.log.all()}
    assert cluster.LISTED <= paths, paths
    for path in paths - cluster.LISTED:
        assert path == TOKEN_REQUEST or status.fullmatch(path), f"asked for {path}"
    for e in w.cluster.log.all():
        assert e["authorized"], e
        node = e["query"].get("fieldSelector")
        assert node == (f"spec.nodeName={cluster.NODE}" if e["path"] == cluster.PODS else None), e


suite = Suite(kubernetes_world, (*TRACES, ("no credential in audit, log or output", no_credential),
                                 ("asked for what is needed, never for a Secret", asked_for)))


def not_found(reply):
    return reply.status == 400 and reply.body == NOT_FOUND


def of(resource):
    return f"{TOKEN_PATH}&resource=https://{resource}.example"


def start(pod, **options):
    """A request that waits in the agent; read() gets its answer."""
    return pod.dialer(timeout=PATIENT, **options)


def end(dialer):
    reply = dialer.read(timeout=PATIENT / 1000 + 5)
    dialer.close()
    return reply


def denied_after(w, name):
    """Milliseconds, by the audit."""
    record = w.agent.audit.wait_for(event("token.denied", pod__name=name))
    return record["latency_usec"] / 1000


def is_late(reply):
    return reply.status == 503 and reply["ms"] >= WAIT_POD_MS


@suite.test("API server down at start: pods of manifests go on, others get 503 when they have waited")
def down_at_start(w):
    mark = w.agent.audit.mark()
    pod = w.cluster.add_pod("early", {"aadpodidbinding": "sel-a"})
    waiting = start(pod)
    assert w.pods["a"].dial(path=of("first")).appid == A
    assert w.agent.cli("status")["kubernetes"]["synced"] is False
    assert is_late(reply := end(waiting)), reply
    w.agent.audit.wait_for(event("token.failed", reason="pod_not_declared_yet"), mark)
    w.early = pod


@suite.test("... and when it is there: what it declares is served")
def recovers(w):
    w.cluster.put_pod(w.early)
    w.cluster.admin(up=True)
    w.cluster.until_synced()
    assert (reply := w.early.dial(timeout=PATIENT)).appid == A, reply
    # the answer may be here before the record is, and the next test counts records
    w.agent.audit.wait_for(event("token.issued", pod__name="early"))


@suite.test("a pod that is declared while its first request waits: that request gets the token")
def late_pod(w):
    mark = w.agent.audit.mark()
    pod = w.cluster.add_pod("late", {"aadpodidbinding": "sel-b"})
    waiting = start(pod)
    w.cluster.waits(1)
    w.cluster.put_pod(pod)
    reply = end(waiting)
    assert reply.appid == B and reply["ms"] < WAIT_POD_MS, reply
    w.agent.audit.wait_for(event("token.issued", pod__name="late"), mark)
    requests = [r for r in w.agent.audit.since(mark) if r["kind"].startswith("token.")]
    assert len(requests) == 1, requests  # the client did not have to try again


@suite.test("a binding that is declared after its pod: the request that waits gets the token")
def late_binding(w):
    pod = w.cluster.add_pod("bound", {"aadpodidbinding": "sel-bound"})
    waiting = start(pod)
    w.cluster.waits(1)
    w.cluster.put_pod(pod)
    w.cluster.until(lambda: w.cluster.is_known("bound"), "the pod is known")
    w.cluster.waits(1)
    w.cluster.put(cluster.BINDINGS, cluster.binding("bind-bound", manifests.ID_A, "sel-bound"))
    assert (reply := end(waiting)).appid == A, reply
    w.bound = pod


@suite.test("no binding comes: denied once the pod is not new any more; who waited for a pod that "
            "long still waits for its binding")
def no_binding(w):
    slow = w.cluster.add_pod("slow", {"aadpodidbinding": "sel-slow"})
    waiting = start(slow)
    w.cluster.waits(1)
    unbound = w.cluster.add_pod("unbound", {"aadpodidbinding": "sel-nobody"})
    w.cluster.put_pod(unbound)
    w.cluster.until(lambda: w.cluster.is_known("unbound"), "the pod is known")
    denied = start(unbound)
    assert not_found(reply := end(denied)) and reply["ms"] <= WAIT_RULE_MS + 1000, reply
    w.cluster.put_pod(slow)
    w.cluster.until(lambda: w.cluster.is_known("slow"), "the pod is known")
    w.cluster.waits(1)
    w.cluster.put(cluster.BINDINGS, cluster.binding("bind-slow", manifests.ID_B, "sel-slow"))
    reply = end(waiting)
    assert reply.appid == B and reply["ms"] > denied_after(w, "unbound"), reply


@suite.test("a binding that is removed: the next request on the open connection is denied")
def removed_binding(w):
    dialer = w.bound.dialer(requests=2, timeout=PATIENT)
    assert dialer.read().appid == A
    mark = w.agent.audit.mark()
    w.cluster.delete(cluster.BINDINGS, "bind-bound")
    w.agent.audit.wait_for(event("policy.changed"), mark)
    assert not_found(reply := dialer.next()), reply
    dialer.close()


@suite.test("a pod that is deleted: its open connection is closed")
def deleted(w):
    pod = w.cluster.add_pod("shortlived", {"aadpodidbinding": "sel-a"})
    w.cluster.put_pod(pod)
    dialer = pod.dialer(requests=2, timeout=PATIENT)
    assert dialer.read().appid == A
    connections = w.agent.cli("status")["connections"]
    w.cluster.delete_pod(pod)
    w.cluster.until(lambda: w.agent.cli("status")["connections"] < connections, "it is closed")
    reply = dialer.next()
    dialer.close()
    assert reply["result"] == "error" and reply["stage"] in ("send", "receive"), reply
    w.shortlived = pod


@suite.test("another pod of the same name: the old one's processes lose what they had")
def replaced(w):
    old = w.cluster.add_pod("again", {"aadpodidbinding": "sel-a"})
    w.cluster.put_pod(old)
    dialer = old.dialer(requests=2, timeout=PATIENT)
    assert dialer.read().appid == A
    new = w.cluster.add_pod("again", {"aadpodidbinding": "sel-b"}, beside=old)
    w.cluster.put_pod(new)
    assert (reply := new.dial(timeout=PATIENT)).appid == B, reply
    reply = dialer.next()
    dialer.close()
    assert reply["result"] == "error", reply
    w.agent.audit.wait_for(event("token.issued", pod__uid=new.uid))
    w.replaced = old


@suite.test("never declared, deleted or replaced: 503 when they have waited, and no token")
def never(w):
    mark = w.agent.audit.mark()
    unknown = w.cluster.add_pod("unknown", {"aadpodidbinding": "sel-a"})
    waiting = [start(pod) for pod in (unknown, w.shortlived, w.replaced)]
    w.cluster.waits(3)
    for dialer in waiting:
        assert is_late(reply := end(dialer)), reply
    issued = w.agent.audit.find(event("token.issued"), mark)
    assert not issued, issued


def own_cgroups(w, pod, n):
    """What a container does that may write to its cgroup."""
    return [Place(w, pod.netns, pod.cgroup.child(f"own{i}")) for i in range(n)]


@suite.test("a pod that makes cgroups for itself has no more connections and namespaces than another")
def own_limits(w):
    pod = w.cluster.add_pod("many")
    w.cluster.put_pod(pod)
    w.cluster.until(lambda: w.cluster.is_known("many"), "the pod is known")
    places, processes = own_cgroups(w, pod, 3), []

    def spawn(place, program, *args):
        process = place.spawn([sys.executable, "-S", "-c", program, IMDS, *map(str, args)],
                              stdin=-1, stdout=-1)
        processes.append(process)
        return int(process.stdout.readline())

    def end_all():
        while processes:
            processes[-1].kill()
            processes.pop().communicate()
    # the first of them may be ended before another one begins
    assert spawn(places[0], HOLD, CONNECTIONS, 0) == 0
    assert [spawn(place, HOLD, 9, 9) for place in places[1:]] == [9, 9]
    end_all()
    w.cluster.until(lambda: w.agent.cli("status")["connections"] == 0, "they are given back")
    with w.agent.halted():
        assert [spawn(place, FILL, FLOWS // 2) for place in places] == [0, 0, FLOWS // 2]
    end_all()
    before, dialers = w.agent.cli("status")["listeners"], []
    for i in range(NAMESPACES + 3):
        mark = w.agent.audit.mark()
        dialers.append(places[i % 3].dialer(attempts=2, argv_prefix=[
            "unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]))
        assert dialers[-1].read().refused
        w.agent.audit.wait_for(event("listener.opened"), mark)
    assert w.agent.cli("status")["listeners"] == before + NAMESPACES
    # nor from an agent that finds all of them running
    w.agent.stop()
    start_agent(w)
    assert w.agent.cli("status")["listeners"] == before + NAMESPACES
    for dialer in dialers:
        dialer.close()


@suite.test("pods of other cgroups than kubelet's wait for nothing")
def stranger(w):
    reply = w.dial_as_stranger(timeout=PATIENT)
    assert not reply.appid and reply["ms"] < WAIT_POD_MS, reply


@suite.test("an identity of a service account: TokenRequest for that pod, then Entra ID")
def workload_identity(w):
    w.cluster.admin(tokens={"demo/fed": federated_token(int(time.time()))})
    w.cluster.put(cluster.ACCOUNTS, {"metadata": cluster.metadata("fed", annotations={
        "azure.workload.identity/client-id": client_id("fed")})})
    pod = w.wi = w.cluster.add_pod("wi", {"azure.workload.identity/use": "true"}, account="fed")
    w.cluster.put_pod(pod)
    api, entra = w.cluster.log.mark(), w.entra.log.mark()
    reply = pod.dial(path=of("vault"), timeout=PATIENT)
    assert reply.status == 200 and reply.appid == client_id("fed"), reply
    (request,) = [e for e in w.cluster.log.since(api) if e["method"] == "POST"]
    assert request["path"] == TOKEN_REQUEST and request["type"] == "application/json", request
    spec = request["body"]["spec"]
    assert spec["audiences"] == ["api://AzureADTokenExchange"], spec
    assert spec["boundObjectRef"] == {"apiVersion": "v1", "kind": "Pod", "name": "wi",
                                      "uid": pod.uid}, spec
    (exchange,) = w.entra.token_requests(entra)
    claims = exchange["assertion"]["claims"]
    assert (claims["iss"], claims["sub"]) == (ISSUER, SUBJECT), claims
    assert exchange["tenant"] == TENANT and exchange["client_id"] == client_id("fed"), exchange


@suite.test("... which the API server forbids: 500, and the audit names the right that is missing")
def forbidden_token(w):
    mark = w.agent.audit.mark()
    w.cluster.admin(reply=TOKEN_REQUEST, status=403)
    reply = w.wi.dial(path=of("forbidden"), timeout=PATIENT)
    assert reply.status == 500 and "serviceaccounts" not in reply.body, reply
    record = w.agent.audit.wait_for(event("token.failed", pod__name="wi"), mark)
    assert '"create" "serviceaccounts/token"' in record["message"], record
    w.cluster.admin(reply=TOKEN_REQUEST, status=None)


@suite.test("... whose pod goes: its token goes with it")
def bound_to_pod(w):
    cached = w.agent.cli("status")["tokens"]["cached"]
    w.cluster.delete_pod(w.wi)
    w.cluster.until(lambda: w.agent.cli("status")["tokens"]["cached"] < cached, "it is forgotten")


@suite.test("API server down later: known pods go on, with new tokens too")
def down_later(w):
    w.cluster.admin(up=False)
    assert w.early.dial(path=of("down")).appid == A
    assert w.agent.cli("status")["kubernetes"]["synced"] is True
    w.cluster.admin(up=True)


@suite.test("rules before pods: a restarted agent serves no pod before it knows the policies")
def rules_first(w):
    allowed, denied = "https://allowed.example", "https://denied.example"
    mark = w.agent.audit.mark()
    w.cluster.put(cluster.POLICIES, cluster.policy("narrow", [allowed]))
    w.agent.audit.wait_for(event("policy.changed"), mark, timeout=30)
    w.cluster.admin(hold=cluster.POLICIES)
    api, mark = w.cluster.log.mark(), w.agent.audit.mark()
    w.agent.kill_server()
    w.agent.audit.wait_for(event("agent.started"), mark)
    waiting = start(w.early, path=of("denied"))
    w.cluster.waits(1)
    w.cluster.log.wait_for(lambda e: e["path"] == cluster.POLICIES, api)
    others = cluster.LISTED - {cluster.PODS}
    w.cluster.log.wait_for(lambda _: others <= {e["path"] for e in w.cluster.log.since(api)}, api)
    assert not w.agent.audit.find(event("token.issued"), mark)
    w.cluster.admin(release=cluster.POLICIES)
    assert (reply := end(waiting)).status == 403, reply
    assert w.early.dial(path=of("allowed")).appid == A
    record = w.agent.audit.wait_for(event("token.denied", pod__name="early"), mark)
    assert record["policy"]["name"] == "narrow" and denied == record["request"]["resource"], record


@suite.test("the policy's status says that it is in force")
def policy_status(w):
    patch = w.cluster.log.wait_for(lambda e: e["method"] == "PATCH", timeout=40)
    assert patch["path"].endswith("/namespaces/demo/metadatapolicies/narrow/status"), patch
    (condition,) = patch["body"]["status"]["conditions"]
    assert condition["type"] == "Accepted" and condition["status"] == "True", condition
    assert condition["observedGeneration"] == 1, condition


@suite.test("a wrong object that is edited without end has few records, which say how many they stand "
            "for; another namespace has its own")
def rejected(w):
    edits, begin = 2 * REJECTED_BURST, time.monotonic()
    mark = w.agent.audit.mark()

    def recorded():
        return [r.get("count", 1) for r in w.agent.audit.find(event("policy.rejected"), mark)
                if " demo/wrong: " in r["message"]]

    def edit():
        w.cluster.put(cluster.BINDINGS, cluster.binding("wrong", manifests.ID_A, ""))
    for _ in range(edits):
        edit()
    other = cluster.binding("wrong", manifests.ID_A, "")
    other["metadata"]["namespace"] = "other"
    w.cluster.put(cluster.BINDINGS, other)
    w.agent.audit.wait_for(lambda r: " other/wrong: " in r.get("message", ""), mark)
    deadline = time.monotonic() + 20
    while sum(recorded()) < edits:
        assert time.monotonic() < deadline, (sum(recorded()), edits)
        edit()
        edits += 1
        w.agent.cli("status")
    most = REJECTED_BURST + REJECTED_PER_SEC * (time.monotonic() - begin + 1)
    assert len(recorded()) <= min(most, edits - 1), (len(recorded()), most, edits)
    w.cluster.delete(cluster.BINDINGS, "wrong")


@suite.test("a policy that moves from the cluster into a manifest: refused beside the cluster's, and "
            "in force when that is deleted")
def moved_policy(w):
    narrow = cluster.policy("narrow", ["https://allowed.example"])
    manifest = {"apiVersion": "imdsgate.dev/v1alpha1", "kind": "MetadataPolicy",
                "metadata": {"namespace": cluster.NAMESPACE, "name": "narrow"},
                "spec": narrow["spec"]}
    record = w.apply("narrow.yaml", json.dumps(manifest), kind="policy.rejected")
    assert "already declared by kube:" in record["message"], record
    w.cluster.delete(cluster.POLICIES, "narrow")
    w.cluster.until(lambda: w.agent.cli("status")["manifests"]["bad_files"] == 0,
                    "the file is in force")
    assert w.early.dial(path=of("denied")).status == 403
    assert w.early.dial(path=of("allowed")).appid == A


if __name__ == "__main__":
    suite.run()
