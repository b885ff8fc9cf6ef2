"""The PROXY protocol (haproxy.org, proxy-protocol.txt), versions 1 and 2: for whom a balancer made a connection.

Only for connections from a balancer that is trusted and always says it: nobody else's first bytes are looked at.
"""

from __future__ import annotations

import ipaddress
from typing import Final, NamedTuple

LONGEST: Final = 2048
"""Bytes of a header, more than any balancer writes."""

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_LONGEST_LINE: Final = 107
_SIZES: Final = {0x11: 4, 0x21: 16}
"""Bytes of an address, for TCP over IPv4 and over IPv6."""


class ProxyError(Exception):
    """The connection does not begin with a header of this protocol."""


class Header(NamedTuple):
    """What a balancer said: the address of its client ("" where it speaks for itself), and the header's bytes."""

    address: str
    size: int


def decode(data: bytes) -> Header | None:
    """The header at the start of a stream, or None until more of it is here. Raises `ProxyError`."""
    if data[:12] == _SIGNATURE[: len(data)]:
        return _binary(data)
    if data[:6] == b"PROXY "[: len(data)]:
        return _line(data)
    raise ProxyError("no PROXY header")


def _binary(data: bytes) -> Header | None:
    if len(data) < 16:
        return None
    command, family, length = data[12], data[13], int.from_bytes(data[14:16], "big")
    if command not in {0x20, 0x21} or length > LONGEST:
        raise ProxyError("not version 2, or an endless header")
    if len(data) < 16 + length:
        return None
    size = _SIZES.get(family, 0) if command == 0x21 else 0
    if length < 2 * size:
        raise ProxyError("no room for the addresses")
    address = str(ipaddress.ip_address(data[16 : 16 + size])) if size else ""
    return Header(address, 16 + length)


def _line(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, _LONGEST_LINE)
    if end < 0:
        if len(data) >= _LONGEST_LINE:
            raise ProxyError("an endless header")
        return None
    words = data[:end].split(b" ")
    if words[1:2] == [b"UNKNOWN"]:
        return Header("", end + 2)
    try:
        family = {b"TCP4": 4, b"TCP6": 6}[words[1]]
        address = ipaddress.ip_address(words[2].decode("ascii"))
    except (LookupError, ValueError):
        raise ProxyError("no address in the header") from None
    if len(words) != 6 or address.version != family:
        raise ProxyError("no address in the header")
    return Header(str(address), end + 2)
