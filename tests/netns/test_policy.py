"""MetadataPolicy in the running agent: every list, both layers, the modes, processes of the host, and
what the audit says of it. A policy counts from the next request on, also on open connections."""

import contextlib
import os
import shutil
import sys

from harness import NOT_FOUND, TRACES, manifests, standard_world
from places import BUILD, TOKEN_PATH
from tap import Suite
from watch import event

VAULT, STORAGE = "https://vault.azure.net", "https://storage.azure.com"
VERSION = "api-version=2021-02-01"
INSTANCE = f"/metadata/instance?{VERSION}"
LOCATION = f"/metadata/instance/compute/location?{VERSION}&format=text"
INFO = f"/metadata/identity/info?{VERSION}"
CLUSTER = manifests.POLICY_NAMESPACE
A, B = manifests.ID_A.client_id, manifests.ID_B.client_id


@contextlib.contextmanager
def build():
    with standard_world(agent=False) as w:
        w.add_pod("both", "sel-both")
        w.add_pod("hostnet", "sel-a", host_network=True)
        w.declare()
        w.write("more.yaml", manifests.join(
            manifests.binding("both-a", manifests.ID_A, "sel-both"),
            manifests.binding("both-b", manifests.ID_B, "sel-both")))
        w.agent.options["host-verdict"] = "redirect"
        w.agent.start()
        yield w


suite = Suite(build, TRACES)


def token(resource=VAULT, selector=""):
    return f"{TOKEN_PATH}&resource={resource}{selector}"


def ask(w, place, path=None, **options):
    """(reply, its audit record)"""
    mark = w.agent.audit.mark()
    reply = place.dial(path=path or token(), **options)
    return reply, recorded(w, mark)


def recorded(w, mark):
    return w.agent.audit.wait_for(lambda e: "request" in e, mark, what="record of a request")


def names(record):
    policy = record.get("policy", {})
    return policy.get("namespace"), policy.get("name"), policy.get("would_deny")


def assert_denied(answer, reason, policy):
    reply, record = answer
    assert reply.status == 403 and reply.appid is None, reply
    assert record["kind"] in ("token.denied", "metadata.denied"), record
    assert (record["decision"], record["reason"]) == ("deny", reason), record
    assert record["request"]["status"] == 403 and names(record) == (*policy, None), record


def assert_allowed(answer, policy=(None, None), would_deny=None):
    reply, record = answer
    assert reply.status == 200, reply
    assert record["kind"] in ("token.issued", "metadata.forwarded"), record
    assert record["decision"] == "allow" and names(record) == (*policy, would_deny), record


@suite.test("without a policy nothing is restricted, and no record names one")
def nothing(w):
    for pod in (w.pods["a"], w.pods["hostnet"]):
        for path in (token(), token(STORAGE), INSTANCE, INFO):
            assert_allowed(ask(w, pod, path))


@suite.test("resources: those that are listed, in any spelling of theirs, and no others")
def resources(w):
    pod, policy = w.pods["a"], ("demo", "audiences")
    with w.policies(manifests.policy("audiences", allow={"resources": [VAULT + "/"]})):
        for resource in (VAULT, VAULT + "/", VAULT + "//", "HTTPS://Vault.Azure.Net"):
            assert_allowed(ask(w, pod, token(resource)), policy)
        for resource in (STORAGE, VAULT + "/x", VAULT + ".example", "https://vault.azure.ne",
                         "*", "/", "vault.azure.net"):
            assert_denied(ask(w, pod, token(resource)), "resource_not_allowed", policy)
        assert_allowed(ask(w, pod, INSTANCE), policy)  # says nothing of documents
    assert_allowed(ask(w, pod, token(STORAGE)))


@suite.test("resources: an empty list allows none, a star any")
def resources_ends(w):
    with w.policies(manifests.policy("none", allow={"resources": []})):
        assert_denied(ask(w, w.pods["a"]), "resource_not_allowed", ("demo", "none"))
        assert_allowed(ask(w, w.pods["a"], INSTANCE), ("demo", "none"))
    with w.policies(manifests.policy("any", allow={"resources": ["*"]})):
        assert_allowed(ask(w, w.pods["a"], token("urn:anything")), ("demo", "any"))


@suite.test("a denied token says no more than that, and costs no call upstream")
def denied_reply(w):
    with w.policies(manifests.policy("none", allow={"resources": []})):
        mark = w.lab.log.mark()
        reply, record = ask(w, w.pods["a"], token("https://never.asked.example"))
        assert "demo" not in reply.body and "none" not in reply.body, reply
        assert "unreachable" not in reply.body, reply
        assert record["identity"]["name"] == "id-a" and "token" not in record, record
        assert not w.lab.requests(mark), w.lab.requests(mark)


