"""The metadata service that the agent gets its tokens from in the tests of the clients: a second
lab, that can be told to fail. It listens on a loopback address of the node's namespace, so that
whatever arrives at the metadata address itself came around the gate. Used by test_clients.py."""

import json
import os
import socket

import manifests
from places import BUILD, Place
from watch import Lines, wait_ready


class Upstream:
    def __init__(self, world, identities):
        self._admin = os.path.join(world.tmp, "upstream.sock")
        self._place = Place(world, world.host_netns, world.cgroup.child("upstream"))
        self.log = Lines(os.path.join(world.tmp, "upstream.jsonl"), json.loads)
        reader, writer = os.pipe()
        argv = [f"{BUILD}/tests/lab/imdsgate-lab", "--log", self.log.path, "--admin", self._admin,
                "--ready-fd", str(writer), "--listen", "127.0.0.1:0"]
        for ident in identities:
            argv += ["--identity", ident.lab_option]
        self._place.spawn(argv, pass_fds=[writer])
        os.close(writer)
        address = wait_ready(reader).decode().strip()
        assert address.startswith("127.0.0.1:"), f"the upstream lab does not listen: {address!r}"
        self.url = f"http://{address}"

    def tell(self, **command):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(self._admin)
            s.sendall(json.dumps(command).encode() + b"\n")
            reply = json.loads(s.makefile().readline())
        assert reply["ok"], f"the lab refuses {command}: {reply}"

    def requests(self, since):
        """All of them are the agent's, or this fails."""
        found = self.log.find(lambda e: e["event"] == "request", since)
        for request in found:
            headers = {k.lower(): v for k, v in request["headers"].items()}
            assert headers.get("user-agent", "").startswith("imdsgate/"), f"reached: {request}"
        return found

    def replies(self, since):
        """The status of each."""
        return [e["status"] for e in self.log.find(lambda e: e["event"] == "reply", since)]


OUTAGE = manifests.Identity("id-outage", "cccccccc-0000-4000-8000-000000000003",
                            "cccccccc-1111-4000-8000-000000000003")
