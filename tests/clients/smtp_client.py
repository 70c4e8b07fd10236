#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A mail client with bad manners, and some good ones.

	smtp_client.py MANNER ADDRESS[=PORT] [N] [SENDER]

Tells how many of its messages were taken, as the server said. Exits 1 when the server, or whoever
stands between, says nothing for PATIENCE seconds of the environment; without that for half a
minute, or until connect() says meanwhile that its user is refused: for a machine that stands still
is no refusal. Or when TCP had to send more than CLEAN segments of the environment again.
"""
import os
import select
import socket
import struct
import sys
import time

PATIENCE = float(os.environ.get("PATIENCE", 30))
ASKS = "PATIENCE" not in os.environ
CONTENT = b"Subject: hello\r\n\r\nhello\r\n"


class Client:
    def __init__(self, address, sender, peer=None):
        self.address, self.sender = address, sender.encode()
        self.got, self.taken = b"", 0
        if peer:
            self.peer = peer
        else:
            place, _, port = address.partition("=")
            self.peer = socket.create_connection((place, int(port or 25)), PATIENCE)
        self.peer.settimeout(PATIENCE)
        self.peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data):
        self.peer.sendall(data)

    def is_refused(self):
        place, _, port = self.address.partition("=")
        try:
            socket.create_connection((place, int(port or 25)), PATIENCE).close()
        except PermissionError:
            return True
        except OSError:
            pass
        return False

    def receive(self):
        """What the server says next; it is given PATIENCE, while there is hope."""
        end = time.monotonic() + PATIENCE
        while ASKS and not select.select([self.peer], [], [], 1)[0]:
            if time.monotonic() > end or self.is_refused():
                raise TimeoutError("nothing is said")
        return self.peer.recv(65536)

    def reply(self, *wanted):
        """The code of the next reply, which must be one of those wanted, if any are."""
        while True:
            while b"\n" not in self.got:
                more = self.receive()
                if not more:
                    raise EOFError
                self.got += more
            line, self.got = self.got.split(b"\n", 1)
            if line[3:4] != b"-":
                break
        code = int(line[:3])
        if wanted and code not in wanted:
            raise ValueError(f"{code}, not {wanted}")
        return code

    def ask(self, command, *wanted):
        self.send(command + b"\r\n")
        return self.reply(*wanted)

    def hello(self):
        self.reply(220)
        self.ask(b"EHLO box.example", 250)
        return self

    def envelope(self):
        return b"MAIL FROM:<%s>\r\nRCPT TO:<rcpt@world.example>\r\n" % self.sender

    def transaction(self, content=CONTENT):
        self.ask(b"MAIL FROM:<%s>" % self.sender, 250)
        self.ask(b"RCPT TO:<rcpt@world.example>", 250)
        self.ask(b"DATA", 354)
        self.taken += self.ask(content + b".", 250, 450, 550) == 250

    def replies(self, n):
        return [self.reply() for _ in range(n)]

    def ends(self):
        """Hears the server out, who hangs up when it has read all."""
        try:
            self.peer.shutdown(socket.SHUT_WR)
            while True:
                self.reply()
        except (TimeoutError, EOFError, OSError):
            pass
        self.peer.close()

    def quit(self):
        try:
            self.ask(b"QUIT")
        except (EOFError, ConnectionError):
            pass
        info = self.peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        again, = struct.unpack_from("I", info, 100)  # tcpi_total_retrans
        if again > int(os.environ.get("CLEAN", again)):
            raise ConnectionError(f"{again} segments were sent again")
        self.peer.close()


# ---- manners ----

def honest(client, n):
    """n messages in one session"""
    client.hello()
    for _ in range(n):
        client.transaction()
    client.quit()


def recipients(client, n):
    """one message to n"""
    client.hello()
    client.ask(b"MAIL FROM:<%s>" % client.sender, 250)
    for i in range(n):
        client.ask(b"RCPT TO:<to%d@world.example>" % i, 250)
    client.ask(b"DATA", 354)
    client.taken += client.ask(CONTENT + b".", 250) == 250
    client.quit()


def unknown(client, n):
    """n recipients that the server does not know"""
    client.hello()
    client.ask(b"MAIL FROM:<%s>" % client.sender, 250)
    for i in range(n):
        client.ask(b"RCPT TO:<no@world.example>", 550)
    client.quit()


def grey(client, n):
    """n recipients that the server puts off"""
    client.hello()
    client.ask(b"MAIL FROM:<%s>" % client.sender, 250)
    for i in range(n):
        client.ask(b"RCPT TO:<grey@world.example>", 450)
    client.quit()


def noop_between(client, n):
    """n messages, and a NOOP before each"""
    client.hello()
    for _ in range(n):
        client.ask(b"NOOP")
        client.transaction()
    client.quit()


def octets(client, n):
    """each octet in a segment of its own"""
    whole = client.send

    def send(data):
        for i in range(len(data)):
            whole(data[i:i + 1])

    client.send = send
    honest(client, n)


def commands_inside(client, n):
    """content that looks like commands, dots and replies"""
    client.hello()
    for _ in range(n):
        client.transaction(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n354 go\r\n250 ok\r\n..\r\n"
                           b"..MAIL\r\n .\r\nBDAT 10 LAST\r\nRSET\r\nQUIT\r\nSTARTTLS\r\n")
    client.quit()


def pipelined(client, n):
    """the next transaction behind the final dot, all in one write, none waits for anything"""
    client.hello()
    client.send((client.envelope() + b"DATA\r\n" + CONTENT + b".\r\n") * n)
    client.taken = client.replies(4 * n)[3::4].count(250)
    client.quit()


def behind_dot(client, n):
    """waits for each 354, but not for the reply to the final dot"""
    client.hello()
    client.send(client.envelope() + b"DATA\r\n")
    for i in range(n):
        while client.reply() != 354:
            pass
        next_one = client.envelope() + b"DATA\r\n" if i < n - 1 else b""
        client.send(CONTENT + b".\r\n" + next_one)
        client.taken += client.reply() == 250
    client.quit()


def smuggled(client, n):
    """a second message behind an end of content that only some servers take for one"""
    client.hello()
    for _ in range(n):
        client.ask(b"MAIL FROM:<%s>" % client.sender, 250)
        client.ask(b"RCPT TO:<rcpt@world.example>", 250)
        client.ask(b"DATA", 354)
        client.send(CONTENT + b"\n.\n" + client.envelope() + b"DATA\r\n" + CONTENT + b".\r\n")
        client.replies(5)
    client.quit()


def chunks(client, n):
    """BDAT, in three chunks a message"""
    client.hello()
    for _ in range(n):
        client.send(client.envelope() + b"BDAT 4\r\nSubjBDAT 9\r\nect: hi\r\nBDAT 2 LAST\r\n\r\n")
        client.taken += client.replies(5)[4] == 250
    client.quit()


def lying_chunk(client, n):
    """a BDAT whose size is not what it looks like"""
    hidden = client.envelope() + b"BDAT 5 LAST\r\nhello"
    for size in (b"0", b"00", b"+0", b"0x0", b" 0", b"4294967296", b"18446744073709551616"):
        client.hello()
        client.send(client.envelope() + b"BDAT " + size + b" LAST\r\n" + hidden * n)
        client.ends()
        client = Client(client.address, client.sender.decode())
    client.hello().quit()


def noops(client, n):
    """a flood of NOOPs in which messages hide"""
    client.hello()
    flood = b"NOOP\r\n" * 10000
    for _ in range(n):
        client.send(flood)
        client.send(client.envelope() + b"DATA\r\n")
        codes = client.replies(10003)
        if codes[-1] != 354:
            raise ValueError(codes[-1])
        client.taken += client.ask(CONTENT + b".", 250) == 250
    client.quit()


def flood_in_one(client, n):
    """as many commands as go into one packet, with messages at its end"""
    client.hello()
    flood = b"NOOP\r\n" * (9000 - 20 * n)
    hidden = (client.envelope() + b"BDAT 5 LAST\r\nhello") * n
    client.send(flood + hidden)
    client.taken = client.replies(9000 - 20 * n + 3 * n)[-3 * n:][2::3].count(250)
    client.quit()


def long_lines(client, n):
    """lines of 100 000 octets, in commands and in content"""
    client.hello()
    for _ in range(n):
        client.ask(b"NOOP " + b"x" * 100000)
        client.transaction(b"X: " + b"MAIL FROM " * 10000 + b"\r\n" + CONTENT)
    client.quit()


def impatient(client, n):
    """content right behind DATA, in a segment of its own, before the 354"""
    client.hello()
    for _ in range(n):
        client.send(client.envelope() + b"DATA\r\n")
        time.sleep(0.01)
        client.send(CONTENT)
        client.send(b".\r\n")
        client.taken += client.replies(4)[3] == 250
    client.quit()


def big(client, n):
    """n times 5 MB"""
    client.hello()
    line = b"x" * 70 + b"\r\n"
    for _ in range(n):
        client.transaction(b"Subject: big\r\n\r\n" + line * (5000000 // len(line)))
    client.quit()


def endless(client, n):
    """a message each 1/n second until the file ENOUGH of the environment is there"""
    client.hello()
    while not os.path.exists(os.environ["ENOUGH"]):
        client.transaction()
        time.sleep(1 / n)
    client.quit()


def unseen(client, octets, command):
    """Octets that the server passes over, and its reply to the command behind them. One that was
    not passed over in time is part of the command, which is then none: all anew."""
    for _ in range(20):
        client.ask(b"MAIL FROM:<%s>" % client.sender, 250)
        client.ask(b"RCPT TO:<rcpt@world.example>", 250)
        for octet in octets:
            client.peer.send(bytes([octet]), socket.MSG_OOB)
            time.sleep(0.02)
        lines = command.split(b"\r\n")
        code = client.ask(command, 250, 354, 500)
        if code != 500:
            return code
        client.replies(len(lines) - 1)
    raise TimeoutError("no urgent octet is passed over")


def urgent(client, n):
    """DATA behind NOOP, of which the server sees the one and whoever watches the other"""
    client.hello()
    for _ in range(n):
        unseen(client, b"NOOP ", b"DATA")
        client.taken += client.ask(CONTENT + b".") == 250
    client.quit()


def urgent_chunk(client, n):
    """likewise, and BDAT, which nothing but its reply's text tells from NOOP"""
    client.hello()
    for _ in range(n):
        client.taken += unseen(client, b"NOOP ", b"BDAT 6 LAST\r\nNOOP") == 250
    client.quit()


