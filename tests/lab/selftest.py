#!/usr/bin/python3
"""Tests the lab itself: selftest.py [PROGRAM]. Prints TAP, exits with 1 when anything failed.

The lab is what the agent's tests believe in, so it is judged here by means that share nothing with
it: Python's HTTP client, raw sockets, and RSA done with pow(). Its Entra ID is test_entra.py's.
"""

import base64
import concurrent.futures
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

sys.dont_write_bytecode = True
from labtest import (ALPHA, APP, ARM, BETA, TENANT, TIMEOUT, TOKEN, UNKNOWN, VAULT, V, Lab, entra_lab,  # noqa: E402
                     from_file, identity, one, read_all, run, run_tests, two, unbase64url, verify, wait_for)

# ---- the tests: each takes the program's path, and fails by an exception ----

def test_token_fields(program):
    with one(program) as lab:
        before = int(time.time())
        status, headers, body = lab.get(f"{TOKEN}?{V}&resource=https%3A%2F%2Fvault.azure.net")
        after = int(time.time())
        assert status == 200
        assert headers["Content-Type"] == "application/json; charset=utf-8"
        assert headers["Server"].startswith("IMDS/")
        reply = json.loads(body)
        assert list(reply) == ["access_token", "client_id", "expires_in", "expires_on", "ext_expires_in",
                               "not_before", "resource", "token_type"], reply
        assert all(isinstance(v, str) for v in reply.values())
        assert body == json.dumps(reply, separators=(",", ":")).encode(), "not one compact line"
        claims = verify(lab, reply["access_token"])
        assert reply["client_id"] == ALPHA[1] and reply["resource"] == VAULT and reply["token_type"] == "Bearer"
        assert before + 86400 <= int(reply["expires_on"]) <= after + 86400
        assert 86390 <= int(reply["expires_in"]) <= 86400 and reply["ext_expires_in"] == "86399"
        assert int(reply["not_before"]) == claims["nbf"] == claims["iat"] == int(reply["expires_on"]) - 86700
        assert claims["exp"] == int(reply["expires_on"]) and claims["aud"] == VAULT
        assert claims["iss"] == f"https://sts.windows.net/{TENANT}/" and claims["tid"] == TENANT
        assert claims["appid"] == ALPHA[1] and claims["oid"] == claims["sub"] == ALPHA[2]
        assert claims["xms_mirid"] == ALPHA[3] and claims["ver"] == "1.0" and len(claims["uti"]) == 22


def test_signature_check_can_fail(program):
    with one(program) as lab:
        _, reply = lab.token()
        head, claims, signature = reply["access_token"].split(".")
        forged = json.loads(unbase64url(claims))
        forged["oid"] = BETA[2]
        forged = base64.urlsafe_b64encode(json.dumps(forged).encode()).decode().rstrip("=")
        try:
            verify(lab, f"{head}.{forged}.{signature}")
        except AssertionError:
            return
        raise AssertionError("a forged token was verified")


def test_selectors(program):
    with two(program) as lab:
        for name, value in (("client_id", BETA[1]), ("object_id", BETA[2]), ("principal_id", BETA[2]),
                            ("msi_res_id", BETA[3]), ("mi_res_id", BETA[3])):
            for spelling in (value, value.upper(), value.lower()):
                status, reply = lab.token(more=f"&{name}={urllib.parse.quote(spelling, safe='')}")
                assert status == 200 and reply["client_id"] == BETA[1], (name, spelling, reply)
                assert verify(lab, reply["access_token"])["oid"] == BETA[2]
                echoed = {k: reply[k] for k in ("object_id", "msi_res_id", "mi_res_id") if k in reply}
                assert echoed == ({name: value} if name in ("object_id", "msi_res_id") else {}), echoed
        for more in (f"&client_id={ALPHA[2]}", "&client_id=", "&object_id=nobody", f"&msi_res_id={ARM}gamma"):
            _, _, body = lab.get(f"{TOKEN}?{V}&resource=x{more}")
            assert body == b'{"error":"invalid_request","error_description":"Identity not found"}', body
            assert len(body) == 68
        status, reply = lab.token(more=f"&client_id={ALPHA[1]}&object_id={ALPHA[2]}")
        assert status == 400 and reply["error"] == "invalid_request"


