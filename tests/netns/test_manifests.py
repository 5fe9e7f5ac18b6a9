"""Changes of the manifests reach the running agent at once, whole, and on open connections too; a
broken file changes nothing."""

import os
import sys

from harness import NOT_FOUND, TRACES, manifests, standard_world
from places import TOKEN_PATH
from tap import Suite
from watch import event

suite = Suite(standard_world, TRACES)
A, B = manifests.ID_A.client_id, manifests.ID_B.client_id


def not_found(reply):
    return reply.status == 400 and reply.body == NOT_FOUND


@suite.test("a new binding for a pod's label: the next request gets a token")
def new_binding(w):
    pod = w.add_pod("fresh", "sel-fresh")
    w.apply_pods()
    assert not_found(pod.dial())
    w.apply("fresh.yaml", manifests.binding("bind-fresh", manifests.ID_B, "sel-fresh"))
    assert pod.dial().appid == B


@suite.test("a binding that points elsewhere: the next request gets the other token")
def changed_binding(w):
    w.apply("fresh.yaml", manifests.binding("bind-fresh", manifests.ID_A, "sel-fresh"))
    assert w.pods["fresh"].dial().appid == A


@suite.test("a removed binding: no token any more, nor on a connection that was open")
def removed_binding(w):
    pod = w.pods["fresh"]
    dialer = pod.dialer(requests=2)
    assert dialer.read().appid == A
    w.apply("fresh.yaml", None)
    reply = dialer.next()
    dialer.close()
    # the answer, or an end to the connection: both are no token
    assert not_found(reply) or (reply["result"] == "error" and reply["stage"] != "connect"), reply
    assert not_found(pod.dial())
    assert w.pods["a"].dial().appid == A, "others go on"


@suite.test("two bindings: a selector is needed and respected")
def two_bindings(w):
    w.apply("second.yaml", manifests.binding("bind-second", manifests.ID_B, "sel-a"))
    pod, path = w.pods["a"], f"{TOKEN_PATH}&resource=r"
    reply = pod.dial()
    assert reply.status == 400 and "Multiple user assigned identities exist" in reply.body, reply
    for ident in manifests.IDENTITIES:
        for selector in (f"client_id={ident.client_id}", f"client_id={ident.client_id.upper()}",
                         f"object_id={ident.object_id}", f"msi_res_id={ident.resource_id}",
                         f"mi_res_id={ident.resource_id.upper()}"):
            assert pod.dial(path=f"{path}&{selector}").appid == ident.client_id, selector
    w.apply("second.yaml", None)
    assert not_found(pod.dial(path=f"{path}&client_id={B}"))
    assert pod.dial().appid == A


@suite.test("a broken file keeps its last good content in force, until it is whole again")
def broken(w):
    good = manifests.binding("bind-kept", manifests.ID_B, "sel-kept")
    pod = w.add_pod("kept", "sel-kept")
    w.apply_pods()
    w.apply("kept.yaml", good)
    assert pod.dial().appid == B
    for bad in ("{", good.replace("azureIdentity", "azureIdentitty"), good + "---\nkind: [",
                "a: &a [*a]\n", "\x00"):
        record = w.apply("kept.yaml", bad, kind="policy.rejected")
        assert "kept.yaml" in record["message"], record
        assert pod.dial().appid == B, f"after {bad!r}"
    w.apply("kept.yaml", good.replace("id-b", "id-a"))
    assert pod.dial().appid == A


@suite.test("an object declared twice: the newcomer is refused, the first stays")
def clash(w):
    w.apply("zz.yaml", manifests.binding("bind-a", manifests.ID_B, "sel-a"), kind="policy.rejected")
    assert w.pods["a"].dial().appid == A
    os.unlink(os.path.join(w.manifests, "zz.yaml"))


@suite.test("an excepted pod uses the node's identities, through the gate and on record")
def excepted(w):
    pod = w.add_pod("trusted", "sel-none")
    pod.manifest = pod.manifest.replace("  labels:\n", "  labels:\n    trusted: very\n")
    w.apply_pods()
    assert not_found(pod.dial())
    w.apply("trust.yaml", manifests.exception("trust", {"trusted": "very"}))
    path = f"{TOKEN_PATH}&resource=r&client_id="
    mark = w.agent.audit.mark()
    for ident in manifests.IDENTITIES:
        assert pod.dial(path=path + ident.client_id).appid == ident.client_id
    w.agent.audit.wait_for(event("token.issued", pod__name="trusted"), mark)
    w.lab.never_reached()
    w.apply("trust.yaml", None)
    assert not_found(pod.dial(path=path + A))


@suite.test("a pod that is excepted past the gate reaches the real endpoint, and that is recorded")
def direct(w):
    pod, lab = w.pods["trusted"], w.lab.log.mark()
    w.apply("trust.yaml", manifests.exception("trust", {"trusted": "very"}, mode="direct"))
    mark = w.agent.audit.mark()
    assert pod.dial().status > 0
    assert [c["peer"].rsplit(":", 1)[0] for c in w.lab.connections(lab)] == [pod.address]
    w.agent.audit.wait_for(event("connect.passed", pod__name="trusted"), mark)
    w.apply("trust.yaml", None)
    lab = w.lab.log.mark()
    assert not_found(pod.dial())
    w.lab.never_reached(lab)


