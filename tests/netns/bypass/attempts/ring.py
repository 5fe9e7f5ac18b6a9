"""connect() by io_uring, in the two ways in which another thread does it: the kernel's poller of the
ring, and a worker. (By the calling thread: dial.c.) Spoken without a library, which Python has
none of."""

import ctypes
import errno
import mmap
import os
import socket
import struct

from attempts.core import LIBC

SYS_SETUP, SYS_ENTER = 425, 426
SETUP_SQPOLL, ENTER_GETEVENTS, ENTER_WAKEUP, SQE_ASYNC, OP_CONNECT = 2, 1, 2, 16, 16
SQ_RING, CQ_RING, SQES = 0, 0x8000000, 0x10000000  # what mmap() offers at which offset
CQ_TAIL, CQES, SQ_TAIL, SQ_ARRAY = 84, 100, 44, 64  # where io_uring_params says where that is


def connect(sock, where, setup_flags, sqe_flags):
    params = ctypes.create_string_buffer(120)
    struct.pack_into("=I", params, 8, setup_flags)
    ring = LIBC.syscall(SYS_SETUP, 4, params)
    if ring < 0:
        raise OSError(errno.EPROTONOSUPPORT, "this kernel has no io_uring for us")
    submit, complete, entries = (mmap.mmap(ring, 4096, offset=at) for at in (SQ_RING, CQ_RING, SQES))

    def offset(at):
        return struct.unpack_from("=I", params, at)[0]
    address = (struct.pack("=H", socket.AF_INET) + struct.pack("!H", where[1])
               + socket.inet_aton(where[0]) + bytes(8))
    kept = ctypes.create_string_buffer(address, 16)
    struct.pack_into("=BBHiQQ", entries, 0, OP_CONNECT, sqe_flags, 0, sock.fileno(), 16,
                     ctypes.addressof(kept))
    struct.pack_into("=I", submit, offset(SQ_ARRAY), 0)
    struct.pack_into("=I", submit, offset(SQ_TAIL), 1)
    while struct.unpack_from("=I", complete, offset(CQ_TAIL))[0] == 0:
        if LIBC.syscall(SYS_ENTER, ring, 1, 1, ENTER_GETEVENTS | ENTER_WAKEUP, None, 0) < 0:
            raise OSError(ctypes.get_errno(), "io_uring_enter")
    (result,) = struct.unpack_from("=i", complete, offset(CQES) + 8)
    os.close(ring)
    if result < 0:
        raise OSError(-result, os.strerror(-result))


def by(a, setup_flags, sqe_flags):
    sock = a.socket()
    sock.settimeout(None)  # it would be told that the connect is under way
    connect(sock, a.where, setup_flags, sqe_flags)
    sock.settimeout(a.timeout)
    return a.exchange(sock)


def uring_poller(a):
    return by(a, SETUP_SQPOLL, 0)


def uring_worker(a):
    return by(a, 0, SQE_ASYNC)