@suite.test("nor does one that is asked for by an object id that is still to be learned")
def denied_by_object_id(w):
    for object_id in (manifests.ID_A.object_id, "99999999-1111-4000-8000-000000000009"):
        with w.policies(manifests.policy("none", allow={"resources": []})):
            mark = w.lab.log.mark()
            answer = ask(w, w.pods["both"], token("urn:never", f"&object_id={object_id}"))
            assert_denied(answer, "resource_not_allowed", ("demo", "none"))
            assert not w.lab.requests(mark), w.lab.requests(mark)


@suite.test("an identity that is denied is not in the way of another's object id")
def denied_before_another(w):
    pod, policy = w.pods["both"], ("demo", "for-a")
    with w.policies(manifests.policy("for-a", identities=["id-a"], allow={"resources": []})):
        reply, _ = ask(w, pod, token(selector=f"&object_id={manifests.ID_B.object_id}"))
        assert reply.status == 200 and reply.appid == B, reply
        assert_denied(ask(w, pod, token(selector=f"&object_id={manifests.ID_A.object_id}")),
                      "resource_not_allowed", policy)


@suite.test("identities: requests for tokens of these, not for others and not for documents")
def identities(w):
    pod, policy = w.pods["both"], ("demo", "for-a")
    with w.policies(manifests.policy("for-a", identities=["id-a"], allow={"resources": []})):
        assert_denied(ask(w, pod, token(selector=f"&client_id={A}")), "resource_not_allowed",
                      policy)
        assert_allowed(ask(w, pod, token(selector=f"&client_id={B}")))
        assert_allowed(ask(w, pod, INSTANCE))
        assert_allowed(ask(w, w.pods["b"]))


@suite.test("podSelector: pods with all of the labels")
def labels(w):
    spec = {"podSelector": {"matchLabels": {"aadpodidbinding": "sel-a"}},
            "allow": {"resources": []}}
    with w.policies(manifests.policy("of-a", **spec)):
        assert_denied(ask(w, w.pods["a"]), "resource_not_allowed", ("demo", "of-a"))
        assert_allowed(ask(w, w.pods["b"]))


@suite.test("metadataPaths of a namespace take away")
def paths(w):
    pod, policy = w.pods["a"], ("demo", "location")
    allow = {"metadataPaths": ["/metadata/instance/compute/location"]}
    with w.policies(manifests.policy("location", allow=allow)):
        assert_allowed(ask(w, pod, LOCATION), policy)
        for path in (INSTANCE, INFO, f"/metadata/instance/compute/locationx?{VERSION}",
                     f"/metadata/instance/compute?{VERSION}", f"/metadata/instance/network?{VERSION}"):
            assert_denied(ask(w, pod, path), "path_not_allowed", policy)
        assert_allowed(ask(w, pod), policy)  # says nothing of tokens
    with w.policies(manifests.policy("none", allow={"metadataPaths": []})):
        reply, record = ask(w, pod, LOCATION)
        assert_denied((reply, record), "path_not_allowed", ("demo", "none"))
        assert reply.body == "", "some clients would take it for a region"


@suite.test("metadataPaths of a namespace open nothing that is closed")
def paths_open_nothing(w):
    allow = {"metadataPaths": ["/metadata/attested", "/metadata/scheduledevents"]}
    mark = w.lab.log.mark()
    with w.policies(manifests.policy("greedy", allow=allow)):
        for path in ("/metadata/attested/document", "/metadata/scheduledevents"):
            assert_denied(ask(w, w.pods["a"], f"{path}?{VERSION}"), "route_denied", (None, None))
    assert not w.lab.requests(mark), w.lab.requests(mark)


def with_containers(pod, *containers):
    """containers: name, and whether the pod's status says that it is the one of the pod's group"""
    container_id = os.path.basename(pod.cgroup.path).removeprefix("cri-containerd-")
    container_id = container_id.removesuffix(".scope")
    spec = "".join(f"  - name: {name}\n" for name, _ in containers)
    status = "".join(f"  - name: {name}\n    containerID: containerd://{container_id}\n"
                     for name, known in containers if known)
    text = f"{pod.manifest}  containers:\n{spec}"
    return text + (f"status:\n  containerStatuses:\n{status}" if status else "")


