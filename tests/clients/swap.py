#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What an upgrade does to the pinned links, again and again until SIGTERM; then tells how often.

	swap.py LINKS PROGRAMS…		each link is updated in place to its program of the next of
					the directories PROGRAMS
"""

import ctypes, os, platform, re, signal, struct, sys

BPF = {"x86_64": 321, "aarch64": 280, "ppc64le": 361, "s390x": 351, "riscv64": 280}[platform.machine()]
OBJ_GET, LINK_UPDATE = 7, 29
libc = ctypes.CDLL(None, use_errno=True)
over = False


def bpf(command, attributes, what):
    room = ctypes.create_string_buffer(attributes.ljust(128, b"\0"))
    answer = libc.syscall(BPF, command, room, 128)
    if answer < 0:
        sys.exit(f"swap: {what}: {os.strerror(ctypes.get_errno())}")
    return answer


def pinned(path):
    name = ctypes.create_string_buffer(path.encode())
    return bpf(OBJ_GET, struct.pack("<QII", ctypes.addressof(name), 0, 0), path)


def stop(*_):
    global over
    over = True


links, versions = sys.argv[1], sys.argv[2:]
names = sorted(os.listdir(links))
# links/egress_7 is of the program `egress`
program = {name: re.sub("_[0-9]+$", "", name) for name in names}
link = {name: pinned(f"{links}/{name}") for name in names}
version = [{name: pinned(f"{v}/{program[name]}") for name in names} for v in versions]

signal.signal(signal.SIGTERM, stop)
rounds = 0
while not over:
    for name in names:
        bpf(LINK_UPDATE, struct.pack("<IIII", link[name], version[rounds % len(version)][name], 0, 0), name)
    rounds += 1
    if rounds == 1:
        print("swapping", flush=True)
print(rounds)
