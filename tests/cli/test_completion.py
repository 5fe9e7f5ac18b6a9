"""Completion in real shells: bash, zsh and fish each get the same lines typed, and have to offer
what the programs' tables have, what the agent says, and nothing that could run."""

import json
import os
import re
import socket
import threading
import time

import pages
import shells
import suite as suites
from records import BUILD

import tap  # noqa: E402  (suite.py finds it)

SHELLS = ("bash", "zsh", "fish")
WORKLOADS = [
    {"namespace": "shop", "name": "cart-0", "identities": ["shop/cart", "shop/orders"]},
    {"namespace": "shop", "name": "web-1", "identities": ["shop/cart"]},
    {"namespace": "kube-system", "name": "dns", "identities": []},
    # a manifest's author may write anything; nothing of it may get onto a command line
    {"namespace": "shop", "name": "$(touch evil)", "identities": ["shop/`touch evil`"]},
    {"namespace": "a b", "name": "x;touch evil", "identities": ["nothing", None, 7]},
    {"namespace": "shop", "name": "new\nline", "identities": {}}, 5, {"name": "x"},
]
suite = suites.new(seconds=120)


class Agent:
    """Answers every request with WORKLOADS; or, silent, with nothing."""

    def __init__(self, path, silent=False):
        self._listener, self._silent, self.asked = socket.socket(socket.AF_UNIX), silent, []
        self._open = []
        self._listener.bind(path)
        self._listener.listen(64)
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self):
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            if self._silent:
                self._open.append(peer)
                continue
            with peer:
                self.asked.append(json.loads(peer.makefile().readline()))
                peer.sendall(json.dumps({"ok": True, "result": WORKLOADS}).encode() + b"\n")


def environment(desk, path=BUILD):
    return {"PATH": f"{path}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": desk.path("home", ""),
            "TERM": "dumb", "LC_ALL": "C.UTF-8", "XDG_CONFIG_HOME": desk.path("home", "")}


def folder(desk):
    """With files to choose from."""
    for name in ("audit.jsonl", "audit.jsonl.1", "with blank", "below/x"):
        desk.write("", "work", name)
    return desk.path("work", "")


def normal(words):
    """Each word; --name= of the first candidate only is bash's way."""
    return sorted({word.rsplit("=", 1)[-1].rstrip("/") if word.startswith("--") and "=" in word
                   else word.rstrip("/") for word in words})


def check(desk, name, lines, path=BUILD):
    """lines: [(line, what stands behind the command then)]"""
    shell = shells.start(name, environment(desk, path), folder(desk))
    if not shell:
        raise tap.Skip(f"needs {name}")
    with shell:
        for line, expected in lines:
            got = normal(shell.complete(line))
            assert got == normal(expected), f"{name}: {line!r}: {got}, not {normal(expected)}"
            assert "not found" not in shell.shown, f"{name}: {line!r}: {shell.shown!r}"
    assert not os.path.exists(desk.path("work", "evil")), "something was run"


def table():
    """Lines out of the programs' own tables: everything that they have is offered."""
    known, flags = pages.command_help(), pages.flags()
    yield "imdsgate ", {c["noun"] for c in known["commands"]}
    yield "imdsgate --", {"--" + o["name"] for o in known["global_options"]}
    for noun in sorted({c["noun"] for c in known["commands"] if c["verb"]}):
        yield f"imdsgate {noun} ", {noun} | {c["verb"] for c in known["commands"]
                                             if c["noun"] == noun}
    for command in known["commands"]:
        words = pages.words_of(command)
        yield f"imdsgate {words} --", ({*words.split(), "--help"} |
                                       {"--" + o["name"] for o in command["options"]})
        for o in command["options"]:
            if o["values"]:
                yield (f"imdsgate {words} --{o['name']} ",
                       {*words.split(), "--" + o["name"], *o["values"]})
                yield f"imdsgate {words} --{o['name']}=", {*words.split(), *o["values"]}
    yield "imdsgated --", set(flags)
    for flag, (value, _) in flags.items():
        if "|" in value and value.islower():
            yield f"imdsgated {flag} ", {flag, *value.split("|")}
            yield f"imdsgated {flag}=", set(value.split("|"))