@suite.test("containers: by the name that the pod's status gives to the caller's")
def containers(w):
    pod, policy, plain = w.pods["a"], ("demo", "containers"), w.pods["a"].manifest
    spec = {"allow": {"containers": ["server", "other"]}}
    with w.policies(manifests.policy("containers", **spec)):
        assert_denied(ask(w, pod), "container_not_known", policy)
        assert_denied(ask(w, pod, INSTANCE), "container_not_known", policy)
        assert_denied(ask(w, pod, INFO), "container_not_known", policy)
        for container, known, allowed in (("server", True, True), ("server", False, False),
                                          ("sidecar", True, False)):
            pod.manifest = plain
            pod.manifest = with_containers(pod, (container, known), ("x", False))
            w.apply_pods()
            for path in (token(), INSTANCE, INFO):
                if allowed:
                    assert_allowed(ask(w, pod, path), policy)
                else:
                    assert_denied(ask(w, pod, path), "container_not_allowed" if known
                                  else "container_not_known", policy)
    pod.manifest = plain
    w.apply_pods()


@suite.test("containers: a declared cgroup has none, and an empty list allows none")
def no_container(w):
    with w.policies(manifests.policy("containers", allow={"containers": ["server"]})):
        assert_denied(ask(w, w.pods["c"], INSTANCE), "container_not_known",
                      ("demo", "containers"))
    with w.policies(manifests.policy("none", allow={"containers": []})):
        assert_denied(ask(w, w.pods["a"]), "container_not_allowed", ("demo", "none"))


# Runs what a path names although it is gone: unlinked, or replaced by the second file.
RUN_GONE = """
import os, sys
path, other, argv = sys.argv[1], sys.argv[2], sys.argv[3:]
fd = os.open(path, os.O_RDONLY)
if other:
    os.rename(other, path)
else:
    os.unlink(path)
os.execve(fd, argv, os.environ)
"""


@suite.test("executables: the program's file, whatever it is called and however it was started")
def executables(w):
    pod, policy = w.pods["a"], ("demo", "programs")
    directory = os.path.join(w.tmp, "programs")
    os.mkdir(directory)
    good, bad, link = (os.path.join(directory, name) for name in ("good", "bad", "link"))
    shutil.copy(f"{BUILD}/tests/netns/dial", good)
    shutil.copy(good, bad)
    os.symlink(good, link)
    argv = pod.dial_argv("plain", path=token())[1:]

    def run(*prefix):
        mark = w.agent.audit.mark()
        return pod.dial_by([*prefix, *argv]), recorded(w, mark)

    with w.policies(manifests.policy("programs", allow={"executables": [good]})):
        for prefix in ([good], [link], ["/bin/sh", "-c", f'exec -a /bin/x {good} "$@"', "x"]
                       if os.path.realpath("/bin/sh").endswith("bash") else [good]):
            assert_allowed(run(*prefix), policy)
        assert_denied(run(bad), "executable_not_allowed", policy)
        # a name of its own choosing does not help
        assert_denied(run("/bin/bash", "-c", f'exec -a {good} {bad} "$@"', good),
                      "executable_not_allowed", policy)
        reply = pod.dial_by([bad, "plain", "--path", INSTANCE])
        assert reply.status == 403, reply
        python = [sys.executable, "-S", "-c", RUN_GONE, good]
        for other in ("", bad):
            assert_denied(run(*python, other, good), "executable_not_allowed", policy)
            shutil.copy(f"{BUILD}/tests/netns/dial", good)
        os.rename(good, bad)
        assert_denied(run(bad), "executable_not_allowed", policy)
    shutil.rmtree(directory)


@suite.test("hostNetwork: false keeps out the pods in the node's network namespace")
def host_network(w):
    with w.policies(manifests.policy("nets", CLUSTER, allow={"hostNetwork": False})):
        for path in (token(), INSTANCE, INFO):
            assert_denied(ask(w, w.pods["hostnet"], path), "host_network_not_allowed",
                          (CLUSTER, "nets"))
            assert_allowed(ask(w, w.pods["a"], path), (CLUSTER, "nets"))


@suite.test("rate: one workload's tokens, the smaller of both layers; documents do not count")
def rate(w):
    with w.policies(manifests.policy("slow", rate={"perSecond": 1, "burst": 2}),
                  manifests.policy("slow", CLUSTER, rate={"perSecond": 50, "burst": 50})):
        for _ in range(5):
            assert_allowed(ask(w, w.pods["a"], INSTANCE), ("demo", "slow"))
        mark = w.agent.audit.mark()
        dialer = w.pods["a"].dialer(path=token(), requests=8)
        replies = [dialer.read()] + [dialer.next() for _ in range(7)]
        dialer.close()
        statuses = [reply.status for reply in replies]
        assert statuses[:2] == [200, 200] and 429 in statuses[2:], statuses
        record = w.agent.audit.wait_for(event("token.denied"), mark)
        assert record["reason"] == "rate_limited_by_policy", record
        assert names(record) == ("demo", "slow", None), record
        assert_allowed(ask(w, w.pods["b"]), ("demo", "slow"))
        assert_allowed(ask(w, w.pods["a"], INSTANCE), ("demo", "slow"))


