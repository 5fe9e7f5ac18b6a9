"""The stand-ins for Azure in the box: the node's metadata service at its real addresses, and
Entra ID on 127.0.0.1, which trusts the cluster as an issuer of tokens. Their logs show what got
through to them. Used by cluster.py and the tests beside it."""

import json
import os
import secrets
import socket

import config
import manifests
from places import BUILD
from watch import Lines, wait_ready

IMDS, WIRESERVER = "169.254.169.254", "168.63.129.16"
GUARDED = ((IMDS, 80), (WIRESERVER, 80), (WIRESERVER, 32526))
TENANT = "77777777-2222-4333-8444-555555555555"
AGENT = "imdsgate/"  # what its own requests say that they are from


class Lab:
    """What answers at the metadata addresses, and what reached it. spawn(name, argv, **options)
    starts a program of the box's."""

    def __init__(self, spawn, directory):
        self._spawn, self._sentinels = spawn, set()
        self.log = Lines(f"{directory}/lab.jsonl", json.loads)

    def start(self):
        argv = ["--log", self.log.path]
        for address, port in GUARDED:
            argv += ["--listen", f"{address}:{port}"]
        for ident in manifests.IDENTITIES:
            argv += ["--identity", ident.lab_option]
        listening = start(self._spawn, "lab", argv)
        assert len(listening) == len(GUARDED), "the lab does not listen everywhere"

    def _settle(self):
        """Connections are accepted in order: once ours is in the log, all before it are."""
        for where in GUARDED:
            with socket.create_connection(where, timeout=10) as sock:
                name = ":".join(map(str, sock.getsockname()))
                self._sentinels.add(name)
                self.log.wait_for(lambda e, peer=name: e["event"] == "connection"
                                  and e["peer"] == peer)

    def mark(self):
        return self.log.mark()

    def connections(self, since=0):
        self._settle()
        return self.log.find(lambda e: e["event"] == "connection"
                             and e["peer"] not in self._sentinels, since)

    def requests(self, since=0):
        return self.log.find(lambda e: e["event"] == "request", since)

    def only_the_agent(self, since=0):
        """Nobody but the agent got through: each connection made a request, as the agent does.
        The agent's requests are returned."""
        requests = self.requests(since)
        callers = {request["peer"] for request in requests}
        for connection in self.connections(since):
            assert connection["peer"] in callers, f"got through: {connection}"
        for request in requests:
            names = {name.lower(): value for name, value in request["headers"].items()}
            assert names.get("user-agent", "").startswith(AGENT), f"got through: {request}"
        return requests


class Entra:
    """Entra ID with applications of its own, see tests/lab/README.md."""

    def __init__(self, c):
        self._c, self.authority = c, None
        self.log = Lines(f"{c.log_directory}/entra.jsonl", json.loads)

    def start(self, applications):
        path = self._c.files.write("entra.json", json.dumps(
            {"tenant": TENANT, "identities": applications}))
        argv = ["--listen", "127.0.0.1:0", "--log", self.log.path, "--identities", path]
        (where,) = start(self._c.spawn, "entra", argv)
        self.authority = f"http://{where}"

    def federated(self, subject):
        """A federated credential: a subject of this cluster, whose keys are asked for as Entra
        does it."""
        keys = self._c.api.get("/openid/v1/jwks")
        assert keys["keys"], "the API server publishes no key"
        return {"issuer": config.ISSUER, "subject": subject, "jwks": keys}

    def token_requests(self, since=0):
        return [e["token_request"] for e in self.log.since(since)
                if e["event"] == "request" and e.get("token_request")]

    def replies(self, since=0):
        return self.log.find(lambda e: e["event"] == "reply", since)


def start(spawn, name, argv):
    """Starts a lab; the addresses on which it listens."""
    reader, writer = os.pipe()
    spawn(name, [f"{BUILD}/tests/lab/imdsgate-lab", "--ready-fd", str(writer), *argv],
          pass_fds=[writer])
    os.close(writer)
    return wait_ready(reader).decode().split()


def new_secret():
    return secrets.token_urlsafe(24)
