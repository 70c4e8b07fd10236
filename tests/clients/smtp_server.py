#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A mail server with bad manners, one set of them an address.

	smtp_server.py LOG ADDRESS[=MANNER,...] ...

Port 25 of each address. LOG gets a line of JSON for each message that was taken, {"sender",
"recipients", "bytes"}, and before it one when the first octets of a content come, {"begins"}.
Manners:

	pieces		replies octet by octet, each in a segment of its own
	slow		a tenth of a second before each reply
	lines		each reply has three lines
	lf		takes a bare LF for the end of a line, in content too, and sizes modulo 2^32
	early		354 as soon as it has heard RCPT; DATA gets 354 as well
	liar		354 to NOOP, and goes on
	mute		no reply to the final dot: takes the message, and hangs up
	refuse		550 to each final dot, or 450 if the sender begins with "grey"
	nochunk		knows no BDAT
	bulk		one write for the replies to all that one read brought
"""
import json
import socket
import sys
import threading
import time

lock = threading.Lock()


class Session:
    def __init__(self, peer, manners, log):
        self.peer, self.manners, self.log = peer, manners, log
        self.heard, self.unsent = b"", []
        self.reset()

    def reset(self):
        self.sender, self.recipients, self.chunks = None, [], b""

    def reply(self, text):
        code, rest = text[:3], text[4:]
        if "lines" in self.manners and code[0] == "2" and "\n" not in text:
            text = f"{code}-so\r\n{code}-{code} and so\r\n{code} {rest}"
        if "slow" in self.manners:
            time.sleep(0.1)
        self.unsent.append(text.encode() + b"\r\n")
        if "bulk" not in self.manners:
            self.flush()

    def flush(self):
        out, self.unsent = b"".join(self.unsent), []
        step = 1 if "pieces" in self.manners else len(out) or 1
        for i in range(0, len(out), step):
            self.peer.sendall(out[i:i + step])

    def more(self):
        self.flush()
        got = self.peer.recv(65536)
        if not got:
            raise EOFError
        self.heard += got

    def line(self):
        end = b"\n" if "lf" in self.manners else b"\r\n"
        while end not in self.heard:
            if len(self.heard) > 1000000:
                self.heard = b""
            self.more()
        line, self.heard = self.heard.split(end, 1)
        return line.rstrip(b"\r")

    def tell(self, **what):
        with lock:
            self.log.write(json.dumps(what) + "\n")
            self.log.flush()

    def take(self, size):
        self.tell(sender=self.sender, recipients=len(self.recipients), bytes=size)
        self.reset()

    def final(self, size):
        if "refuse" in self.manners:
            soft = (self.sender or "").startswith("grey")
            self.reset()
            return self.reply("450 4.7.1 later" if soft else "550 5.7.1 never")
        self.take(size)
        if "mute" in self.manners:
            raise EOFError
        self.reply("250 2.0.0 taken for delivery")

    def data(self):
        size = 0
        if not self.heard:
            self.more()
        self.tell(begins=self.sender)
        while (line := self.line()) != b".":
            size += len(line)
        self.final(size)

    def bdat(self, words):
        size = int(words[1], 0 if "lf" in self.manners else 10)
        if "lf" in self.manners:
            size &= 0xFFFFFFFF
        while len(self.heard) < size:
            self.more()
        self.chunks += self.heard[:size]
        self.heard = self.heard[size:]
        if "nochunk" in self.manners:
            return self.reply("502 5.5.1 what?")
        if not self.recipients:
            return self.reply("503 5.5.1 nobody to send to")
        if len(words) > 2:
            return self.final(len(self.chunks))
        self.reply("250 2.0.0 chunk")

    def command(self, line):
        words = line.decode("latin-1").split()
        verb = words[0].upper() if words else ""
        if verb in ("EHLO", "HELO"):
            self.reset()
            chunking = "" if "nochunk" in self.manners else "250-CHUNKING\r\n"
            self.reply(chunking + "250 PIPELINING" if verb == "EHLO" else "250 hello")
        elif verb == "MAIL":
            self.reset()
            self.sender = line.decode("latin-1").split("<", 1)[-1].split(">", 1)[0]
            self.reply("250 2.1.0 sender")
        elif verb == "RCPT":
            self.rcpt(line)
        elif verb == "DATA" and self.recipients:
            self.reply("354 go ahead")
            self.data()
        elif verb == "DATA":
            self.reply("503 5.5.1 nobody to send to")
        elif verb == "BDAT":
            self.bdat(words)
        elif verb == "QUIT":
            self.reply("221 2.0.0 bye")
            raise EOFError
        elif verb in ("NOOP", "RSET"):
            if verb == "RSET":
                self.reset()
            self.reply("354 go ahead" if "liar" in self.manners and verb == "NOOP" else "250 2.0.0 fine")
        else:
            self.reply("500 5.5.2 what?")

    def rcpt(self, line):
        if b"<no" in line:
            return self.reply("550 5.1.1 nobody")
        if b"<grey" in line:
            return self.reply("450 4.2.0 greylisted")
        if self.sender is None:
            return self.reply("503 5.5.1 MAIL first")
        self.recipients.append(line)
        self.reply("250 2.1.5 recipient")
        if "early" in self.manners:
            self.reply("354 go ahead")

    def run(self):
        try:
            self.peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.reply("220 world ESMTP")
            while True:
                self.command(self.line())
        except (EOFError, OSError, ValueError):
            pass
        try:
            self.flush()
        except OSError:
            pass
        self.peer.close()


def serve(address, manners, log):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
    listener.bind((address, 25))
    listener.listen(128)
    while True:
        peer, _ = listener.accept()
        threading.Thread(target=Session(peer, manners, log).run, daemon=True).start()


def main():
    with open(sys.argv[1], "a", encoding="ascii") as log:
        threads = []
        for place in sys.argv[2:]:
            address, _, manners = place.partition("=")
            threads.append(threading.Thread(target=serve, args=(address, manners.split(","), log)))
            threads[-1].start()
        for thread in threads:
            thread.join()


main()
