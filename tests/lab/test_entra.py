#!/usr/bin/python3
"""Tests the lab's Entra ID: test_entra.py [PROGRAM]. Prints TAP, exits with 1 when anything failed.

For every rule there is one request that keeps all of them and passes, and one that breaks just this
one and is refused with its own number. Assertions are made by assertions.py.
"""

import contextlib
import hmac
import json
import sys
import tempfile
import time
import urllib.parse
import uuid

sys.dont_write_bytecode = True
from assertions import base64url, encode, jwt, key  # noqa: E402
from labtest import (ALPHA, APP, BETA, SECRET, TENANT, UNKNOWN, VAULT, entra_lab, from_file,  # noqa: E402
                     run_tests, verify)

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ISSUER = "https://issuer.example/cluster"
SUBJECT = "system:serviceaccount:shop:web"
AUDIENCE = "api://AzureADTokenExchange"
MANAGED = ("managed", "d4d4d4d4-0000-4000-8000-000000000001", "d4d4d4d4-0000-4000-8000-000000000002", ALPHA[3] + "-m")
GOOD = {"grant_type": "client_credentials", "client_id": APP, "client_secret": SECRET, "resource": VAULT}


def now():
    return int(time.time())


def check_refusal(answer, status, error, code):
    got, reply = answer
    assert (got, reply["error"], reply["error_codes"]) == (status, error, [code]), reply
    text = reply["error_description"]
    assert text.startswith(f"AADSTS{code}: ") and f"Trace ID: {reply['trace_id']} " in text, text
    assert f"Correlation ID: {reply['correlation_id']} " in text and text.endswith("Timestamp: " + reply["timestamp"])
    assert list(reply) == ["error", "error_description", "error_codes", "timestamp", "trace_id", "correlation_id", "error_uri"]
    assert reply["error_uri"].endswith(f"/error?code={code}")
    assert len(reply["trace_id"]) == len(reply["correlation_id"]) == 36 and "access_token" not in reply


# ---- requests by certificate ----

def certificate_lab(program, *args, certificate=None, **more):
    """An application that may use the key "first", or what `certificate` says."""
    return from_file(program, *args, tenant=TENANT, unknown_resources=[UNKNOWN], identities=[
        {"name": "app", "client_id": APP, "object_id": BETA[2], "certificate": certificate or key("first").pem, **more},
        {"name": "bare", "client_id": BETA[1], "object_id": BETA[2], "secret": SECRET}])


def own_header(signer, alg):
    if alg == "PS256":
        return {"alg": alg, "typ": "JWT", "x5t#S256": signer.x5t_s256}
    return {"alg": alg, "typ": "JWT", "x5t": signer.x5t}


def own_claims(url, **changes):
    return {"aud": url, "iss": APP, "sub": APP, "jti": str(uuid.uuid4()), "nbf": now(), "iat": now(), "exp": now() + 600, **changes}


def assertion_form(text, **changes):
    form = {"grant_type": "client_credentials", "client_id": APP, "client_assertion_type": JWT_BEARER,
            "client_assertion": text, "resource": VAULT, **changes}
    return {k: v for k, v in form.items() if v is not None}


class Own:
    """Asks a lab for tokens by certificate."""

    def __init__(self, lab, signer=None):
        self.lab, self.signer = lab, signer or key("first")

    def text(self, alg="RS256", how=None, header=None, signer=None, url=None, **claims):
        head = {**own_header(self.signer, alg), **(header or {})}
        return jwt(signer or self.signer, head, own_claims(url or self.lab.url(), **claims), how or alg)

    def ask(self, *args, form=None, **changes):
        return self.lab.entra(**assertion_form(self.text(*args, **changes), **(form or {})))

    def passes(self, *args, **changes):
        status, reply = self.ask(*args, **changes)
        assert status == 200, reply
        claims = verify(self.lab, reply["access_token"])
        assert claims["appid"] == APP and claims["appidacr"] == "2" and claims["aud"] == VAULT
        return reply

    def refused(self, code, *args, status=401, error="invalid_client", **changes):
        check_refusal(self.ask(*args, **changes), status, error, code)


# ---- requests by federation ----

def federated(**changes):
    credential = {"issuer": ISSUER, "subject": SUBJECT, "audience": AUDIENCE, "jwks": {"keys": [key("cluster").jwk()]}, **changes}
    return {k: v for k, v in credential.items() if v is not None}


