"""The audit record of each kind of attempt says who, from where, for what, and what was decided.
That every line matches the schema and that no token is in it is checked by every suite."""

import json
import os
import re
import urllib.parse

from harness import IMDS, NOT_FOUND, TRACES, WIRESERVER, manifests, standard_world
from places import BUILD, TOKEN_PATH
from tap import Suite
from watch import event

suite = Suite(standard_world, TRACES)
A = manifests.ID_A.client_id
DIAL = os.path.realpath(f"{BUILD}/tests/netns/dial")
VAULT = "https://vault.azure.net"


def dial_and_find(w, pod, kind, **options):
    """The dialer stays until it was looked at: the path of a program that ended is not known."""
    mark = w.agent.audit.mark()
    dialer = w.pods[pod].dialer(hold=True, **options)
    reply = dialer.read()
    record = w.agent.audit.wait_for(
        lambda r: r["kind"] == kind and r.get("process", {}).get("pid") == reply["pid"], mark,
        what=kind)
    dialer.close()
    return reply, record


def check_caller(w, record, pod):
    assert (record["pod"]["namespace"], record["pod"]["name"]) == (manifests.NAMESPACE, pod), record
    assert record["pod"].get("uid") == w.pods[pod].uid, record
    assert record["process"]["comm"] == "dial" and record["process"]["exe"] == DIAL, record
    assert record["process"]["uid"] == 0, record
    if w.pods[pod].uid:
        cgroup = os.path.basename(w.pods[pod].cgroup.path)
        assert record["pod"]["container_id"] == re.search("[0-9a-f]{64}", cgroup)[0], record


@suite.test("token.issued")
def issued(w):
    reply, record = dial_and_find(w, "a", "token.issued")
    assert reply.appid == A and record["decision"] == "allow", record
    check_caller(w, record, "a")
    assert record["connection"]["protocol"] == "tcp", record
    assert record["connection"]["endpoint"] == "imds", record
    assert record["connection"]["destination"] == f"{IMDS}:80", record
    assert record["connection"]["source"] == reply["sockname"], record
    assert record["request"]["method"] == "GET" and record["request"]["resource"] == VAULT, record
    assert record["request"]["status"] == 200, record
    assert record["identity"]["name"] == "id-a" and record["identity"]["client_id"] == A, record
    assert re.fullmatch("[0-9a-f]{16}", record["token"]["fingerprint"]), record


@suite.test("the second token comes from the cache, and is the same one")
def cached(w):
    _, first = dial_and_find(w, "a", "token.issued")
    mark = w.lab.log.mark()
    _, second = dial_and_find(w, "a", "token.issued", mode="v6mapped")
    assert second["token"]["cache"] == "hit", second
    assert second["token"]["fingerprint"] == first["token"]["fingerprint"]
    assert second["connection"]["family"] == "ipv6", second
    assert not w.lab.requests(mark), "the cache asked upstream"


@suite.test("token.denied: a pod without a binding")
def denied(w):
    reply, record = dial_and_find(w, "c", "token.denied")
    assert reply.body == NOT_FOUND and record["decision"] == "deny" and record["reason"], record
    check_caller(w, record, "c")
    assert record["request"]["resource"] == VAULT and record["request"]["status"] == 400, record
    assert "token" not in record and "identity" not in record, record


@suite.test("token.denied: somebody else's client id")
def other_client_id(w):
    path = f"{TOKEN_PATH}&resource=r&client_id={manifests.ID_B.client_id}"
    reply, record = dial_and_find(w, "a", "token.denied", path=path)
    assert reply.body == NOT_FOUND, reply
    assert record["request"]["selector_kind"] == "client_id", record
    assert record["request"]["selector_value"] == manifests.ID_B.client_id, record


@suite.test("connect.denied: WireServer")
def connect_denied(w):
    _, record = dial_and_find(w, "a", "connect.denied", addr=WIRESERVER)
    assert record["decision"] == "deny" and "request" not in record, record
    check_caller(w, record, "a")
    assert record["connection"]["endpoint"] == "wireserver", record
    assert record["connection"]["destination"] == f"{WIRESERVER}:80", record


@suite.test("request.rejected: a probe, an unknown path")
def rejected(w):
    for options, status in (({"no_metadata": True}, 400), ({"path": "/latest/meta-data/"}, 404),
                            ({"path": "/metadata/identity%2Foauth2/token"}, 404)):
        reply, record = dial_and_find(w, "a", "request.rejected", **options)
        assert reply.status == record["request"]["status"] == status, (reply, record)
        check_caller(w, record, "a")


@suite.test("the uid of a caller that is not root")
def uid(w):
    mark = w.agent.audit.mark()
    reply = w.pods["a"].dial(uid=4711)
    assert reply.appid == A, reply
    record = w.agent.audit.wait_for(event("token.issued", process__pid=reply["pid"]), mark)
    assert record["process"]["uid"] == record["process"]["gid"] == 4711, record


@suite.test("what a caller puts into names and headers cannot break a line")
def hostile(w):
    resource = 'x"},{"kind":"token.issued","a":"\u2028\u00e9'
    path = f"{TOKEN_PATH}&resource={urllib.parse.quote(resource, safe='')}"
    reply, record = dial_and_find(w, "c", "token.denied", path=path,
                                  header=['User-Agent: a\tb\\"}'])
    assert reply.status == 400 and record["request"]["resource"] == resource, record
    reply, record = dial_and_find(w, "c", "request.rejected", header=["X-Y: \x1b[31m"])
    assert reply.status == record["request"]["status"] == 400, record


@suite.test("sequence numbers have no gap, one run after another")
def sequence(w):
    w.agent.stop()
    w.agent.start()
    w.pods["a"].dial()
    runs = {}
    for record in w.agent.audit.all():
        runs.setdefault(record["run"], []).append(record["seq"])
    assert len(runs) == 2, list(runs)
    for numbers in runs.values():
        assert numbers == list(range(1, len(numbers) + 1)), numbers
    assert {"agent.started", "agent.stopped"} <= {r["kind"] for r in w.agent.audit.all()}


@suite.test("the tool's tail shows the same records as they happen")
def tail(w):
    mark = w.agent.audit.mark()
    process = w.agent.cli_start("audit", "tail", "--pod", "a", "--kind", "token.issued",
                                "--count", "1")
    while process.poll() is None:  # it ends with the first record after it has subscribed
        w.pods["c"].dial()
        w.pods["a"].dial()
    out, err = process.communicate(timeout=10)
    w.outputs.append(out + err)
    shown = json.loads(out)
    assert process.returncode == 0, (out, err)
    # who watches has a record before the file, which gathers some
    w.agent.audit.wait_for(lambda record: record == shown, mark)
    assert (shown["kind"], shown["pod"]["name"]) == ("token.issued", "a"), shown


if __name__ == "__main__":
    suite.run()
