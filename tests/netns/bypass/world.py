"""The node on which the ways are tried: fabric.py's, with the pods

    a, b   bound to an identity each      c   bound to nothing: the one that tries
    h      like c, in the host's network namespace
"""

import contextlib
import json
import subprocess
import sys
import time

import manifests
from fabric import FabricWorld
from bypass.way import HERE
from harness import IMDS, UNRELATED
from places import TOKEN_PATH, Reply

A = manifests.ID_A.client_id
# one datagram to an unguarded address for each line: what was sent before it has arrived when it has
SENTINEL = """
import socket, sys
sock = socket.socket(type=socket.SOCK_DGRAM)
for line in sys.stdin:
    sock.sendto(b"", ("{address}", int(line)))
"""


class BypassWorld(FabricWorld):
    path = f"{TOKEN_PATH}&resource=https://vault.azure.net&client_id={A}"

    def _build_host(self):
        super()._build_host()
        self.usual, self._last_drop = {}, 0
        self._sentinels = self.host.spawn(
            [sys.executable, "-S", "-c", SENTINEL.format(address=UNRELATED)],
            stdin=subprocess.PIPE)

    def arrived(self, mark, device="up0"):
        self._sentinel += 1
        port = 20000 + self._sentinel
        self._sentinels.stdin.write(f"{port}\n")
        self._sentinels.stdin.flush()
        self.seen.wait_for(lambda p: p["dport"] == port and p["dst"] == UNRELATED, mark,
                           what="packet of our own")
        return self.seen.find(lambda p: p["dst"] == IMDS or p["dst"].startswith("168.63.")
                              or p.get("route"), mark)

    def attempt(self, place, function, /, **options):
        options = {**self.usual, **options}
        argv = [sys.executable, "-S", "-B", f"{HERE}/attempt.py", function,
                *(f"{key}={value}" for key, value in options.items())]
        status, out, err = place.run(argv)
        assert out, f"attempt.py {function} {options} said nothing: exit {status}: {err}"
        return Reply(json.loads(out.splitlines()[-1]))

    def quiet(self):
        """The guard makes one record a second for each source; what shares its source with an
        earlier way waits for its turn, or nobody could tell whether it was recorded."""
        left = self._last_drop + 1.1 - time.monotonic()
        if left > 0:
            time.sleep(left)
        self._last_drop = time.monotonic()


def bypass_world():
    @contextlib.contextmanager
    def build():
        with BypassWorld() as w:
            w.add_usual()
            w.add_pod("h", host_network=True)
            w.declare()
            yield w
    return build()