def federation_lab(program, *credentials, **more):
    credentials = list(credentials) or [federated()]
    return from_file(program, tenant=TENANT, identities=[
        {"name": MANAGED[0], "client_id": MANAGED[1], "object_id": MANAGED[2], "resource_id": MANAGED[3], "federated": credentials, **more},
        {"name": "app", "client_id": APP, "object_id": BETA[2], "federated": credentials},
        {"name": "bare", "client_id": BETA[1], "object_id": BETA[2], "secret": SECRET}])


class Federated:
    """Asks a lab for tokens with what a cluster gives to a service account: no typ, no nbf needed."""

    def __init__(self, lab):
        self.lab = lab

    def ask(self, how="RS256", header=None, signer=None, form=None, **claims):
        head = {"alg": "RS256", "kid": "cluster", **(header or {})}
        body = {"iss": ISSUER, "sub": SUBJECT, "aud": [AUDIENCE], "exp": now() + 3600, "iat": now(), "nbf": now(), **claims}
        text = jwt(signer or key("cluster"), head, body, how)
        return self.lab.entra(**assertion_form(text, **{"client_id": MANAGED[1], **(form or {})}))

    def passes(self, *args, **changes):
        status, reply = self.ask(*args, **changes)
        assert status == 200, reply
        assert verify(self.lab, reply["access_token"])["appidacr"] == "2"
        return reply

    def refused(self, code, *args, status=401, error="invalid_client", **changes):
        check_refusal(self.ask(*args, **changes), status, error, code)


# ---- the tests: each takes the program's path, and fails by an exception ----

def test_discovery(program):
    with entra_lab(program) as lab:
        status, conf = lab.json(f"/{TENANT}/.well-known/openid-configuration", headers={})
        assert status == 200 and conf["issuer"] == f"https://sts.windows.net/{TENANT}/"
        base = "http://%s:%d" % lab.address
        assert conf["jwks_uri"] == base + "/common/discovery/keys"
        assert conf["token_endpoint"] == f"{base}/{TENANT}/oauth2/token"
        assert lab.get("/common/discovery/keys", headers={}, method="POST")[0] == 405
        assert lab.get(f"/{APP}/.well-known/openid-configuration", headers={})[0] == 400


def test_secret(program):
    with entra_lab(program) as lab:
        status, reply = lab.entra(**GOOD)
        assert status == 200, reply
        assert all(isinstance(v, str) for v in reply.values()) and 3590 <= int(reply["expires_in"]) <= 3600
        claims = verify(lab, reply["access_token"])
        assert claims["appid"] == APP and claims["aud"] == VAULT == reply["resource"]
        assert claims["exp"] == int(reply["expires_on"]) and claims["appidacr"] == "1" and "xms_mirid" not in claims
        assert lab.entra(**GOOD)[1]["access_token"] != reply["access_token"]

        def refused(status, error, code, tenant=TENANT, **changes):
            form = {k: v for k, v in {**GOOD, **changes}.items() if v is not None}
            answer = lab.entra(tenant, **form)
            check_refusal(answer, status, error, code)
            assert SECRET not in json.dumps(answer)
            assert lab.log()[-1]["error_code"] == code
        refused(401, "invalid_client", 7000215, client_secret=SECRET + "x")
        refused(401, "invalid_client", 7000215, client_secret=SECRET[:-1])
        refused(401, "invalid_client", 7000215, client_secret="")
        refused(401, "invalid_client", 7000215, client_id=ALPHA[1])
        refused(401, "invalid_client", 7000216, client_secret=None)
        refused(400, "unauthorized_client", 700016, client_id=BETA[1])
        refused(400, "invalid_request", 90002, tenant=APP)
        refused(400, "invalid_resource", 500011, resource=UNKNOWN)
        refused(400, "invalid_request", 900144, resource=None)
        refused(400, "invalid_request", 900144, grant_type=None)
        refused(400, "unsupported_grant_type", 70003, grant_type="password")
        assert lab.get(f"/{TENANT}/oauth2/token", headers={})[0] == 405
        assert SECRET not in json.dumps(lab.log())


def test_expired_secret(program):
    identities = [{"name": "app", "client_id": APP, "object_id": BETA[2], "secret": SECRET, "secret_expired": True}]
    with from_file(program, tenant=TENANT, identities=identities) as lab:
        check_refusal(lab.entra(**GOOD), 401, "invalid_client", 7000222)
        check_refusal(lab.entra(**{**GOOD, "client_secret": "wrong"}), 401, "invalid_client", 7000215)