def changed_page(client, n):
    """a file that is sent without copying, and changed when it has passed whoever watches"""
    client.hello()
    shown = b"NOOP " + b"x" * 30 + b"\r\n"
    wanted = (b"BDAT %d LAST\r\n" % (len(shown) - 14)).ljust(len(shown), b"y")
    for _ in range(n):
        client.ask(b"MAIL FROM:<%s>" % client.sender, 250)
        client.ask(b"RCPT TO:<rcpt@world.example>", 250)
        file = os.memfd_create("page")
        os.write(file, shown)
        os.sendfile(client.peer.fileno(), file, 0, len(shown))
        os.pwrite(file, wanted, 0)
        client.taken += client.reply() == 250
        os.close(file)
    client.quit()


def fast_open(address, sender, n):
    """all of it in the SYN; the second time, for the first asks for the cookie"""
    taken = 0
    for _ in range(n + 1):
        peer = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        client = Client(address, sender, peer=peer)
        peer.settimeout(None)
        message = client.envelope() + b"BDAT 5 LAST\r\nhello"
        peer.sendto(b"EHLO box.example\r\n" + message, socket.MSG_FASTOPEN, (address, 25))
        peer.settimeout(PATIENCE)
        taken += client.replies(5)[4] == 250
        client.quit()
    return taken


def main():
    manner, address = sys.argv[1:3]
    n = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    sender = sys.argv[4] if len(sys.argv) > 4 else f"u{os.getuid()}@box.example"
    if manner == "fast_open":
        return print(fast_open(address, sender, n))
    client = Client(address, sender)
    try:
        globals()[manner](client, n)
    except (TimeoutError, EOFError, ConnectionError) as error:
        print(client.taken)
        sys.exit(f"{type(error).__name__} {error}")
    print(client.taken)


main()
