"""One attempt to reach a metadata address, of a kind that dial.c does not know; runs in a place that
the test made and nowhere else.

    attempt.py NAME [KEY=VALUE]…      one JSON line, with the members of dial.c's

It never decides whether an outcome is right: it reports. Everything that opens a socket here asks
is_confined() first, and again after it changed its namespace."""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading

IMDS = "169.254.169.254"
PATH = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"
IPPROTO_MPTCP, MSG_FASTOPEN = 262, 0x20000000
IP_OPTIONS, IP_TRANSPARENT, SO_MARK, AF_UNSPEC = 4, 19, 36, 0
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21
TCP_REPAIR_WINDOW, REPAIR_OFF_NO_PROBE = 29, -1
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET, MS_BIND = 0x20000, 0x10000000, 0x40000000, 4096
LSRR, SSRR = 131, 137
LIBC = ctypes.CDLL(None, use_errno=True)


def is_confined():
    forbidden = os.environ["IG_FORBIDDEN_NETNS"].split(",")
    if str(os.stat("/proc/self/ns/net").st_ino) in forbidden:
        sys.exit("this namespace leads out of the machine")


def call(name, *args):
    result = getattr(LIBC, name)(*args)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return result


class Attempt:
    """What an attempt knows: the arguments of the command line, with defaults."""

    def __init__(self, options):
        self.options = options
        self.addr, self.port = options.get("addr", IMDS), int(options.get("port", 80))
        self.timeout = int(options.get("timeout", 8000)) / 1000
        path = options.get("path", PATH)
        self.request = (f"GET {path} HTTP/1.1\r\nHost: {IMDS}\r\nUser-Agent: igdial/1\r\n"
                        "Metadata: true\r\nConnection: close\r\n\r\n").encode()

    def __getitem__(self, name):
        return self.options[name]

    @property
    def where(self):
        return self.addr, self.port

    def socket(self, family=socket.AF_INET, kind=socket.SOCK_STREAM, protocol=0):
        is_confined()
        sock = socket.socket(family, kind, protocol)
        sock.settimeout(self.timeout)
        return sock

    def exchange(self, sock, request=None):
        """Sends the request and reads until the other side closes."""
        sock.sendall(self.request if request is None else request)
        return self.read(sock)

    @staticmethod
    def read(sock):
        data = b""
        while True:
            try:
                more = sock.recv(65536)
            except (ConnectionError, TimeoutError):
                if data:
                    break
                raise
            data += more
            if not more:
                break
        head, _, body = data.partition(b"\r\n\r\n")
        words = head.split(b" ")
        status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        return {"status": status, "body": body.decode("utf-8", "replace"),
                "replies": data.count(b"HTTP/1.1 ")}

    def get(self, sock, where=None):
        sock.connect(where or self.where)
        return self.exchange(sock)


# ---- kinds of sockets ---------------------------------------------------------------------------

def mptcp_fastopen(a):
    sock = a.socket(protocol=IPPROTO_MPTCP)
    sock.settimeout(None)  # or it would not wait for the handshake
    sock.sendto(a.request, MSG_FASTOPEN, a.where)
    return a.read(sock)


def mptcp_v6(a):
    return a.get(a.socket(socket.AF_INET6, protocol=IPPROTO_MPTCP), (f"::ffff:{a.addr}", a.port))


