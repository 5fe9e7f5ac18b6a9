"""Attempts that differ by the socket, by what was done to it, and by the form of the address."""

import json
import os
import select
import socket
import struct
import subprocess
import sys

from attempts.core import CLONE_NEWNS, call, is_confined, segment

IPPROTO_MPTCP, IPPROTO_UDPLITE, MSG_FASTOPEN = 262, 136, 0x20000000
IP_OPTIONS, IP_TRANSPARENT, SO_MARK, AF_UNSPEC = 4, 19, 36, 0
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21
TCP_REPAIR_WINDOW, REPAIR_OFF_NO_PROBE = 29, -1
MS_BIND, MS_PRIVATE_ALL = 4096, 0x4000 | 1 << 18
LSRR = 131


def mptcp_fastopen(a):
    sock = a.socket(protocol=IPPROTO_MPTCP)
    sock.settimeout(None)  # or it would not wait for the handshake
    sock.sendto(a.request, MSG_FASTOPEN, a.where)
    return a.read(sock)


def mptcp_v6(a):
    return a.get(a.socket(socket.AF_INET6, protocol=IPPROTO_MPTCP), (f"::ffff:{a.addr}", a.port))


def udplite(a):
    sock = a.socket(kind=socket.SOCK_DGRAM, protocol=IPPROTO_UDPLITE)
    sock.sendto(b"dial", a.where)
    return {}


def raw_connected(a):
    """A raw TCP socket that is connected; the kernel makes the IP header."""
    sock = a.socket(kind=socket.SOCK_RAW, protocol=socket.IPPROTO_TCP)
    sock.connect((a.addr, 0))
    sock.send(struct.pack("!HHIIBBHHH", 40961, a.port, 1, 0, 5 << 4, 2, 65535, 0, 0))
    return {}


def reconnect(a):
    """To the endpoint, away from it by AF_UNSPEC, and to the endpoint again."""
    sock = a.socket()
    sock.connect(a.where)
    nowhere = struct.pack("H14x", AF_UNSPEC)
    call("connect", sock.fileno(), nowhere, len(nowhere))
    return a.get(sock)


def once_listening(a):
    """A socket that listened before: shutdown() makes it an ordinary one again."""
    sock = a.socket()
    sock.bind(("0.0.0.0", 0))
    sock.listen(1)
    sock.shutdown(socket.SHUT_RDWR)
    return a.get(sock)


def duplicate(a):
    """One description, two descriptors: connected by one and used by the other, of a child."""
    sock = a.socket()
    other = socket.socket(fileno=os.dup(sock.fileno()))
    other.settimeout(a.timeout)
    child = os.fork()
    if child == 0:
        try:
            sock.connect(a.where)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return a.exchange(other)


def inherited(a):
    """The socket is made here, the program that connects it is another one."""
    sock = a.socket()
    os.set_inheritable(sock.fileno(), True)
    done = subprocess.run([sys.executable, "-S", "-B", sys.argv[0], "given_fd", f"fd={sock.fileno()}",
                           *(f"{k}={v}" for k, v in a.options.items())], close_fds=False,
                          stdout=subprocess.PIPE, check=False)
    return json.loads(done.stdout)


def given_fd(a):
    is_confined()
    sock = socket.socket(fileno=int(a["fd"]))
    sock.settimeout(a.timeout)
    return a.get(sock)


def marked(a):
    sock = a.socket()
    sock.setsockopt(socket.SOL_SOCKET, SO_MARK, int(a["mark"]))
    return a.get(sock)


def transparent(a):
    """With somebody else's address as its source."""
    sock = a.socket()
    sock.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
    sock.bind((a["source"], 0))
    return a.get(sock)


def reuseport(a):
    socks = [a.socket() for _ in range(2)]
    for sock in socks:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("0.0.0.0", 40790))
    return a.get(socks[1])


def repair(a):
    """Established by decree: no SYN is sent, data goes out at once."""
    sock = a.socket()
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    sock.bind((a["source"], 40791))
    for queue in (1, 2):
        sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
        sock.setsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ, 1000 * queue)
    sock.connect(a.where)
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_WINDOW,
                    struct.pack("=5I", 1000, 65535, 65535, 65535, 1000))
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_OFF_NO_PROBE)
    return a.exchange(sock)