def test_form(program):
    with entra_lab(program) as lab:
        body = urllib.parse.urlencode(GOOD)
        for kind in ("application/x-www-form-urlencoded", "Application/X-WWW-Form-Urlencoded", "application/x-www-form-urlencoded; charset=utf-8"):
            assert lab.post(body, kind=kind)[0] == 200, kind
        for kind in ("application/json", "text/plain", "application/x-www-form-urlencodedx", None):
            status, _, reply = lab.post(body, kind=kind)
            check_refusal((status, json.loads(reply)), 400, "invalid_request", 900144)
        for name in ("resource", "client_id", "grant_type", "client_secret"):
            status, _, reply = lab.post(body + "&" + urllib.parse.urlencode({name: GOOD[name]}))
            check_refusal((status, json.loads(reply)), 400, "invalid_request", 9000411)
        for bad in ("%zz", "a=%00"):
            status, _, reply = lab.post(body + "&" + bad)
            check_refusal((status, json.loads(reply)), 400, "invalid_request", 900144)
        check_refusal(lab.entra(**GOOD, client_assertion="a.b.c", client_assertion_type=JWT_BEARER), 400, "invalid_request", 90023)
        for endpoint in ("tokens", "token/x", "v2.0/tokens", "v1.0/token", "V2.0/token"):
            assert lab.post(body, endpoint=endpoint)[0] == 404, endpoint


def test_v2(program):
    form = {k: v for k, v in GOOD.items() if k != "resource"}
    with entra_lab(program) as lab:
        for resource in (VAULT, "https://management.azure.com/", "00000000-0000-4000-8000-00000000000a"):
            status, reply = lab.entra(endpoint="v2.0/token", scope=resource + "/.default", **form)
            assert status == 200 and list(reply) == ["token_type", "expires_in", "ext_expires_in", "access_token"], reply
            assert isinstance(reply["expires_in"], int) and 3590 <= reply["expires_in"] <= 3600
            assert verify(lab, reply["access_token"])["aud"] == resource
            assert lab.last("resource")["resource"] == resource

        def refused(error, code, **more):
            check_refusal(lab.entra(endpoint="v2.0/token", **form, **more), 400, error, code)
        refused("invalid_request", 900144)
        refused("invalid_request", 901002, resource=VAULT)
        refused("invalid_request", 901002, resource=VAULT, scope=VAULT + "/.default")
        refused("invalid_scope", 1002012, scope=VAULT)
        refused("invalid_scope", 1002012, scope="/.default")
        refused("invalid_scope", 1002012, scope=VAULT + "/.Default")
        refused("invalid_scope", 70011, scope=f"{VAULT}/.default openid")
        refused("invalid_resource", 500011, scope=UNKNOWN + "/.default")
        assert lab.get(f"/{TENANT}/oauth2/v2.0/token", headers={})[0] == 405
        # v1 does not know what a scope is
        check_refusal(lab.entra(scope=VAULT + "/.default", **form), 400, "invalid_request", 900144)


def test_certificate(program):
    with certificate_lab(program) as lab:
        own = Own(lab)
        reply = own.passes()
        assert all(isinstance(v, str) for v in reply.values()) and 3590 <= int(reply["expires_in"]) <= 3600
        assert lab.last("credential")["credential"] == "certificate" and lab.last("credential")["client_id"] == APP
        own.passes("PS256")
        own.passes("RS256", header={"x5t#S256": key("first").x5t_s256})
        own.passes("PS256", header={"x5t": key("first").x5t, "kid": "whatever", "x5c": ["MII"]})
        own.passes(header={"typ": None})
        own.passes(iss=APP.upper(), sub=APP.upper())
        own.passes(nbf=now() + 300, exp=now() + 900)
        own.passes(nbf=now() - 86000, exp=now() + 400)
        own.passes(nbf=now(), exp=now() + 86400)
        own.passes(iat=None)
        status, reply = lab.entra(endpoint="v2.0/token", **assertion_form(own.text(url=lab.url(endpoint="v2.0/token")), resource=None,
                                                                          scope=VAULT + "/.default"))
        assert status == 200 and verify(lab, reply["access_token"])["aud"] == VAULT
        upper = lab.entra(TENANT.upper(), **assertion_form(own.text(url=lab.url(TENANT.upper()))))
        assert upper[0] == 200, "the audience is the URL as it was called"
        own.refused(500011, status=400, error="invalid_resource", form={"resource": UNKNOWN})
        own.refused(900144, status=400, error="invalid_request", form={"resource": None})
        own.refused(700016, status=400, error="unauthorized_client", form={"client_id": ALPHA[1]})


