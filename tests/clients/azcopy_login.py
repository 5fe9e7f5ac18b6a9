"""Runs `azcopy login --identity`, lets azcopy use what it got, and says whose token that is: prints
one line of JSON without the token.

    python3 azcopy_login.py AZCOPY DIRECTORY [OPTION]...

azcopy remembers how it logged in, not the token, and shows it to nobody but storage. So it lists a
container of a storage account that is a TLS server on this pod's loopback address, with a
certificate made in DIRECTORY. It keeps what it remembers in the session keyring: a new one, which
ends with this process. Run by test_clients.py inside a pod of the test's world; never anywhere
else."""

import base64
import ctypes
import http.server
import json
import os
import platform
import ssl
import subprocess
import sys
import threading

SYS_KEYCTL = {"x86_64": 250, "aarch64": 219}[platform.machine()]
JOIN_SESSION_KEYRING = 1
ADDRESS = "127.0.0.1"


def new_session_keyring():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(SYS_KEYCTL, JOIN_SESSION_KEYRING, None) < 0:
        raise OSError(ctypes.get_errno(), "keyctl")


def certificate(directory):
    key, cert = f"{directory}/storage.key", f"{directory}/storage.crt"
    if not os.path.exists(cert):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key,
                        "-out", f"{cert}.new", "-days", "2", "-subj", "/CN=storage",
                        "-addext", f"subjectAltName=IP:{ADDRESS}"], check=True, capture_output=True)
        os.rename(f"{cert}.new", cert)
    return key, cert


class Storage(http.server.BaseHTTPRequestHandler):
    """Keeps the token of each request, and has nothing."""
    tokens = []

    def do_GET(self):  # pylint: disable=invalid-name
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer":
            self.tokens.append(token)
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


def serve(key, cert):
    """ADDRESS:PORT"""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server = http.server.ThreadingHTTPServer((ADDRESS, 0), Storage)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"{ADDRESS}:{server.server_address[1]}"


def claims(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def run(argv, **options):
    return subprocess.run(argv, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False, **options)


def say(status, **answer):
    print(json.dumps(answer))
    sys.exit(status)


def main():
    program, directory, *options = sys.argv[1:]
    new_session_keyring()
    done = run([program, "login", "--identity", *options])
    if done.returncode:
        say(1, result="error", name=f"exit {done.returncode}", message=done.stdout)
    key, cert = certificate(directory)
    storage = serve(key, cert)
    done = run([program, "list", f"https://{storage}/account/container", "--location", "Blob",
                "--trusted-microsoft-suffixes", storage, "--skip-version-check"],
               env={**os.environ, "SSL_CERT_FILE": cert})
    if not Storage.tokens:
        say(1, result="error", name="no token for storage", message=done.stdout)
    got = claims(Storage.tokens[0])
    say(0, result="ok", appid=got["appid"], aud=got["aud"])


if __name__ == "__main__":
    main()
