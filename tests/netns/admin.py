"""The admin sockets of what the tests run beside the agent: one command, one answer, JSON both ways."""

import json
import socket


def tell(path, **command):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(path)
        s.sendall(json.dumps(command).encode() + b"\n")
        return json.loads(s.makefile("rb").readline())


def tell_lab(path, **command):
    """A lab (tests/lab/README.md) says whether it did."""
    reply = tell(path, **command)
    assert reply["ok"], f"the lab refuses {command}: {reply}"
    return reply