def test_no_selector(program):
    with two(program) as lab:
        status, _, body = lab.get(f"{TOKEN}?{V}&resource=x")
        assert status == 400 and len(body) == 168, body
        assert b"Multiple user assigned identities exist, please specify the clientId / resourceId" in body
    with two(program, "--default", "beta") as lab:
        assert lab.token()[1]["client_id"] == BETA[1]
    with one(program) as lab:
        assert lab.token()[1]["client_id"] == ALPHA[1]
    with Lab(program) as lab:
        status, reply = lab.token()
        assert status == 400 and reply["error_description"] == "Identity not found"


def test_headers(program):
    target = f"{TOKEN}?{V}&resource=x"
    missing = {"error": "invalid_request", "error_description": "Required metadata header not specified"}
    with one(program) as lab:
        for headers in ({}, {"Metadata": "1"}, {"Metadata": ""}, {"Metadata": "true,true"}, {"X-Metadata": "true"}):
            assert lab.json(target, headers=headers) == (400, missing), headers
        for headers in ({"metadata": "true"}, {"METADATA": "True"}):
            assert lab.get(target, headers=headers)[0] == 200, headers
        for value in ("127.0.0.1", ""):
            status, reply = lab.json(target, headers={"Metadata": "true", "X-Forwarded-For": value})
            assert status == 400 and reply["error"] == "invalid_request"
        twice = lab.raw(f"GET {target} HTTP/1.1\r\nHost: h\r\nMetadata: true\r\nMetadata: true\r\nConnection: close\r\n\r\n".encode())
        assert twice.startswith(b"HTTP/1.1 400 Bad Request\r\n"), twice
        # a probe without anything gets the header's error, whatever else is missing
        assert lab.json(TOKEN, headers={}) == (400, missing)


def test_query(program):
    with one(program) as lab:
        for query in (f"{V}", f"{V}&resource="):
            status, reply = lab.json(f"{TOKEN}?{query}")
            assert status == 400 and reply["error_description"] == "Required query variable 'resource' is missing"
        for query in ("resource=x", "api-version=&resource=x", "api-version=2017-12-01&resource=x",
                      "api-version=2018-02-02&resource=x"):
            status, reply = lab.json(f"{TOKEN}?{query}")
            assert status == 400, query
            assert reply == {"error": "Bad request. api-version is invalid or was not specified in the request. For more information refer to aka.ms/azureimds",
                             "newest-versions": ["2025-04-07", "2024-07-17", "2024-03-15"]}
        for query in (f"{V}&resource=x&resource=x", f"{V}&{V}&resource=x", f"{V}&resource=%zz", f"{V}&resource=%",
                      f"{V}&resource=a%00b", f"{V}&resource=x&bypass_cache=yes"):
            status, reply = lab.json(f"{TOKEN}?{query}")
            assert status == 400 and reply["error"] == "invalid_request", query
        for query, resource in ((f"{V}&resource=https://a.b/", "https://a.b/"), (f"resource=a%2Bb+c&{V}&xms_cc=cp1", "a+b c"),
                                (f"{V}&resource=a;b", "a;b"), ("api-version=2019-08-01&resource=%C3%A9", "\u00e9")):
            status, reply = lab.json(f"{TOKEN}?{query}")
            assert status == 200 and reply["resource"] == resource, (query, reply)
            assert verify(lab, reply["access_token"])["aud"] == resource


