"""Answers on the addresses given on its command line (udp:ADDR:PORT echoes, tcp:ADDR:PORT speaks
just enough HTTP), so that the tests can see that what is not guarded is left alone, and can occupy
ports. Says "ready" on stdout when all are bound. Runs in namespaces of the tests only."""

import selectors
import signal
import socket
import sys

BODY = b"unrelated"
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(BODY), BODY)


def answer(sock):
    if sock.type == socket.SOCK_DGRAM:
        data, peer = sock.recvfrom(2048)
        sock.sendto(b"echo:" + data, peer)
        return
    conn, _ = sock.accept()
    with conn:
        conn.settimeout(2)
        try:
            if conn.recv(65536):
                conn.sendall(REPLY)
        except OSError:
            pass  # the peer went away: nothing to answer


def main():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a word
    selector = selectors.DefaultSelector()
    for argument in sys.argv[1:]:
        kind, address = argument.split(":", 1)
        address, port = address.rsplit(":", 1)
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET,
                             socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address.strip("[]"), int(port)))
        if kind == "tcp":
            sock.listen(64)
        selector.register(sock, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            answer(key.fileobj)


main()
