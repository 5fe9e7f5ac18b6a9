"""Ways that differ by the socket: its kind, what was done to it before, and how it connects."""

from bypass.way import Counted, Way, attempt, denied, dial, dropped, event, send
from fabric import FABRIC, NODE
from harness import IMDS, WIRESERVER


def address(name):
    return lambda w: w.pods[name].address


def accept_source_routes(w):
    """As routers do, on the node and behind it."""
    for place in (w.host, w.fabric):
        _, interfaces, _ = place.run(["ls", "/proc/sys/net/ipv4/conf"])
        for interface in interfaces.split():
            assert place.run(["sysctl", "-qw", f"net.ipv4.conf.{interface}.accept_source_route=1"]
                             )[0] == 0


def redirected(name, does, how, **more):
    return Way(name, does, how, denied("c", reason="not_bound"), **more)


TCP = (
    redirected("a plain connect", "socket(), connect()", dial("plain")),
    redirected("without blocking", "O_NONBLOCK, then poll()", dial("nonblocking")),
    redirected("bound to an address", "bind() to the pod's own first",
               dial("bound-source", bind_addr=address("c"))),
    redirected("bound to a port", "bind() to a port first", dial("bound-port", bind_port=40777)),
    redirected("bound to a device", "SO_BINDTODEVICE", dial("bind-device")),
    redirected("Fast Open by message", "sendto() with MSG_FASTOPEN, never connect()",
               dial("fastopen-msg")),
    redirected("Fast Open by option", "TCP_FASTOPEN_CONNECT: connect() happens with the first data",
               dial("fastopen-connect")),
    redirected("MPTCP", "IPPROTO_MPTCP", dial("mptcp")),
    redirected("MPTCP over IPv6", "IPPROTO_MPTCP, AF_INET6, v4-mapped", attempt("mptcp_v6")),
    redirected("MPTCP with Fast Open", "the first subflow carries data",
               attempt("mptcp_fastopen")),
    redirected("io_uring", "IORING_OP_CONNECT: no system call of that name", dial("io_uring")),
    redirected("io_uring's poller", "SQPOLL: a thread of the kernel's calls connect()",
               attempt("uring_poller")),
    redirected("io_uring's worker", "IOSQE_ASYNC: likewise", attempt("uring_worker")),
    redirected("v4-mapped", "AF_INET6, ::ffff:169.254.169.254", dial("v6mapped")),
    redirected("v4-mapped without blocking", "the same, as Java does it",
               dial("v6mapped-nonblocking")),
    redirected("half closed", "shutdown() after the request", dial("half-close")),
    redirected("a second connect", "to the endpoint, off by AF_UNSPEC, to the endpoint again",
               attempt("reconnect")),
    redirected("a socket that listened before", "listen(), shutdown(), connect()",
               attempt("once_listening")),
    redirected("two descriptors, two processes", "a child connects, its parent sends",
               attempt("duplicate")),
    redirected("an inherited socket", "made before execve(), connected after it",
               attempt("inherited")),
    redirected("SO_MARK", "with the mark that others let through", attempt("marked", mark=0x1d5)),
    redirected("SO_REUSEPORT", "one of two sockets on a port", attempt("reuseport")),
    Way("a loose source route", "IP_OPTIONS, then connect()",
        attempt("source_route", via=FABRIC, timeout=600), Counted("redirected"),
        before=accept_source_routes),
    Way("a foreign source address", "IP_TRANSPARENT and bind() to another pod's",
        attempt("transparent", source=address("a"), timeout=1000), Counted("redirected"),
        unproven="the answer goes to the other pod"),
    Way("repair mode", "TCP_REPAIR: established without a SYN, and data goes out at once",
        attempt("repair", source=address("c"), timeout=1000), Counted("flow_published")),
)