LINES = [
    ("imdsgate audit t", ["audit", "tail"]),
    ("imdsgate audit tail --decision=d", ["audit", "tail", "--decision=deny"]),
    ("imdsgate audit stats --since 2026-01-02T03:04:05Z --kin",
     ["audit", "stats", "--since", "2026-01-02T03:04:05Z", "--kind"]),
    ("imdsgate audit stats --resource https://x.y:1/z --by ide",
     ["audit", "stats", "--resource", "https://x.y:1/z", "--by", "identity"]),
    ("imdsgate audit verify aud", ["audit", "verify", "audit.jsonl", "audit.jsonl.1"]),
    ("imdsgate audit verify audit.jsonl be", ["audit", "verify", "audit.jsonl", "below"]),
    ("imdsgate --socket=be", ["--socket=below"]),
    ("imdsgate nope ", ["nope"]),
    ("imdsgate audit tail --nope=x ", ["audit", "tail", "--nope=x"]),
    ("imdsgated --manifests ", ["--manifests", "below"]),
    ("imdsgated --manifests=b", ["--manifests=below"]),
    ("imdsgated --audit-file aud", ["--audit-file", "audit.jsonl", "audit.jsonl.1"]),
    ("imdsgated --audit-file=below/", ["--audit-file=below/x"]),
]


def asking(path):
    start = f"imdsgate --socket {path} "
    shown = ["--socket", path]
    tail, stats = [*shown, "audit", "tail"], [*shown, "audit", "stats"]
    return [
        (start + "workload show ", [*shown, "workload", "show", "shop/cart-0", "shop/web-1",
                                    "kube-system/dns"]),
        (start + "workload show shop/c", [*shown, "workload", "show", "shop/cart-0"]),
        (start + "explain k", [*shown, "explain", "kube-system/dns"]),
        (start + "audit tail --namespace ", [*tail, "--namespace", "shop", "kube-system"]),
        (start + "audit tail --pod=w", [*tail, "--pod=web-1"]),
        (start + "audit stats --identity ", [*stats, "--identity", "cart", "orders"]),
    ]


for shell_name in SHELLS:
    @suite.test(f"{shell_name}: everything of the programs' tables is offered, nothing else")
    def whole(desk, name=shell_name):
        lines = list(table())
        assert len(lines) > 30, len(lines)
        check(desk, name, lines)

    @suite.test(f"{shell_name}: prefixes, values behind =, times and URLs, paths, wrong words")
    def single(desk, name=shell_name):
        check(desk, name, LINES)

    @suite.test(f"{shell_name}: the agent's names, without those that a shell could run")
    def names(desk, name=shell_name):
        path = desk.path(f"{name}.sock")
        with Agent(path) as agent:
            check(desk, name, asking(path))
            assert agent.asked and all(
                (ask["noun"], ask["verb"]) == ("workload", "list") for ask in agent.asked)

    @suite.test(f"{shell_name}: silent without the programs")
    def absent(desk, name=shell_name):
        check(desk, name, [("imdsgate au", ["au"]), ("imdsgated --he", ["--he"])],
              path="/nonexistent")


@suite.test("an agent that hangs holds nobody up")
def hangs(desk):
    path = desk.path("hangs.sock")
    with Agent(path, silent=True):
        started = time.monotonic()
        done = pages.run(f"{BUILD}/imdsgate", "complete", "--", "--socket", path, "workload",
                         "show", "")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done
        assert time.monotonic() - started < 3


@suite.test("the listed values of options are those that the program takes")
def values(desk):
    stand_ins = {"file": desk.write("", "empty"), "workload": "a/b"}
    tried = 0
    for command in pages.command_help()["commands"]:
        words = pages.words_of(command).split()
        args = [stand_ins.get(arg["type"], "x") for arg in command["arguments"]
                if arg["required"]]
        # options that must be given
        args += [word for option in re.findall(r"(--[a-z-]+) [A-Z]", command["args"])
                 for word in (option, desk.path("made"))]
        for option in command["options"]:
            for value in [*option["values"], "nonsense"] if option["values"] else ():
                done = pages.run(f"{BUILD}/imdsgate", "--socket", "/nonexistent", *words,
                                 f"--{option['name']}", value, *args, input="")
                # something else may be missing on the line, which is not asked here
                refused = done.returncode == 2 and (f"'{value}'" in done.stderr
                                                    or "--" + option["name"] in done.stderr)
                assert refused == (value == "nonsense"), (words, option, done)
                tried += 1
    assert tried > 50


suite.run()
