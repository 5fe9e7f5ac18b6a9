"""Metadata documents (/metadata/instance and below) reach workloads through the gate as requests that
it makes itself; every other path under /metadata is denied or answered by the gate. The agent's
upstream is a lab of its own on a loopback address of the node, so whatever arrives at the metadata
address itself came around the gate."""

import base64
import datetime
import json

from harness import NOT_FOUND, TRACES, manifests
from metadata_upstream import build, denied, untouched
from tap import Suite
from watch import event

INSTANCE, VERSION = "/metadata/instance", "api-version=2021-02-01"
INFO = f"/metadata/identity/info?{VERSION}"
NEWEST = '"newest-versions":["2025-04-07","2024-07-17","2024-03-15"]'
VERSIONS = iter(("2021-03-01", "2021-05-01", "2021-08-01", "2021-10-01", "2021-11-01", "2021-11-15",
                 "2021-12-13", "2023-07-01", "2023-11-15", "2024-03-15", "2024-07-17"))
TENANT = "12345678-aaaa-4bbb-8ccc-123456789abc"


suite = Suite(build, TRACES)


@suite.test("an instance document is asked for by a request of the gate's own")
def rebuilt(w):
    lab, audit = w.upstream.log.mark(), w.agent.audit.mark()
    reply = w.pods["a"].dial(path=f"/Metadata/instance?nonce=%26x&{VERSION}&recursive=true&format=json",
                             header=["X-Other: 1", "Cookie: a=b", "Authorization: Bearer x",
                                     "Accept: image/png", "Range: bytes=0-1"])
    assert reply.status == 200 and "compute" in json.loads(reply.body), reply
    (request,) = w.upstream.documents(lab)
    assert request["method"] == "GET", request
    assert request["target"] == f"{INSTANCE}?{VERSION}&format=json", request
    headers = {name.lower(): value for name, value in request["headers"].items()}
    assert set(headers) == {"host", "user-agent", "accept", "metadata"}, headers
    assert headers["user-agent"].startswith("imdsgate/"), headers
    assert (headers["accept"], headers["metadata"]) == ("*/*", "true"), headers
    record = w.agent.audit.wait_for(event("metadata.forwarded", pod__name="a"), audit)
    assert (record["decision"], record["reason"]) == ("allow", "fetched"), record
    assert (record["request"]["route"], record["request"]["status"]) == ("instance", 200), record
    assert record["request"]["path"] == "/Metadata/instance" and record["latency_usec"], record
    w.lab.never_reached(strict=True)


@suite.test("a document is kept for everybody, under its canonical name")
def cached(w):
    first = w.pods["a"].dial(path=f"{INSTANCE}?{VERSION}")
    lab, audit = w.upstream.log.mark(), w.agent.audit.mark()
    for pod, path in (("a", f"{INSTANCE}?{VERSION}"), ("b", f"/{INSTANCE}?format=json&{VERSION}"),
                      ("c", f"http://169.254.169.254{INSTANCE}?{VERSION}&a=b")):
        reply = w.pods[pod].dial(path=path)
        assert (reply.status, reply.body) == (200, first.body), reply
        w.agent.audit.wait_for(event("metadata.forwarded", pod__name=pod, reason="cached"), audit)
    untouched(w, lab)


@suite.test("many who want one document at a time cost one call")
def single_flight(w):
    mark = w.upstream.log.mark()
    path = f"{INSTANCE}?api-version={next(VERSIONS)}"
    with w.upstream.broken(delay_ms=800):
        dialers = [w.pods[name].dialer(path=path) for name in "abcabcab"]
        replies = [dialer.read() for dialer in dialers]
    assert {reply.status for reply in replies} == {200}, replies
    assert len(w.upstream.documents(mark)) == 1
    for dialer in dialers:
        dialer.close()


@suite.test("leaves: as text only")
def leaf(w):
    reply = w.pods["a"].dial(path=f"{INSTANCE}/compute/location?{VERSION}&format=text")
    assert (reply.status, reply.body) == (200, "westus2"), reply
    reply = w.pods["b"].dial(path=f"{INSTANCE}/compute/name?{VERSION}&format=json")
    assert reply.status == 400 and "error" in json.loads(reply.body), reply
    reply = w.pods["b"].dial(path=f"{INSTANCE}/compute/none?{VERSION}&format=text")
    assert reply.status == 404 and "error" in json.loads(reply.body), reply


