"""/host/token: programs of the node get tokens of pods that they name, on a socket as root and on a
port from listed control groups. Everybody else is turned away unread and recorded, and what such a
program is itself gives it nothing."""

import base64
import contextlib
import json
import os
import sys

from harness import IMDS, TRACES, manifests, standard_world
from places import HERE, Place
from tap import Suite
from watch import event

PORT = 2579  # of a namespace that the test made
TARGET = "/host/token/?resource=https://vault.azure.net"
A, B = manifests.ID_A.client_id, manifests.ID_B.client_id


def host_world():
    @contextlib.contextmanager
    def build():
        with standard_world(agent=False) as w:
            w.csi = Place(w, w.host_netns, w.cgroup.child("system.slice/csi.service/worker"))
            w.other = Place(w, w.host_netns, w.cgroup.child("system.slice/csi.service2"))
            w.host_socket = os.path.join(w.tmp, "host", "token.sock")
            w.add_pod("both", "sel-both")
            w.add_pod("excepted", "sel-none")
            w.pods["excepted"].manifest = w.pods["excepted"].manifest.replace(
                "  labels:\n", "  labels:\n    app: free\n")
            w.declare()
            w.write("more.yaml", manifests.join(
                manifests.binding("both-a", manifests.ID_A, "sel-both"),
                manifests.binding("both-b", manifests.ID_B, "sel-both"),
                manifests.exception("free", {"app": "free"})))
            w.agent.options |= {"host-token-port": PORT, "host-token-socket": w.host_socket,
                                "host-token-cgroup": "/system.slice/csi.service"}
            w.agent.start()
            yield w
    return build()


suite = Suite(host_world, TRACES)


def ask(w, where, pod="a", place=None, target=TARGET, count=1, uid=None):
    """where: the path of the socket, or a port."""
    where = f"127.0.0.1:{where}" if isinstance(where, int) else where
    status, out, err = (place or w.csi).run(
        [sys.executable, "-S", f"{HERE}/host_client.py", where, str(count), pod, target,
         *([str(uid)] if uid else [])])
    assert status == 0, err
    return json.loads(out)


def app_of(reply):
    """Of which application the token is; the reply has the shape that the driver reads."""
    assert reply.get("status") == 200, reply
    body = json.loads(reply["body"])
    assert sorted(body) == ["clientid", "token"], sorted(body)
    token = body["token"]
    assert token["resource"] == "https://vault.azure.net" and token["token_type"] == "Bearer"
    assert all(isinstance(token[key], str) for key in ("expires_in", "expires_on", "not_before"))
    claims = token["access_token"].split(".")[1]
    appid = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["appid"]
    assert body["clientid"] == appid, body["clientid"]
    return appid


def ways(w):
    return {"socket": w.host_socket, "port": PORT}.items()


@suite.test("a listed program gets tokens of the pods that it names, on the socket and the port")
def listed(w):
    for name, where in ways(w):
        for pod, app in (("a", A), ("b", B)):
            mark = w.agent.audit.mark()
            reply = ask(w, where, pod)
            assert app_of(reply) == app
            record = w.agent.audit.wait_for(event("token.issued"), mark)
            assert record["on_behalf_of"] == {
                "namespace": "demo", "name": pod, "uid": w.pods[pod].uid}, record
            assert "name" not in record.get("pod", {}), record
            assert record["process"]["pid"] == reply["pid"], record
            assert (record["process"]["uid"], record["process"]["gid"]) == (0, 0), record
            assert record["cgroup"]["path"] == "/system.slice/csi.service/worker", record
            assert record["request"]["route"] == "host_token", record
            assert record["request"]["path"] == "/host/token", record
            assert record["identity"]["client_id"] == app, record
            assert len(record["token"]["fingerprint"]) == 16, record
            assert record["connection"]["endpoint"] == "host_token", record
            protocol = "unix" if name == "socket" else "tcp"
            assert record["connection"]["protocol"] == protocol, record