# "That was the last socket", to the netlink socket that the kernel gives this number, without end
LIE = """
import socket, struct, sys
s = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 4)
print("lying", flush=True)
while True:
    try:
        s.sendto(struct.pack("IHHII", 16, 3, 0, 0, 0), (int(sys.argv[1]), 0))
    except OSError:
        pass
"""


@suite.test("an exception that is taken back ends what the pod has open at the real endpoint, and no other's")
def direct_is_over(w):
    other = w.add_pod("other-direct", "sel-none")
    other.manifest = other.manifest.replace("  labels:\n", "  labels:\n    trusted: also\n")
    w.apply_pods()
    w.apply("trust.yaml", manifests.exception("trust", {"trusted": "very"}, mode="direct"))
    w.apply("also.yaml", manifests.exception("also", {"trusted": "also"}, mode="direct"))
    held = {pod.name: pod.dialer(requests=2) for pod in (w.pods["trusted"], other)}
    for dialer in held.values():
        assert dialer.read().status > 0
    mark = w.agent.audit.mark()
    # an administrator of the pod's network, who would like the search to be over
    liar = w.pods["trusted"].spawn([sys.executable, "-S", "-c", LIE, str(w.agent.pids()[0])], stdout=-1)
    assert liar.stdout.readline() == "lying\n"
    w.apply("trust.yaml", None)
    record = w.agent.audit.wait_for(event("guard.drop", pod__name="trusted"), mark)
    liar.kill()
    liar.wait()
    assert record["reason"] == "older_connection", record
    reply = held["trusted"].next()
    assert reply["result"] == "error" and reply["stage"] != "connect", reply
    assert held[other.name].next().status > 0
    for dialer in held.values():
        dialer.close()
    w.apply("also.yaml", None)


@suite.test("an identity that became another one while its object id was asked for is not known by the old one")
def replaced(w):
    def learned(ident):
        return manifests.identity(ident).replace(f"name: {ident.name}\n", "name: learned\n", 1)
    pod = w.add_pod("learner", "sel-learner")
    w.apply_pods()
    w.apply("learner.yaml", manifests.binding("bind-learner", manifests.ID_A, "sel-learner")
            .replace("azureIdentity: id-a", "azureIdentity: learned"))
    w.apply("learned.yaml", learned(manifests.ID_A))
    w.lab.admin(delay_ms=1000)
    mark = w.lab.log.mark()
    dialer = pod.dialer(path=f"{TOKEN_PATH}&resource=learning&object_id={manifests.ID_A.object_id}")
    w.lab.log.wait_for(lambda e: e["event"] == "request", mark)
    w.apply("learned.yaml", learned(manifests.ID_B))
    w.lab.admin(clear=True)
    reply = dialer.read()
    dialer.close()
    assert not_found(reply), reply
    reply = pod.dial(path=f"{TOKEN_PATH}&resource=learning&object_id={manifests.ID_B.object_id}")
    assert reply.appid == B, reply
    w.apply("learner.yaml", None)
    w.apply("learned.yaml", None)


@suite.test("a pod that is no longer declared gets nothing")
def forgotten(w):
    pod = w.pods.pop("kept")
    w.apply_pods()
    mark = w.lab.log.mark()
    reply = pod.dial(timeout=30000)
    assert reply.refused or (reply["result"] == "ok" and reply.appid is None), reply
    w.lab.never_reached(mark, strict=True)


@suite.test("the tool shows what is in force")
def shown(w):
    names = {f"{p['namespace']}/{p['name']}": p for p in w.agent.cli("workload", "list")}
    assert names[f"{manifests.NAMESPACE}/a"]["identities"] == [f"{manifests.NAMESPACE}/id-a"]
    assert names[f"{manifests.NAMESPACE}/c"]["identities"] == []
    shown_pod = w.agent.cli("workload", "show", f"{manifests.NAMESPACE}/a")
    assert [b["client_id"] for b in shown_pod["bindings"]] == [A], shown_pod
    status, out, _ = w.agent.cli_run("workload", "show", f"{manifests.NAMESPACE}/none")
    assert status == 4 and "ENOENT" in out, (status, out)


@suite.test("lists are ordered by name, whatever the order in which their objects were declared")
def ordered(w):
    for file, pod, binding in (("0.yaml", "zz", "z"), ("9.yaml", "a-0", "a")):
        w.apply(file, manifests.join(
            manifests.pod(pod), manifests.binding(binding, manifests.ID_A, "sel-a")))
    names = [(p["namespace"], p["name"]) for p in w.agent.cli("workload", "list")]
    assert len(names) > 3 and names == sorted(names), names
    bindings = w.agent.cli("workload", "show", f"{manifests.NAMESPACE}/a")["bindings"]
    shown_names = [b["binding"] for b in bindings]
    assert len(shown_names) == 3 and shown_names == sorted(shown_names), shown_names
    w.apply("0.yaml", None)
    w.apply("9.yaml", None)


if __name__ == "__main__":
    suite.run()
