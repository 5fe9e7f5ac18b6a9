"""One pod's application: asks for its token until standard input ends, and says in one JSON line a
request what it got and when. Runs in namespaces of the tests only.

    caller.py PREFIX CONTROL_ADDRESS PER_SECOND

PREFIX begins the ids of its requests; with PER_SECOND 0 there are none. Half of the callers keep their connection. Most requests are
for one resource, some for others of a fixed set. Now and then it asks a server that has nothing to
do with the gate, too, for comparison."""

import base64
import http.client
import json
import os
import random
import select
import signal
import sys
import time

PREFIX, CONTROL, PER_SECOND = sys.argv[1], sys.argv[2], float(sys.argv[3])
PATH = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://"
RESOURCES, OTHER = 20, 0.1  # how many other resources there are, how often one is asked for
CONTROLS = 0.25
TIMEOUT_SEC = 60  # longer than the agent lets anybody wait


def client_of(body):
    claims = json.loads(body)["access_token"].split(".")[1]
    return json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["appid"]


def ask(connection, path, headers):
    """What came back: {"result", "status", "body"}"""
    try:
        connection.request("GET", path, headers=headers)
        reply = connection.getresponse()
        body = reply.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return {"result": type(error).__name__}
    return {"result": "ok", "status": reply.status, "body": body}


class Caller:
    def __init__(self):
        self._number, self._keeps = 0, random.random() < 0.5
        self._gate = http.client.HTTPConnection("169.254.169.254", 80, timeout=TIMEOUT_SEC)

    def ask_gate(self):
        self._number += 1
        number, resource = f"{PREFIX}-{self._number}", "vault.azure.net"
        if random.random() < OTHER:
            resource = f"r-{random.randrange(RESOURCES)}.example"
        reused, begin = self._gate.sock is not None, time.monotonic()
        answer = ask(self._gate, PATH + resource, {
            "Metadata": "true", "x-ms-client-request-id": number,
            "Connection": "keep-alive" if self._keeps else "close"})
        end, body = time.monotonic(), answer.pop("body", b"")
        if answer.get("status") == 200:
            answer["client_id"] = client_of(body)
        return {"id": number, "begin": begin, "end": end, "reused": reused, **answer}

    @staticmethod
    def ask_control():
        connection = http.client.HTTPConnection(CONTROL, 80, timeout=TIMEOUT_SEC)
        begin = time.monotonic()
        answer = ask(connection, "/", {"Connection": "close"})
        connection.close()
        return (time.monotonic() - begin) * 1000 if answer["result"] == "ok" else None


def main():
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if str(os.stat("/proc/self/ns/net").st_ino) in os.environ["IG_FORBIDDEN_NETNS"].split(","):
        sys.exit("this namespace leads out of the machine")
    if not PER_SECOND:
        sys.stdin.read()
    caller, due = Caller(), time.monotonic()
    while not select.select([0], [], [], max(0, due - time.monotonic()))[0]:
        answer = caller.ask_gate()
        if random.random() < CONTROLS:
            answer["control_ms"] = caller.ask_control()
        print(json.dumps(answer), flush=True)
        due = max(due + random.expovariate(PER_SECOND), time.monotonic() - 1)


main()
