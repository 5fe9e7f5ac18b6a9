"""Service principals and federated identities: tokens come from Entra ID by the credential on disk,
its refusals become what IMDS clients understand, and nothing secret is ever seen."""

import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.parse

import assertions_recorded
from entra import MARK, NAMES, PASSWORD, UNKNOWN, Entra, binding, client_id, federated_token, identity
from harness import TRACES, manifests, standard_world
from places import REPO, TOKEN_PATH
from tap import Skip, Suite
from watch import event

LEGACY = ("-legacy", "-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-RC2-40", "-macalg", "sha1")


def entra_world():
    @contextlib.contextmanager
    def build():
        with standard_world(agent=False) as w:
            w.entra = Entra(w)
            w.entra.start()
            w.entra.put("demo/secret/clientSecret", f"{MARK} of secret\n")
            w.entra.put_certificate("cert")
            w.entra.put_certificate("oldcert", *LEGACY)
            w.entra.put("demo/fed/token", federated_token(int(time.time())))
            for name in NAMES:
                w.add_pod(name, name)
            w.declare()
            w.write("entra.yaml", manifests.join(
                *(identity(name, w.entra.authority) for name in NAMES), *map(binding, NAMES)))
            w.agent.start(secrets=w.entra.secrets)
            yield w
    return build()


def nothing_secret(w):
    """Neither what is on disk, in whatever encoding, nor what was sent."""
    texts = {"output of imdsgate": "".join(w.outputs), "replies": "".join(w.replies)}
    for lines in (w.agent.audit, w.agent.log):
        with open(lines.path, encoding="utf-8") as f:
            texts[lines.path] = f.read()
    for name, text in texts.items():
        for secret in (MARK, urllib.parse.quote(MARK, safe=""), PASSWORD, "client_assertion",
                       "client_secret"):
            assert secret not in text, f"{secret} is in {name}"


suite = Suite(entra_world, (*TRACES, ("nothing secret in audit, log, output or replies",
                                      nothing_secret)))


def ask(w, name, resource="https://vault.azure.net"):
    query = urllib.parse.quote(resource, safe="")
    reply = w.pods[name].dial(path=f"{TOKEN_PATH}&resource={query}")
    w.__dict__.setdefault("replies", [])
    if reply.status != 200:
        w.replies.append(reply.body)
    return reply


def gets_token(name, check):
    def test(w):
        mark, imds = w.entra.log.mark(), w.lab.log.mark()
        reply = ask(w, name, f"https://{name}.example/")
        assert reply.status == 200 and reply.appid == client_id(name), reply
        body = json.loads(reply.body)
        assert body["client_id"] == client_id(name), reply
        assert body["resource"] == f"https://{name}.example/", reply
        (request,) = w.entra.token_requests(mark)
        assert request["endpoint"] == "v1", request
        assert request["resource"] == f"https://{name}.example/", request
        check(request)
        # once more: from the cache
        assert ask(w, name, f"https://{name}.example/").appid == client_id(name)
        assert len(w.entra.token_requests(mark)) == 1
        assert not w.lab.requests(imds), "IMDS was asked"
    return test


def shows(has_secret=False, alg=None, thumbprint=None):
    def check(request):
        assert request["has_secret"] == has_secret, request
        if alg:
            header = request["assertion"]["header"]
            assert header["alg"] == alg and thumbprint in header, request
    return check


suite.test("a client secret")(gets_token("secret", shows(has_secret=True)))
suite.test("a certificate: PS256 and x5t#S256, PKCS#12 as OpenSSL 3 writes it")(
    gets_token("cert", shows(alg="PS256", thumbprint="x5t#S256")))
suite.test("a certificate: RS256 and x5t, PKCS#12 with RC2 and 3DES")(
    gets_token("oldcert", shows(alg="RS256", thumbprint="x5t")))
suite.test("a federated token from a file")(gets_token("fed", shows(alg="RS256", thumbprint="kid")))


@suite.test("others go on to get theirs from IMDS")
def imds(w):
    mark = w.entra.log.mark()
    assert w.pods["a"].dial().appid == manifests.ID_A.client_id
    assert not w.entra.token_requests(mark)


@suite.test("the audit names identity, binding and fingerprint")
def audited(w):
    record = w.agent.audit.wait_for(event("token.issued", pod__name="secret"))
    assert record["identity"]["name"] == "secret", record
    assert record["identity"]["client_id"] == client_id("secret"), record
    assert len(record["token"]["fingerprint"]) == 16, record


@suite.test("a resource that Entra does not know: 400 and Entra's own words")
def unknown_resource(w):
    mark = w.agent.audit.mark()
    reply = ask(w, "secret", UNKNOWN)
    body = json.loads(reply.body)
    assert reply.status == 400 and body["error"] == "invalid_resource", reply
    assert body["error_description"].startswith("AADSTS500011: The resource principal"), reply
    record = w.agent.audit.wait_for(event("token.failed", pod__name="secret"), mark)
    assert record["reason"] == "upstream_rejected", record


@suite.test("a wrong secret: 500 that tells the workload nothing, the audit the number")
def wrong_secret(w):
    mark = w.agent.audit.mark()
    w.entra.put("demo/secret/clientSecret", f"{MARK} wrong")
    reply = ask(w, "secret", "https://wrong.example")
    assert reply.status == 500, reply
    assert "AADSTS" not in reply.body and client_id("secret") not in reply.body, reply
    record = w.agent.audit.wait_for(event("token.failed", pod__name="secret"), mark)
    assert record["reason"] == "upstream_broken", record
    assert "the client secret is wrong (AADSTS7000215)" in record["message"], record