@suite.test("a v4-mapped connect is attributed, too")
def mapped(w):
    mark = w.agent.audit.mark()
    reply = w.csi.dial("v6mapped", addr="127.0.0.1", port=PORT, path=TARGET, no_metadata=True,
                       header=["podns: demo", "podname: a"])
    assert reply.status == 200, reply
    assert reply["peername"] == f"[::ffff:127.0.0.1]:{PORT}", reply
    record = w.agent.audit.wait_for(event("token.issued"), mark)
    assert record["connection"]["family"] == "ipv6", record


@suite.test("a program in another control group is turned away unread, and recorded")
def not_listed(w):
    # a name that only begins like a listed one is another one
    for place, path in ((w.other, "/system.slice/csi.service2"), (w.host, "/host.slice")):
        for _, where in ways(w):
            mark = w.agent.audit.mark()
            reply = ask(w, where, place=place)
            assert "error" in reply and "status" not in reply, reply
            record = w.agent.audit.wait_for(event("connect.refused"), mark)
            assert record["reason"] == "cgroup_not_listed", record
            assert record["process"]["pid"] == reply["pid"], record
            assert record["cgroup"]["path"] == path, record
            assert not w.agent.audit.find(event("token.issued"), mark)


@suite.test("a hostNetwork pod is turned away, also for its own token")
def host_network(w):
    pod = w.add_pod("hostpod", "sel-a", host_network=True)
    w.apply_pods()
    for name, where in ways(w):
        mark = w.agent.audit.mark()
        assert "error" in ask(w, where, "hostpod", place=pod)
        record = w.agent.audit.wait_for(event("connect.refused"), mark)
        assert record["pod"]["name"] == "hostpod", (name, record)


@suite.test("who cannot be attributed is turned away, and recorded")
def unattributed(w):
    outside = Place(w, w.host_netns, None)  # where no program is attached
    mark = w.agent.audit.mark()
    assert "error" in ask(w, PORT, place=outside)
    w.agent.audit.wait_for(event("connect.unattributed", reason="no_flow"), mark)
    mark = w.agent.audit.mark()
    assert "error" in ask(w, w.host_socket, place=outside)
    w.agent.audit.wait_for(event("connect.refused", reason="unknown_peer"), mark)
    # the kernel makes 127.0.0.1 of it after the hook has run
    mark = w.agent.audit.mark()
    reply = w.csi.dial(addr="0.0.0.0", port=PORT, path=TARGET, no_metadata=True)
    assert reply["result"] == "error", reply
    w.agent.audit.wait_for(event("connect.unattributed", reason="no_flow"), mark)


@suite.test("nothing answers on other addresses of loopback, and nobody else can on ::1")
def other_addresses(w):
    for mode, address in (("plain", "127.0.0.2"), ("v6mapped", "127.0.0.2")):
        assert w.csi.dial(mode, addr=address, port=PORT).refused
    status, out, _ = w.host.run([sys.executable, "-S", "-c", f"""
import errno, socket
for family, address in ((socket.AF_INET6, "::1"), (socket.AF_INET6, "::"),
                        (socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0")):
    s = socket.socket(family)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        s.bind((address, {PORT}))
        s.listen()
    except OSError as error:
        print(errno.errorcode[error.errno])
s = socket.socket(socket.AF_INET6)
print(errno.errorcode[s.connect_ex(("::1", {PORT}))])
"""])
    assert (status, out.split()) == (0, ["EADDRINUSE"] * 4 + ["ECONNREFUSED"]), out


@suite.test("on a pod's own loopback there is nothing, and the port is the pod's")
def in_a_pod(w):
    assert w.pods["a"].dial(addr="127.0.0.1", port=PORT, path=TARGET).refused
    w.pods["a"].respond(f"tcp:127.0.0.1:{PORT}")
    reply = w.pods["a"].dial(addr="127.0.0.1", port=PORT, path=TARGET)
    assert (reply.status, reply.body) == (200, "unrelated"), reply


