"""What the lab's tests share: a running lab, its log, its admin socket and an HTTP client, and the
check of its tokens with nothing but arithmetic. Used by selftest.py and test_entra.py. Must not
share anything with the lab itself, or the two could agree on a mistake. Standard library only;
everything stays on 127.0.0.1 and [::1], on ports that the kernel chose.
"""

import base64
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

TIMEOUT = 20
TENANT = "aaaa2222-3333-4444-5555-66667777bbbb"
TOKEN = "/metadata/identity/oauth2/token"
V = "api-version=2018-02-01"
VAULT = "https://vault.azure.net"
ARM = "/subscriptions/8d10da13-8125-4ba9-a717-bf7490507b3d/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"
ALPHA = ("alpha", "a1a1a1a1-0000-4000-8000-000000000001", "a1a1a1a1-0000-4000-8000-000000000002", ARM + "alpha")
BETA = ("beta", "b2b2b2b2-0000-4000-8000-000000000001", "b2b2b2b2-0000-4000-8000-000000000002", ARM + "beta")
APP = "c3c3c3c3-0000-4000-8000-000000000001"
SECRET = "p+ss&w rd%~"
UNKNOWN = "https://nobody.example"


class Lab:
    """One running lab; its log, its admin socket, and an HTTP client."""

    def __init__(self, program, *args, listen=("127.0.0.1:0",)):
        self.dir = tempfile.TemporaryDirectory()
        self.log_path = os.path.join(self.dir.name, "log")
        self.admin_path = os.path.join(self.dir.name, "admin")
        ready, theirs = os.pipe()
        argv = [program, "--log", self.log_path, "--admin", self.admin_path, "--ready-fd", str(theirs)]
        for address in listen:
            argv += ["--listen", address]
        self.process = subprocess.Popen(argv + list(args), pass_fds=[theirs], stderr=subprocess.PIPE)
        os.close(theirs)
        with os.fdopen(ready) as f:
            self.addresses = f.read().split()
        if not self.addresses:
            raise RuntimeError(self.process.communicate()[1].decode())
        host, port = self.addresses[0].rsplit(":", 1)
        self.address = (host.strip("[]"), int(port))

    def __enter__(self):
        return self

    def __exit__(self, failure, *_):
        """Every lab has to end well: leaks and overflows are reported on the way out."""
        try:
            if self.process.poll() is None and not failure:
                ended = self.stop()
                assert ended == (0, ""), ended
        finally:
            self.process.kill()
            self.process.communicate()
            self.dir.cleanup()

    def stop(self, number=signal.SIGTERM):
        """Exit status and standard error; sanitizers report there, and leaks only now."""
        self.process.send_signal(number)
        err = self.process.communicate(timeout=TIMEOUT)[1].decode()
        return self.process.returncode, err

    def log(self):
        with open(self.log_path, encoding="utf-8") as f:
            return [json.loads(line) for line in f]

    def last(self, member):
        """The last line of the log that has this member."""
        return [line for line in self.log() if member in line][-1]

    def connect(self):
        return socket.create_connection(self.address, timeout=TIMEOUT)

    def get(self, target, headers=None, method="GET", body=None):
        """(status, headers, body)"""
        c = http.client.HTTPConnection(*self.address, timeout=TIMEOUT)
        try:
            c.request(method, target, body=body, headers={"Metadata": "true"} if headers is None else headers)
            r = c.getresponse()
            return r.status, r.headers, r.read()
        finally:
            c.close()

    def json(self, *args, **kwargs):
        status, _, body = self.get(*args, **kwargs)
        return status, json.loads(body)

    def token(self, resource=VAULT, more=""):
        return self.json(f"{TOKEN}?{V}&resource={urllib.parse.quote(resource, safe='')}{more}")

    def raw(self, data, shut=False):
        """Sends bytes and returns everything until the end of the stream."""
        with self.connect() as s:
            s.sendall(data)
            if shut:
                s.shutdown(socket.SHUT_WR)
            return read_all(s)

    def admin(self, *commands):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(TIMEOUT)
            s.connect(self.admin_path)
            f = s.makefile("rw")
            replies = []
            for command in commands:
                f.write((command if isinstance(command, str) else json.dumps(command)) + "\n")
                f.flush()
                replies.append(json.loads(f.readline()))
            return replies[-1]

    def url(self, tenant=TENANT, endpoint="token"):
        """Of a token endpoint, "token" or "v2.0/token"."""
        return "http://%s:%d/%s/oauth2/%s" % (*self.address, tenant, endpoint)

    def post(self, form, tenant=TENANT, endpoint="token", kind="application/x-www-form-urlencoded"):
        """(status, headers, body) of a token request; form is a dictionary or a text."""
        body = form if isinstance(form, str) else urllib.parse.urlencode(form)
        return self.get(f"/{tenant}/oauth2/{endpoint}", method="POST", body=body,
                        headers={"Content-Type": kind} if kind else {})

    def entra(self, tenant=TENANT, endpoint="token", **form):
        """(status, reply)"""
        status, _, body = self.post(form, tenant, endpoint)
        return status, json.loads(body)


