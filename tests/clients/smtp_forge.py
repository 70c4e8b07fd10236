#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Sends each segment with payload that leaves for port 25 again, with other octets, by a raw socket.

	smtp_forge.py		root's; says "ready", and ends when it is killed
"""
import socket

from smtp_wire import Segment

FAKE = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"


def main():
    seen = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.ntohs(3))
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    forged = set()
    print("ready", flush=True)
    while True:
        packet, (_, _, kind, *_) = seen.recvfrom(65536)
        if kind != socket.PACKET_OUTGOING or packet[0] >> 4 != 4 or packet[9] != 6:
            continue
        segment = Segment(packet)
        if segment.port != 25 or not segment.payload or segment.seq in forged:
            continue
        forged.add(segment.seq)
        other = (FAKE * 40)[:len(segment.payload)]
        raw.sendto(segment.with_other(other), (socket.inet_ntoa(packet[16:20]), 0))


main()