def udplite(a):
    sock = a.socket(kind=socket.SOCK_DGRAM, protocol=136)
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
    done = subprocess.run([sys.executable, "-S", "-B", __file__, "given_fd", f"fd={sock.fileno()}",
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


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def segment(source, destination, sport, dport, sequence, ack, flags, options=b""):
    source, destination = socket.inet_aton(source), socket.inet_aton(destination)
    head = struct.pack("!HHIIBBHHH", sport, dport, sequence, ack, 5 << 4, flags, 65535, 0, 0)
    value = checksum(source + destination + struct.pack("!BBH", 0, 6, len(head)) + head)
    head = head[:16] + struct.pack("!H", value) + head[18:]

    def header(value):
        return struct.pack("!BBHHHBBH4s4s", 0x45 + len(options) // 4, 0,
                           20 + len(options) + len(head), 4711, 0, 64, 6, value, source,
                           destination) + options
    return header(checksum(header(0))) + head


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


# ---- forms of the address -----------------------------------------------------------------------

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
    call("mount", b"none", b"/", None, 0x4000 | 1 << 18, None)
    call("mount", a["hosts"].encode(), b"/etc/hosts", None, MS_BIND, None)
    return by_name(a)


# ---- tasks, control groups, namespaces ----------------------------------------------------------

def join(directory, name="cgroup.procs", who="0"):
    with open(f"{directory}/{name}", "w", encoding="ascii") as f:
        f.write(who)


def below(a):
    """In a control group far below its own, which it made."""
    directory = a["cgroup"]
    for level in range(int(a["levels"])):
        directory = f"{directory}/{level}"
        os.mkdir(directory)
    join(directory)
    return a.get(a.socket())


def thread(a):
    """A thread in a threaded group of its own."""
    directory, result = f"{a['cgroup']}/threads", {}
    os.makedirs(directory, exist_ok=True)
    with open(f"{directory}/cgroup.type", "w", encoding="ascii") as f:
        f.write("threaded")

    def run():
        join(directory, "cgroup.threads")
        result.update(a.get(a.socket()))
    worker = threading.Thread(target=run)
    worker.start()
    worker.join()
    return result


def moved_in_between(a):
    """The connection begins in one control group, the request is sent in another."""
    sock = a.socket()
    sock.connect(a.where)
    join(a["cgroup"])
    return a.exchange(sock)


def orphan(a):
    """The process that connects is gone, and so is its name, when the request is sent."""
    sock = a.socket()
    child = os.fork()
    if child == 0:
        with open("/proc/self/comm", "w", encoding="ascii") as f:
            f.write("imdsgated")
        try:
            sock.connect(a.where)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return a.exchange(sock)


def in_netns(a):
    """In another network namespace, by setns(): file= names it."""
    fd = os.open(a["file"], os.O_RDONLY)
    call("setns", fd, CLONE_NEWNET)
    is_confined()
    return a.get(a.socket())


def socket_from_netns(a):
    """The socket comes from another namespace, the task does not."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    call("setns", os.open(a["file"], os.O_RDONLY), CLONE_NEWNET)
    sock = a.socket()
    call("setns", home, CLONE_NEWNET)
    return a.get(sock)


def own_netns(a):
    """A user and network namespace of its own, joined to the pod's by a veth pair; the pod
    forwards."""
    outer, ready, done = os.getpid(), os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        call("prctl", 1, signal.SIGKILL, 0, 0, 0)  # dies with its parent
        call("unshare", CLONE_NEWUSER | CLONE_NEWNET)
        os.write(ready[1], b"x")
        os.read(done[0], 1)
        signal.alarm(30)
        print(json.dumps(guarded(lambda: a.get(a.socket()))), flush=True)
        os._exit(0)
    os.read(ready[0], 1)
    for name, text in (("uid_map", "0 0 1"), ("setgroups", "deny"), ("gid_map", "0 0 1")):
        with open(f"/proc/{child}/{name}", "w", encoding="ascii") as f:
            f.write(text)
    inside = ["nsenter", "--user", "--net", "-t", str(child), "ip", "-batch", "-"]
    batch(["ip", "-batch", "-"], f"link add n{outer % 9999} type veth peer name eth0 netns {child}",
          f"addr add {a['ours']}/30 dev n{outer % 9999}", f"link set n{outer % 9999} up")
    batch(inside, "link set lo up", f"addr add {a['theirs']}/30 dev eth0", "link set eth0 up",
          f"route add default via {a['ours']}")
    os.write(done[1], b"x")
    os.waitpid(child, 0)
    return None


def batch(argv, *lines):
    subprocess.run(argv, input="\n".join(lines) + "\n", text=True, check=True)


def stolen(a):
    """Another process's socket, taken by pidfd_getfd()."""
    pidfd = os.pidfd_open(int(a["victim"]))
    fd = LIBC.syscall(438, pidfd, int(a["fd"]), 0)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    is_confined()
    sock = socket.socket(fileno=fd)
    sock.settimeout(a.timeout)
    return a.get(sock)


def handed_over(a):
    """Connects what it is sent over a unix socket."""
    with socket.socket(socket.AF_UNIX) as unix:
        unix.connect(a["socket"])
        _, fds, _, _ = socket.recv_fds(unix, 1, 1)
        is_confined()
        sock = socket.socket(fileno=fds[0])
        sock.settimeout(a.timeout)
        return a.get(sock)


def hold(a):
    """Keeps a socket for others to take; says where, and stays until standard input ends."""
    sock = a.socket()
    print(json.dumps({"pid": os.getpid(), "fd": sock.fileno()}), flush=True)
    sys.stdin.read()
    return {}


# ---- the gate itself ----------------------------------------------------------------------------

def exchange_raw(a):
    """Bytes as they are, from a file; the body is everything that came back."""
    sock = a.socket()
    sock.connect(a.where)
    with open(a["file"], "rb") as f:
        return a.exchange(sock, f.read())


def stale_storage(a):
    """Redirected, away, and then straight to the gate's own port on the same socket."""
    sock = a.socket()
    sock.connect(a.where)
    nowhere = struct.pack("H14x", AF_UNSPEC)
    call("connect", sock.fileno(), nowhere, len(nowhere))
    return a.get(sock, ("127.0.0.1", int(a["gate"])))


def steal_port(a):
    """Binds the gate's port, or joins its group."""
    is_confined()
    for option in (None, socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        with socket.socket() as sock:
            if option:
                sock.setsockopt(socket.SOL_SOCKET, option, 1)
            try:
                sock.bind(("127.0.0.1", int(a["gate"])))
                sock.listen(1)
            except OSError as error:
                assert error.errno == errno.EADDRINUSE, error
                continue
            return {"stolen": str(option)}
    return {"stolen": None}


def pry(a):
    """Everything that one process can try on another: names of what worked."""
    pid, worked = int(a["pid"]), []
    buf = ctypes.create_string_buffer(8)
    vector = (ctypes.c_void_p * 2)(ctypes.addressof(buf), 8)
    remote = (ctypes.c_void_p * 2)(int(a.options.get("address", "0x400000"), 16), 8)
    LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    LIBC.ptrace.restype = ctypes.c_long
    if LIBC.ptrace(16, pid, None, None) == 0:  # PTRACE_ATTACH
        os.waitpid(pid, 0)
        LIBC.ptrace(17, pid, None, None)
        worked.append("ptrace")
    if LIBC.process_vm_readv(pid, vector, 1, remote, 1, 0) >= 0:
        worked.append("process_vm_readv")
    if ctypes.get_errno() == errno.EFAULT:
        worked.append("process_vm_readv")
    for name in ("mem", "environ", "maps", "fd/0", "map_files", "exe", "cwd", "root"):
        path = f"/proc/{pid}/{name}"
        try:
            if os.path.islink(path):
                os.readlink(path)
            elif name == "map_files":
                os.listdir(path)
            else:
                with open(path, "rb") as f:
                    f.read(0 if name == "mem" else 1)
            worked.append(name)
        except OSError:
            pass
    try:
        pidfd = os.pidfd_open(pid)
        for fd in range(64):
            if LIBC.syscall(438, pidfd, fd, 0) >= 0:
                worked.append("pidfd_getfd")
                break
    except OSError:
        pass
    return {"worked": worked}


def poke(a):
    """May this process send the other one signals?"""
    try:
        os.kill(int(a["pid"]), 0)
    except PermissionError:
        return {"worked": []}
    return {"worked": ["kill"]}


def bpf(a):
    """Opens what is pinned, and asks for everything by its id."""
    attr, worked = ctypes.create_string_buffer(128), []

    def ask(command, values, size):
        ctypes.memset(attr, 0, 128)
        attr[:len(values)] = values
        return LIBC.syscall(321, command, attr, size)
    for path in a["pins"].split(","):
        name = ctypes.create_string_buffer(os.fsencode(path))
        if ask(7, struct.pack("=QII", ctypes.addressof(name), 0, 0), 16) >= 0:
            worked.append(path)
    for title, command, start in (("program", 11, 0), ("map", 12, 0), ("link", 31, 0)):
        if ask(command, struct.pack("=II", start, 0), 16) >= 0:
            worked.append(f"{title} ids")
    for title, command in (("program", 13), ("map", 14), ("link", 30)):
        for number in range(1, 400):
            if ask(command, struct.pack("=III", number, 0, 0), 16) >= 0:
                worked.append(f"{title} {number}")
                break
    return {"worked": worked}


def unix_socket(a):
    """Says something on a unix socket; what comes back."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(a.timeout)
        sock.connect(a["socket"])
        with contextlib.suppress(BrokenPipeError):  # turned away already; it says why
            sock.sendall(a["say"].encode())
        return {"body": sock.recv(65536).decode("utf-8", "replace")}


# ---- main ---------------------------------------------------------------------------------------

UNSUPPORTED = (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.ENOPROTOOPT)


def guarded(function):
    """What function() returns, or its error."""
    try:
        reply = {"result": "ok", **function()}
    except OSError as error:
        number = errno.ETIMEDOUT if isinstance(error, TimeoutError) else error.errno
        result = "unsupported" if number in UNSUPPORTED else "error"
        reply = {"result": result, "errno": errno.errorcode.get(number, str(error)),
                 "message": str(error)}
    return {**reply, "pid": os.getpid()}


def main():
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.fcntl(1, fcntl.F_GETFD)
    function = globals()[sys.argv[1]]
    attempt = Attempt(dict(word.split("=", 1) for word in sys.argv[2:]))
    is_confined()
    if function is own_netns:
        function(attempt)
        return
    print(json.dumps(guarded(lambda: function(attempt))), flush=True)


if __name__ == "__main__":
    main()