def test_certificate_signature(program):
    first, other, stale = key("first"), key("other"), key("stale", days=-1)
    with certificate_lab(program, certificate=first.pem + stale.pem) as lab:
        own = Own(lab)
        own.passes()
        own.refused(700027, signer=other)
        own.refused(700027, "PS256", signer=other)
        own.refused(700027, header={"x5t": other.x5t}, signer=other)
        own.refused(700027, header={"x5t": other.x5t})
        own.refused(700027, "PS256", header={"x5t#S256": other.x5t_s256})
        own.refused(700027, "PS256", header={"x5t": other.x5t})
        own.refused(700027, "RS256", header={"x5t#S256": other.x5t_s256})
        own.refused(700027, header={"x5t": stale.x5t}, signer=stale)
        own.refused(700027, "RS256", "PS256")
        own.refused(700027, "PS256", "RS256")
        own.refused(700027, "PS256", "PS256 with another salt")
        for header in ({"x5t": None}, {"x5t": ""}, {"x5t": 1}, {"x5t": first.x5t.lower()}, {"x5t": first.x5t + "="},
                       {"x5t": None, "x5t#S256": first.x5t_s256}, {"x5t": None, "kid": first.x5t}):
            own.refused(700027, header=header)
        own.refused(700027, "PS256", header={"x5t#S256": None, "x5t": first.x5t})
        for alg in ("none", "None", "HS256", "RS512", "ES256", "rs256", "", 256, None):
            own.refused(700027, header={"alg": alg})
        # a public key taken for a shared one
        text = own.text(header={"alg": "HS256"}).rsplit(".", 1)[0]
        mac = hmac.new(first.pem.encode(), text.encode(), "sha256").digest()
        for signature in ("", base64url(mac), base64url(b"\0" * 256)):
            check_refusal(lab.entra(**assertion_form(f"{text}.{signature}")), 401, "invalid_client", 700027)
        # another application's certificate is of no use
        own.refused(700027, iss=BETA[1], sub=BETA[1], form={"client_id": BETA[1]})


def test_changed_assertion(program):
    """Every part is covered by the signature."""
    with certificate_lab(program) as lab:
        head, claims, signature = Own(lab).text().split(".")
        longer = encode(own_claims(lab.url(), exp=now() + 700))
        headers = encode({**own_header(key("first"), "RS256"), "kid": "x"})
        _, _, foreign = Own(lab).text(exp=now() + 800).split(".")
        for text in (f"{head}.{longer}.{signature}", f"{headers}.{claims}.{signature}", f"{head}.{claims}.{foreign}",
                     f"{head}.{claims}."):
            check_refusal(lab.entra(**assertion_form(text)), 401, "invalid_client", 700027)
        assert lab.entra(**assertion_form(f"{head}.{claims}.{signature}"))[0] == 200, "refused ones must not use up the jti"


def test_malformed_assertion(program):
    with certificate_lab(program) as lab:
        good = Own(lab).text()
        head, claims, signature = good.split(".")
        array, duplicate = encode([1]), encode(b'{"alg":"RS256","alg":"RS256"}')
        for text in ("", ".", "..", "a.b.c", head, f"{head}.{claims}", f".{claims}.{signature}", f"{head}..{signature}", good + ".",
                     good + ".x", good + "=", " " + good, f"{head}=.{claims}.{signature}", f"{array}.{claims}.{signature}",
                     f"{head}.{array}.{signature}", f"{duplicate}.{claims}.{signature}", f"{head}.{claims}.a", f"{head}.{claims}.{'A' * 341}",
                     f"{head}.{claims}.+/", f"{head}.{claims}.AB", f"{encode(b'{')}.{claims}.{signature}",
                     f"{encode(bytes([255]))}.{claims}.{signature}", f"{head}.{encode(b'')}.{signature}"):
            check_refusal(lab.entra(**assertion_form(text)), 400, "invalid_request", 50027)
        own = Own(lab)
        for typ in ("jwt", "at+jwt", "", 1, ["JWT"]):
            own.refused(5002727, status=400, error="invalid_request", header={"typ": typ})
        own.refused(50027, status=400, error="invalid_request", header={"crit": ["exp"]})
        form = assertion_form(good)
        check_refusal(lab.entra(**{**form, "client_assertion_type": JWT_BEARER + "x"}), 400, "invalid_request", 90023)
        del form["client_assertion_type"]
        check_refusal(lab.entra(**form), 400, "invalid_request", 900144)
        own.passes()