@suite.test("rate: of each identity's policy its own")
def rate_of_identities(w):
    with w.policies(manifests.policy("for-a", identities=["id-a"],
                                      rate={"perSecond": 1, "burst": 3}),
                  manifests.policy("for-b", identities=["id-b"],
                                   rate={"perSecond": 1000, "burst": 1})):
        assert_allowed(ask(w, w.pods["both"], token(selector=f"&client_id={B}")),
                       ("demo", "for-b"))
        for _ in range(3):
            assert_allowed(ask(w, w.pods["both"], token(selector=f"&client_id={A}")),
                           ("demo", "for-a"))


@suite.test("mode Audit: allowed, and on record what would have been denied")
def audit_mode(w):
    policy = ("demo", "watch")
    allow = {"resources": [VAULT], "metadataPaths": [], "containers": ["x"], "hostNetwork": False}
    with w.policies(manifests.policy("watch", mode="Audit", allow=allow,
                                      rate={"perSecond": 1, "burst": 1})):
        for _ in range(3):
            assert_allowed(ask(w, w.pods["a"], token(STORAGE)), policy, "resource_not_allowed")
        assert_allowed(ask(w, w.pods["a"], INSTANCE), policy, "path_not_allowed")
        assert_allowed(ask(w, w.pods["a"], INFO), policy, "path_not_allowed")
        assert_allowed(ask(w, w.pods["a"]), policy, "container_not_known")
        assert_allowed(ask(w, w.pods["hostnet"]), policy, "host_network_not_allowed")
        # watching opens nothing
        assert_denied(ask(w, w.pods["a"], f"/metadata/scheduledevents?{VERSION}"), "route_denied",
                      (None, None))


@suite.test("mode Disabled: as if there were none, for what it is the most specific of")
def disabled(w):
    with w.policies(manifests.policy("none", CLUSTER, allow={"resources": []}),
                  manifests.policy("free", CLUSTER, mode="Disabled", namespaces=["demo"],
                                   allow={"resources": [], "metadataPaths": []})):
        for path in (token(), INSTANCE):
            reply, record = ask(w, w.pods["a"], path)
            assert reply.status == 200 and "would_deny" not in record.get("policy", {}), record


@suite.test("both layers must allow it; the cluster's reason comes first")
def layers(w):
    pod = w.pods["a"]
    with w.policies(manifests.policy("cluster", CLUSTER, allow={"resources": [VAULT]}),
                  manifests.policy("own", allow={"resources": [VAULT, STORAGE]})):
        assert_allowed(ask(w, pod), ("demo", "own"))
        assert_denied(ask(w, pod, token(STORAGE)), "resource_not_allowed", (CLUSTER, "cluster"))
    with w.policies(manifests.policy("cluster", CLUSTER, allow={"resources": [VAULT, STORAGE]}),
                  manifests.policy("own", allow={"resources": [VAULT]})):
        assert_denied(ask(w, pod, token(STORAGE)), "resource_not_allowed", ("demo", "own"))


@suite.test("a policy of another namespace covers nobody here, a more specific one decides alone")
def specific(w):
    with w.policies(manifests.policy("none", "elsewhere", allow={"resources": []})):
        assert_allowed(ask(w, w.pods["a"]))
    with w.policies(manifests.policy("all", CLUSTER, allow={"resources": []}),
                  manifests.policy("demo", CLUSTER, namespaces=["demo"],
                                   allow={"resources": [VAULT]})):
        assert_allowed(ask(w, w.pods["a"]), (CLUSTER, "demo"))
        assert_denied(ask(w, w.pods["a"], token(STORAGE)), "resource_not_allowed",
                      (CLUSTER, "demo"))


@suite.test("a policy that is not understood is refused whole; what was in force stays")
def refused(w):
    good = manifests.policy("p", allow={"resources": [STORAGE]})
    with w.policies(good):
        for bad in (manifests.policy("p", alow={}), manifests.policy("p", subject="Host"),
                    manifests.policy("p", mode="audit"), manifests.policy("p", mode=False)):
            record = w.apply("policies.yaml", bad, kind="policy.rejected")
            assert "policies.yaml" in record["message"], record
            assert_denied(ask(w, w.pods["a"]), "resource_not_allowed", ("demo", "p"))