def test_paths(program):
    query = f"?{V}&resource=x"
    with one(program) as lab:
        for path in (TOKEN, TOKEN + "/", "/METADATA/identity/oauth2/token", "//metadata/identity/oauth2/token",
                     "/metadata/identity/oauth2%2Ftoken", "/metadata/identity\\oauth2\\token",
                     "/metadata/./identity/x/../oauth2/token", "/%6detadata/identity/oauth2/token",
                     "http://169.254.169.254" + TOKEN, "HTTP://h:80" + TOKEN):
            assert lab.get(path + query)[0] == 200, path
        for path in ("/metadata/Identity/oauth2/token", "/metadata/identity/oauth2/tokens", "/metadata/identity/oauth2",
                     "/metadata/identity", "/metadata/identity/getplatformmetadata", "/metadata/identity/credential",
                     "/metadata/identity/oauth2%252Ftoken"):
            assert lab.get(path + query)[0] == 404, path
            assert lab.get(path + query, headers={})[0] == 404, path
        for path in ("/", "/metadata", "/metadatax", "/latest/meta-data/", "/?comp=versions", "/metadata/..", "/a%00b", "/%",
                     "/metadata/../identity/oauth2/tokenx"):
            assert lab.get(path)[0] in (400, 404), path
        for method in ("POST", "PUT", "DELETE", "HEAD", "OPTIONS"):
            status, headers, body = lab.get(TOKEN + query, method=method)
            assert status == 405 and headers["Allow"] == "GET" and (method == "HEAD") == (body == b""), method


def test_cache(program):
    with two(program) as lab:
        def ask(who, resource="r", more=""):
            return lab.token(resource, f"&client_id={who[1]}{more}")[1]["access_token"]
        first = ask(ALPHA)
        assert ask(ALPHA) == first
        assert len({first, ask(BETA), ask(ALPHA, "s")}) == 3
        second = ask(ALPHA, more="&bypass_cache=true")
        assert second != first and ask(ALPHA) == second
        sha = hashlib.sha256(second.encode()).hexdigest()
        assert ask(ALPHA, more="&token_sha256_to_refresh=" + hashlib.sha256(first.encode()).hexdigest()) == second
        third = ask(ALPHA, more="&token_sha256_to_refresh=" + sha)
        assert third != second
        assert lab.admin({"stats": True})["tokens"] == 5
        uti = {verify(lab, t)["uti"] for t in (first, second, third)}
        assert len(uti) == 3


def test_cache_ends_at_half_life(program):
    with one(program, "--token-life", "4") as lab:
        _, first = lab.token()
        assert first["ext_expires_in"] == "3"
        counted = set()

        def other():
            _, reply = lab.token()
            if reply["access_token"] != first["access_token"]:
                return reply
            counted.add(int(reply["expires_in"]))
            return None
        second = wait_for(other)
        assert int(second["expires_on"]) >= int(first["expires_on"]) + 2
        assert min(counted) == 3, f"expires_in did not count down to half: {counted}"


def test_token_life(program):
    with one(program) as lab:
        first = lab.token()[1]["access_token"]
        assert lab.admin({"token_life": 60}) == {"ok": True}
        _, reply = lab.token()
        assert reply["access_token"] != first and 50 <= int(reply["expires_in"]) <= 60
        assert lab.admin({"clear": True}) == {"ok": True}
        assert int(lab.token()[1]["expires_in"]) > 80000


def test_instance(program):
    with one(program) as lab:
        status, doc = lab.json("/metadata/instance?api-version=2021-10-01&format=json", headers={"Metadata": "True"})
        assert status == 200 and set(doc) == {"compute", "network"}

        def leaves(node):
            for child in node.values() if isinstance(node, dict) else node:
                if isinstance(child, (dict, list)):
                    yield from leaves(child)
                else:
                    yield child
        assert all(isinstance(v, str) for v in leaves(doc)), "a leaf is no string"
        base = "/metadata/instance/compute"
        assert lab.json(base + "?api-version=2021-02-01") == (200, doc["compute"])
        for leaf in ("location", "name", "vmSize", "resourceId"):
            status, headers, body = lab.get(f"{base}/{leaf}?api-version=2021-01-01&format=text")
            assert (status, body.decode()) == (200, doc["compute"][leaf])
            assert headers["Content-Type"].startswith("text/plain")
            assert lab.get(f"{base}/{leaf}?api-version=2021-01-01&format=json")[0] == 400
        assert lab.get("/metadata/instance?api-version=2021-01-01&format=text")[2] == b"compute/\nnetwork/"
        interface = "/metadata/instance/network/interface/0?api-version=2021-01-01"
        assert lab.json(interface) == (200, doc["network"]["interface"][0])
        for path in ("/compute/nothing", "/network/interface/1", "/compute/name/x", "/network/interface/-1"):
            assert lab.get(f"/metadata/instance{path}?api-version=2021-01-01&format=text")[0] == 404, path
        assert lab.get("/metadata/instance?api-version=2021-01-01&format=xml")[0] == 400
        status, reply = lab.json("/metadata/instance")
        assert status == 400 and len(reply["newest-versions"]) == 3
        assert lab.get("/metadata/instance?api-version=2017-03-01")[0] == 400
        status, reply = lab.json("/metadata/instance?api-version=2021-01-01", headers={})
        assert status == 400 and "Required metadata header not specified" in reply["error"] and len(reply) == 1


