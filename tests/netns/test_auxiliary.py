"""Identities with auxiliary tenants: with --auxiliary-tenant-array the answer is the array that the
old agent gave, all of it or nothing; without, and on /host/token, it is the primary's token alone."""

import base64
import contextlib
import json
import os
import subprocess
import sys
import urllib.parse

from entra import MARK, TENANT, Entra, binding, client_id, identity
from harness import TRACES, manifests, standard_world
from places import HERE, TOKEN_PATH, Place
from tap import Suite
from watch import event

OTHERS = [f"{n}{n}{n}{n}{n}{n}{n}{n}-2222-4333-8444-555555555555" for n in (3, 1, 2)]
ALL = [TENANT, *OTHERS]
PLAIN = "https://vault.azure.net"


class Tenants(Entra):
    other_tenants = OTHERS


def declared(w, tenants):
    text = identity("secret", w.entra.authority)
    return manifests.join(text + f"  auxiliaryTenantIDs: [{', '.join(tenants)}]\n",
                          binding("secret"))


def world():
    @contextlib.contextmanager
    def build():
        with standard_world(agent=False) as w:
            w.entra = Tenants(w)
            w.entra.start()
            w.entra.put("demo/secret/clientSecret", f"{MARK} of secret\n")
            w.add_pod("secret", "secret")
            w.declare()
            w.write("entra.yaml", declared(w, OTHERS))
            w.agent.options |= {"secrets": w.entra.secrets,
                                "host-token-socket": os.path.join(w.tmp, "host.sock")}
            w.agent.start("--auxiliary-tenant-array")
            yield w
    return build()


suite = Suite(world, TRACES)


def ask(w, resource=PLAIN, pod="secret"):
    query = urllib.parse.quote(resource, safe="")
    return w.pods[pod].dial(path=f"{TOKEN_PATH}&resource={query}")


def claims(token):
    part = token["access_token"].split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def tenants_of(reply):
    assert reply.status == 200, reply
    tokens = json.loads(reply.body)
    assert isinstance(tokens, list), reply
    for token in tokens:
        assert claims(token)["appid"] == token["client_id"] == client_id("secret"), reply
        assert token["token_type"] == "Bearer", reply
    return [claims(token)["tid"] for token in tokens]


def asked(w, mark):
    return sorted(r["tenant"] for r in w.entra.token_requests(mark))


@suite.test("an array: the primary tenant's token, then the others in their order")
def array(w):
    mark, audit = w.entra.log.mark(), w.agent.audit.mark()
    assert tenants_of(ask(w)) == ALL
    assert asked(w, mark) == sorted(ALL)
    record = w.agent.audit.wait_for(event("token.issued"), audit)
    prints = [record["token"]["fingerprint"], *record["token"]["auxiliary"]]
    assert len(set(prints)) == 4 and all(len(p) == 16 for p in prints), record
    assert len(w.agent.audit.find(event("token.issued"), audit)) == 1


@suite.test("each is cached by its tenant")
def cached(w):
    mark, audit = w.entra.log.mark(), w.agent.audit.mark()
    assert tenants_of(ask(w)) == ALL
    assert not w.entra.token_requests(mark)
    assert w.agent.audit.wait_for(event("token.issued"), audit)["token"]["cache"] == "hit"


@suite.test("they are asked for at once, and the connection may go meanwhile")
def concurrent(w):
    w.entra.admin(hang=True)
    mark = w.entra.log.mark()
    pod = w.pods["secret"]
    stuck = pod.spawn(pod.dial_argv("plain", path=f"{TOKEN_PATH}&resource=hang"),
                      stdout=subprocess.PIPE)
    w.entra.log.wait_for(lambda _: len(w.entra.token_requests(mark)) == 4, mark)
    assert asked(w, mark) == sorted(ALL)
    stuck.kill()
    stuck.wait()
    w.entra.admin(clear=True)
    assert tenants_of(ask(w, "https://after.example")) == ALL


@suite.test("tenants that are not asked for any more lose their tokens, the others keep theirs")
def kept(w):
    mark = w.entra.log.mark()
    w.apply("entra.yaml", declared(w, OTHERS[:1]))
    assert tenants_of(ask(w)) == ALL[:2]
    assert not w.entra.token_requests(mark), "these were in the cache"
    w.apply("entra.yaml", declared(w, OTHERS))
    assert tenants_of(ask(w)) == ALL
    assert asked(w, mark) == sorted(OTHERS[1:])


@suite.test("/host/token has the primary tenant's token alone")
def host_token(w):
    mark, audit = w.entra.log.mark(), w.agent.audit.mark()
    place = Place(w, w.host_netns, w.cgroup.child("csi"))
    status, out, err = place.run([
        sys.executable, "-S", f"{HERE}/host_client.py", w.agent.options["host-token-socket"], "1",
        "secret", "/host/token/?resource=https://host.example"])
    assert status == 0, err
    body = json.loads(json.loads(out)["body"])
    assert body["clientid"] == client_id("secret") and claims(body["token"])["tid"] == TENANT
    assert asked(w, mark) == [TENANT]
    # earlier records may be written after the mark
    record = w.agent.audit.wait_for(
        event("token.issued", request__resource="https://host.example"), audit)
    assert "auxiliary" not in record["token"], record


@suite.test("one that cannot be had fails them all, cached ones too, and says which")
def failing(w):
    unknown = "99999999-2222-4333-8444-555555555555"
    w.apply("entra.yaml", declared(w, [OTHERS[0], unknown]))
    for resource in (PLAIN, "https://new.example"):
        audit = w.agent.audit.mark()
        reply = ask(w, resource)
        assert reply.status == 400 and "AADSTS90002" in reply.body, reply
        assert "access_token" not in reply.body, reply
        record = w.agent.audit.wait_for(event("token.failed"), audit)
        assert record["reason"] == "upstream_rejected" and "token" not in record, record
    w.apply("entra.yaml", declared(w, OTHERS))
    assert tenants_of(ask(w)) == ALL


@suite.test("an identity without such tenants gets an object, as ever")
def others(w):
    assert ask(w, pod="a").appid == manifests.ID_A.client_id


@suite.test("without the option it is one object, and no other tenant is asked")
def off(w):
    assert w.agent.stop() == 0
    w.agent.start()
    mark = w.entra.log.mark()
    assert ask(w).appid == client_id("secret")
    assert asked(w, mark) == [TENANT]


if __name__ == "__main__":
    suite.run()
