"""One workload that asks for its token without end, and counts what it gets; runs in a place that the
test made. Used by load.py.

    caller.py EXPECTED        the client id that its tokens must be for, or "none"

A line on standard input is a question: has anybody been served since? It is answered, with the line
and all counts so far, after the first request that was begun after it and went well. The end of
standard input ends the program, which then says its counts once more."""

import base64
import collections
import errno
import json
import os
import select
import signal
import socket
import sys

ADDRESS = ("169.254.169.254", 80)
REQUEST = (b"GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"
           b" HTTP/1.1\r\nHost: 169.254.169.254\r\nUser-Agent: igdial/1\r\nMetadata: true\r\n"
           b"Connection: close\r\n\r\n")
TIMEOUT_SEC = 5
PAUSE_SEC = 0.003  # between requests: several callers and the agent share two processors


def ask():
    """(status, body)"""
    with socket.create_connection(ADDRESS, timeout=TIMEOUT_SEC) as sock:
        sock.sendall(REQUEST)
        data = b""
        while more := sock.recv(65536):
            data += more
    head, _, body = data.partition(b"\r\n\r\n")
    if not head:
        raise ConnectionResetError(errno.ECONNRESET, "closed without an answer")
    return int(head.split(b" ")[1]), body


def holder(body):
    claims = json.loads(body)["access_token"].split(".")[1]
    return json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["appid"]


def outcome(expected):
    """One word: "served", "refused" (no connection), "ended" (a connection without an answer), the
    status of an answer that is an error, or what must never be, which begins with "WRONG"."""
    try:
        status, body = ask()
    except OSError as error:
        if error.errno in (errno.ECONNREFUSED, errno.EPERM):
            return "refused"
        return "timed out" if isinstance(error, TimeoutError) else "ended"
    if status == 200:
        got = holder(body)
        return "served" if got == expected else f"WRONG token: of {got}"
    if expected == "none" and status == 400 and b"Identity not found" in body:
        return "served"
    return str(status)


def main():
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if str(os.stat("/proc/self/ns/net").st_ino) in os.environ["IG_FORBIDDEN_NETNS"].split(","):
        sys.exit("this namespace leads out of the machine")
    counts, questions = collections.Counter(), []
    os.set_blocking(0, False)
    text = b""
    print("ready", flush=True)
    while True:
        if select.select([0], [], [], PAUSE_SEC)[0]:
            data = os.read(0, 4096)
            if not data:
                break
            *lines, text = (text + data).split(b"\n")
            questions += [line.decode() for line in lines]
        word = outcome(sys.argv[1])
        counts[word] += 1
        if word == "served":
            for question in questions:
                print(json.dumps({"question": question, "counts": counts}), flush=True)
            questions = []
    print(json.dumps({"question": None, "counts": counts}), flush=True)


main()