@suite.test("a change counts from the next request on, on a connection that is open, too")
def keep_alive(w):
    dialer = w.pods["a"].dialer(path=token(), requests=4)
    assert dialer.read().appid == A
    w.apply("policies.yaml", manifests.policy("p", allow={"resources": [STORAGE]}))
    reply = dialer.next()
    assert reply.status == 403 and reply.appid is None, reply
    w.apply("policies.yaml", manifests.policy("p", mode="Audit", allow={"resources": [STORAGE]}))
    assert dialer.next().appid == A
    w.apply("policies.yaml", None)
    assert dialer.next().appid == A
    dialer.close()
    dialer = w.pods["a"].dialer(path=INSTANCE, requests=2)
    assert dialer.read().status == 200
    with w.policies(manifests.policy("p", allow={"metadataPaths": []})):
        assert dialer.next().status == 403
    dialer.close()


def host_policy(**spec):
    return manifests.policy("host", CLUSTER, subject="Host", **spec)


@suite.test("processes of the host get nothing, until a policy with subject Host covers them")
def host_closed(w):
    node = token(selector=f"&client_id={A}")

    def shut():
        reply, record = ask(w, w.host, node)
        assert (reply.status, reply.body) == (400, NOT_FOUND), reply
        assert (record["kind"], record["reason"]) == ("token.denied", "unknown_workload"), record
        reply, record = ask(w, w.host, INSTANCE)
        assert reply.status == 403 and record["reason"] == "unknown_workload", record
        reply, record = ask(w, w.host, INFO)
        assert (reply.status, reply.body) == (400, NOT_FOUND), reply
        assert record["reason"] == "unknown_workload", record

    mark = w.lab.log.mark()
    shut()
    for text in (manifests.policy("pods", CLUSTER, allow={"resources": ["*"]}),
                 host_policy(mode="Disabled")):
        with w.policies(text):
            shut()
    assert not w.lab.requests(mark), w.lab.requests(mark)


@suite.test("processes of the host: what the policy lists, from the node's identities")
def host_open(w):
    node, policy = token(selector=f"&client_id={B}"), (CLUSTER, "host")
    dial = f"{BUILD}/tests/netns/dial"
    with w.policies(host_policy(allow={"resources": [VAULT], "executables": [dial],
                                        "metadataPaths": ["/metadata/instance/compute"]})):
        reply, record = ask(w, w.host, node)
        assert_allowed((reply, record), policy)
        assert reply.appid == B and record["cgroup"]["path"] == "/host.slice", record
        assert "name" not in record.get("pod", {}), record
        assert_allowed(ask(w, w.host, f"/metadata/instance/compute?{VERSION}"), policy)
        assert_denied(ask(w, w.host, token(STORAGE)), "resource_not_allowed", policy)
        for path in (INSTANCE, INFO):
            assert_denied(ask(w, w.host, path), "path_not_allowed", policy)
        # pods are not the host, in its network or not, declared or not
        assert_allowed(ask(w, w.pods["hostnet"]))
        reply = w.dial_as_stranger(path=node)
        assert (reply.status, reply.body) == (400, NOT_FOUND), reply
    with w.policies(host_policy(allow={"executables": ["/usr/bin/true"]})):
        assert_denied(ask(w, w.host, node), "executable_not_allowed", policy)
    with w.policies(host_policy()):
        # it may ask; which of the node's two identities is meant nobody can say
        reply, record = ask(w, w.host, INFO)
        assert (reply.status, record["reason"]) == (404, "tenant_unknown"), (reply, record)
        assert names(record) == (*policy, None), record
        assert_denied(ask(w, w.host, f"/metadata/scheduledevents?{VERSION}"), "route_denied",
                      (None, None))


@suite.test("processes of the host in mode Audit: admitted, and on record what would be denied")
def host_audit(w):
    policy = (CLUSTER, "host")
    with w.policies(host_policy(mode="Audit", allow={"resources": []})):
        reply, record = ask(w, w.host, token(selector=f"&client_id={A}"))
        assert_allowed((reply, record), policy, "resource_not_allowed")
        assert reply.appid == A
        assert_allowed(ask(w, w.host, INSTANCE), policy)


@suite.test("a pod in the host's network that is not declared is no process of the host")
def undeclared(w):
    pod = w.pods.pop("hostnet")
    w.apply_pods()
    with w.policies(host_policy()):
        for path in (token(selector=f"&client_id={A}"), INSTANCE, INFO):
            reply = pod.dial(path=path)
            assert reply.status in (400, 403) and reply.appid is None, reply
    w.pods["hostnet"] = pod
    w.apply_pods()


if __name__ == "__main__":
    suite.run()
