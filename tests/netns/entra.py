"""Entra ID for the system tests: a second lab on 127.0.0.1 of the host's namespace, the directory of
secrets that the agent reads, and the identities in between. Keys are made for each run; the world
takes all of it down. Used by test_entra.py."""

import json
import os
import subprocess
import sys

from admin import tell_lab
from harness import AGENT_UID, BUILD, manifests
from places import REPO, Place
from watch import Lines, wait_ready

sys.path.insert(0, os.path.join(REPO, "tests", "lab"))
import assertions  # noqa: E402

TENANT = "77777777-2222-4333-8444-555555555555"
ISSUER, SUBJECT = "https://issuer.example/", "system:serviceaccount:demo:fed"
UNKNOWN = "https://nobody.example"
PASSWORD = "pa55-of-the-p12"
NAMES = ("secret", "cert", "oldcert", "fed", "lost")
# what must never be seen anywhere; each secret of the tests has it in it
MARK = "s3cr3t+&%"


def client_id(name):
    return f"eeeeeeee-0000-4000-8000-00000000000{NAMES.index(name) + 1}"


KINDS = {"secret": 1, "cert": 2, "oldcert": 2, "fed": 0, "lost": 1}
ANNOTATIONS = {"oldcert": "imdsgate.dev/assertion-algorithm: RS256",
               "fed": "imdsgate.dev/federated-token-file: demo/fed/token"}


def identity(name, authority):
    text = ("apiVersion: aadpodidentity.k8s.io/v1\nkind: AzureIdentity\n"
            f"metadata:\n  name: {name}\n  namespace: {manifests.NAMESPACE}\n")
    if name in ANNOTATIONS:
        text += f"  annotations: {{{ANNOTATIONS[name]}}}\n"
    text += (f"spec:\n  type: {KINDS[name]}\n  clientID: {client_id(name)}\n"
             f"  tenantID: {TENANT}\n  adEndpoint: {authority}\n")
    if KINDS[name]:
        text += f"  clientPassword: {{name: {name}, namespace: {manifests.NAMESPACE}}}\n"
    return text


def binding(name):
    return f"""\
apiVersion: aadpodidentity.k8s.io/v1
kind: AzureIdentityBinding
metadata: {{name: {name}, namespace: {manifests.NAMESPACE}}}
spec: {{azureIdentity: {name}, selector: {name}}}
"""


def federated_token(now, subject=SUBJECT):
    key = assertions.key("issuer")
    return assertions.jwt(key, {"alg": "RS256", "kid": key.name, "typ": "JWT"},
                          {"iss": ISSUER, "sub": subject, "aud": "api://AzureADTokenExchange",
                           "iat": now, "nbf": now, "exp": now + 3600})


class Entra:
    """The lab as Entra ID, and how to break it."""

    other_tenants = ()  # in which the same applications get tokens

    def __init__(self, world):
        self.world = world
        self.place = Place(world, world.host_netns, world.cgroup.child("entra"))
        self.log = Lines(os.path.join(world.tmp, "entra.jsonl"), json.loads)
        self.admin_path = os.path.join(world.tmp, "entra.sock")
        self.secrets = os.path.join(world.tmp, "secrets")
        self.authority, self.process = None, None
        os.mkdir(self.secrets)

    def start(self):
        directory = os.path.join(self.world.tmp, "entra.json")
        with open(directory, "w", encoding="utf-8") as f:
            json.dump({"tenant": TENANT, "other_tenants": list(self.other_tenants),
                       "unknown_resources": [UNKNOWN],
                       "identities": [self._application(name) for name in NAMES]}, f)
        reader, writer = os.pipe()
        self.process = self.place.spawn(
            [f"{BUILD}/tests/lab/imdsgate-lab", "--listen", "127.0.0.1:0", "--log", self.log.path,
             "--admin", self.admin_path, "--identities", directory, "--ready-fd", str(writer)],
            pass_fds=[writer])
        os.close(writer)
        self.authority = "http://" + wait_ready(reader).decode().strip()

    @staticmethod
    def _application(name):
        number = NAMES.index(name) + 1
        application = {"name": name, "client_id": client_id(name),
                       "object_id": f"eeeeeeee-1111-4000-8000-00000000000{number}"}
        if name == "fed":
            application["federated"] = [{"issuer": ISSUER, "subject": SUBJECT, "jwks": {
                "keys": [assertions.key("issuer").jwk()]}}]
        elif name in ("cert", "oldcert"):
            application["certificate"] = assertions.key(name).certificate_path
        else:
            application["secret"] = f"{MARK} of {name}"
        return application

    def stop(self):
        self.process.terminate()
        assert self.process.wait(10) == 0

    def admin(self, **command):
        tell_lab(self.admin_path, **command)

    def token_requests(self, since=0):
        return [e["token_request"] for e in self.log.since(since)
                if e["event"] == "request" and e.get("token_request")]

    # -- what the agent reads

    def put(self, path, data):
        """As an operator would leave it: root's, readable for the agent's group, whole at once."""
        target = os.path.join(self.secrets, path)
        directory = os.path.dirname(target)
        os.makedirs(directory, exist_ok=True)
        new = os.path.join(directory, ".new")
        with open(new, "wb") as f:
            f.write(data if isinstance(data, bytes) else data.encode())
        os.chmod(new, 0o640)
        os.chown(new, 0, AGENT_UID)
        os.rename(new, target)

    def put_certificate(self, name, *options):
        key = assertions.key(name)
        p12 = subprocess.run(
            ["openssl", "pkcs12", "-export", "-inkey", key.path, "-in", key.certificate_path,
             "-passout", f"pass:{PASSWORD}", *options], check=True, capture_output=True).stdout
        self.put(f"demo/{name}/certificate", p12)
        self.put(f"demo/{name}/password", PASSWORD + "\n")
