"""What the kernel knows of a TCP connection, and what we ask of it (Linux)."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
from typing import Final

SIOCOUTQ: Final = 0x5411
BYTES_ACKED: Final = struct.Struct("=120xQ")
"""`struct tcp_info` of linux/tcp.h up to `tcpi_bytes_acked` (RFC 4898, tcpEStatsAppHCThruOctetsAcked)."""
SEND_BUFFER: Final = 128 * 1024
"""Bytes asked of the kernel for a connection (it takes twice as much): the rest is for our own bounds to judge."""


def descriptor(transport: asyncio.BaseTransport) -> int:
    """The number of a socket whose bytes are ours (not TLS), else -1."""
    sock = transport.get_extra_info("socket")
    return sock.fileno() if sock is not None and transport.get_extra_info("sslcontext") is None else -1


def unacknowledged(fd: int) -> int:
    """Bytes that the kernel has and the peer's TCP has not acknowledged; 0 where that cannot be told."""
    if fd < 0:
        return 0
    try:
        answer = fcntl.ioctl(fd, SIOCOUTQ, b"\0\0\0\0")
    except OSError:
        return 0
    count: int = struct.unpack("i", answer)[0]
    return count


def acknowledged(transport: asyncio.BaseTransport) -> int:
    """Bytes that the peer's TCP has acknowledged, also of a connection that was reset; 0 where that cannot be told."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return 0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED.size)
    except OSError:
        return 0
    count: int = BYTES_ACKED.unpack(info)[0] if len(info) == BYTES_ACKED.size else 0
    return count


def prepare(sock: socket.socket, dead_after: float) -> None:
    """Have TCP find a dead peer after about so many seconds, whether or not there is something to send.

    What a listening socket is told holds for all that it accepts.
    """
    seconds = max(1, round(dead_after / 3))
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, seconds)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(dead_after * 1000))
