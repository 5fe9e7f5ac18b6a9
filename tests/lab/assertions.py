"""Keys, certificates and JWTs as a client of Entra ID makes them, with the openssl program and
hashlib alone: nothing of the lab or the agent. Used by test_entra.py. Keys are made when they are
first needed, live in a directory of their own, and go with the process.
"""

import base64
import functools
import hashlib
import json
import os
import subprocess
import tempfile


@functools.cache
def _folder():
    """Made with the first key: a process that needs none leaves none behind, however it ends."""
    return tempfile.TemporaryDirectory()


SIGN = {
    "RS256": [],
    "PS256": ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"],
    "PS256 with another salt": ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:20"],
}


def openssl(*args, data=None):
    return subprocess.run(["openssl", *args], input=data, check=True, capture_output=True).stdout


def base64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def encode(value):
    """A part of a JWT, of bytes or of anything that JSON can say."""
    return base64url(value if isinstance(value, bytes) else json.dumps(value).encode())


class Key:
    """A private key and a self-signed certificate. days < 0: one that has expired."""

    def __init__(self, name, kind="rsa:2048", days=30):
        self.name = name
        self.path = os.path.join(_folder().name, f"{name}.key")
        self.certificate_path = os.path.join(_folder().name, f"{name}.pem")
        options = ["-pkeyopt", "ec_paramgen_curve:P-256"] if kind == "ec" else []
        pem = openssl("req", "-x509", "-newkey", kind, *options, "-nodes", "-keyout", self.path, "-days", "30",
                      "-subj", f"/CN={name}")
        if days < 0:
            pem = openssl("x509", "-signkey", self.path, "-days", str(days), data=pem)
        self.pem = pem.decode()
        with open(self.certificate_path, "w", encoding="ascii") as f:
            f.write("a line before\n" + self.pem)
        der = base64.b64decode("".join(self.pem.splitlines()[1:-1]))
        self.x5t = base64url(hashlib.sha1(der).digest())
        self.x5t_s256 = base64url(hashlib.sha256(der).digest())

    def sign(self, text, how="RS256"):
        return openssl("dgst", "-sha256", *SIGN[how], "-sign", self.path, data=text.encode())

    def jwk(self, **changes):
        modulus = openssl("rsa", "-in", self.path, "-noout", "-modulus").decode().strip().split("=")[1]
        key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.name, "n": base64url(bytes.fromhex(modulus)),
               "e": "AQAB", **changes}
        return {name: value for name, value in key.items() if value is not None}


@functools.lru_cache(maxsize=None)
def key(name, kind="rsa:2048", days=30):
    """The same one every time."""
    return Key(name, kind, days)


def jwt(signer, header, claims, how="RS256"):
    """Members that are None are left out; header and claims may be bytes, too."""
    def part(value):
        return encode(value if isinstance(value, bytes) else {k: v for k, v in value.items() if v is not None})
    text = f"{part(header)}.{part(claims)}"
    return f"{text}.{base64url(signer.sign(text, how))}"
