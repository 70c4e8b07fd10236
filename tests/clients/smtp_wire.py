#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A bad wire between two network namespaces: what goes into wire0 of the one comes out of wire0 of
the other, or does not.

	smtp_wire.py NETNS NETNS MISCHIEF...	the machine under test is behind the first

Mischief is `loss=PERCENT`, `duplicate=PERCENT`, `reorder=PERCENT` (of the packets of both sides),
or one of

	swallow		the first copy of each segment that the client sends is lost
	echo		after each segment of the server comes one with other octets in its place
	ahead		before it one with other octets from where it ends, and one far outside the window
	overlap		a segment comes in halves, the second first, then a whole with other octets in its
			first half
	stale		before it one with other octets in its place, of a long time ago: TCP refuses it;
			before a SYN-ACK another one, which it refuses as well
	broken		before it one with other octets in its place, whose checksum is wrong
"""
import ctypes
import fcntl
import os
import random
import select
import struct
import sys

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 1, 0x1000
FAKE = b"250 2.0.0 fake\r\n354 fake\r\n"


def tun(netns):
    with open(netns, encoding="ascii") as where:
        if ctypes.CDLL(None, use_errno=True).setns(where.fileno(), 0) < 0:
            raise OSError(ctypes.get_errno(), netns)
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"wire0", IFF_TUN | IFF_NO_PI))
    return fd


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Segment:
    """Of IPv4."""

    def __init__(self, packet):
        self.tcp_at = (packet[0] & 15) * 4
        self.at = self.tcp_at + (packet[self.tcp_at + 12] >> 4) * 4
        self.head, self.payload = packet[:self.at], packet[self.at:]
        self.opens = packet[self.tcp_at + 13] & 2
        self.port, self.seq = struct.unpack_from("!HI", packet, self.tcp_at + 2)

    def with_other(self, payload, shift=0):
        """The same segment with another payload, `shift` octets on."""
        head = bytearray(self.head)
        struct.pack_into("!H", head, 2, len(head) + len(payload))
        struct.pack_into("!H", head, 10, 0)
        struct.pack_into("!H", head, 10, checksum(bytes(head[:self.tcp_at])))
        struct.pack_into("!I", head, self.tcp_at + 4, (self.seq + shift) & 0xFFFFFFFF)
        return self.summed(head, payload)

    def summed(self, head, payload):
        struct.pack_into("!H", head, self.tcp_at + 16, 0)
        tcp = bytes(head[self.tcp_at:]) + payload
        pseudo = bytes(head[12:20]) + struct.pack("!HH", 6, len(tcp))
        struct.pack_into("!H", head, self.tcp_at + 16, checksum(pseudo + tcp))
        return bytes(head) + payload

    def aged(self, payload):
        """With a timestamp of long ago (its option is behind two octets of padding)."""
        head = bytearray(self.with_other(payload)[:self.at])
        option = self.tcp_at + 20
        if head[option:option + 4] == b"\x01\x01\x08\x0a":
            then, = struct.unpack_from("!I", head, option + 4)
            struct.pack_into("!I", head, option + 4, (then - 1000000) & 0xFFFFFFFF)
        return self.summed(head, payload)

    def unasked(self):
        """A SYN-ACK that TCP does not take, for it acknowledges what was not sent."""
        head = bytearray(self.with_other(self.payload, 123456789))
        acked, = struct.unpack_from("!I", head, self.tcp_at + 8)
        struct.pack_into("!I", head, self.tcp_at + 8, (acked + 1000) & 0xFFFFFFFF)
        return self.summed(head[:self.at], self.payload)

    def broken(self, payload):
        packet = bytearray(self.with_other(payload))
        packet[self.tcp_at + 16] ^= 0x55
        return bytes(packet)


def fake(length):
    return (FAKE * (length // len(FAKE) + 1))[:length]


class Wire:
    def __init__(self, mischief):
        self.mischief = mischief
        self.percent = {"loss": 0, "duplicate": 0, "reorder": 0}
        for what, _, percent in (m.partition("=") for m in mischief):
            if percent:
                self.percent[what] = float(percent)
        self.late, self.swallowed = [], set()

    def happens(self, what):
        return random.random() * 100 < self.percent[what]

    def out(self, packet):
        """Of the client: the packets that arrive for this one."""
        if "swallow" in self.mischief and packet[9] == 6:
            segment = Segment(packet)
            if segment.payload and segment.seq not in self.swallowed:
                self.swallowed.add(segment.seq)
                return []
        return [packet]

    def back(self, packet):
        """Of the server."""
        if packet[9] != 6:
            return [packet]
        segment = Segment(packet)
        n = len(segment.payload)
        if "stale" in self.mischief and segment.opens:
            return [segment.unasked(), packet]
        if not n:
            return [packet]
        around = [packet]
        if "echo" in self.mischief:
            around.append(segment.with_other(fake(n)))
            around.append(segment.with_other(fake(n + 13), -13))
        if "ahead" in self.mischief:
            around = [segment.with_other(fake(26), n), segment.with_other(fake(26), 5000000)] + around
        if "stale" in self.mischief:
            around.insert(0, segment.aged(fake(n)))
        if "broken" in self.mischief:
            around.insert(0, segment.broken(fake(n)))
        if "overlap" in self.mischief and n > 1:
            half = n // 2
            around = [segment.with_other(segment.payload[half:], half),
                      segment.with_other(segment.payload[:half]),
                      segment.with_other(fake(half) + segment.payload[half:])]
        return around

    def carry(self, packets, to):
        for packet in packets:
            if self.happens("loss"):
                continue
            if self.happens("reorder"):
                self.late.append((to, packet))
                continue
            for _ in range(2 if self.happens("duplicate") else 1):
                os.write(to, packet)
            if random.random() < 0.5:
                self.deliver_late()

    def deliver_late(self):
        for to, packet in self.late:
            os.write(to, packet)
        self.late = []


def main():
    box, far = tun(sys.argv[1]), tun(sys.argv[2])
    wire = Wire(sys.argv[3:])
    while True:
        ready, _, _ = select.select([box, far], [], [], 0.002 if wire.late else None)
        if not ready:
            wire.deliver_late()
        for fd in ready:
            packet = os.read(fd, 65536)
            if packet[0] >> 4 != 4:
                continue
            if fd == box:
                wire.carry(wire.out(packet), far)
            else:
                wire.carry(wire.back(packet), box)


if __name__ == "__main__":
    main()