@suite.test("a policy that covers the named pod counts, also for who asks on its behalf")
def policy(w):
    vault = {"resources": ["https://vault.azure.net"]}
    w.apply("policies.yaml", manifests.policy("vault", allow=vault))
    assert app_of(ask(w, w.host_socket, "a")) == A
    storage = TARGET.replace("vault.azure.net", "storage.azure.com")
    # neither the pod's containers nor its programs are those of who asks
    for text, target, reason in (
            (manifests.policy("p", allow=vault), storage, "resource_not_allowed"),
            (manifests.policy("p", allow={"containers": ["x"]}), TARGET, "container_not_known"),
            (manifests.policy("p", allow={"executables": [sys.executable]}), TARGET,
             "executable_not_allowed")):
        w.apply("policies.yaml", text)
        mark = w.agent.audit.mark()
        reply = ask(w, w.host_socket, "a", target=target)
        assert reply.get("status") == 403 and "token" not in reply["body"], reply
        record = w.agent.audit.wait_for(event("token.denied"), mark)
        assert (record["reason"], record["policy"]["name"]) == (reason, "p"), record
        assert record["on_behalf_of"]["name"] == "a", record
    # one caller, and a rate for each pod
    w.apply("policies.yaml", manifests.policy("p", rate={"perSecond": 1, "burst": 1}))
    assert (app_of(ask(w, w.host_socket, "a")), app_of(ask(w, w.host_socket, "b"))) == (A, B)
    w.apply("policies.yaml", None)


@suite.test("the paths do not mix: no /host/token at the gate, no metadata on the port")
def paths(w):
    for header in ([], ["podns: demo", "podname: b"]):
        assert w.pods["a"].dial(path=TARGET, header=header).status == 404
    for path in ("/metadata/identity/oauth2/token?api-version=2018-02-01&resource=x",
                 "/metadata/instance?api-version=2021-02-01", "/", "/host/token/x"):
        for _, where in ways(w):
            mark = w.agent.audit.mark()
            assert ask(w, where, target=path)["status"] == 404, path
            w.agent.audit.wait_for(event("request.rejected", request__status=404), mark)


@suite.test("what is wrong with a request is said as the old agent said it")
def mistakes(w):
    def get(target, *headers):
        reply = w.csi.dial(addr="127.0.0.1", port=PORT, path=target, no_metadata=True,
                           header=list(headers))
        return reply.status, reply.body
    missing = (400, "missing 'podname' and 'podns' from request header\n")
    assert get(TARGET) == missing
    assert get(TARGET, "podns: demo") == missing
    assert get(TARGET, "podns: demo", "podname: ../a")[0] == 400
    assert get("/host/token/", "podns: demo", "podname: a") == (
        400, "parameter resource cannot be empty\n")
    assert get(TARGET, "podns: demo", "podname: a", "X-Forwarded-For: 1.2.3.4")[0] == 400


@suite.test("an unknown pod, one without identity and an excepted one: 404, recorded")
def not_found(w):
    for pod, reason in (("ghost", "unknown_pod"), ("c", "not_bound"), ("excepted", "not_bound")):
        mark = w.agent.audit.mark()
        reply = ask(w, w.host_socket, pod)
        assert reply["status"] == 404, reply
        record = w.agent.audit.wait_for(event("token.denied"), mark)
        assert record["reason"] == reason and record["on_behalf_of"]["name"] == pod, record
    # it is excepted at the gate
    assert w.pods["excepted"].dial(path=f"/metadata/identity/oauth2/token?api-version=2018-02-01"
                                   f"&resource=https://vault.azure.net&client_id={A}").appid == A


@suite.test("of several identities one has to be chosen, by the names that the token path has")
def several(w):
    assert ask(w, PORT, "both")["status"] == 400
    assert app_of(ask(w, PORT, "both", target=f"{TARGET}&client_id={B.upper()}")) == B
    assert app_of(ask(w, PORT, "both",
                      target=f"{TARGET}&msi_res_id={manifests.ID_A.resource_id}")) == A
    assert ask(w, PORT, "a", target=f"{TARGET}&client_id={B}")["status"] == 404


