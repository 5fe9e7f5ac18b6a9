"""What small clients need that the tests start inside the namespaces they made: a look at where they
are, other users, and HTTP over what the agent serves itself. Used by host_client.py and
scrape_client.py."""

import http.client
import os
import socket
import sys


class Connection(http.client.HTTPConnection):
    """where: path of a unix socket, or ADDRESS:PORT."""

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


def stay_inside():
    """Like every client of the tests: never where there is a way out."""
    if str(os.stat("/proc/self/ns/net").st_ino) in os.environ["IG_FORBIDDEN_NETNS"].split(","):
        sys.exit(99)


def become(uid, gid):
    """After everything was imported: that user may not be allowed to read this program."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
