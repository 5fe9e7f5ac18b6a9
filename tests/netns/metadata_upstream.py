"""A world whose agent has a lab of its own for upstream, on a loopback address of the node: whatever
arrives at the metadata address itself came around the gate. Used by the tests of documents."""

import contextlib
import json
import os

from admin import tell_lab
from harness import manifests, standard_world
from places import BUILD, Place
from watch import Lines, wait_ready


class Upstream:
    """The service behind the gate, which can be told to fail."""

    def __init__(self, world, identities=manifests.IDENTITIES):
        self._admin = os.path.join(world.tmp, "upstream.sock")
        self.log = Lines(os.path.join(world.tmp, "upstream.jsonl"), json.loads)
        reader, writer = os.pipe()
        argv = [f"{BUILD}/tests/lab/imdsgate-lab", "--log", self.log.path, "--admin", self._admin,
                "--ready-fd", str(writer), "--listen", "127.0.0.1:0"]
        for ident in identities:
            argv += ["--identity", ident.lab_option]
        place = Place(world, world.host_netns, world.cgroup.child("upstream"))
        place.spawn(argv, pass_fds=[writer])
        os.close(writer)
        address = wait_ready(reader).decode().strip()
        assert address.startswith("127.0.0.1:"), f"the upstream lab does not listen: {address!r}"
        self.url = f"http://{address}"

    def tell(self, **command):
        tell_lab(self._admin, **command)

    @contextlib.contextmanager
    def broken(self, **command):
        self.tell(**command)
        try:
            yield
        finally:
            self.tell(clear=True)

    @staticmethod
    def is_document(line):
        return line["event"] == "request" and "/oauth2/token" not in line["target"]

    def documents(self, since):
        """Requests for anything but tokens."""
        return self.log.find(self.is_document, since)

    def wait_for(self, target, since):
        return self.log.wait_for(
            lambda e: e["event"] == "request" and e["target"] == target, since, what="request")


@contextlib.contextmanager
def build():
    with standard_world(agent=False) as w:
        w.upstream = Upstream(w)
        w.agent.start(imds_url=w.upstream.url)
        yield w


def untouched(w, mark):
    found = w.upstream.documents(mark)
    assert not found, f"upstream was asked: {found}"
    w.lab.never_reached(strict=True)


def denied(reply):
    return reply.status == 403 and '"forbidden"' in reply.body and "unreachable" not in reply.body