def test_certificate_claims(program):
    with certificate_lab(program) as lab:
        own = Own(lab)
        for claims in ({"iss": BETA[1]}, {"sub": BETA[1]}, {"iss": None}, {"sub": None}, {"iss": ""}, {"sub": 1}, {"iss": [APP]},
                       {"iss": ISSUER, "sub": SUBJECT}):
            own.refused(700021, **claims)
        url = lab.url()
        for aud in (None, "", url + "/", url.upper(), url.replace("127.0.0.1", "localhost"), url.replace("http:", "https:"), [url],
                    lab.url(endpoint="v2.0/token"), lab.url(APP), lab.url("common"), AUDIENCE, 1):
            own.refused(700023, aud=aud)
        t = now()
        for times in ({"exp": t}, {"exp": t - 1, "nbf": t - 600}, {"nbf": t + 400, "exp": t + 900}, {"exp": t + 86401, "nbf": t},
                      {"nbf": t - 86000, "exp": t + 500}, {"nbf": t + 200, "exp": t + 200}, {"nbf": t + 200, "exp": t + 100}, {"exp": None},
                      {"nbf": None}, {"exp": str(t + 600)}, {"nbf": str(t)}, {"exp": t + 600.5}, {"exp": -1}, {"nbf": -1},
                      {"exp": 2 ** 62, "nbf": t}, {"exp": True}):
            own.refused(700024, **times)
        for jti in (None, "", 1, ["x"]):
            own.refused(50013, jti=jti)
        own.passes()


def test_replay(program):
    with certificate_lab(program) as lab:
        own = Own(lab)
        text = own.text()
        assert lab.entra(**assertion_form(text))[0] == 200
        check_refusal(lab.entra(**assertion_form(text)), 401, "invalid_client", 50013)
        own.passes(jti="a")
        own.refused(50013, jti="a")
        own.refused(50013, "PS256", jti="a")
        own.passes(jti="A")
        # it is used up even if there is no token in the end
        own.refused(500011, status=400, error="invalid_resource", jti="b", form={"resource": UNKNOWN})
        own.refused(50013, jti="b")
        # … but not by an assertion that proves nothing
        own.refused(700027, jti="c", signer=key("other"))
        own.refused(700024, jti="c", exp=now())
        own.passes(jti="c")


def test_certificates_of_an_application(program):
    first, other = key("first"), key("other")
    with certificate_lab(program, certificate=first.pem + other.pem) as lab:
        for signer in (first, other):
            for alg in ("RS256", "PS256"):
                Own(lab, signer).passes(alg)
        Own(lab, first).refused(700027, signer=other)
        Own(lab, first).refused(700027, "PS256", header={"x5t": other.x5t})
    with certificate_lab(program, certificate=other.certificate_path) as lab:
        Own(lab, other).passes()
        Own(lab, first).refused(700027)
        assert lab.token()[1]["error_description"] == "Identity not found", "an application is not of the machine"
    with certificate_lab(program, secret=SECRET) as lab:
        assert lab.entra(**GOOD)[0] == 200
        Own(lab).passes()
    with certificate_lab(program, assigned=True) as lab:
        assert lab.token()[1]["client_id"] == APP


