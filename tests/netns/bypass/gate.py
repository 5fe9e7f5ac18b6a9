"""Ways that are aimed at the gate itself: its listeners, its sockets, its processes, its programs.
There is no gate to attack without the gate; instead each attempt is seen to work on something that
is not protected, where there is such a thing."""

import json
import os
import subprocess
import sys

import sanitizers
from bypass.way import HERE, Way, attempt, dial, event
from places import Reply

NO_GATE = "there is no gate to attack without it"
UNATTRIBUTED = event("connect.unattributed", decision="deny")
# what containerd gives to a container that asks for nothing, of which it may have root
CONTAINER = ("chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,net_raw,"
             "sys_chroot,mknod,audit_write,setfcap")


def argv(function, **options):
    return [sys.executable, "-S", "-B", f"{HERE}/attempt.py", function,
            *(f"{key}={value}" for key, value in options.items())]


def gate_port(place):
    (port,) = place.gate_ports()
    return port


def of_gate(name, does, how, trace=UNATTRIBUTED, **more):
    return Way(name, does, how, trace, unproven=NO_GATE, **more)


def in_container(function, **options):
    """attempt.py as root of a container with hostPID."""
    def run(w):
        status, out, err = w.pods["c"].run([
            "setpriv", f"--bounding-set=-all,+{CONTAINER.replace(',', ',+')}", "--inh-caps=-all",
            *argv(function, **options)])
        assert out, f"exit {status}: {err}"
        return Reply(json.loads(out))
    return run


def fetched(w):
    """So that the agent has the victim's token already, and the far side nothing to see."""
    assert w.pods["a"].dial(timeout=20000).status == 200


def forged(w):
    """The address and port of a connection that pod a has, from the namespace of pod c."""
    dialer = w.pods["a"].dialer(requests=2)
    first = dialer.read()
    assert first.status == 200, first
    port = first["sockname"].rsplit(":", 1)[1]
    reply = w.pods["c"].dial("forge", addr="127.0.0.1", port=gate_port(w.pods["c"]),
                             bind_port=port)
    assert dialer.next().status == 200, "the victim's connection broke"
    dialer.close()
    return reply


def reroute_loopback(w):
    """Pod c gives up its own 127.0.0.1 and sends it to the node, which accepts that, as it does where
    kube-proxy set route_localnet."""
    for place in (w.host, w.pods["c"]):
        assert place.run(["sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1"])[0] == 0
    w.pods["c"].ip("addr del 127.0.0.1/8 dev lo", "route add 127.0.0.1 via 10.77.3.1 dev eth0")


def restore_loopback(w):
    w.pods["c"].ip("route del 127.0.0.1", "addr add 127.0.0.1/8 dev lo")


def listener_of_host(w):
    """A port of the node's loopback that is not protected answers; the gate's does not."""
    source, gate = w.pods["c"].address, gate_port(w.host)
    w.host.respond("tcp:127.0.0.1:8254")
    reply = w.pods["c"].dial("bound-source", addr="127.0.0.1", port=8254, bind_addr=source)
    assert reply.body == "unrelated", f"the node's loopback cannot be reached: {reply}"
    return w.pods["c"].dial("bound-source", addr="127.0.0.1", port=gate, bind_addr=source)


WAYS = (
    of_gate("the gate's port, dialled", "connect() to the listener in the own namespace",
            dial("plain", addr="127.0.0.1", port=lambda w: gate_port(w.pods["c"]))),
    of_gate("the gate's port, from the host's namespace", "a pod with hostNetwork",
            dial("plain", who="h", addr="127.0.0.1", port=lambda w: gate_port(w.host))),
    of_gate("what an earlier redirect left", "redirected, off by AF_UNSPEC, then to the gate's port",
            attempt("stale_storage", gate=lambda w: gate_port(w.pods["c"]))),
    of_gate("a forged connection", "address and port of a bound pod's, in another namespace",
            forged, before=fetched),
    of_gate("the node's gate from a pod", "127.0.0.1 routed to the node", listener_of_host,
            before=reroute_loopback, after=restore_loopback),
)


