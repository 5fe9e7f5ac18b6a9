"""Asks the agent's own HTTP service: scrape_client.py WHERE METHOD TARGET [UID:GID], WHERE a path of a
unix socket or ADDRESS:PORT. One JSON line: status, type and body, or the name of the error, and how long it took in seconds.
Runs in namespaces of the tests only."""

import http.client
import json
import os
import socket
import sys
import time


class Connection(http.client.HTTPConnection):
    def __init__(self, where):
        super().__init__("localhost", timeout=10)
        self._where = where

    def connect(self):
        if ":" in self._where:
            address, port = self._where.rsplit(":", 1)
            self.sock = socket.create_connection((address, int(port)), 10)
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self._where)


def main():
    # like every client of the tests: never where there is a way out
    forbidden = os.environ["IG_FORBIDDEN_NETNS"].split(",")
    if str(os.stat("/proc/self/ns/net").st_ino) in forbidden:
        sys.exit(99)
    where, method, target = sys.argv[1:4]
    if len(sys.argv) > 4:  # only now: that user may not be allowed to run this program
        uid, gid = map(int, sys.argv[4].split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    said, started = {}, time.monotonic()
    try:
        connection = Connection(where)
        connection.request(method, target)
        reply = connection.getresponse()
        said = {"status": reply.status, "type": reply.getheader("Content-Type"),
                "body": reply.read().decode()}
    except (OSError, http.client.HTTPException) as error:
        said["error"] = type(error).__name__
    print(json.dumps({**said, "took": time.monotonic() - started}))


main()
