"""What all attempts share: where they go and what they say, and that they never leave the machine.
Everything that opens a socket asks is_confined() first, and again after it changed its namespace."""

import ctypes
import errno
import os
import socket
import struct
import sys

IMDS = "169.254.169.254"
PATH = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x10000000, 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
UNSUPPORTED = (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.ENOPROTOOPT)


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
