"""Asks for /host/token: host_client.py WHERE COUNT POD TARGET [UID], WHERE a path of a unix socket or a
port of 127.0.0.1. One JSON line: the last status and body, and how often there was which status.
Runs in namespaces of the tests only."""

import http.client
import json
import os
import socket
import sys


class Connection(http.client.HTTPConnection):
    def __init__(self, where):
        super().__init__("localhost", timeout=10)
        self._where = where

    def connect(self):
        if self._where.isdigit():
            self.sock = socket.create_connection(("127.0.0.1", int(self._where)), 10)
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self._where)


def main():
    # like every client of the tests: never where there is a way out
    forbidden = os.environ["IG_FORBIDDEN_NETNS"].split(",")
    if str(os.stat("/proc/self/ns/net").st_ino) in forbidden:
        sys.exit(99)
    where, count, pod, target = sys.argv[1], int(sys.argv[2]), *sys.argv[3:5]
    if len(sys.argv) > 5:  # only now: that user may not be allowed to run this program
        os.setgroups([])
        os.setgid(int(sys.argv[5]))
        os.setuid(int(sys.argv[5]))
    said, seen = {"pid": os.getpid()}, {}
    try:
        connection = Connection(where)
        for _ in range(count):
            connection.request("GET", target, headers={"podns": "demo", "podname": pod})
            reply = connection.getresponse()
            said["status"], said["body"] = reply.status, reply.read().decode()
            seen[reply.status] = seen.get(reply.status, 0) + 1
    except (OSError, http.client.HTTPException) as error:
        said["error"] = type(error).__name__
    print(json.dumps({**said, "seen": seen}))


main()
