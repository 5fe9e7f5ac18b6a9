"""Speaks raw HTTP from where it is started (a pod of the test's world): one JSON command a line on
stdin, one JSON reply a line on stdout. Reports and never judges; the runner decides what is right.
Bytes travel as Latin-1 text. Called by node.py, once per pod, so that a request costs no process.

It must never run where a packet could leave the machine: like dial.c it refuses to start without
IG_FORBIDDEN_NETNS (inode numbers of the namespaces that lead out) or in one of those.
"""

import asyncio
import errno
import json
import os
import select
import socket
import struct
import sys
import time

CONNECT_SEC = 3
CLOSE_SEC = 3  # how long the peer may take to close after it answered


class Connection:
    """A socket with what was read from it and not used yet."""

    def __init__(self, host, port):
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICSERV)[0]
        self.sock = socket.socket(family, kind, proto)
        self.sock.settimeout(CONNECT_SEC)
        self.rest = b""
        try:
            self.sock.connect(address)
        except OSError:
            self.sock.close()
            raise

    def peer(self):
        return self.sock.getpeername()[0]

    def send(self, data):
        """A peer that closes while we send has said all that it wants to say."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def more(self, deadline):
        """False at the end of the stream."""
        self.sock.settimeout(max(deadline - time.monotonic(), 0.001))
        data = self.sock.recv(65536)
        self.rest += data
        return bool(data)

    def response(self, deadline, head_only):
        """(head, body) as text; None when the stream ends without one."""
        while b"\r\n\r\n" not in self.rest:
            if not self.more(deadline):
                return None
        head, _, rest = self.rest.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-length" and not head_only:
                length = int(value)
        self.rest = rest
        while len(self.rest) < length:
            if not self.more(deadline):
                break
        body, self.rest = self.rest[:length], self.rest[length:]
        return head.decode("latin-1"), body.decode("latin-1")

    def is_closed(self):
        """Whether the peer closes now, having sent nothing more."""
        try:
            return not self.rest and not self.more(time.monotonic() + CLOSE_SEC)
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False


kept = {}


def obtain(command):
    connection = kept.pop(command.get("keep"), None)
    return connection or Connection(*command["to"])


def talk(command):
    """Sends a request and reads its response."""
    started = time.monotonic()
    deadline = started + command["timeout_ms"] / 1000
    connection = obtain(command)
    reply = {"peer": connection.peer()}
    connection.send(command["send"].encode("latin-1"))
    response = connection.response(deadline, command["head_only"])
    reply["ms"] = (time.monotonic() - started) * 1000
    if response:
        reply["head"], reply["body"] = response
    if command["see_close"] or not response:
        reply["closed"] = connection.is_closed()
    reply["rest"] = connection.rest.decode("latin-1")
    if command.get("keep"):
        kept[command["keep"]] = connection
    else:
        connection.sock.close()
    return reply


def drip(command):
    """Sends a byte at a time until the peer has enough of it."""
    started = time.monotonic()
    connection = Connection(*command["to"])
    for byte in command["send"].encode("latin-1"):
        connection.send(bytes([byte]))
        if select.select([connection.sock], [], [], command["interval_ms"] / 1000)[0]:
            break
    deadline = started + command["timeout_ms"] / 1000
    response = connection.response(deadline, False)
    reply = {"ms": (time.monotonic() - started) * 1000, "closed": connection.is_closed(),
             "rest": connection.rest.decode("latin-1")}
    if response:
        reply["head"], reply["body"] = response
    connection.sock.close()
    return reply


def touch(command):
    """Connects and closes without a word, several times."""
    for _ in range(command["count"]):
        connection = Connection(*command["to"])
        if command["reset"]:
            linger = struct.pack("ii", 1, 0)
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.sock.close()
    return {"ms": 0}


async def read_status(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.split(b":")[1]))
    return head.split(b" ")[1].decode("latin-1")


async def one_of_many(command, statuses, todo):
    reader, writer = await asyncio.open_connection(*command["to"])
    while todo:
        todo.pop()
        writer.write(command["send"].encode("latin-1"))
        status = await read_status(reader)
        statuses[status] = statuses.get(status, 0) + 1
    writer.close()


async def many(command):
    statuses, todo = {}, [None] * command["count"]
    started = time.monotonic()
    tasks = [one_of_many(command, statuses, todo) for _ in range(command["concurrency"])]
    async with asyncio.timeout(command["timeout_ms"] / 1000):
        errors = [e for e in await asyncio.gather(*tasks, return_exceptions=True) if e]
    return {"ms": (time.monotonic() - started) * 1000, "statuses": statuses,
            "failures": [repr(e) for e in errors[:3]]}


def crowd(command):
    """Many requests on several connections at once; counts the statuses."""
    return asyncio.run(many(command))


def obey(command):
    operations = {"talk": talk, "drip": drip, "touch": touch, "crowd": crowd}
    try:
        return operations[command["op"]](command)
    except TimeoutError:
        return {"error": "timeout"}
    except OSError as error:
        return {"error": errno.errorcode.get(error.errno, str(error))}


def main():
    forbidden = os.environ.get("IG_FORBIDDEN_NETNS", "").split(",")
    if forbidden == [""] or str(os.stat("/proc/self/ns/net").st_ino) in forbidden:
        sys.exit("client: not in a network namespace of a test: refusing")
    for line in sys.stdin:
        print(json.dumps(obey(json.loads(line))), flush=True)


main()