def test_small_routes(program):
    with one(program) as lab:
        status, reply = lab.json("/metadata/versions")
        assert status == 200 and len(reply["apiVersions"]) == 35 and reply["apiVersions"] == sorted(reply["apiVersions"])
        assert lab.get("/metadata/versions", headers={})[0] == 400
        assert lab.json(f"/metadata/identity/info?{V}") == (200, {"tenantId": TENANT})
        assert lab.json("/metadata/scheduledevents?api-version=2020-07-02")[0] == 400
        assert lab.json("/metadata/scheduledevents?api-version=2020-07-01")[0] == 200
        assert lab.json("/metadata/scheduledevents?api-version=2020-07-15")[1] == {"DocumentIncarnation": 1, "Events": []}
        status, _, body = lab.get("/metadata/scheduledevents?api-version=2020-07-15", method="POST", body='{"StartRequests":[]}')
        assert (status, body) == (200, b"")
        assert "loadbalancer" in lab.json("/metadata/loadbalancer?api-version=2020-10-01&format=json")[1]
        status, reply = lab.json("/metadata/attested/document?api-version=2020-09-01&nonce=1234567890")
        der = base64.b64decode(reply["signature"], validate=True)
        assert status == 200 and reply["encoding"] == "pkcs7" and b'"nonce":"1234567890"' in der
        assert lab.get("/metadata/attested/document?api-version=2020-09-01&nonce=12345678901")[0] == 400


def test_application_is_not_on_imds(program):
    with entra_lab(program) as lab:
        assert lab.token()[1]["client_id"] == ALPHA[1], "the application counts as an identity of the machine"
        assert lab.token(more=f"&client_id={APP}")[1]["error_description"] == "Identity not found"
        status, reply = lab.token(UNKNOWN)
        assert status == 400 and reply["error"] == "invalid_resource"
        assert reply["error_description"].startswith(f"AADSTS500011: The resource principal named {UNKNOWN} was not found in the tenant named {TENANT}.")
        assert "\r\nTrace ID: " in reply["error_description"]


def test_log(program):
    with one(program) as lab:
        lab.token()
        lab.raw(b"GET /nothing?x=%ff HTTP/1.1\r\nX-Odd: a\tb\"c\xc3\xa9\xff\r\nX-Empty:\r\nConnection: close\r\n\r\n")
        lines = lab.log()
        assert [x["event"] for x in lines] == ["connection", "request", "reply"] * 2, lines
        local = "%s:%d" % lab.address
        assert all(x["local"] == local and x["peer"].startswith("127.0.0.1:") and x["time"].endswith("Z") for x in lines)
        assert lines[0]["peer"] == lines[1]["peer"] == lines[2]["peer"] != lines[3]["peer"]
        request, reply = lines[1], lines[2]
        assert request["method"] == "GET" and request["target"].startswith(TOKEN) and request["headers"]["Metadata"] == "true"
        assert reply["status"] == 200 and reply["client_id"] == ALPHA[1] and reply["resource"] == VAULT
        assert "access_token" not in json.dumps(lines) and "eyJ" not in json.dumps(lines)
        assert lines[4]["headers"] == {"X-Odd": "a\tb\"c\u00e9\ufffd", "X-Empty": "", "Connection": "close"}
        assert lines[4]["target"] == "/nothing?x=%ff" and lines[5]["status"] == 404
        assert all("token_request" not in x for x in lines)


def test_silent_connections_are_logged(program):
    with one(program) as lab:
        peers = []
        for reset in (False, True):
            with lab.connect() as s:
                peers.append("%s:%d" % s.getsockname())
                if reset:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        seen = wait_for(lambda: (x := [e["peer"] for e in lab.log()]) and len(x) == 2 and x)
        assert seen == peers
        assert {e["event"] for e in lab.log()} == {"connection"}
        stats = lab.admin({"stats": True})
        assert stats["connections"] == 2 and stats["requests"] == 0


