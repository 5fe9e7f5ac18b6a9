"""The old way to the agent: rules that translate the destination, behind so many others as the
services of a cluster make. All of it is in a namespace of the benchmark."""

import subprocess

from harness import IMDS
from tap import Skip


def _others(n):
    """Addresses of that many other services."""
    return [f"10.{96 + (i >> 16)}.{i >> 8 & 255}.{i & 255}" for i in range(n)]


def _iptables(n, port):
    rules = [f"-A OUTPUT -d {address}/32 -p tcp -m tcp --dport 443 -j DNAT --to-destination"
             " 127.0.0.1:9" for address in _others(n)]
    rules.append(f"-A OUTPUT -d {IMDS}/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination"
                 f" 127.0.0.1:{port}")
    return "\n".join(["*nat", ":OUTPUT ACCEPT [0:0]", *rules, "COMMIT", ""])


def _nftables(n, port):
    rules = [f"ip daddr {address} tcp dport 443 dnat to 127.0.0.1:9" for address in _others(n)]
    rules.append(f"ip daddr {IMDS} tcp dport 80 dnat to 127.0.0.1:{port}")
    return "\n".join(
        ["table ip services {", "chain output {", "type nat hook output priority -100;",
         *rules, "}", "}", ""])


# kind: who reads the rules, what they are, how none are written
KINDS = {
    "iptables-legacy": (["iptables-legacy-restore"], _iptables, "*nat\n:OUTPUT ACCEPT\nCOMMIT\n"),
    "iptables-nft": (["iptables-nft-restore"], _iptables, "*nat\n:OUTPUT ACCEPT\nCOMMIT\n"),
    "nftables": (["nft", "-f", "-"], _nftables, "flush ruleset\n"),
}


class Rules:
    """with Rules(place, "nftables", 1000, port): connects there to the metadata address go to this
    port of 127.0.0.1, unless the gate comes first."""

    def __init__(self, place, kind, n, port):
        self._place, (self._argv, text, self._none) = place, KINDS[kind]
        self._text = text(n, port)

    def _load(self, text):
        process = self._place.spawn(self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT)
        out, _ = process.communicate(text, timeout=60)
        if process.returncode:
            raise Skip(f"{self._argv[0]}: {out[-300:]}")

    def __enter__(self):
        self._load(self._text)

    def __exit__(self, *_error):
        self._load(self._none)
