"""A network of the bench's own, in which no firewall of the machine looks at what is measured.

Rules that Docker leaves behind, say, let the kernel track each connection, which costs a write about a fifth more.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys

from bench.machine import APART

SIOCSIFFLAGS = 0x8914
IFF_UP = 1


def go_apart() -> None:
    """Begin this program again in a network namespace with nothing but a loopback; returns there.

    Ends the program where there is no `unshare` (util-linux) or where it may not be used.
    """
    if not os.environ.get(APART):
        os.environ[APART] = "1"
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        try:
            os.execvp("unshare", ["unshare", "--net", *user, sys.executable, "-m", "bench.run", *sys.argv[1:]])
        except OSError as error:
            sys.exit(f"bench: --apart needs unshare: {error.strerror}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))  # netdevice(7)