OTHERS = (
    Way("UDP, connected", "connect() and send()", dial("udp-connect", timeout=600),
        event("connect.denied", reason="not_tcp", pod__name="c")),
    Way("UDP, not connected", "sendto(), which no connect hook sees",
        dial("udp-sendto"), dropped("forwarded"), silent=True),
    Way("UDP from an IPv6 socket", "sendto() to ::ffff:169.254.169.254",
        dial("udp-sendto-v6mapped"), dropped("forwarded"), silent=True),
    Way("UDP-Lite", "sendto() by a protocol that is neither TCP nor UDP",
        attempt("udplite"), dropped("forwarded"), silent=True),
    Way("a raw socket", "SOCK_RAW, IP_HDRINCL: a SYN made by hand",
        send("c", "raw", "10.77.3.101", IMDS, 80), dropped("forwarded")),
    Way("a raw socket, connected", "SOCK_RAW, IPPROTO_TCP: the kernel adds the IP header",
        attempt("raw_connected"), dropped("forwarded"), silent=True),
    Way("a raw socket with IP options", "a header longer than usual",
        send("c", "raw", "10.77.3.102", IMDS, 80, "--options"), dropped("forwarded")),
    Way("data without a handshake", "raw, straight to the port",
        send("c", "raw", "10.77.3.103", WIRESERVER, 32526, "--data"), dropped("forwarded")),
    Way("a fragmented SYN", "the ports in the first fragment",
        send("c", "raw", "10.77.3.104", IMDS, 80, "--data", "--fragment", "first"),
        dropped("forwarded")),
    Way("a packet socket", "AF_PACKET: the whole frame made by hand",
        send("c", "frame", "10.77.3.105", IMDS, 80, "eth0", lambda w: w.mac(w.host, "v3")),
        dropped("forwarded")),
    Way("a packet socket past traffic control", "PACKET_QDISC_BYPASS in the pod's own namespace",
        send("c", "frame", "10.77.3.106", IMDS, 80, "eth0", lambda w: w.mac(w.host, "v3"),
             "--bypass"), dropped("forwarded")),
    Way("a raw socket in the host's namespace", "a pod with hostNetwork",
        send("h", "raw", "10.99.0.101", IMDS, 80), dropped("raw_socket", pod__name="h")),
    Way("a packet socket in the host's namespace", "a pod with hostNetwork, at the uplink",
        send("h", "frame", "10.99.0.102", IMDS, 80, "up0", lambda w: w.mac(w.fabric, "fab0")),
        dropped("raw_socket", pod__name="h")),
    Way("a VLAN tag", "a packet socket at the uplink, tagged",
        send("h", "frame", "10.99.0.103", IMDS, 80, "up0", lambda w: w.mac(w.fabric, "fab0"),
             "--vlan", 7), dropped("raw_socket", pod__name="h")),
    Way("opened by the other side", "listen(), a forged SYN from the endpoint, accept(), send()",
        attempt("passive", who="h", source=NODE), dropped("forwarded"), silent=True),
    Way("a loose source route by hand", "to a router, with the endpoint as the next stop",
        attempt("source_routed", kind=131, via=FABRIC, source="10.77.3.107"),
        dropped("forwarded"), before=accept_source_routes),
    Way("a strict source route by hand", "likewise, by a pod with hostNetwork",
        attempt("source_routed", who="h", kind=137, via=FABRIC, source="10.99.0.104"),
        dropped("raw_socket", pod__name="h")),
    Way("WireServer", "its port 80", dial("plain", addr=WIRESERVER),
        event("connect.denied", pod__name="c", connection__endpoint="wireserver")),
    Way("HostGAPlugin", "WireServer's port 32526",
        dial("v6mapped", addr=WIRESERVER, port=32526),
        event("connect.denied", pod__name="c", connection__endpoint="hostgaplugin")),
)

FORMS = {
    "hexadecimal": "0xa9fea9fe", "decimal": "2852039166", "octal": "0251.0376.0251.0376",
    "two parts": "169.16689662", "three parts": "169.254.43518",
    "mixed": "0xa9.254.0251.254", "zeros in front": "0000000251.254.169.254",
    "v4-mapped in hexadecimal": "::ffff:a9fe:a9fe",
    "v4-mapped, written out": "0:0:0:0:0:ffff:169.254.169.254",
}
TRANSLATED = {
    "v4-compatible": "::a9fe:a9fe", "6to4": "2002:a9fe:a9fe::1", "NAT64": "64:ff9b::a9fe:a9fe",
    "SIIT": "::ffff:0:a9fe:a9fe", "ISATAP": "fe80::5efe:a9fe:a9fe%eth0",
}


def hosts_file(w):
    path = f"{w.tmp}/hosts"
    with open(path, "w", encoding="ascii") as f:
        f.write(f"{IMDS} metadata.example\n")
    return path


NAMES = tuple(redirected(f"address form: {name}", text, attempt("by_name", name=text))
              for name, text in FORMS.items()) + (
    redirected("address form: v4-mapped with a scope", "sin6_scope_id", attempt("scoped")),
    redirected("a name", "a host name that leads to the endpoint",
               attempt("by_hosts_file", name="metadata.example", hosts=hosts_file)),
)
