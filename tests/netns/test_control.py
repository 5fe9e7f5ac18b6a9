"""The control: without the gate every way of connecting does reach the metadata addresses. What the
other tests see as "did not reach" means something only because of this one."""

import json
import subprocess
import sys

from harness import GUARDED, IMDS, UNRELATED, WIRESERVER, manifests, standard_world
from places import BUILD, TOKEN_PATH
from tap import Skip, Suite

suite = Suite(lambda: standard_world(agent=False))
# without the gate anybody gets any identity of the node: here pod "a" asks for that of "b"
B = manifests.ID_B.client_id
PATH_OF_B = f"{TOKEN_PATH}&resource=https://vault.azure.net&client_id={B}"
TCP_MODES = ("plain", "nonblocking", "bound-source", "bound-port", "bind-device", "fastopen-msg",
             "fastopen-connect", "mptcp", "io_uring", "v6mapped", "v6mapped-nonblocking",
             "half-close")


def options_of(mode, pod):
    return {"bound-source": {"bind_addr": pod.address},
            "bound-port": {"bind_port": 40777}}.get(mode, {})


def reaches_lab(mode):
    def check(w):
        pod, mark = w.pods["a"], w.lab.log.mark()
        reply = pod.dial(mode, path=PATH_OF_B, **options_of(mode, pod))
        if reply["result"] == "unsupported":
            raise Skip(f"this kernel has no {mode}")
        assert reply.status == 200 and reply.appid == B, reply
        peer = f"[::ffff:{IMDS}]:80" if mode.startswith("v6") else f"{IMDS}:80"
        assert reply["peername"] == peer, reply
        seen = w.lab.connections(mark)
        assert len(seen) == 1 and seen[0]["peer"].startswith(pod.address + ":"), seen
    return check


for tcp_mode in TCP_MODES:
    suite.test(f"{tcp_mode} reaches the lab")(reaches_lab(tcp_mode))


@suite.test("a connection without a request is seen by the lab, on every guarded address")
def connect_only(w):
    for address, port in GUARDED:
        mark = w.lab.log.mark()
        assert w.pods["a"].dial("connect-only", addr=address, port=port)["result"] == "ok"
        assert [c["local"] for c in w.lab.connections(mark)] == [f"{address}:{port}"]


@suite.test("the assertion that nothing was reached can fail")
def never_reached(w):
    mark = w.lab.log.mark()
    w.lab.never_reached(mark, strict=True)
    w.pods["b"].dial("connect-only")
    try:
        w.lab.never_reached(mark)
    except AssertionError:
        return
    raise RuntimeError("never_reached() overlooked a connection")


@suite.test("UDP reaches the guarded addresses")
def udp(w):
    for mode in ("udp-connect", "udp-sendto", "udp-sendto-v6mapped"):
        reply = w.pods["a"].dial(mode, addr=IMDS, port=80)
        assert reply["result"] == "ok" and reply.body == "echo:dial", reply


@suite.test("port 53 and unrelated destinations answer")
def others(w):
    pod = w.pods["a"]
    assert pod.dial("udp-sendto", addr=WIRESERVER, port=53).body == "echo:dial"
    assert pod.dial(addr=WIRESERVER, port=53).status > 0
    for address, port in ((UNRELATED, 80), (IMDS, 8080)):
        assert pod.dial(addr=address, port=port).body == "unrelated"


@suite.test("a socket passed between control groups reaches the lab")
def passed(w):
    path = f"{w.tmp}/pass"
    giver = w.pods["a"].dialer("scm-give", socket=path)
    assert giver.read()["result"] == "listening"
    reply = w.pods["b"].dial("scm-take", socket=path, path=PATH_OF_B)
    giver.close()
    assert reply.status == 200, reply
    assert reply["sockname"].startswith(w.pods["a"].address), "the socket is not the giver's"


@suite.test("a task that changes its control group reaches the lab")
def moved(w):
    reply = w.pods["a"].dial("cgroup-move", cgroup=w.pods["b"].cgroup.path, path=PATH_OF_B)
    assert reply.status == 200, reply


@suite.test("a client on a given source port reaches a server on loopback")
def forged(w):
    pod = w.pods["a"]
    pod.respond("tcp:127.0.0.1:254")
    assert pod.gate_ports() == [254]
    reply = pod.dial("forge", addr="127.0.0.1", port=254, bind_port=40778)
    assert reply.body == "unrelated" and reply["sockname"] == "127.0.0.1:40778", reply


@suite.test("requests and attempts wait for a word from the test")
def stepped(w):
    dialer = w.pods["a"].dialer(addr=UNRELATED, attempts=2)
    first, second = dialer.read(), dialer.next()
    assert first.body == second.body == "unrelated" and first["sockname"] != second["sockname"]
    dialer.close()


@suite.test("a closed port is refused, and a refusal is told from an answer")
def refused(w):
    reply = w.pods["a"].dial(addr=IMDS, port=81)
    assert reply.refused and reply["stage"] == "connect", reply


@suite.test("each process runs in its pod's namespace and control group")
def placed(w):
    seen = set()
    for pod in w.pods.values():
        _, out, _ = pod.run(["sh", "-c", "stat -Lc %i /proc/self/ns/net; cat /proc/self/cgroup"])
        inode, cgroup = out.split("\n", 1)
        assert pod.cgroup.path.split("igtest-")[1] in cgroup, cgroup
        assert int(inode) not in w.outside
        seen.add(inode)
    assert len(seen) == len(w.pods)


@suite.test("the dialer refuses to run in the machine's own namespace")
def confined(w):
    argv = [f"{BUILD}/tests/netns/dial", "connect-only", "--addr", "127.0.0.1", "--port", "1"]
    for env in ({}, w.env, {"IG_FORBIDDEN_NETNS": "x"}):
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "refusing" in done.stderr and not done.stdout, done


@suite.test("a program's output that is no JSON is an error, not a pass")
def garbage(w):
    try:
        w.pods["a"].dial_by([sys.executable, "-S", "-c", "print('hello')"])
    except json.JSONDecodeError:
        return
    raise RuntimeError("garbage was taken for a reply")


if __name__ == "__main__":
    suite.run()