@suite.test("without a known api-version: the newest ones, and no call")
def versions(w):
    mark = w.upstream.log.mark()
    for query in ("", "?format=json", "?api-version=", "?api-version=2021-02-02",
                  "?api-version=latest"):
        for path in (INSTANCE, f"{INSTANCE}/compute", f"{INSTANCE}/compute/location"):
            reply = w.pods["a"].dial(path=path + query)
            assert reply.status == 400 and NEWEST in reply.body, reply
    reply = w.pods["c"].dial(path="/metadata/versions")
    assert reply.status == 200 and "2021-02-01" in json.loads(reply.body)["apiVersions"], reply
    untouched(w, mark)


@suite.test("a malformed query: 400, and no call")
def queries(w):
    mark = w.upstream.log.mark()
    for query in (f"{VERSION}&{VERSION}", f"{VERSION}&format=text&format=json", f"{VERSION}&x&x",
                  f"{VERSION}&format=xml", f"{VERSION}&x=%zz", f"{VERSION}&x=%0a"):
        reply = w.pods["a"].dial(path=f"{INSTANCE}?{query}")
        assert reply.status == 400 and "Invalid request" in reply.body, (query, reply)
    untouched(w, mark)


@suite.test("a request without the Metadata header, or with X-Forwarded-For: 400, and no call")
def headers(w):
    mark = w.upstream.log.mark()
    for path in (INSTANCE, f"{INSTANCE}?{VERSION}", INFO, "/metadata/scheduledevents"):
        reply = w.pods["a"].dial(path=path, no_metadata=True)
        assert reply.status == 400 and "Required metadata header" in reply.body, reply
        reply = w.pods["a"].dial(path=path, header=["X-Forwarded-For: 1.2.3.4"])
        assert reply.status == 400 and "X-Forwarded-For" in reply.body, reply
    untouched(w, mark)


@suite.test("attested data, scheduled events and the load balancer are denied without a policy")
def other_routes(w):
    mark = w.upstream.log.mark()
    for route, path in (("attested", "/metadata/attested/document"),
                        ("scheduledevents", "/metadata/scheduledevents"),
                        ("loadbalancer", "/metadata/loadbalancer")):
        for query in ("", f"?{VERSION}&nonce=1"):
            audit = w.agent.audit.mark()
            reply = w.pods["a"].dial(path=path + query)
            assert denied(reply), reply
            record = w.agent.audit.wait_for(event("metadata.denied", pod__name="a",
                                                  request__route=route), audit)
            assert (record["decision"], record["reason"]) == ("deny", "route_denied"), record
            assert record["request"]["status"] == 403, record
    untouched(w, mark)


@suite.test("only GET: everything else is 405")
def methods(w):
    mark = w.upstream.log.mark()
    for path in (f"/metadata/scheduledevents?{VERSION}", f"{INSTANCE}?{VERSION}", INFO,
                 f"/metadata/attested/document?{VERSION}"):
        for method in ("POST", "PUT", "DELETE"):
            reply = w.pods["a"].dial(path=path, method=method)
            assert reply.status == 405, (method, path, reply)
    untouched(w, mark)


@suite.test("no spelling of a path reaches upstream that is not on the list")
def paths(w):
    mark = w.upstream.log.mark()
    for path in ("/metadata/instance/../identity/oauth2/token", "/metadata/instance/..%2fidentity",
                 "/metadata/instance/%2e%2e/identity/oauth2/token", "/metadata/instance%2fcompute",
                 "/metadata\\instance", "/metadata/instance\\..\\identity\\oauth2\\token",
                 "/metadata/instance;x", "/metadata/instance/./compute",
                 "/metadata/instance//compute", "/metadata/instance/", "/metadata/Instance",
                 "/metadata/instance/a@b", "/metadata/instance/a:80", "/metadata/instance/{a}",
                 "/metadata/instance/" + "x" * 600, "/metadata/identity",
                 "/metadata/identity/oauth2", "/metadata/identity/getplatformmetadata",
                 "/metadata/identity/issuecredential", "/metadata/identity/info/x", "/metadata",
                 "/metadata/other", "/", "//evil.example/metadata/instance", "/machine"):
        reply = w.pods["a"].dial(path=f"{path}?{VERSION}&resource=r")
        assert reply.status == 404, (path, reply)
    untouched(w, mark)


