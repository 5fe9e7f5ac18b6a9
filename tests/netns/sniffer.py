"""Writes a JSON line for each IPv4 packet that comes in at the given devices, in the order in which
they came: what really reached the far side of an uplink. Says "ready" first. Runs in namespaces of
the tests only."""

import json
import selectors
import signal
import socket
import struct
import sys

ETH_P_ALL, SOL_PACKET, PACKET_OUTGOING = 3, 263, 4


def parse(data):
    at, vlans = 12, []
    while data[at:at + 2] in (b"\x81\x00", b"\x88\xa8"):
        vlans.append(struct.unpack("!H", data[at + 2:at + 4])[0])
        at += 4
    if data[at:at + 2] != b"\x08\x00":
        return None
    ip = data[at + 2:]
    length, protocol, header = struct.unpack("!H", ip[2:4])[0], ip[9], (ip[0] & 15) * 4
    offset = struct.unpack("!H", ip[6:8])[0] & 0x1fff
    sport, dport = struct.unpack("!HH", ip[header:header + 4]) if offset == 0 else (0, 0)
    payload = length - header
    flags = 0
    if protocol == 6 and offset == 0 and payload >= 20:
        payload -= (ip[header + 12] >> 4) * 4
        flags = ip[header + 13]
    routed = any(a in ip[20:header] for a in (b"\xa9\xfe\xa9\xfe", b"\xa8\x3f\x81\x10"))
    return {"route": routed, "src": socket.inet_ntoa(ip[12:16]), "dst": socket.inet_ntoa(ip[16:20]),
            "protocol": protocol, "sport": sport, "dport": dport, "offset": offset,
            "flags": flags, "payload": payload, "vlans": vlans}


def main():
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    selector = selectors.DefaultSelector()
    for device in sys.argv[2:]:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        sock.bind((device, ETH_P_ALL))
        sock.setsockopt(socket.SOL_SOCKET, 33, 8 * 1024 * 1024)  # SO_RCVBUFFORCE
        selector.register(sock, selectors.EVENT_READ, device)
    print("ready", flush=True)
    with open(sys.argv[1], "a", encoding="ascii", buffering=1) as out:
        while True:
            for key, _ in selector.select():
                try:
                    data, address = key.fileobj.recvfrom(65536)
                except OSError:  # the device is gone or down
                    selector.unregister(key.fileobj)
                    continue
                if address[2] == PACKET_OUTGOING:
                    continue
                seen = parse(data)
                if seen:
                    out.write(json.dumps({**seen, "device": key.data}) + "\n")


main()