def test_backlog_is_logged_at_the_end(program):
    """Connections that the kernel took while the lab was stopped, and a signal to end that waits for it, too."""
    with one(program) as lab:
        os.kill(lab.process.pid, signal.SIGSTOP)
        held = [lab.connect() for _ in range(5)]
        os.kill(lab.process.pid, signal.SIGTERM)
        os.kill(lab.process.pid, signal.SIGCONT)
        assert lab.process.wait(TIMEOUT) == 0
        assert [e["event"] for e in lab.log()] == ["connection"] * 5
        for s in held:
            s.close()


def test_keep_alive_and_pipelining(program):
    one_request = f"GET {TOKEN}?{V}&resource=RES HTTP/1.1\r\nHost: h\r\nMetadata: true\r\n".encode()
    with one(program, "--delay-ms", "20") as lab:
        wanted = [b"r%d" % i for i in range(20)]
        data = b"".join(one_request.replace(b"RES", r) + b"\r\n" for r in wanted[:-1])
        data += one_request.replace(b"RES", wanted[-1]) + b"Connection: close\r\n\r\n"
        answer = lab.raw(data)
        assert [x.split(b'"')[0] for x in answer.split(b'"resource":"')[1:]] == wanted
        assert answer.count(b"HTTP/1.1 200 OK") == 20 and answer.count(b"Connection: close") == 1
        assert lab.admin({"stats": True})["max_in_progress"] == 1
        # a client that has shut down its half still gets its answer; HTTP/1.0 ends by itself
        assert lab.raw(one_request + b"\r\n", shut=True).count(b"200 OK") == 1
        assert b"Connection: close" in lab.raw(one_request.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n")
        # byte by byte
        with lab.connect() as s:
            for byte in one_request + b"Connection: close\r\n\r\n":
                s.sendall(bytes([byte]))
            assert b'"resource":"RES"' in read_all(s)


def test_malformed(program):
    with one(program) as lab:
        for data in (b"hello\r\n\r\n", b"GET / HTTP/1.1\r\nBad header\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                     b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"):
            answer = lab.raw(data)
            assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n"), (data, answer)
        many = b"".join(b"X-%d: 1\r\n" % i for i in range(65))
        for data in (b"GET /%s HTTP/1.1\r\n" % (b"a" * 70000), b"GET / HTTP/1.1\r\n%s\r\n" % many,
                     b"POST / HTTP/1.1\r\nContent-Length: 70000\r\n\r\n%s" % (b"a" * 70000)):
            answer = lab.raw(data)
            assert answer.startswith(b"HTTP/1.1 413 "), (data[:40], answer)
        assert sum(e["event"] == "malformed" for e in lab.log()) == 7
        assert lab.token()[0] == 200


def test_fail(program):
    with one(program) as lab:
        assert lab.admin({"fail": {"status": 503, "count": 2, "retry_after": 1}}) == {"ok": True}
        for _ in range(2):
            status, headers, _ = lab.get(f"{TOKEN}?{V}&resource=x")
            assert status == 503 and headers["Retry-After"] == "1"
        assert lab.token()[0] == 200
        lab.admin({"fail": {"status": 429}})
        for _ in range(5):
            status, headers, _ = lab.get(f"{TOKEN}?{V}&resource=x")
            assert status == 429 and headers["Retry-After"] is None
        lab.admin({"clear": True})
        assert lab.token()[0] == 200


def test_imds_errors(program):
    """Every error of the table, with its own status and text, and only where it belongs."""
    not_json = {"invalid_api_version": 400, "updating": 410, "wireserver": 500}
    errors = {
        "metadata_header_missing": (400, "invalid_request", "Required metadata header not specified"),
        "identity_not_found": (400, "invalid_request", "Identity not found"),
        "multiple_identities": (400, "invalid_request", "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request"),
        "resource_missing": (400, "invalid_request", "Required query variable 'resource' is missing"),
        "invalid_resource": (400, "invalid_resource", None),
        "unknown_source": (401, "unknown_source", "Unknown Source <URI>"),
        "forbidden": (403, "forbidden", "Forbidden"),
        "not_found": (404, "not_found", "Not found"),
        "method_not_allowed": (405, "method_not_allowed", "Not allowed"),
        "too_many_requests": (429, "too_many_requests", "Too many requests"),
        "server_error": (500, "server_error", "Server error"),
        "unknown": (500, "unknown", "Failed to retrieve token from the Active directory. For details see logs in <file path>"),
        "service_unavailable": (503, "service_unavailable", "Service unavailable"),
    }
    target = f"{TOKEN}?{V}&resource=x"
    with one(program) as lab:
        for name, (status, error, text) in errors.items():
            assert lab.admin({"imds_error": {"name": name, "count": 1}}) == {"ok": True}
            assert lab.get("/common/discovery/keys")[0] == 200, "it is not for Entra"
            got, headers, body = lab.get(target)
            reply = json.loads(body)
            assert (got, reply["error"]) == (status, error) and headers["Retry-After"] is None, (name, reply)
            assert text in (None, reply["error_description"]) and headers["Server"].startswith("IMDS/"), reply
            assert lab.log()[-1]["fault"] == "imds_error" and lab.log()[-1]["status"] == status
            assert lab.get(target)[0] == 200, "it was for one request"
            if name == "invalid_resource":
                assert reply["error_description"].startswith("AADSTS500011: ") and "\r\nTrace ID: " in reply["error_description"]
        for name, status in not_json.items():
            lab.admin({"imds_error": {"name": name, "retry_after": 7}})
            got, headers, body = lab.get(target)
            assert (got, headers["Retry-After"]) == (status, "7") and lab.get(target)[0] == status, name
            if name == "wireserver":
                assert headers["Server"] == "Microsoft-IIS/10.0" and headers["Content-Type"].startswith("text/plain")
            elif name == "updating":
                assert body == b"" and headers["Content-Length"] == "0"
            else:
                assert len(json.loads(body)["newest-versions"]) == 3
            assert lab.admin({"imds_error": False}) == {"ok": True}
            assert lab.get(target)[0] == 200
        lab.admin({"imds_error": {"name": "forbidden"}}, {"clear": True})
        assert lab.get(target)[0] == 200


def test_delay(program):
    with one(program) as lab:
        lab.admin({"delay_ms": 300})
        start = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            assert all(r[0] == 200 for r in pool.map(lambda _: lab.token(), range(4)))
        took = time.monotonic() - start
        assert took >= 0.3, took
        stats = lab.admin({"clear": True, "stats": True})
        assert stats["max_in_progress"] == 4 and stats["in_progress"] == 0, stats
        assert stats["requests"] == 4 and stats["connections"] == 4 and stats["tokens"] == 1


def test_hang(program):
    with one(program) as lab:
        lab.admin({"hang": True})
        with lab.connect() as s:
            s.sendall(f"GET {TOKEN}?{V}&resource=x HTTP/1.1\r\nHost: h\r\nMetadata: true\r\n\r\n".encode())
            wait_for(lambda: lab.admin({"stats": True})["in_progress"] == 1)
            s.settimeout(0.2)
            try:
                raise AssertionError(f"an answer: {s.recv(1)!r}")
            except socket.timeout:
                pass
        wait_for(lambda: lab.admin({"stats": True})["in_progress"] == 0)
        assert lab.log()[-1]["event"] == "fault" and lab.log()[-1]["kind"] == "hang"
        lab.admin({"hang": False})
        assert lab.token()[0] == 200


def test_reset(program):
    with one(program) as lab:
        lab.admin({"reset": True})
        try:
            lab.token()
        except ConnectionResetError:
            pass
        else:
            raise AssertionError("no reset")
        lab.admin({"clear": True})
        assert lab.token()[0] == 200


def test_garbage(program):
    with one(program) as lab:
        lab.admin({"garbage": True})
        try:
            lab.token()
        except http.client.BadStatusLine:
            pass
        else:
            raise AssertionError("garbage was understood")
        lab.admin({"garbage_body": True})
        status, _, body = lab.get(f"{TOKEN}?{V}&resource=x")
        assert status == 200
        try:
            raise AssertionError(json.loads(body))
        except ValueError:
            pass


def test_truncate(program):
    with one(program) as lab:
        lab.admin({"truncate": True})
        try:
            lab.token()
        except http.client.IncompleteRead as e:
            assert e.expected == 100 and json.loads(e.partial)["token_type"] == "Bearer"
        else:
            raise AssertionError("not truncated")


def test_huge(program):
    with one(program) as lab:
        lab.admin({"huge": True})
        c = http.client.HTTPConnection(*lab.address, timeout=TIMEOUT)
        c.request("GET", f"{TOKEN}?{V}&resource=x", headers={"Metadata": "true"})
        r = c.getresponse()
        assert r.headers["Content-Length"] == str(100 * 1024 * 1024)
        n, first, last = 0, b"", b""
        while chunk := r.read(1 << 20):
            n += len(chunk)
            first, last = first or chunk, chunk
        c.close()
        assert n == 100 * 1024 * 1024 and first.startswith(b'{"access_token":"AAA') and last.endswith(b'AAA"}')
        # one who gives up early costs nothing
        with lab.connect() as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            s.recv(1000)
        wait_for(lambda: lab.admin({"stats": True})["in_progress"] == 0)


def test_admin_errors(program):
    with one(program) as lab:
        for command in ("", "nonsense", "[]", '{"hang":1}', '{"delay_ms":-1}', '{"delay_ms":"1"}', '{"delay_ms":600001}',
                        '{"token_life":1}', '{"fail":{}}', '{"fail":{"status":200}}', '{"fail":{"status":503,"x":1}}',
                        '{"fail":{"status":503,"count":0}}', '{"none":true}', '{"clear":false}', '{"stats":1}',
                        '{"imds_error":{}}', '{"imds_error":true}', '{"imds_error":{"name":"nothing"}}', '{"imds_error":{"name":1}}',
                        '{"imds_error":{"name":"forbidden","count":0}}', '{"imds_error":{"name":"forbidden","status":400}}',
                        '{"entra_error":{}}', '{"entra_error":{"code":0}}', '{"entra_error":{"code":123}}', '{"entra_error":[]}',
                        '{"entra_error":{"code":90033,"status":200}}', '{"entra_error":{"code":90033,"plain":true}}',
                        '{"throttle":true}', '{"throttle":{"plain":1}}', '{"throttle":{"code":1}}', '{"throttle":{"retry_after":-1}}',
                        '{"hang":true,"hang":true}', '{"hang":true,"unheard":true}'):
            reply = lab.admin(command)
            assert reply["ok"] is False and reply["error"], command
        assert lab.token()[0] == 200, "half a command was applied"
        assert lab.admin("{}") == {"ok": True}
        assert lab.admin({"hang": True}, {"clear": True}) == {"ok": True}
        assert os.stat(lab.admin_path).st_mode & 0o077 == 0
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(lab.admin_path)
            try:
                s.sendall(b"x" * 200000)
                assert s.recv(1) == b""
            except (BrokenPipeError, ConnectionResetError):
                pass
        assert lab.token()[0] == 200


def test_several_addresses(program):
    listen = ["127.0.0.1:0", "127.0.0.2:0"] + (["[::1]:0"] if has_ipv6() else [])
    with one(program, listen=listen) as lab:
        assert [a.rsplit(":", 1)[0] + ":0" for a in lab.addresses] == listen
        for address in lab.addresses:
            host, port = address.rsplit(":", 1)
            lab.address = (host.strip("[]"), int(port))
            assert lab.token()[0] == 200
            assert lab.log()[-1]["local"] == address


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


def test_given_key(program):
    with tempfile.TemporaryDirectory() as d:
        key = os.path.join(d, "key.pem")
        subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key],
                       check=True, capture_output=True)
        seen = []
        for _ in range(2):
            with one(program, "--key", key) as lab:
                verify(lab, lab.token()[1]["access_token"])
                seen.append(lab.json("/common/discovery/keys", headers={})[1])
        assert seen[0] == seen[1]
        modulus = subprocess.run(["openssl", "rsa", "-in", key, "-noout", "-modulus"], check=True, capture_output=True)
        wanted = int(modulus.stdout.decode().split("=")[1], 16)
        assert int.from_bytes(unbase64url(seen[0]["keys"][0]["n"]), "big") == wanted
        with one(program) as lab:
            assert lab.json("/common/discovery/keys", headers={})[1] != seen[0]
        for args in (["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
                     ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]):
            subprocess.run(["openssl", "genpkey", *args, "-out", key], check=True, capture_output=True)
            assert run(program, "--listen", "127.0.0.1:0", "--key", key)[0] == 1