@suite.test("somebody who is in no workload gets no document, and no text for a location")
def stranger(w):
    mark, audit = w.upstream.log.mark(), w.agent.audit.mark()
    reply = w.dial_as_stranger(path=f"{INSTANCE}?{VERSION}")
    assert denied(reply), reply
    w.agent.audit.wait_for(event("metadata.denied", decision="deny",
                                 reason="unknown_workload"), audit)
    for path in ("/metadata/attested/document", f"{INSTANCE}?{VERSION}&format=text"):
        assert denied(w.dial_as_stranger(path=path))
    reply = w.dial_as_stranger(path=f"{INSTANCE}/compute/location?{VERSION}&format=text")
    assert (reply.status, reply.body) == (403, ""), reply
    reply = w.dial_as_stranger(path=INFO)
    assert (reply.status, reply.body) == (400, NOT_FOUND), reply
    untouched(w, mark)


@suite.test("upstream fails: 503, or 500 when it talks nonsense, and nothing of it is kept")
def failing(w):
    path = f"{INSTANCE}?api-version={next(VERSIONS)}"
    for command, status in (({"fail": {"status": 503}}, 503), ({"fail": {"status": 410}}, 503),
                            ({"fail": {"status": 500}}, 503), ({"reset": True}, 503),
                            ({"truncate": True}, 503),
                            ({"garbage_body": True}, 500), ({"huge": True}, 500),
                            ({"fail": {"status": 429, "retry_after": 1}}, 503)):
        audit = w.agent.audit.mark()
        with w.upstream.broken(**command):
            reply = w.pods["a"].dial(path=path)
        assert reply.status == status, (command, reply)
        w.agent.audit.wait_for(event("metadata.denied", decision="error", pod__name="a",
                                     request__status=status), audit)
        with w.upstream.broken(fail={"status": 503}):
            reply = w.pods["b"].dial(path=f"{INSTANCE}/compute/location?{VERSION}")
        assert (reply.status, reply.body) == (503, ""), reply
    assert w.pods["a"].dial(path=path).status == 200


@suite.test("a workload whose documents are cached does not notice that upstream is down")
def outage(w):
    path = f"{INSTANCE}?api-version={next(VERSIONS)}"
    assert w.pods["a"].dial(path=path).status == 200
    with w.upstream.broken(hang=True):
        assert w.pods["b"].dial(path=path).status == 200


@suite.test("one workload cannot fill the queue, and what upstream never answers ends in time")
def hanging(w):
    mark = w.upstream.log.mark()
    leaves = ("compute", "compute/tagsList", "network", "network/interface", "compute/x")
    with w.upstream.broken(hang=True):
        dialers = [w.pods["a"].dialer(path=f"{INSTANCE}/{leaf}?api-version=2020-09-01")
                   for leaf in leaves]
        replies = [dialer.read() for dialer in dialers]
        assert sorted(reply.status for reply in replies) == [429, 503, 503, 503, 503], replies
        assert all(3500 < reply["ms"] < 8000 for reply in replies if reply.status == 503), replies
        assert all(reply["ms"] < 1000 for reply in replies if reply.status == 429), replies
    assert len(w.upstream.documents(mark)) == 2, "more than two at once"
    for dialer in dialers:
        dialer.close()


@suite.test("upstream is asked three times a second at most, by all workloads together")
def rate(w):
    mark, version = w.upstream.log.mark(), next(VERSIONS)
    dialers = [w.pods[name].dialer(path=f"{INSTANCE}/{leaf}?api-version={version}&format={form}")
               for leaf in ("compute", "network", "compute/tagsList")
               for name, form in (("a", "json"), ("b", "text"))]
    assert [dialer.read().status for dialer in dialers] == [200] * 6
    times = [datetime.datetime.fromisoformat(e["time"].rstrip("Z"))
             for e in w.upstream.documents(mark)]
    assert len(times) == 6, times
    for earlier, later in zip(times, times[3:]):
        assert (later - earlier).total_seconds() > 0.9, times
    for dialer in dialers:
        dialer.close()