def passive(a):
    """Listens, forges a SYN from the endpoint to itself and the ACK to its own answer, and talks on
    the connection that it accepts: nobody called connect()."""
    sock = a.socket()
    sock.bind((a["source"], 0))
    sock.listen(1)
    ours = sock.getsockname()[1]
    raw = a.socket(kind=socket.SOCK_RAW, protocol=socket.IPPROTO_RAW)
    heard = a.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
    raw.sendto(segment(a.addr, a["source"], a.port, ours, 100, 0, 0x02), (a["source"], 0))
    while True:
        data, _ = heard.recvfrom(2048)
        at = (data[0] & 15) * 4
        if data[12:20] == socket.inet_aton(a["source"]) + socket.inet_aton(a.addr) and (
                data[at + 13] & 0x12) == 0x12:
            break
    (sequence,) = struct.unpack("!I", data[at + 4:at + 8])
    raw.sendto(segment(a.addr, a["source"], a.port, ours, 101, sequence + 1, 0x10),
               (a["source"], 0))
    conn, _ = sock.accept()
    conn.settimeout(a.timeout)
    return a.exchange(conn)


def source_routed(a):
    """A SYN to somebody else that asks to be sent on to the endpoint. kind=131 loose, 137 strict"""
    option = struct.pack("!BBB4sx", int(a["kind"]), 7, 4, socket.inet_aton(a.addr))
    data = segment(a["source"], a["via"], 40961, a.port, 1, 0, 0x02, option)
    a.socket(kind=socket.SOCK_RAW, protocol=socket.IPPROTO_RAW).sendto(data, (a["via"], 0))
    return {}


def source_route(a):
    """An ordinary socket with a loose source route."""
    sock = a.socket()
    sock.setsockopt(socket.SOL_IP, IP_OPTIONS, struct.pack(
        "!BBB4s4sx", LSRR, 11, 4, socket.inet_aton(a["via"]), socket.inet_aton(a.addr)))
    return a.get(sock)


def tunnelled(a):
    """A VXLAN frame, made by hand, to a node that takes out what is in it."""
    frame = (bytes.fromhex(a["mac"].replace(":", "")) + b"\2\0\0\0\0\1\x08\0"
             + segment(a["source"], a.addr, 40961, a.port, 1, 0, 0x02))
    a.socket(kind=socket.SOCK_DGRAM).sendto(struct.pack("!B3xI", 8, 7 << 8) + frame,
                                            (a["via"], 4789))
    return {}


def mptcp_server(a):
    """Accepts one MPTCP connection after the other, and stays until standard input ends."""
    sock = a.socket(protocol=IPPROTO_MPTCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(a.where)
    sock.listen(4)
    print("ready", flush=True)
    kept = []
    while True:
        readable, _, _ = select.select([sock, sys.stdin], [], [])
        if sys.stdin in readable:
            return {}
        kept.append(sock.accept()[0])
        kept[-1].sendall(b"hello")


def mptcp_client(a):
    """Connects, listens to what the other side says, and stays until standard input ends."""
    sock = a.socket(protocol=IPPROTO_MPTCP)
    sock.connect(a.where)
    sock.sendall(b"hello")
    sock.recv(16)
    print("ready", flush=True)
    sys.stdin.read()
    return {}


def by_name(a):
    """Whatever the C library makes of the text."""
    is_confined()
    found = socket.getaddrinfo(a["name"], a.port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, where = found[0]
    return {**a.get(a.socket(family, kind, protocol), where), "resolved": where[0]}


def scoped(a):
    """A v4-mapped address with a scope id, which getaddrinfo() would not make."""
    return a.get(a.socket(socket.AF_INET6),
                 (f"::ffff:{a.addr}", a.port, 0, socket.if_nametoindex("eth0")))


def by_hosts_file(a):
    """A DNS name of its own that leads to the endpoint."""
    call("unshare", CLONE_NEWNS)
    call("mount", b"none", b"/", None, MS_PRIVATE_ALL, None)
    call("mount", a["hosts"].encode(), b"/etc/hosts", None, MS_BIND, None)
    return by_name(a)
