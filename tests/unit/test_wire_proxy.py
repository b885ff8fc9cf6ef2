"""Headers as balancers write them, in any cut, and whatever else a connection may begin with."""

import ipaddress
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from causerie.wire.proxy import LONGEST, Header, ProxyError, decode

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def version_2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


def v4(source: str) -> bytes:
    packed = ipaddress.ip_address(source).packed + ipaddress.ip_address("10.0.0.1").packed
    return version_2(0x21, 0x11, packed + struct.pack("!HH", 51234, 4040))


HEADERS = {
    v4("203.0.113.7"): "203.0.113.7",
    version_2(0x21, 0x11, v4("203.0.113.7")[16:] + b"\x03\x00\x04abcd"): "203.0.113.7",
    version_2(0x21, 0x21, ipaddress.ip_address("2001:db8::7").packed * 2 + b"\0" * 4): "2001:db8::7",
    version_2(0x20, 0x00, b""): "",
    version_2(0x20, 0x11, v4("203.0.113.7")[16:]): "",
    version_2(0x21, 0x31, b"/run/x".ljust(216, b"\0")): "",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 51234 4040\r\n": "203.0.113.7",
    b"PROXY TCP6 2001:DB8::7 2001:db8::1 51234 4040\r\n": "2001:db8::7",
    b"PROXY UNKNOWN\r\n": "",
    b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n": "",
}


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("rest", [b"", b"alice\n", b"\r\n\r\n\x00", b'{"op":'])
def test_headers_are_read_when_they_are_whole(header: bytes, rest: bytes) -> None:
    for size in range(len(header)):
        assert decode(header[:size]) is None, header[:size]
    assert decode(header + rest) == Header(HEADERS[header], len(header))


@pytest.mark.parametrize(
    "begin",
    [
        b"alice\n",
        b'{"op":"hello"',
        b"PROXy",
        b"PROXY TCP4\r\n",
        b"PROXY TCP4 203.0.113.7 10.0.0.1 51234\r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::1 51234 4040\r\n",
        b"PROXY TCP4 alice bob 1 2\r\n",
        b"PROXY UDP4 203.0.113.7 10.0.0.1 51234 4040\r\n",
        b"PROXY " + b"x" * 110,
        SIGNATURE + b"\x11\x11\x00\x0c" + b"\0" * 12,
        version_2(0x22, 0x11, b"\0" * 12),
        version_2(0x21, 0x11, b"\0" * 7),
        version_2(0x21, 0x21, b"\0" * 31),
        SIGNATURE + b"\x21\x11\xff\xff",
    ],
)
def test_what_is_no_header(begin: bytes) -> None:
    with pytest.raises(ProxyError):
        decode(begin)


@given(st.binary(max_size=80) | st.binary(max_size=60).map(lambda noise: SIGNATURE + noise))
@example(b"PROXY TCP4 \xff\xff 1 2 3\r\n")
def test_noise_is_refused_or_waited_for_within_bounds(noise: bytes) -> None:
    try:
        header = decode(noise)
    except ProxyError:
        return
    assert header is None or header.size <= len(noise)
    assert header is not None or len(noise) < 16 + LONGEST
