"""Asks for tokens from inside a pod until standard input ends, over kept connections and new ones,
and says in one JSON line what became of it. Runs in namespaces of the tests only.

    token_load.py ADDRESS PORT CLIENT_ID KEPT NEW SLOW PER_SECOND

KEPT workers keep their connection as long as the server does, NEW make one for each request, SLOW
ask for a resource that nobody has asked for, so that their request waits for the upstream. A worker
makes PER_SECOND requests, SLOW as many as they get answers. Anything but a 200 with a token of
CLIENT_ID is a failure; an answer that announces the end of its connection is none.
"""

import base64
import http.client
import json
import os
import sys
import threading
import time

ADDRESS, PORT, CLIENT_ID = sys.argv[1], int(sys.argv[2]), sys.argv[3]
KEPT, NEW, SLOW, PER_SECOND = map(int, sys.argv[4:8])
PATH = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource="
TIMEOUT = 20

over, lock = threading.Event(), threading.Lock()
result = {"kept": 0, "new": 0, "slow": 0, "announced": 0, "longest": 0.0, "failures": []}


def client_of(body):
    claims = json.loads(body)["access_token"].split(".")[1]
    return json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["appid"]


def ask(connection, kind, resource):
    """Whether the connection may be used again."""
    started, what = time.monotonic(), None
    try:
        connection.request("GET", PATH + resource, headers={"Metadata": "true"})
        reply = connection.getresponse()
        body = reply.read()
        if reply.status != 200:
            what = f"{reply.status} {body[:200]!r}"
        elif client_of(body) != CLIENT_ID:
            what = f"a token of {client_of(body)}"
        close = reply.will_close
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        what, close = repr(error), True
    with lock:
        result[kind] += 1
        result["announced"] += close and what is None
        result["longest"] = max(result["longest"], time.monotonic() - started)
        if what:
            result["failures"].append(f"{kind} at {time.time():.3f}: {what}")
    return not close


def work(kind, number):
    connection, count = None, 0
    due = time.monotonic()
    while not over.is_set():
        connection = connection or http.client.HTTPConnection(ADDRESS, PORT, timeout=TIMEOUT)
        resource = "https://vault.azure.net"
        if kind == "slow":
            count += 1
            resource = f"https://{os.getpid()}-{number}-{count}.example"
        if not ask(connection, kind, resource) or kind == "new":
            connection.close()
            connection = None
        if kind != "slow":
            due = max(due + 1 / PER_SECOND, time.monotonic() - 1)
            over.wait(max(0, due - time.monotonic()))


def main():
    workers = [threading.Thread(target=work, args=(kind, i))
               for kind, n in (("kept", KEPT), ("new", NEW), ("slow", SLOW)) for i in range(n)]
    for worker in workers:
        worker.start()
    print("ready", flush=True)
    sys.stdin.read()
    over.set()
    for worker in workers:
        worker.join()
    print(json.dumps(result), flush=True)


main()
