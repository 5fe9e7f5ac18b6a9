"""Somebody who writes down what the agent posts, to have its assertions checked by an implementation
that shares nothing with it (tests/entra/verify.mjs). Used by test_entra.py."""

import http.server
import json
import os
import subprocess
import sys
import urllib.parse

from entra import TENANT, assertions, client_id
from places import REPO, Place
from watch import Lines

sys.path.insert(0, os.path.join(REPO, "tests", "clients"))
ENTRA = os.path.join(REPO, "tests", "entra")


def install():
    """The directory with jose, as the lock file says."""
    import packages  # pylint: disable=import-outside-toplevel
    return packages.npm_ci("entra", ENTRA)


class Recorder:
    """An authority on 127.0.0.1 of the host's namespace that gives everybody a token."""

    def __init__(self, world):
        path = os.path.join(world.tmp, "posted.jsonl")
        place = Place(world, world.host_netns, world.cgroup.child("recorder"))
        process = place.spawn([sys.executable, os.path.abspath(__file__), path],
                              stdout=subprocess.PIPE)
        self.authority = f"http://127.0.0.1:{int(process.stdout.readline())}"
        self.log = Lines(path, json.loads)

    def expected(self, name, alg):
        """The assertion and what has to be in it."""
        post = self.log.wait_for(lambda p: p["client_id"] == client_id(name))
        key = assertions.key(name)
        return {"assertion": post["client_assertion"], "alg": alg, "certificate": key.pem,
                "audience": f"{self.authority}/{TENANT}/oauth2/token", "client": client_id(name),
                "thumbprint": ["x5t#S256", key.x5t_s256] if alg == "PS256" else ["x5t", key.x5t]}


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):  # pylint: disable=invalid-name
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with open(sys.argv[1], "a", encoding="utf-8") as f:
            f.write(json.dumps(dict(urllib.parse.parse_qsl(body))) + "\n")
        reply = b'{"access_token":"opaque","expires_in":"3600","token_type":"Bearer"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):  # pylint: disable=arguments-differ
        pass


if __name__ == "__main__":
    with http.server.HTTPServer(("127.0.0.1", 0), _Handler) as server:
        print(server.server_port, flush=True)
        server.serve_forever()
