"""Clients that ask by object id: the gate learns it from tokens, and not every token tells, nor is every
identity known upstream. Such a request ends, and the server does not."""

import contextlib
import subprocess
import sys

from harness import NOT_FOUND, TRACES, manifests, standard_world
from places import TOKEN_PATH, Place
from tap import Suite

A, B = manifests.ID_A, manifests.ID_B
BROKEN = manifests.Identity("a-broken", "dddddddd-0000-4000-8000-000000000004", "")
LOST = manifests.Identity("a-lost", "cccccccc-0000-4000-8000-000000000003", "")
NOBODY = "99999999-1111-4000-8000-000000000009"

# tokens that are no JWT for one, and JWTs with nothing but what matters for the other; each question is a line
SERVICE = """
import base64, http.server, json, sys, time
OPAQUE, OTHER, OBJECT_ID = sys.argv[1:]

def jwt(claims):
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
                    for part in ({"alg": "none"}, claims, "signature"))

class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        client = self.path.partition("&client_id=")[2]
        body = {"access_token": "opaque" if client == OPAQUE else jwt({"oid": OBJECT_ID, "appid": client}),
                "client_id": client, "expires_in": "3600", "expires_on": str(int(time.time()) + 3600)}
        if client not in (OPAQUE, OTHER):
            body = {"error": "invalid_request", "error_description": "Identity not found"}
        text = json.dumps(body).encode() if not client.startswith("dddd") else b"<html>"
        self.send_response(200 if "access_token" in body else 400)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        print(self.path, flush=True)

server = http.server.HTTPServer(("127.0.0.1", 0), Service)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@contextlib.contextmanager
def build():
    with standard_world(agent=False) as w:
        place = Place(w, w.host_netns, w.cgroup.child("service"))
        w.service = place.spawn([sys.executable, "-S", "-c", SERVICE, A.client_id, B.client_id, B.object_id],
                                stdout=subprocess.PIPE)
        w.agent.start(imds_url=f"http://127.0.0.1:{int(w.service.stdout.readline())}")
        yield w


suite = Suite(build, TRACES)


def ask(w, object_id):
    return w.pods["a"].dial(path=f"{TOKEN_PATH}&resource=r&object_id={object_id}", timeout=4000)


def not_found(reply):
    return reply.status == 400 and reply.body == NOT_FOUND


@suite.test("a token that does not tell: no such identity, at once, whether it is cached or not")
def opaque(w):
    pids = w.agent.pids()
    for _ in range(2):
        assert not_found(ask(w, NOBODY))
    assert w.pods["a"].dial(path=f"{TOKEN_PATH}&resource=r").status == 200
    assert not_found(ask(w, NOBODY))
    assert w.agent.pids() == pids


@suite.test("an identity that upstream does not know is asked for once, and in nobody's way")
def lost(w):
    w.apply("lost.yaml", manifests.identity(LOST))
    w.apply("bind-lost.yaml", manifests.binding("bind-lost", LOST, "sel-a"))
    pids = w.agent.pids()
    assert not_found(ask(w, NOBODY))
    assert not_found(ask(w, NOBODY))
    w.apply("bind-b.yaml", manifests.binding("bind-also-b", B, "sel-a"))
    reply = ask(w, B.object_id)
    assert reply.status == 200 and reply.appid == B.client_id, reply
    assert not_found(ask(w, NOBODY))
    assert w.agent.pids() == pids


@suite.test("an identity that cannot be asked for is not in the way of others, and says so where it may be meant")
def broken(w):
    w.apply("broken.yaml", manifests.identity(BROKEN))  # nothing is known of any identity now
    w.apply("bind-broken.yaml", manifests.binding("bind-broken", BROKEN, "sel-a"))
    reply = ask(w, B.object_id)
    assert reply.status == 200 and reply.appid == B.client_id, reply
    reply = ask(w, NOBODY)
    assert reply.status == 500 and "server_error" in reply.body, reply
    w.apply("bind-broken.yaml", None)
    assert not_found(ask(w, NOBODY))
    w.service.terminate()
    asked = [line for line in w.service.stdout if LOST.client_id in line]
    assert len(asked) < 4, asked  # once in five seconds


if __name__ == "__main__":
    suite.run()
