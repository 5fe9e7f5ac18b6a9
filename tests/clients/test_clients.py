#!/usr/bin/python3
"""Real Azure clients, unchanged, in pods of the test's world: each asks the agent for tokens in
every way that it knows. The table of results is in docs/clients.md; this fails when it is not what
was measured, and --update rewrites it."""

import contextlib
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "netns"))

import table  # noqa: E402
from clients import all_clients  # noqa: E402
from harness import TRACES, World, manifests  # noqa: E402
from places import REPO  # noqa: E402
from tap import Suite  # noqa: E402
from upstream import OUTAGE, Upstream  # noqa: E402
from watch import event  # noqa: E402

A, B = manifests.ID_A, manifests.ID_B
IDENTITY_NOT_FOUND = "Identity not found"
SEVERAL = "Multiple user assigned identities exist"
DOCUMENT = f"{REPO}/docs/clients.md"
CLIENTS = all_clients()


# ---- the world ----------------------------------------------------------------------------------

@contextlib.contextmanager
def build():
    """Pod "one" is bound to A, "two" to A and B, "none" to nothing, "outage" to an identity of its
    own. All of the identities are the node's."""
    with World() as w:
        w.write("identities.yaml", manifests.join(
            *(manifests.identity(ident) for ident in (A, B)),
            manifests.binding("one-a", A, "one"),
            manifests.binding("two-a", A, "two"), manifests.binding("two-b", B, "two")))
        w.write("outage.yaml", outage_manifest(True))
        for name in ("one", "two", "outage"):
            w.add_pod(name, name)
        w.add_pod("none")
        w.declare()
        w.upstream = Upstream(w, (A, B, OUTAGE))
        w.agent.start(imds_url=w.upstream.url)
        yield w


def outage_manifest(bound):
    identity = manifests.identity(OUTAGE)
    binding = manifests.binding("outage", OUTAGE, "outage")
    return manifests.join(identity, binding) if bound else identity


# ---- one attempt --------------------------------------------------------------------------------

class Attempt:
    """What a client answered, and what the agent and the labs saw of it."""

    def __init__(self, w, client, pod, selector=None, value=None):
        client.prepare(w)
        audit, lab, upstream = w.agent.audit.mark(), w.lab.log.mark(), w.upstream.log.mark()
        self.client = client
        self.answer = client.ask(w.pods[pod], selector, value)
        w.lab.never_reached(lab, strict=True)
        assert not w.lab.requests(lab), "somebody asked at the metadata address itself"
        self.upstream = len(w.upstream.requests(upstream))
        self.statuses = w.upstream.replies(upstream)
        final = "token.issued" if self.answer["result"] == "ok" else "token.denied"
        with contextlib.suppress(AssertionError):  # the caller says more about what is missing
            w.agent.audit.wait_for(event(final, pod__name=pod), audit, timeout=3)
        self.records = w.agent.audit.find(lambda r: r["kind"].startswith("token.")
                                          and r.get("pod", {}).get("name") == pod, audit)
        self.kinds = [record["kind"] for record in self.records]

    def __repr__(self):
        return f"{self.answer}, recorded {self.kinds}, upstream answered {self.statuses}"

    def expect_token(self, ident):
        assert self.answer["result"] == "ok" and self.answer["appid"] == ident.client_id, self
        assert self.answer["aud"].rstrip("/") == self.client.resource, self
        assert self.kinds[-1] == "token.issued", self
        return "token"

    def expect_refusal(self, description):
        """Said once, taken for an answer, and passed on to whoever reads the error."""
        assert self.answer["result"] == "error", self
        assert self.kinds == ["token.denied"] and self.records[0]["request"]["status"] == 400, self
        assert not self.upstream, self
        assert self.client.retold(description) in self.answer["message"], self
        return self.answer["name"]


# ---- the scenarios: the name of each is a column of the table -----------------------------------

def no_selector(w, client):
    return Attempt(w, client, "one").expect_token(A)


def by(selector):
    def scenario(w, client):
        attempt = Attempt(w, client, "two", selector, getattr(B, selector))
        cell = attempt.expect_token(B)
        assert attempt.records[-1]["request"]["selector_value"] == getattr(B, selector), attempt
        return cell
    return scenario


def somebody_elses(w, client):
    return Attempt(w, client, "one", "client_id", B.client_id).expect_refusal(IDENTITY_NOT_FOUND)


def no_identity(w, client):
    return Attempt(w, client, "none").expect_refusal(IDENTITY_NOT_FOUND)


def several(w, client):
    return Attempt(w, client, "two").expect_refusal(SEVERAL)


def outage(w, client):
    """The token of an identity that is not bound any more is forgotten, so that upstream has to be
    asked; the first time that happens, it fails."""
    client.prepare(w)
    for bound in (False, True):
        w.apply("outage.yaml", outage_manifest(bound))
    w.upstream.tell(fail={"status": 503, "count": 1})
    try:
        attempt = Attempt(w, client, "outage")
    finally:
        w.upstream.tell(clear=True)
    assert attempt.statuses[:1] == [503], attempt
    attempt.expect_token(OUTAGE)
    assert "token.failed" in attempt.kinds, attempt
    return "token, after retries"


SCENARIOS = (  # and the selector that it takes
    ("one identity, none named", no_selector, None),
    ("client id", by("client_id"), "client_id"),
    ("object id", by("object_id"), "object_id"),
    ("resource id", by("resource_id"), "resource_id"),
    ("another pod's client id", somebody_elses, "client_id"),
    ("no identity", no_identity, None),
    ("several, none named", several, None),
    ("IMDS answers 503 once", outage, None),
)


# ---- results ------------------------------------------------------------------------------------

suite = Suite(build, TRACES, seconds=200)
results = {}


def add(client, title, scenario):
    @suite.test(f"{client.name}: {title}")
    def run(w):
        results[client.name, title] = scenario(w, client)


for a_client in CLIENTS:
    for a_title, a_scenario, needed in SCENARIOS:
        if needed is None or needed in a_client.selectors:
            add(a_client, a_title, a_scenario)
        else:
            results[a_client.name, a_title] = table.IMPOSSIBLE


def measured():
    rows = [["client", "version", *(title for title, _, _ in SCENARIOS)]]
    for client in CLIENTS:
        cells = [results.get((client.name, title), table.UNKNOWN) for title, _, _ in SCENARIOS]
        rows.append([client.name, client.version, *cells])
    return rows


@suite.test("docs/clients.md says what was measured")
def documented(_):
    rows = measured()
    for line in table.lines(rows):
        print(f"# {line}")
    if "--update" in sys.argv[1:]:
        assert table.UNKNOWN not in sum(rows, []), "not everything was measured"
        table.update(DOCUMENT, rows)
    found = table.differences(table.read(DOCUMENT), rows, {c.name for c in CLIENTS if c.floats})
    assert not found, "\n".join([*found, "stale: run tests/clients/test_clients.py --update"])


if __name__ == "__main__":
    suite.run()