def test_entra_url(program):
    base = "https://login.example"
    with certificate_lab(program, "--entra-url", base) as lab:
        own = Own(lab)
        own.passes(url=f"{base}/{TENANT}/oauth2/token")
        own.refused(700023)
        _, conf = lab.json(f"/{TENANT}/.well-known/openid-configuration", headers={})
        assert conf["token_endpoint"] == f"{base}/{TENANT}/oauth2/token" and conf["jwks_uri"] == f"{base}/common/discovery/keys"
    with certificate_lab(program) as lab:
        # the Host header is the authority that the client called
        text = Own(lab).text(url=f"http://login.example/{TENANT}/oauth2/token")
        body = urllib.parse.urlencode(assertion_form(text))
        request = (f"POST /{TENANT}/oauth2/token HTTP/1.1\r\nHost: login.example\r\nConnection: close\r\n"
                   f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n{body}")
        assert b" 200 OK\r\n" in lab.raw(request.encode())


def test_federation(program):
    with federation_lab(program) as lab:
        fed = Federated(lab)
        reply = fed.passes()
        assert 86390 <= int(reply["expires_in"]) <= 86400, "a managed identity gets a day"
        claims = verify(lab, reply["access_token"])
        assert claims["appid"] == MANAGED[1] and claims["oid"] == MANAGED[2] and claims["xms_mirid"] == MANAGED[3]
        assert lab.last("credential")["credential"] == "federation"
        reply = fed.passes(form={"client_id": APP})
        assert 3590 <= int(reply["expires_in"]) <= 3600, "an application gets an hour"
        fed.passes(aud=AUDIENCE)
        fed.passes(header={"typ": "JWT"})
        fed.passes(nbf=None, iat=None)
        fed.passes(exp=now() + 10 ** 6)
        fed.passes(nbf=now() + 300)
        fed.passes(jti="same")
        fed.passes(jti="same")  # a cluster's token may be used until it expires
        assert lab.token()[1]["error_description"] == "Identity not found"
        lab.admin({"token_life": 60})
        assert 50 <= int(fed.passes()["expires_in"]) <= 60
    with federation_lab(program, secret=SECRET) as lab:
        reply = lab.entra(**{**GOOD, "client_id": MANAGED[1]})[1]
        assert 3590 <= int(reply["expires_in"]) <= 3600, "the day is for federation only"


def test_federation_refused(program):
    with federation_lab(program) as lab:
        fed = Federated(lab)
        fed.refused(70021, status=400, error="invalid_request", form={"client_id": BETA[1]})
        for issuer in (ISSUER + "/", ISSUER.upper(), "", None, 1, [ISSUER]):
            fed.refused(700211, iss=issuer)
        for audience in (AUDIENCE + "x", AUDIENCE.lower(), "", None, [], [AUDIENCE, "x"], ["x", AUDIENCE], [[AUDIENCE]], 1):
            fed.refused(700212, aud=audience)
        for subject in (SUBJECT + "x", SUBJECT.upper(), "system:serviceaccount:shop:*", "", None, 1):
            fed.refused(700213, sub=subject)
        fed.refused(700211, iss="x", aud="x", sub="x")
        fed.refused(700212, aud="x", sub="x")
        t = now()
        for times in ({"exp": t}, {"exp": t - 3600, "nbf": t - 7200}, {"exp": None}, {"exp": "x"}, {"nbf": t + 400}, {"nbf": "x"},
                      {"nbf": t + 200, "exp": t + 100}):
            fed.refused(700024, **times)
        fed.refused(700027, signer=key("first"))
        fed.refused(700027, header={"kid": "other"})
        fed.refused(700027, header={"kid": None})
        fed.refused(700027, header={"kid": "first"}, signer=key("first"))
        fed.refused(700027, header={"alg": "PS256"}, how="PS256")
        fed.refused(700027, header={"alg": "none"})
        # with a thumbprint it is a certificate's affair, and there is none
        fed.refused(700027, header={"x5t": key("cluster").x5t})
        fed.passes()


def test_federated_credentials(program):
    """Several of them: each is only good as a whole."""
    first, cluster = key("first"), key("cluster")
    second = federated(issuer="https://second.example", subject="s2", audience="a2", jwks={"keys": [first.jwk(), {"kty": "EC", "kid": "e"}]})
    third = federated(subject="s3", audience=None)
    with federation_lab(program, federated(), second, third) as lab:
        fed = Federated(lab)
        fed.passes()
        fed.passes(sub="s3")
        fed.passes(iss="https://second.example", sub="s2", aud="a2", header={"kid": "first"}, signer=first)
        fed.refused(700027, iss="https://second.example", sub="s2", aud="a2")
        fed.refused(700027, header={"kid": "first"}, signer=first)
        fed.refused(700212, iss="https://second.example")
        fed.refused(700213, iss="https://second.example", aud="a2")
        fed.refused(700213, sub="s2")
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump({"keys": [cluster.jwk(use=None, alg=None), first.jwk()]}, f)
        f.flush()
        with federation_lab(program, federated(jwks=f.name)) as lab:
            Federated(lab).passes()
            Federated(lab).passes(header={"kid": "first"}, signer=first)
            Federated(lab).refused(700027, header={"kid": "first"})


def test_tenant(program):
    with certificate_lab(program) as lab:
        for tenant in (APP, "common", "organizations"):
            text = Own(lab).text(url=lab.url(tenant))
            check_refusal(lab.entra(tenant, **assertion_form(text)), 400, "invalid_request", 90002)


def test_log(program):
    """What was asked is in the log, whatever came of it; what could be used by others is not."""
    with certificate_lab(program, secret=SECRET) as lab:
        own = Own(lab)
        sent = []

        def request(form, **more):
            sent.append(form)
            lab.post(form, **more)
            return lab.last("method")["token_request"]
        text = own.text(jti="j-1", nbf=now() - 5, exp=now() + 595)
        entry = request(assertion_form(text))
        claims = entry["assertion"].pop("claims")
        assert entry == {"endpoint": "v1", "tenant": TENANT, "grant_type": "client_credentials", "client_id": APP, "resource": VAULT,
                         "client_assertion_type": JWT_BEARER, "has_secret": False,
                         "assertion": {"header": own_header(key("first"), "RS256"), "lifetime": 600}}, entry
        assert claims["jti"] == "j-1" and claims["aud"] == lab.url() and claims["iss"] == claims["sub"] == APP
        assert lab.log()[-1]["credential"] == "certificate" and "error_code" not in lab.log()[-1]
        entry = request({**GOOD, "scope": "s"}, endpoint="v2.0/token", tenant=BETA[1])
        assert entry == {"endpoint": "v2", "tenant": BETA[1], "grant_type": "client_credentials", "client_id": APP, "resource": VAULT,
                         "scope": "s", "has_secret": True}, entry
        assert lab.log()[-1]["error_code"] == 90002 and "credential" not in lab.log()[-1]
        assert request(assertion_form("not.a.jwt"))["assertion"] is None
        assert request("%zz") == {"endpoint": "v1", "tenant": TENANT} and request("") == {"endpoint": "v1", "tenant": TENANT, "has_secret": False}
        for fault in ({"fail": {"status": 503, "count": 1}}, {"throttle": {"count": 1}}, {"truncate": True}):
            lab.admin(fault)
            with contextlib.suppress(Exception):
                request(assertion_form(own.text(jti=json.dumps(fault))))
            lab.admin({"clear": True})
            assert lab.last("method")["token_request"]["assertion"]["claims"]["jti"] == json.dumps(fault)
        lab.get(f"/{TENANT}/oauth2/token")
        assert "token_request" not in lab.last("method")
        whole = json.dumps(lab.log())
        assert SECRET not in whole and urllib.parse.quote(SECRET) not in whole and "access_token" not in whole
        for form in sent:
            if isinstance(form, dict) and form.get("client_assertion", "").count(".") == 2:
                assert all(len(part) < 20 or part not in whole for part in form["client_assertion"].split("."))


def test_entra_errors(program):
    """Every error of the protocol on demand, with its number, and only at the token endpoints."""
    known = {50001: (400, "invalid_resource"), 50012: (401, "invalid_client"), 50013: (401, "invalid_client"), 50196: (400, "invalid_grant"),
             70011: (400, "invalid_scope"), 1002012: (400, "invalid_scope"), 70021: (400, "invalid_request"), 700211: (401, "invalid_client"),
             700212: (401, "invalid_client"), 700213: (401, "invalid_client"), 700024: (401, "invalid_client"), 700027: (401, "invalid_client"),
             7000215: (401, "invalid_client"), 7000222: (401, "invalid_client"), 700016: (400, "unauthorized_client"), 90002: (400, "invalid_request"),
             500011: (400, "invalid_resource"), 90033: (503, "temporarily_unavailable")}
    with entra_lab(program) as lab:
        for code, (status, error) in known.items():
            assert lab.admin({"entra_error": {"code": code, "count": 1}}) == {"ok": True}
            assert lab.get("/common/discovery/keys", headers={})[0] == 200
            assert lab.token()[0] == 200, "it is not for IMDS"
            check_refusal(lab.entra(**GOOD), status, error, code)
            assert lab.log()[-1]["fault"] == "entra_error" and lab.log()[-1]["error_code"] == code
            assert lab.entra(**GOOD)[0] == 200
        for command, status, error, code in (({"code": 90033, "status": 500, "count": 2}, 500, "temporarily_unavailable", 90033),
                                             ({"code": 123, "status": 400, "count": 2}, 400, "invalid_request", 123),
                                             ({"code": 123, "status": 401, "count": 2}, 401, "invalid_client", 123),
                                             ({"code": 123, "status": 502, "count": 2}, 502, "temporarily_unavailable", 123)):
            lab.admin({"entra_error": command})
            for _ in range(2):
                check_refusal(lab.entra(**GOOD), status, error, code)
            assert lab.entra(**GOOD)[0] == 200
        lab.admin({"entra_error": {"code": 90033, "retry_after": 3}})
        for _ in range(3):
            status, headers, _ = lab.post(GOOD, endpoint="v2.0/token")
            assert (status, headers["Retry-After"]) == (503, "3")
        assert lab.admin({"entra_error": False}) == {"ok": True} and lab.entra(**GOOD)[0] == 200


def test_throttle(program):
    with entra_lab(program) as lab:
        lab.admin({"throttle": {"retry_after": 60, "plain": True}})
        status, headers, body = lab.post(GOOD)
        assert (status, headers["Retry-After"], body) == (429, "60", b"Too Many Requests")
        assert headers["Content-Type"].startswith("text/plain") and lab.token()[0] == 200
        lab.admin({"throttle": {"count": 1}})
        status, headers, body = lab.post(GOOD)
        assert headers["Retry-After"] is None
        check_refusal((status, json.loads(body)), 429, "temporarily_unavailable", 90055)
        assert lab.entra(**GOOD)[0] == 200
        lab.admin({"throttle": {"retry_after": 1}}, {"throttle": False})
        assert lab.entra(**GOOD)[0] == 200
        lab.admin({"throttle": {"retry_after": 1}}, {"clear": True})
        assert lab.entra(**GOOD)[0] == 200


def test_bad_credentials(program):
    """The file is refused as a whole, with one line that says why."""
    person = {"name": "a", "client_id": APP, "object_id": APP}
    first = key("first")
    half = "\n".join(first.pem.splitlines()[:-5]) + "\n"
    weak, curve = key("weak", "rsa:1024"), key("curve", "ec")
    jwk = first.jwk()
    bad = [{"certificate": c} for c in ("", "/nowhere", "x", 1, [first.pem], half, first.pem + half, weak.pem, curve.pem, first.path,
                                        first.pem * 9, "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n")]
    bad += [{"federated": [federated(**c)]} for c in (
        {"issuer": None}, {"subject": None}, {"jwks": None}, {"issuer": ""}, {"subject": ""}, {"audience": ""}, {"issuer": 1}, {"more": 1},
        {"jwks": {}}, {"jwks": []}, {"jwks": {"keys": {}}}, {"jwks": {"keys": []}}, {"jwks": "/nowhere"}, {"jwks": first.path},
        {"jwks_url": "http://127.0.0.1:1"}, {"jwks": {"keys": [{**jwk, "use": "enc"}]}}, {"jwks": {"keys": [{**jwk, "alg": "RS512"}]}},
        {"jwks": {"keys": [{**jwk, "n": "AQAB"}]}}, {"jwks": {"keys": [{**jwk, "n": ""}]}}, {"jwks": {"keys": [{**jwk, "e": ""}]}},
        {"jwks": {"keys": [{**jwk, "n": jwk["n"] + "="}]}}, {"jwks": {"keys": [{**jwk, "kid": ""}]}}, {"jwks": {"keys": [1]}},
        {"jwks": {"keys": [{**jwk, "n": 5}]}}, {"jwks": {"keys": [weak.jwk()]}}, {"jwks": {"keys": [jwk] * 17}})]
    bad += [{"federated": {}}, {"federated": [1]}, {"federated": [federated()] * 21}, {"secret_expired": 1}]
    for credential in bad:
        try:
            with from_file(program, identities=[{**person, **credential}]):
                pass
        except RuntimeError as e:
            text = str(e)
            assert text.startswith("imdsgate-lab: ") and "Sanitizer" not in text and len(text.splitlines()) == 1, text
        else:
            raise AssertionError(f"accepted {credential}")
    with from_file(program, identities=[{**person, "certificate": first.pem * 8, "federated": [federated()] * 20}]):
        pass


def test_chunked_body(program):
    form = urllib.parse.urlencode(GOOD).encode()
    with entra_lab(program) as lab:
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(form[i:i + 7]), form[i:i + 7]) for i in range(0, len(form), 7))
        head = f"POST /{TENANT}/oauth2/token HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n\r\n"
        assert b" 200 OK\r\n" in lab.raw(head.encode() + chunks + b"0\r\n\r\n")


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