def read_all(s):
    data = b""
    while chunk := s.recv(65536):
        data += chunk
    return data


def wait_for(condition):
    """Asks until it is true: there is no event to wait for, but a deadline."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        result = condition()
        if result:
            return result
    raise AssertionError("waited in vain")


def unbase64url(text):
    assert "=" not in text
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def verify(lab, token):
    """Checks the signature against the served keys, with nothing but arithmetic. Returns the claims."""
    head, claims, signature = token.split(".")
    header = json.loads(unbase64url(head))
    assert header["alg"] == "RS256" and header["typ"] == "JWT" and header["x5t"] == header["kid"], header
    _, keys = lab.json("/common/discovery/keys", headers={})
    key = next(k for k in keys["keys"] if k["kid"] == header["kid"])
    assert key["kty"] == "RSA" and key["use"] == "sig"
    assert unbase64url(key["x5t"]) == hashlib.sha1(base64.b64decode(key["x5c"][0])).digest()
    n = int.from_bytes(unbase64url(key["n"]), "big")
    e = int.from_bytes(unbase64url(key["e"]), "big")
    size = (n.bit_length() + 7) // 8
    assert n.bit_length() == 2048
    signature = unbase64url(signature)
    assert len(signature) == size
    digest_info = bytes.fromhex("3031300d060960864801650304020105000420")
    digest = hashlib.sha256(f"{head}.{claims}".encode()).digest()
    padded = b"\x00\x01" + b"\xff" * (size - 3 - len(digest_info) - 32) + b"\x00" + digest_info + digest
    assert pow(int.from_bytes(signature, "big"), e, n) == int.from_bytes(padded, "big"), "bad signature"
    return json.loads(unbase64url(claims))


def identity(who):
    return ["--identity", ",".join(who)]


def two(program, *args, **kwargs):
    return Lab(program, "--tenant", TENANT, *identity(ALPHA), *identity(BETA), *args, **kwargs)


def one(program, *args, **kwargs):
    return Lab(program, "--tenant", TENANT, *identity(ALPHA), *args, **kwargs)


def from_file(program, *args, **content):
    """A lab with identities of a file; the file may go as soon as the lab is ready."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump(content, f)
        f.flush()
        return Lab(program, "--identities", f.name, *args)


def entra_lab(program):
    return from_file(program, tenant=TENANT, unknown_resources=[UNKNOWN], identities=[
        {"name": "app", "client_id": APP, "object_id": BETA[2], "secret": SECRET},
        {"name": "alpha", "client_id": ALPHA[1], "object_id": ALPHA[2], "resource_id": ALPHA[3]}])


def run(program, *args):
    r = subprocess.run([program, *args], capture_output=True, timeout=TIMEOUT, check=False)
    return r.returncode, r.stdout.decode(), r.stderr.decode()


def run_tests(tests):
    """Prints TAP; tests are functions test_* that take the program's path and fail by an exception.
    The program is the only argument, or the one of the build directory that IG_BUILD names."""
    build = os.environ.get("IG_BUILD")
    words = sys.argv[1:] or ([os.path.join(build, "tests", "lab", "imdsgate-lab")] if build else [])
    if len(words) != 1:
        print(f"usage: {os.path.basename(sys.argv[0])} PROGRAM", file=sys.stderr)
        return 2
    tests = [(name[5:].replace("_", " "), f) for name, f in tests.items() if name.startswith("test_")]
    print(f"1..{len(tests)}")
    failed = 0
    for i, (name, test) in enumerate(tests, 1):
        try:
            test(os.path.abspath(words[0]))
            print(f"ok {i} - lab: {name}", flush=True)
        except Exception as e:  # whatever it was, it is this test's failure
            failed += 1
            print(f"not ok {i} - lab: {name}")
            tb = e.__traceback__
            while tb.tb_next:
                tb = tb.tb_next
            lines = [e.__traceback__.tb_next.tb_lineno, tb.tb_lineno]
            text = f"{type(e).__name__}: {e} (lines {lines})"
            print("\n".join("# " + line for line in text.splitlines()), flush=True)
    return 1 if failed else 0