@suite.test("the socket is root's: another user cannot connect, nor is it served if it could")
def not_root(w):
    info = os.stat(w.host_socket)
    assert (info.st_uid, info.st_gid, info.st_mode & 0o777) == (0, 0, 0o600)
    assert ask(w, w.host_socket, uid=65534)["error"] == "PermissionError"
    os.chmod(w.host_socket, 0o666)
    try:
        mark = w.agent.audit.mark()
        reply = ask(w, w.host_socket, uid=65534)
        assert "error" in reply and "status" not in reply, reply
        record = w.agent.audit.wait_for(event("connect.refused"), mark)
        assert record["reason"] == "not_root" and record["process"]["uid"] == 65534, record
    finally:
        os.chmod(w.host_socket, 0o600)


# A connection from a chosen port; says so, and then what became of it.
HOLD = """
import socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", 40999))
s.connect(("127.0.0.1", int(sys.argv[1])))
print("connected", flush=True)
s.sendall(b"GET " + sys.argv[2].encode() + b" HTTP/1.1\\r\\nHost: x\\r\\npodns: demo\\r\\npodname: a\\r\\n"
          b"Metadata: true\\r\\nConnection: close\\r\\n\\r\\n")
s.settimeout(10)
try:
    print(s.recv(15).decode(), flush=True)
except OSError as error:
    print(type(error).__name__, flush=True)
"""


@suite.test("a connection to the gate from the same source port does not take the caller's place")
def same_source_port(w):
    gate = next(p for p in w.host.gate_ports() if p != PORT)
    _, server = w.agent.pids()
    mark = w.agent.audit.mark()
    os.kill(server, 19)  # so that both wait to be accepted
    try:
        held = []
        for place, port in ((w.other, gate), (w.csi, PORT)):
            process = place.spawn([sys.executable, "-S", "-c", HOLD, str(port), TARGET], stdout=-1)
            assert process.stdout.readline() == "connected\n"
            held.append(process)
    finally:
        os.kill(server, 18)
    assert held[1].stdout.readline() == "HTTP/1.1 200 OK\n"
    assert held[0].stdout.readline() in ("ConnectionResetError\n", "\n")
    w.agent.audit.wait_for(event("connect.unattributed", reason="no_flow"), mark)
    w.agent.audit.wait_for(event("token.issued"), mark)
    (issued,) = w.agent.audit.find(event("token.issued"), mark)
    assert issued["process"]["pid"] == held[1].pid, issued


# A request from that port whose connection is reset before anybody has accepted it.
ABANDON = """
import socket, struct, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", 40999))
s.connect(("127.0.0.1", int(sys.argv[1])))
s.sendall(b"GET " + sys.argv[2].encode() + b" HTTP/1.1\\r\\nHost: x\\r\\npodns: demo\\r\\npodname: b\\r\\n"
          b"Metadata: true\\r\\n\\r\\n")
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
s.close()
print("reset", flush=True)
"""


@suite.test("a connection that was reset before it was accepted does not take the next one's place")
def reset_before_accept(w):
    _, server = w.agent.pids()
    mark = w.agent.audit.mark()
    os.kill(server, 19)  # so that both wait to be accepted
    try:
        gone = w.other.spawn([sys.executable, "-S", "-c", ABANDON, str(PORT), TARGET], stdout=-1)
        assert gone.stdout.readline() == "reset\n" and gone.wait() == 0
        held = w.csi.spawn([sys.executable, "-S", "-c", HOLD, str(PORT), TARGET], stdout=-1)
        assert held.stdout.readline() == "connected\n"
    finally:
        os.kill(server, 18)
    assert held.stdout.readline() == "HTTP/1.1 200 OK\n"
    w.agent.audit.wait_for(event("connect.unattributed", reason="closed_before_accept"), mark)
    w.agent.audit.wait_for(event("token.issued"), mark)
    (issued,) = w.agent.audit.find(event("token.issued"), mark)
    assert (issued["process"]["pid"], issued["on_behalf_of"]["name"]) == (held.pid, "a"), issued