def test_usage(program):
    local = ("--listen", "127.0.0.1:0")
    for args in ((), ("--lisen", "127.0.0.1:0"), ("--list", "127.0.0.1:0"), (*local, "x"), (*local, "-h"),
                 (*local, "--log"), (*local, "--token-life", "0"), (*local, "--delay-ms", "1s"), ("--listen",)):
        status, out, err = run(program, *args)
        assert status == 2 and out == "" and "usage: " in err, (args, status, err)
    assert run(program, "--help")[0] == 0
    for args in (("--listen", "127.0.0.1"), ("--listen", "localhost:0"), ("--listen", "127.0.0.1:65536"),
                 ("--listen", "[::1:0"), (*local, "--tenant", "x"), (*local, "--default", "nobody"),
                 (*local, "--entra-url", "x"), (*local, "--entra-url", "https://"), (*local, "--entra-url", "https://a/"),
                 (*local, "--entra-url", "ftp://a"),
                 (*local, "--identity", "a,b,c,d"), (*local, "--identity", ",".join(ALPHA) + ",x"),
                 (*local, *identity(ALPHA), *identity(ALPHA)), (*local, "--identities", "/nowhere"),
                 (*local, "--log", "/nowhere/log"), (*local, "--key", "/nowhere"), (*local, "--admin", "/nowhere/a")):
        status, out, err = run(program, *args)
        assert status == 1 and err.startswith("imdsgate-lab: ") and len(err.splitlines()) == 1, (args, status, err)


