"""Sends one packet that no connect hook sees, built by hand. Runs in namespaces of the tests only.

    packets.py KIND SOURCE DESTINATION PORT [DEVICE MAC] [--vlan N]… [--options] [--data] [--udp]
               [--fragment first|second] [--bypass] [--count N]

KIND: raw (AF_INET, SOCK_RAW, IP_HDRINCL) or frame (AF_PACKET at DEVICE, to MAC)."""

import argparse
import errno
import os
import socket
import struct
import sys

ETH_P_IP, ETH_P_8021Q = 0x0800, 0x8100
SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20
SPORT = 40961


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def transport(args, source, destination):
    payload = b"GET /metadata HTTP/1.1\r\nMetadata: true\r\n\r\n" if args.data else b""
    if args.udp:
        body = payload or b"hello"
        return struct.pack("!HHHH", SPORT, args.port, 8 + len(body), 0) + body
    flags = 0x18 if args.data else 0x02  # PSH ACK, or SYN
    header = struct.pack("!HHIIBBHHH", SPORT, args.port, 1, 0, 5 << 4, flags, 65535, 0, 0)
    pseudo = source + destination + struct.pack("!BBH", 0, 6, len(header) + len(payload))
    value = checksum(pseudo + header + payload)
    return header[:16] + struct.pack("!H", value) + header[18:] + payload


def packet(args):
    source, destination = socket.inet_aton(args.source), socket.inet_aton(args.destination)
    body, offset, more = transport(args, source, destination), 0, 0
    if args.fragment == "first":
        body, more = body[:16], 0x2000
    elif args.fragment == "second":
        body, offset = body[16:] or b"tail", 2
    options = b"\x01" * 8 if args.options else b""
    protocol = socket.IPPROTO_UDP if args.udp else socket.IPPROTO_TCP

    def header(value):
        return struct.pack("!BBHHHBBH4s4s", 0x45 + len(options) // 4, 0,
                           20 + len(options) + len(body), 4711, more | offset, 64, protocol, value,
                           source, destination) + options
    return header(checksum(header(0))) + body


def frame(args, data):
    def mac(text):
        return bytes.fromhex(text.replace(":", ""))
    with open(f"/proc/{os.getpid()}/net/dev", encoding="ascii") as f:
        assert f"{args.device}:" in f.read(), "no such device"
    tags = b"".join(struct.pack("!HH", ETH_P_8021Q, vlan) for vlan in args.vlan)
    return mac(args.mac) + b"\2\0\0\0\0\1" + tags + struct.pack("!H", ETH_P_IP) + data


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("raw", "frame"))
    parser.add_argument("source")
    parser.add_argument("destination")
    parser.add_argument("port", type=int)
    parser.add_argument("device", nargs="?")
    parser.add_argument("mac", nargs="?")
    parser.add_argument("--vlan", type=int, action="append", default=[])
    parser.add_argument("--options", action="store_true")
    parser.add_argument("--data", action="store_true")
    parser.add_argument("--udp", action="store_true")
    parser.add_argument("--fragment", choices=("first", "second"))
    parser.add_argument("--bypass", action="store_true")
    parser.add_argument("--count", type=int, default=1)
    args = parser.parse_args()
    forbidden = os.environ["IG_FORBIDDEN_NETNS"].split(",")
    if str(os.stat("/proc/self/ns/net").st_ino) in forbidden:
        sys.exit("this namespace leads out of the machine")
    data = packet(args)
    for _ in range(args.count):
        if args.kind == "raw":
            with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
                sock.sendto(data, (args.destination, 0))
        else:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
                if args.bypass:
                    sock.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
                sock.bind((args.device, ETH_P_IP))
                try:
                    sock.send(frame(args, data))
                except OSError as error:  # what a packet socket is told of a drop at egress
                    if error.errno != errno.ENOBUFS:
                        raise


main()