@suite.test("a caller that asks without end is limited, whichever pods it names")
def limited(w):
    mark = w.agent.audit.mark()
    reply = ask(w, PORT, count=1300)
    assert reply["seen"].get("429") and reply["seen"]["200"] >= 900, reply["seen"]
    w.agent.audit.wait_for(event("token.denied", reason="rate_limited"), mark)
    assert w.pods["a"].dial().appid == A, "the pod itself has a limit of its own"


@suite.test("a server that died is replaced, and both ways work again")
def replaced(w):
    mark = w.agent.audit.mark()
    w.agent.kill_server()
    w.agent.audit.wait_for(event("agent.started"), mark)
    for _, where in ways(w):
        assert app_of(ask(w, where)) == A


@suite.test("while the agent is away nobody takes the port in its place, and it is served again")
def kept(w):
    w.agent.kill_both()
    for address in ("127.0.0.1", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"):
        assert w.host.bind(address, PORT) in ("EADDRINUSE", "EPERM"), address
    assert w.host.bind("127.0.0.1", PORT + 1) == w.host.bind("127.0.0.2", PORT) == "bound"
    assert w.pods["b"].bind("127.0.0.1", PORT) == "bound"
    w.agent.start()
    for where in (w.host_socket, PORT):
        assert app_of(ask(w, where)) == A


@suite.test("a binding that went away counts at once")
def unbound(w):
    w.apply("identities.yaml", manifests.join(
        *(manifests.identity(ident) for ident in manifests.IDENTITIES),
        manifests.binding("bind-b", manifests.ID_B, "sel-b")))
    for _, where in ways(w):
        assert ask(w, where, "a")["status"] == 404
        assert app_of(ask(w, where, "b")) == B


@suite.test("a pod with a listed ServiceAccount is let in, one with another is not")
def account(w):
    pods = {}
    for name, of in (("driver", "csi"), ("driver2", "csi2"), ("plain", "default")):
        pod = pods[name] = w.add_pod(name, "sel-none", host_network=True)
        pod.manifest = pod.manifest.replace("spec:\n", f"spec:\n  serviceAccountName: {of}\n")
        assert "serviceAccountName" in pod.manifest
    w.apply_pods()
    assert w.agent.stop() == 0
    w.agent.start(host_token_cgroup=None, host_token_service_account="demo/csi")
    for _, where in ways(w):
        assert app_of(ask(w, where, "b", place=pods["driver"])) == B
        for name in ("driver2", "plain"):
            mark = w.agent.audit.mark()
            assert "error" in ask(w, where, "b", place=pods[name])
            record = w.agent.audit.wait_for(event("connect.refused"), mark)
            assert record["reason"] == "cgroup_not_listed", record
            assert record["pod"]["name"] == name, record


@suite.test("it is off unless asked for; on the socket root may ask from anywhere without a list")
def options(w):
    assert w.agent.stop() == 0
    w.agent.start(host_token_cgroup=None, host_token_port=None)
    assert app_of(ask(w, w.host_socket, "b", place=w.other)) == B
    assert w.csi.dial(addr="127.0.0.1", port=PORT).refused
    assert w.agent.stop() == 0
    w.agent.start(host_token_cgroup=None, host_token_port=None, host_token_socket=None)
    assert ask(w, w.host_socket, "b")["error"] == "ConnectionRefusedError"
    assert w.csi.dial(addr="127.0.0.1", port=PORT).refused
    assert w.pods["b"].dial().appid == B


@suite.test("a port that somebody has is a reason not to start, on either loopback")
def taken(w):
    assert w.agent.stop() == 0
    holders = [(address, w.host.respond(f"tcp:{address}:{PORT}"))
               for address in ("127.0.0.1", "[::1]")]
    for address, holder in holders:
        status, said = w.agent.fail_to_start()
        assert status == 1 and f"{address}:{PORT}" in said, said
        assert IMDS not in said
        holder.kill()
        holder.wait(10)


if __name__ == "__main__":
    suite.run()
