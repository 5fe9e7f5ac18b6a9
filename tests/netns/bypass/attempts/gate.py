"""Attempts on the gate itself."""

import contextlib
import ctypes
import errno
import os
import socket
import struct

from attempts.core import LIBC, call, is_confined

SYS_PIDFD_GETFD, SYS_BPF = 438, 321
PTRACE_ATTACH, PTRACE_DETACH = 16, 17
AF_UNSPEC = 0


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
    if LIBC.ptrace(PTRACE_ATTACH, pid, None, None) == 0:
        os.waitpid(pid, 0)
        LIBC.ptrace(PTRACE_DETACH, pid, None, None)
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
            if LIBC.syscall(SYS_PIDFD_GETFD, pidfd, fd, 0) >= 0:
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
        return LIBC.syscall(SYS_BPF, command, attr, size)
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
