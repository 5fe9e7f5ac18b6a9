"""A world whose agent can be made to fail (inject.py), and what its tests ask for. The agent has served
once: what the first request needs is there. Used by the tests of this folder."""

import contextlib

from inject import Client, Injection
from harness import manifests, standard_world
from metadata_upstream import Upstream
from places import TOKEN_PATH

A = manifests.ID_A.client_id
WARM = f"{TOKEN_PATH}&resource=https://warm.example"
# what a client may be told for want of something: all of it is retried
CLEAN = (429, 500, 502, 503)


@contextlib.contextmanager
def injected_world():
    with standard_world(agent=False) as w:
        w.upstream = Upstream(w)
        w.faults = Injection(w)
        w.agent.start(imds_url=w.upstream.url)
        w.client = Client(w.pods["a"])
        assert w.client.get(WARM).appid == A
        w.pair, w.serial = w.agent.pids(), 0
        yield w


def fresh(w):
    """A token that nobody has asked for yet."""
    w.serial += 1
    return f"{TOKEN_PATH}&resource=https://r-{w.serial}.example"
