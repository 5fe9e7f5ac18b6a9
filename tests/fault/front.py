"""Stands before a real server (the lab, the API server's stand-in) and hands its answers on, until it is
told to do something else with those to certain requests:

    front.py ADDRESS:PORT       of the server behind; prints its own port, then obeys lines of JSON
    {"fault": NAME, "match": TEXT}   for requests with the text in their first line; "" ends it

and prints one line for each: "ok", and "hit" whenever a fault is played. A command ends all
connections, so that what comes next is a new one. Runs in namespaces of the tests only."""

import base64
import gzip
import json
import os
import re
import socket
import struct
import sys
import threading
import time

BIG = 100 * 1000 * 1000
CHUNK = b"x" * 65536


def tell(word):
    os.write(sys.stdout.fileno(), f"{word}\n".encode())  # at once: threads do this


class Ended(Exception):
    """The other side is gone, or a command came."""


class Exchange:
    """One request, and what is to be said to it."""

    def __init__(self, connection, request, backend):
        self.connection, self._request, self._backend = connection, request, backend

    def good(self):
        """(head, body) as the server behind says it"""
        head, _, body = self._request.partition(b"\r\n\r\n")
        head = re.sub(rb"\r\nConnection:[^\r]*", b"", head, flags=re.IGNORECASE)
        with socket.create_connection(self._backend, 10) as s:
            s.sendall(head + b"\r\nConnection: close\r\n\r\n" + body)
            reply = b""
            while data := s.recv(65536):
                reply += data
        head, _, body = reply.partition(b"\r\n\r\n")
        return head, body

    def token(self):
        return json.loads(self.good()[1])

    def say(self, data):
        try:
            self.connection.sendall(data)
        except OSError as error:
            raise Ended from error

    def reply(self, body, status=b"200 OK", headers=b"", length=None):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        length = len(body) if length is None else length
        self.say(b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n"
                 % (status, length, headers) + body)

    def wait(self):
        """Says nothing more, until the other side has had enough."""
        try:
            while self.connection.recv(65536):
                pass
        except OSError:
            pass

    def reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def trickle(self, data):
        for byte in data:
            self.say(bytes([byte]))
            time.sleep(0.2)

    def flood(self, data, total):
        for _ in range(total // len(data)):
            self.say(data)


def half(data):
    return data[:len(data) // 2]


def whole(e):
    return b"\r\n\r\n".join(e.good())


def changed(**members):
    """The right answer with these members; None takes one out."""
    def play(e):
        token = {**e.token(), **members}
        e.reply({name: value for name, value in token.items() if value is not None})
    return play


def raw_member(name, text):
    """A member as JSON text of its own kind."""
    def play(e):
        token = e.token()
        token[name] = "@@"
        e.reply(json.dumps(token).replace('"@@"', text).encode())
    return play


def body(data, **how):
    return lambda e: e.reply(data, **how)


def other_token(e):
    token = e.token()
    head, claims, signature = token["access_token"].split(".")
    claims = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    claims["appid"] = claims["oid"] = "99999999-0000-4000-8000-000000000009"
    claims = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    e.reply({**token, "client_id": "99999999-0000-4000-8000-000000000009",
             "access_token": f"{head}.{claims}.{signature}"})


def steps(*parts):
    """Each part sends something, or ends it."""
    def play(e):
        for part in parts:
            part(e)
    return play


def send(data):
    return lambda e: e.say(data(e) if callable(data) else data)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
hang, reset = Exchange.wait, Exchange.reset
head_of, body_of = (lambda e: e.good()[0]), (lambda e: e.good()[1])

FAULTS = {
    # silence
    "hang": hang,
    "hang in the headers": steps(send(lambda e: half(e.good()[0])), hang),
    "hang in the body": steps(send(lambda e: whole(e)[:-20]), hang),
    "a byte at a time": lambda e: e.trickle(whole(e)),
    "a byte of the body at a time": lambda e: (e.say(head_of(e) + b"\r\n\r\n"),
                                               e.trickle(body_of(e))),
    # ends
    "reset": reset,
    "reset in the headers": steps(send(lambda e: half(e.good()[0])), reset),
    "reset in the body": steps(send(lambda e: half(whole(e))), reset),
    "end": lambda e: None,
    "end in the headers": send(lambda e: half(e.good()[0])),
    "end in the body": send(lambda e: half(whole(e))),
    # lies about length
    "longer than it is": lambda e: e.reply(body_of(e), length=len(body_of(e)) + 10),
    "shorter than it is": lambda e: e.reply(body_of(e), length=20),
    "two lengths": lambda e: e.reply(body_of(e), headers=b"Content-Length: 20\r\n"),
    "no length": lambda e: e.reply(body_of(e), length=-5),
    "length of 20 digits": lambda e: e.reply(body_of(e), length=99999999999999999999),
    "chunks that are none": send(CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n"),
    "a chunk that is longer": send(CHUNKED + b"ff\r\n{}\r\n0\r\n\r\n"),
    "a chunk of 2^64": send(CHUNKED + b"10000000000000000\r\n{}\r\n0\r\n\r\n"),
    "no last chunk": send(CHUNKED + b"2\r\n{}\r\n"),
    # too much
    "100 MB": lambda e: (e.say(HEAD + b"Content-Length: %d\r\n\r\n" % BIG), e.flood(CHUNK, BIG)),
    "100 MB in chunks": lambda e: (e.say(CHUNKED),
                                   e.flood(b"10000\r\n" + CHUNK + b"\r\n", BIG)),
    "100 MB without a length": lambda e: (e.say(HEAD + b"Connection: close\r\n\r\n"),
                                          e.flood(CHUNK, BIG)),
    "endless headers": lambda e: (e.say(HEAD), e.flood(b"X-A: " + b"y" * 1000 + b"\r\n", BIG)),
    "a header of 10 MB": lambda e: (e.say(HEAD + b"X-A: "), e.flood(CHUNK, BIG // 10)),
    "endless 100 Continue": lambda e: e.flood(b"HTTP/1.1 100 Continue\r\n\r\n", BIG // 10),
    # another kind of HTTP
    "garbage": send(bytes(range(256)) * 8),
    "a TLS alert": send(b"\x15\x03\x03\x00\x02\x02\x28"),
    "HTTP/0.9": send(body_of),
    "HTTP/3.7": send(lambda e: b"HTTP/3.7" + whole(e)[8:]),
    "status 000": send(b"HTTP/1.1 000 Nothing\r\nContent-Length: 0\r\n\r\n"),
    "status 99999": send(b"HTTP/1.1 99999 Much\r\nContent-Length: 0\r\n\r\n"),
    "302": body(b"", status=b"302 Found", headers=b"Location: /metadata/elsewhere\r\n"),
    "307": body(b"", status=b"307 Go", headers=b"Location: http://127.0.0.1:1/elsewhere\r\n"),
    "101": send(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"),
    "204": send(b"HTTP/1.1 204 Empty\r\n\r\n"),
    "gzip": lambda e: e.reply(gzip.compress(body_of(e)), headers=b"Content-Encoding: gzip\r\n"),
    # not what it should be
    "empty": body(b""), "not JSON": body(b"<html>"), "half of JSON": body(b'{"access_token":'),
    "null": body(b"null"), "an array": body(b"[]"), "a text": body(b'"token"'),
    "a mark before it": lambda e: e.reply(b"\xef\xbb\xbf" + body_of(e)),
    "UTF-16": lambda e: e.reply(body_of(e).decode().encode("utf-16")),
    "not UTF-8": lambda e: e.reply(body_of(e).replace(b"Bearer", b"\xff\xfe")),
    "deep": body(b"[" * 60000), "deep objects": body(b'{"a":' * 10000 + b"1" + b"}" * 10000),
    "two of a member": lambda e: e.reply(body_of(e)[:-1] + b',"access_token":"other"}'),
    "no token": changed(access_token=None), "an empty token": changed(access_token=""),
    "a token that is a number": changed(access_token=7),
    "a token with a line end": changed(access_token="a\r\nb"),
    "a token with a NUL": raw_member("access_token", r'"a\u0000b"'),
    "a NUL elsewhere": changed(text="a\0b"),
    "a token of 60 KB": changed(access_token="a" * 60000),
    "another's token": other_token,
    "no expiry": changed(expires_on=None, expires_in=None),
    "expired": changed(expires_on="1000000000", expires_in="-5"),
    "expires never": changed(expires_on="never"),
    "expires negative": raw_member("expires_on", "-1"),
    "expires in 10^30": raw_member("expires_on", "1" + "0" * 30),
    "expires at 1e300": raw_member("expires_on", "1e300"),
    "expires at 1e999": raw_member("expires_on", "1e999"),
    "expires at a list": raw_member("expires_on", "[1]"),
    # unusual, but right
    "hints first": send(lambda e: b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + whole(e)),
    "HTTP/1.0": send(lambda e: b"HTTP/1.0" + whole(e)[8:]),
    "more members": changed(more={"a": [1, 2.5, None, True]}, text="\u00e4b"),
}


class Front:
    def __init__(self, backend):
        self._backend, self._lock = backend, threading.Lock()
        self._fault, self._match, self._open = "", b"", set()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def obey(self, command):
        with self._lock:
            self._fault, self._match = command["fault"], command.get("match", "").encode()
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            self._open.clear()

    def serve(self):
        while True:
            connection, _ = self.listener.accept()
            with self._lock:
                self._open.add(connection)
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _read(self, connection):
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                raise Ended
            data += more
        length = re.search(rb"\r\nContent-Length: *(\d+)", data, re.IGNORECASE)
        want = data.index(b"\r\n\r\n") + 4 + (int(length[1]) if length else 0)
        while len(data) < want:
            more = connection.recv(65536)
            if not more:
                raise Ended
            data += more
        return data

    def _one(self, connection):
        try:
            self._talk(connection)
        except (OSError, Ended):
            pass
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _talk(self, connection):
        with self._lock:
            fault, match = self._fault, self._match
        if fault.startswith("TLS") and match:  # before anything is read as HTTP
            self._tls(connection, fault)
            return
        while True:
            request = self._read(connection)
            with self._lock:
                fault, match = self._fault, self._match
            if fault and match in request.partition(b"\r\n")[0]:
                tell("hit")
                FAULTS[fault](Exchange(connection, request, self._backend))
                return
            self._hand_on(connection, request)

    @staticmethod
    def _tls(connection, fault):
        connection.recv(65536)  # its hello
        tell("hit")
        if fault == "TLS garbage":
            connection.sendall(bytes(range(256)) * 8)
        elif fault == "TLS alert":
            connection.sendall(b"\x15\x03\x03\x00\x02\x02\x28")
        elif fault == "TLS hang":
            while connection.recv(65536):
                pass

    def _hand_on(self, connection, request):
        """Everything from here on, both ways, until one side ends."""
        behind = socket.create_connection(self._backend, 10)
        behind.settimeout(None)
        behind.sendall(request)

        def back():
            try:
                while data := behind.recv(65536):
                    connection.sendall(data)
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        threading.Thread(target=back, daemon=True).start()
        try:
            while data := connection.recv(65536):
                behind.sendall(data)
        finally:
            behind.close()


def main():
    # like every client of the tests: never where there is a way out
    if str(os.stat("/proc/self/ns/net").st_ino) in os.environ["IG_FORBIDDEN_NETNS"].split(","):
        sys.exit(99)
    address, port = sys.argv[1].rsplit(":", 1)
    front = Front((address, int(port)))
    threading.Thread(target=front.serve, daemon=True).start()
    print(front.listener.getsockname()[1], flush=True)
    for line in sys.stdin:
        front.obey(json.loads(line))
        tell("ok")


if __name__ == "__main__":
    main()