@suite.test("a connection that closes while its document is on its way takes nothing along")
def closed(w):
    mark, version = w.upstream.log.mark(), next(VERSIONS)
    target = f"{INSTANCE}/compute?api-version={version}&format=json"
    with w.upstream.broken(hang=True):
        dialers = [w.pods["a"].dialer(path=target) for _ in range(2)]
        w.upstream.wait_for(target, mark)
        for dialer in dialers:
            dialer._process.kill()  # pylint: disable=protected-access
            dialer._process.wait()  # pylint: disable=protected-access
    _, server = w.agent.pids()
    reply = w.pods["b"].dial(path=f"{INSTANCE}/network?api-version={version}")
    assert reply.status == 200, reply
    # whoever wants the abandoned one joins it and is told when its time is up, or gets a new one
    assert w.pods["b"].dial(path=target).status in (200, 503)
    assert w.pods["b"].dial(path=target).status == 200
    assert w.agent.pids()[1] == server, "the server did not survive it"


@suite.test("a pod that is no longer declared when its document arrives does not get it")
def forgotten(w):
    pod = w.add_pod("leaving", declared=True)
    w.apply_pods()
    version = next(VERSIONS)
    target = f"{INSTANCE}?api-version={version}&format=json"
    assert pod.dial(path=f"{INSTANCE}?{VERSION}").status == 200
    mark = w.upstream.log.mark()
    with w.upstream.broken(delay_ms=1500):
        dialer = pod.dialer(path=target)
        w.upstream.wait_for(target, mark)
        del w.pods["leaving"]
        w.apply_pods()
        reply = dialer.read()
    dialer.close()
    assert denied(reply) or reply["result"] == "error", reply


def tenant_of_token(pod):
    claims = json.loads(pod.dial().body)["access_token"].split(".")[1]
    return json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["tid"]


@suite.test("the tenant is learned from a token of the workload's identity")
def info(w):
    tenant = tenant_of_token(w.pods["a"])
    mark, audit = w.upstream.log.mark(), w.agent.audit.mark()
    for _ in range(2):
        reply = w.pods["a"].dial(path=INFO)
        assert reply.status == 200 and json.loads(reply.body) == {"tenantId": tenant}, reply
    record = w.agent.audit.wait_for(event("metadata.forwarded", request__route="info"), audit)
    assert (record["decision"], record["reason"]) == ("allow", "learned"), record
    requests = w.upstream.log.find(lambda e: e["event"] == "request", mark)
    assert len(requests) == 1 and "/oauth2/token" in requests[0]["target"], requests
    reply = w.pods["c"].dial(path=INFO)
    assert (reply.status, reply.body) == (400, NOT_FOUND), reply
    untouched(w, mark)


@suite.test("the tenant: api-version, and upstream down")
def info_errors(w):
    mark = w.upstream.log.mark()
    for query in ("", "?api-version=2017-12-01"):
        reply = w.pods["a"].dial(path="/metadata/identity/info" + query)
        assert reply.status == 400 and NEWEST in reply.body, reply
    with w.upstream.broken(fail={"status": 503}):
        reply = w.pods["b"].dial(path=INFO)
    assert reply.status == 503, reply
    untouched(w, mark)


@suite.test("the tenant that is declared with the identity is the answer, without a call")
def info_declared(w):
    text = manifests.identity(manifests.ID_B).replace("  type: 0\n",
                                                      f"  type: 0\n  tenantID: {TENANT}\n")
    w.apply("identities.yaml", manifests.join(
        manifests.identity(manifests.ID_A), text,
        manifests.binding("bind-a", manifests.ID_A, "sel-a"),
        manifests.binding("bind-b", manifests.ID_B, "sel-b")))
    mark = w.upstream.log.mark()
    with w.upstream.broken(fail={"status": 503}):
        reply = w.pods["b"].dial(path=INFO)
    assert (reply.status, reply.body) == (200, f'{{"tenantId":"{TENANT}"}}'), reply
    assert not w.upstream.log.find(lambda e: e["event"] == "request", mark)


if __name__ == "__main__":
    suite.run()
