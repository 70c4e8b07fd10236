# SPDX-License-Identifier: GPL-2.0-or-later
"""bpf(2) as it is, for what bpftool cannot do."""
import ctypes
import os
import platform
import struct
import sys

NUMBER = {"x86_64": 321, "aarch64": 280, "ppc64le": 361, "s390x": 351, "riscv64": 280}
LIBC = ctypes.CDLL(None, use_errno=True)
BUFFERS = []  # what the kernel is given addresses of


def call(command, *parts):
    """The attributes are the parts, one behind the other. Ends the program if it fails."""
    attributes = ctypes.create_string_buffer(b"".join(parts).ljust(144, b"\0"))
    fd = LIBC.syscall(NUMBER[platform.machine()], command, attributes, 144)
    if fd < 0:
        sys.exit(os.strerror(ctypes.get_errno()))
    return fd


def address(content):
    BUFFERS.append(ctypes.create_string_buffer(content, len(content) + 1))
    return ctypes.addressof(BUFFERS[-1])


pack = struct.pack