def test_bad_files(program):
    person = {"name": "a", "client_id": APP, "object_id": APP}
    for content in ({"identities": [{}]}, {"identities": {}}, {"identities": [{**person, "x": 1}]}, {"unknown": 1},
                    {"identities": [person, person]}, {"tenant": "x"}, {"other_tenants": ["x"]}, {"unknown_resources": [1]},
                    {"identities": [{**person, "resource_id": "x"}]}, {"identities": [{**person, "secret": 1}]}):
        try:
            with from_file(program, **content):
                pass
        except RuntimeError as e:
            assert str(e).startswith("imdsgate-lab: ") and "Sanitizer" not in str(e), str(e)
        else:
            raise AssertionError(f"accepted {content}")
    with from_file(program, identities=[{**person, "secret": "s", "assigned": True}]) as lab:
        assert lab.token()[1]["client_id"] == APP


def test_clean_exit(program):
    for number in (signal.SIGTERM, signal.SIGINT):
        with one(program) as lab:
            lab.token()
            lab.admin({"delay_ms": 60000})
            request = f"GET {TOKEN}?{V}&resource=x HTTP/1.1\r\nHost: h\r\n\r\n".encode()
            idle, half, waiting, hanging = (lab.connect() for _ in range(4))
            half.sendall(request[:30])
            waiting.sendall(request)
            wait_for(lambda: lab.admin({"stats": True})["in_progress"] == 1)
            lab.admin({"delay_ms": 0, "hang": True})
            hanging.sendall(request)
            wait_for(lambda: lab.admin({"stats": True})["in_progress"] == 2)
            with socket.socket(socket.AF_UNIX) as admin:
                admin.connect(lab.admin_path)
                assert lab.stop(number) == (0, "")
            assert not os.path.exists(lab.admin_path)
            for s in (idle, half, waiting, hanging):
                s.close()


def test_full_log_is_an_error(program):
    if not os.path.exists("/dev/full"):
        return
    with one(program, "--log", "/dev/full") as lab:
        lab.token()
        status, err = lab.stop()
        assert status == 1 and "lines of the log were lost" in err, (status, err)


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