# ---- what leaves no record, since the kernel turns it away before the gate sees it ---------------

def no_listener_from_outside(w):
    """The listener of a bound pod by its address, from another pod and from the node."""
    for place in (w.pods["c"], w.host):
        reply = place.dial("connect-only", addr=w.pods["a"].address, port=gate_port(w.pods["a"]),
                           timeout=2000)
        assert reply["result"] == "error", reply


def no_stolen_port(w):
    """Binding the listener's port, or joining its group, as root of the pod."""
    reply = attempt("steal_port", gate=lambda w: gate_port(w.pods["c"]))(w)
    assert reply["result"] == "ok" and reply["stolen"] is None, reply


def no_control(w):
    """The control socket, by a user of a pod: the file refuses, and so does the agent when it does
    not."""
    ask = argv("unix_socket", socket=w.agent.socket, say="{}")
    _, out, err = w.pods["c"].run(ask, uid=65534)
    assert out and json.loads(out)["errno"] in ("EACCES", "EPERM"), (out, err)
    mode = os.stat(w.agent.socket).st_mode & 0o777
    os.chmod(w.agent.socket, 0o666)
    try:
        _, out, err = w.pods["c"].run(ask, uid=65534)
    finally:
        os.chmod(w.agent.socket, mode)
    assert out and "EACCES" in json.loads(out).get("body", ""), (out, err)


def no_abstract_sockets(w):
    """Names without a file, which all of a network namespace could use."""
    status, out, err = w.host.run(["ss", "-Hxlp"])
    assert status == 0, err
    pids = w.agent.pids()
    ours = [line for line in out.splitlines() if any(f"pid={pid}," in line for pid in pids)]
    assert ours and not [line for line in ours if " @" in line], ours


def victim(w, uid):
    """A process like the agent's that nothing protects."""
    process = w.agent.place.spawn(["sleep", "60"], uid=uid, stdout=subprocess.DEVNULL)
    return process


def no_prying(w):
    """ptrace, process_vm_readv, /proc/PID, pidfd_getfd: as root of a container with hostPID, and as a
    process with the uid of the server."""
    pids = w.agent.pids()
    for pid in pids:
        reply = in_container("pry", pid=pid)(w)
        assert reply["worked"] == [], (pid, reply)
    unprotected = victim(w, w.agent.options["user"])
    # a leak check needs what is refused to all others
    for pid, expected in ((pids[1], sanitizers.INSTRUMENTED), (pids[0], False), (unprotected.pid, True)):
        _, out, err = w.pods["c"].run(argv("pry", pid=pid), uid=w.agent.options["user"])
        assert out, err
        assert bool(json.loads(out)["worked"]) == expected, (pid, out)
    unprotected.kill()


def no_signals(w):
    """From users without capabilities, to either process."""
    for pid in w.agent.pids():
        _, out, err = w.pods["c"].run(argv("poke", pid=pid), uid=65534)
        assert out, err
        assert json.loads(out)["worked"] == [], (pid, out)


def no_bpf(w):
    """Programs, maps and links by their ids, as root of a container; pins, as any other user. (Root
    that sees the host's bpffs is part of the host.)"""
    top = f"{w.bpffs}/imdsgate"
    pins = ",".join(os.path.join(directory, name) for directory, _, names in os.walk(top)
                    for name in names)
    reply = in_container("bpf", pins="/nowhere")(w)
    assert reply["worked"] == [], reply
    _, out, err = w.pods["c"].run(argv("bpf", pins=pins), uid=65534)
    assert out and json.loads(out)["worked"] == [], (out, err)
    reply = w.attempt(w.pods["c"], "bpf", pins=pins)
    assert len(reply["worked"]) > pins.count(","), f"not even with every capability: {reply}"


REFUSED_BY_KERNEL = (no_listener_from_outside, no_stolen_port, no_control, no_abstract_sockets,
                     no_prying, no_signals, no_bpf)