@suite.test("the right secret again: used from the next call on")
def rotated_secret(w):
    w.entra.put("demo/secret/clientSecret", f"{MARK} of secret")
    assert ask(w, "secret", "https://rotated.example").appid == client_id("secret")


@suite.test("a secret that is not there: 500, and the audit names the file")
def lost_secret(w):
    mark, requests = w.agent.audit.mark(), w.entra.log.mark()
    reply = ask(w, "lost")
    assert reply.status == 500 and "secrets" not in reply.body, reply
    record = w.agent.audit.wait_for(event("token.failed", pod__name="lost"), mark)
    assert "demo/lost/clientSecret: No such file or directory" in record["message"], record
    assert not w.entra.token_requests(requests)


@suite.test("... and when it comes, it is used")
def found_secret(w):
    w.entra.put("demo/lost/clientSecret", f"{MARK} of lost")
    assert ask(w, "lost", "https://found.example").appid == client_id("lost")


@suite.test("a secret that the agent may not read: 500, and the audit says so")
def forbidden_secret(w):
    mark = w.agent.audit.mark()
    os.chmod(os.path.join(w.entra.secrets, "demo/lost/clientSecret"), 0o600)
    assert ask(w, "lost", "https://forbidden.example").status == 500
    record = w.agent.audit.wait_for(event("token.failed", pod__name="lost"), mark)
    assert "Permission denied" in record["message"], record


@suite.test("the wrong password of a certificate: 500, and the audit says so")
def wrong_password(w):
    mark = w.agent.audit.mark()
    w.entra.put("demo/cert/password", f"{PASSWORD} wrong")
    assert ask(w, "cert", "https://password.example").status == 500
    record = w.agent.audit.wait_for(event("token.failed", pod__name="cert"), mark)
    assert "demo/cert/certificate: the password does not fit" in record["message"], record
    w.entra.put("demo/cert/password", PASSWORD)


@suite.test("a federated token for somebody else: 400 with Entra's words, and then the right one")
def wrong_subject(w):
    w.entra.put("demo/fed/token", federated_token(int(time.time()), "system:serviceaccount:x:y"))
    reply = ask(w, "fed", "https://subject.example")
    assert reply.status == 400 and "AADSTS700213" in reply.body, reply
    w.entra.put("demo/fed/token", federated_token(int(time.time())))
    assert ask(w, "fed", "https://right.example").appid == client_id("fed")


@suite.test("a federated token that is too old: Entra is asked once more, then 500")
def old_token(w):
    mark, audit = w.entra.log.mark(), w.agent.audit.mark()
    w.entra.put("demo/fed/token", federated_token(int(time.time()) - 7200))
    assert ask(w, "fed", "https://old.example").status == 500
    assert len(w.entra.token_requests(mark)) == 2
    record = w.agent.audit.wait_for(event("token.failed", pod__name="fed"), audit)
    assert "AADSTS700024" in record["message"], record


@suite.test("throttled: 503 for what is not cached, IMDS and the cache go on")
def throttled(w):
    w.entra.admin(throttle={"retry_after": 60, "plain": True})
    assert ask(w, "secret", "https://throttled.example").status == 503
    assert ask(w, "secret", "https://secret.example/").appid == client_id("secret")
    assert ask(w, "a").appid == manifests.ID_A.client_id
    w.entra.admin(clear=True)


@suite.test("Entra hangs: IMDS is not held up")
def hanging(w):
    w.entra.admin(hang=True)
    mark = w.entra.log.mark()
    pod = w.pods["secret"]
    stuck = [pod.spawn(pod.dial_argv("plain", path=f"{TOKEN_PATH}&resource=hang{i}"),
                       stdout=subprocess.PIPE) for i in range(6)]
    w.entra.log.wait_for(lambda _: len(w.entra.token_requests(mark)) == 6, mark)
    assert ask(w, "a", "https://beside.example").appid == manifests.ID_A.client_id
    for process in stuck:
        process.kill()
    w.entra.admin(clear=True)


@suite.test("assertions that the agent sent hold for another implementation")
def outside_check(w):
    if not shutil.which("node"):
        raise Skip("needs node")
    modules = assertions_recorded.install()
    recorder = assertions_recorded.Recorder(w)
    w.apply("entra.yaml", manifests.join(
        *(identity(name, recorder.authority) for name in NAMES), *map(binding, NAMES)))
    for name, alg in (("cert", "PS256"), ("oldcert", "RS256")):
        assert ask(w, name, f"https://{alg}.example").status == 200
        done = subprocess.run(
            ["node", f"{REPO}/tests/entra/verify.mjs"], text=True, capture_output=True, check=False,
            env={"PATH": os.environ["PATH"], "IG_NODE_MODULES": modules}, timeout=60,
            input=json.dumps(recorder.expected(name, alg)))
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["alg"] == alg
    w.apply("entra.yaml", manifests.join(
        *(identity(name, w.entra.authority) for name in NAMES), *map(binding, NAMES)))


@suite.test("Entra is gone: cached tokens go on, the rest is 503 with Retry-After")
def gone(w):
    assert ask(w, "secret", "https://secret.example/").appid == client_id("secret")
    w.entra.stop()
    reply = ask(w, "secret", "https://gone.example")
    assert reply.status == 503, reply
    assert ask(w, "secret", "https://secret.example/").appid == client_id("secret")


@suite.test("status and workload list show identities, and no credential")
def shown(w):
    assert w.agent.cli("status")["tokens"]["cached"] > 0
    assert any("demo/secret" in x["identities"] for x in w.agent.cli("workload", "list"))


if __name__ == "__main__":
    suite.run()
