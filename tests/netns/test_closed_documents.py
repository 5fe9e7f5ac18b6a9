"""Documents that are closed unless a cluster's policy opens them (attested data, scheduled events, the
load balancer): each is asked for as it is documented, by a request of the gate's own, and nobody gets
what was made for another."""

import base64
import contextlib
import json

from harness import TRACES, manifests
from metadata_upstream import build, denied, untouched
from tap import Suite
from watch import event

INSTANCE, VERSION = "/metadata/instance", "api-version=2021-02-01"
NEWEST = '"newest-versions":["2025-04-07","2024-07-17","2024-03-15"]'
ATTESTED, EVENTS = "/metadata/attested/document", "/metadata/scheduledevents"
BALANCER = "/metadata/loadbalancer"

suite = Suite(build, TRACES)


@contextlib.contextmanager
def opened(w, *paths, **spec):
    """A cluster's policy lets pod "a" have these."""
    w.apply("policies.yaml", manifests.policy(
        "open", manifests.POLICY_NAMESPACE, allow={"metadataPaths": paths},
        podSelector={"matchLabels": {"aadpodidbinding": "sel-a"}}, **spec))
    try:
        yield
    finally:
        w.apply("policies.yaml", None)


@suite.test("what a policy opens is asked for by requests of the gate's own, each as documented")
def closed_rebuilt(w):
    wanted = {
        f"{ATTESTED}?api-version=2020-09-01&x=%26&nonce=1234567890&format=json":
            f"{ATTESTED}?api-version=2020-09-01&nonce=1234567890",
        "/Metadata/scheduledevents?api-version=2020-07-01&a=b":
            f"{EVENTS}?api-version=2020-07-01",
        f"{BALANCER}?api-version=2020-10-01": f"{BALANCER}?api-version=2020-10-01&format=json",
    }
    with opened(w, "/metadata/attested", EVENTS, BALANCER):
        for path, target in wanted.items():
            mark, audit = w.upstream.log.mark(), w.agent.audit.mark()
            reply = w.pods["a"].dial(path=path, header=["X-Other: 1", "Cookie: a=b"])
            assert reply.status == 200 and json.loads(reply.body), reply
            (request,) = w.upstream.documents(mark)
            assert request["target"] == target, request
            headers = {name.lower() for name in request["headers"]}
            assert headers == {"host", "user-agent", "accept", "metadata"}, headers
            record = w.agent.audit.wait_for(event("metadata.forwarded", pod__name="a"), audit)
            assert record["policy"] == {"namespace": manifests.POLICY_NAMESPACE,
                                        "name": "open"}, record
            # of others it is still closed, however it is asked for
            for pod in ("b", "c"):
                assert denied(w.pods[pod].dial(path=path))
            assert denied(w.dial_as_stranger(path=path))
            # the list of a cluster's policy is complete
            assert denied(w.pods["a"].dial(path=f"{INSTANCE}?{VERSION}"))
    w.lab.never_reached(strict=True)


def attested_text(reply):
    assert reply.status == 200, reply
    return base64.b64decode(json.loads(reply.body)["signature"])


@suite.test("an attested document is made for whoever asked, even for two with one nonce")
def attested(w):
    with opened(w, ATTESTED):
        mark = w.upstream.log.mark()
        for nonce in ("1111111111", "2222222222", "2222222222"):
            text = attested_text(w.pods["a"].dial(path=f"{ATTESTED}?{VERSION}&nonce={nonce}"))
            assert nonce.encode() in text, nonce
        with w.upstream.broken(delay_ms=500):
            dialers = [w.pods["a"].dialer(path=f"{ATTESTED}?{VERSION}&nonce={nonce}")
                       for nonce in ("33", "44", "44")]
            for dialer, nonce in zip(dialers, (b"33", b"44", b"44")):
                assert nonce in attested_text(dialer.read()), nonce
                dialer.close()
        assert len(w.upstream.documents(mark)) == 6, w.upstream.documents(mark)


@suite.test("scheduled events and the load balancer are shared as other documents are")
def closed_shared(w):
    with opened(w, EVENTS, BALANCER):
        mark = w.upstream.log.mark()
        for path in (f"{EVENTS}?api-version=2019-08-01", f"{BALANCER}?{VERSION}"):
            with w.upstream.broken(delay_ms=500):
                dialers = [w.pods["a"].dialer(path=path) for _ in range(3)]
                assert {dialer.read().status for dialer in dialers} == {200}
            for dialer in dialers:
                dialer.close()
        assert len(w.upstream.documents(mark)) == 2, w.upstream.documents(mark)


@suite.test("what is opened: a wrong query is told to who may ask, and costs no call")
def closed_queries(w):
    mark = w.upstream.log.mark()
    rows = ((ATTESTED, 400, NEWEST), (f"{ATTESTED}?api-version=2018-04-02", 400, NEWEST),
            (f"{ATTESTED}?{VERSION}&nonce=12345678901", 400, "Invalid request"),
            (f"{ATTESTED}?{VERSION}&nonce=%26x", 400, "Invalid request"),
            (f"{ATTESTED}?{VERSION}&format=text", 400, "Invalid request"),
            (f"/metadata/attested?{VERSION}", 404, "not_found"),
            (f"{EVENTS}?api-version=2020-07-02", 400, NEWEST),
            (f"{EVENTS}/x?{VERSION}", 404, "not_found"),
            (f"{BALANCER}?api-version=2020-09-01", 400, NEWEST))
    with opened(w, "/metadata/attested", EVENTS, BALANCER):
        for path, status, text in rows:
            audit = w.agent.audit.mark()
            reply = w.pods["a"].dial(path=path)
            assert reply.status == status and text in reply.body, (path, reply)
            w.agent.audit.wait_for(event("request.rejected", pod__name="a",
                                         request__status=status), audit)
            assert denied(w.pods["b"].dial(path=path)), path
        for path in (EVENTS, ATTESTED):
            reply = w.pods["a"].dial(path=f"{path}?{VERSION}", method="POST")
            assert reply.status == 405, reply
    untouched(w, mark)


@suite.test("what is opened: upstream fails, hangs or talks nonsense")
def closed_failing(w):
    path = f"{ATTESTED}?{VERSION}"
    with opened(w, ATTESTED):
        for command, status in (({"fail": {"status": 503}}, 503), ({"garbage_body": True}, 500),
                                ({"huge": True}, 500), ({"reset": True}, 503)):
            with w.upstream.broken(**command):
                reply = w.pods["a"].dial(path=path)
            assert reply.status == status and "signature" not in reply.body, (command, reply)
        assert w.pods["a"].dial(path=path).status == 200


@suite.test("what a policy closes again is closed on open connections, and for who waits for it")
def closed_again(w):
    path = f"{ATTESTED}?{VERSION}&nonce=55"
    with opened(w, ATTESTED):
        dialer = w.pods["a"].dialer(path=path, requests=2)
        assert dialer.read().status == 200
        mark = w.upstream.log.mark()
        with w.upstream.broken(delay_ms=1500):
            waiting = w.pods["a"].dialer(path=path)
            w.upstream.wait_for(path, mark)
            w.apply("policies.yaml", None)
            assert denied(waiting.read())
            waiting.close()
        assert denied(dialer.next())
        dialer.close()
        w.apply("policies.yaml", manifests.policy("p", allow={}))


if __name__ == "__main__":
    suite.run()
