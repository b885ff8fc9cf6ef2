"""RFC 6455 frames after the handshake, sans I/O, for either side; no extensions.

Text messages come out whole. A message over `limit` bytes is skipped and gives `Mark.TOO_LONG`, a binary one
`Mark.BINARY`: both are for the application to answer. One past `skip` bytes is an error (1009), and so is a text
that is not UTF-8 (1007).
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, NamedTuple

from causerie.wire.framing import MAX_LINE, MAX_SKIP, Mark


class Opcode(IntEnum):
    """RFC 6455, section 5.2."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class Control(NamedTuple):
    """A control frame: close (payload: code and reason), ping or pong."""

    opcode: Opcode
    payload: bytes


class WebSocketError(Exception):
    """The peer broke the framing; close with `code` (RFC 6455, section 7.4.1)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


_OPCODES: Final = frozenset(Opcode)
_WHOLE_TEXT: Final = 0x80 | int(Opcode.TEXT)


def frame(opcode: int, payload: bytes, mask: bytes | None = None) -> bytes:
    """One whole frame; a client gives a `mask` of four random bytes."""
    size, bit = len(payload), 0x80 if mask is not None else 0
    if size < 126:
        head = bytes((0x80 | opcode, bit | size))
    elif size < 65536:
        head = struct.pack("!BBH", 0x80 | opcode, bit | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, bit | 127, size)
    return head + payload if mask is None else head + mask + masked(payload, mask)


def text_frames(lines: bytes) -> bytes:
    """Each line (ended by LF) as a text frame of a server."""
    return b"".join([frame(Opcode.TEXT, line) for line in lines.split(b"\n")[:-1]])


def close_frame(code: int, reason: str = "", mask: bytes | None = None) -> bytes:
    """A close frame; 1005 stands for one without a code."""
    payload = b"" if code == 1005 else struct.pack("!H", code) + _cut(reason, 123)
    return frame(Opcode.CLOSE, payload, mask)


def _cut(text: str, limit: int) -> bytes:
    """The text in UTF-8, whole characters of at most `limit` bytes in all."""
    return text.encode()[:limit].decode(errors="ignore").encode()


def close_code(payload: bytes) -> int:
    """The code of a close frame: 1005 for none. Raises `WebSocketError` for one that may not be sent."""
    if not payload:
        return 1005
    if len(payload) == 1:
        raise WebSocketError(1002, "close frame of one byte")
    code: int = struct.unpack_from("!H", payload)[0]
    if not (3000 <= code <= 4999 or 1000 <= code <= 1014) or code in {1004, 1005, 1006}:
        raise WebSocketError(1002, "invalid close code")
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        raise WebSocketError(1007, "close reason is not UTF-8") from None
    return code


def masked(payload: bytes, mask: bytes) -> bytes:
    """The payload with the mask applied (or taken off)."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


class FrameReader:
    """Feeds bytes, takes messages. A server reads masked frames, a client unmasked ones."""

    __slots__ = ("_buffer", "_fin", "_fragments", "_masked", "_opcode", "_size", "_skip", "_start", "consumed")

    limit = MAX_LINE
    skip = MAX_SKIP

    def __init__(self, *, server: bool = True) -> None:
        self._masked = server
        self._buffer = b""
        self._start = 0
        self._opcode = 0  # of the message whose fragments are coming; 0 = none
        self._fragments: bytearray | None = None
        self._size = 0  # of that message so far
        self._skip: int | None = None  # bytes of the present payload still to be dropped
        self._fin = False  # of the frame whose payload is dropped
        self.consumed = 0
        """Bytes of the stream up to the end of the last frame taken."""

    def feed(self, data: bytes) -> None:
        """Add what was read."""
        if self._start < len(self._buffer):
            data = self._buffer[self._start :] + data
        self._buffer = data
        self._start = 0

    @property
    def waiting(self) -> int:
        """Bytes fed and not yet taken."""
        return len(self._buffer) - self._start

    @property
    def received(self) -> int:
        """Bytes of the stream fed so far."""
        return self.consumed + self.waiting

    def take(self) -> bytes | Mark | Control | None:
        """The next message or control frame, or None until more is fed. Raises `WebSocketError`."""
        if not self._buffer:
            return None
        whole = self._whole()
        return self._next() if whole is None else whole

    def _next(self) -> bytes | Mark | Control | None:
        """The same for whatever may come."""
        while True:
            if self._skip is not None:
                if not self._drop():
                    return None
                if self._fin:
                    return self._finish(b"")
            head = self._head()
            if head is None:
                return None
            fin, opcode, size, length = head
            if opcode < 8 and self._size + length > self.limit:
                self._begin_to_drop(head)
                continue
            if self.waiting < size + length:
                return None
            payload = self._payload(size, length)
            if opcode >= 8:
                return Control(Opcode(opcode), payload)
            self._opcode = opcode or self._opcode
            self._size += length
            if fin:
                return self._finish(payload)
            self._keep(payload)

    def _whole(self) -> bytes | Mark | None:
        """The next message if it is a text and here in one frame, as most are; None where a closer look is needed."""
        buffer, start = self._buffer, self._start
        if not self._masked or self._opcode or self._skip is not None or len(buffer) < start + 6:
            return None
        length, at = buffer[start + 1] - 0x80, start + 6
        if length == 126:
            length, at = buffer[start + 2] << 8 | buffer[start + 3], start + 8
        elif length > 126:
            return None
        end = at + length
        if buffer[start] != _WHOLE_TEXT or not 0 <= length <= self.limit or end > len(buffer):
            return None
        self._move(end - start)
        return self._message(Opcode.TEXT, masked(buffer[at:end], buffer[at - 4 : at]))

    def _keep(self, payload: bytes) -> None:
        """Keep a fragment for the whole; those without content leave nothing behind."""
        if self._fragments is None:
            self._fragments = bytearray()
        self._fragments += payload

    def _finish(self, last: bytes) -> bytes | Mark:
        """The message that is complete now; the next one starts."""
        fragments, size, opcode = self._fragments, self._size, self._opcode
        self._fragments, self._size, self._opcode = None, 0, 0
        if size > self.limit:
            return Mark.TOO_LONG
        return self._message(opcode, last if fragments is None else bytes(fragments + last))

    def _message(self, opcode: int, payload: bytes) -> bytes | Mark:
        if opcode == Opcode.BINARY:
            return Mark.BINARY
        if not payload.isascii():
            try:
                payload.decode()
            except UnicodeDecodeError:
                raise WebSocketError(1007, "text is not UTF-8") from None
        return payload

    def _begin_to_drop(self, head: tuple[bool, int, int, int]) -> None:
        """The message is too long: forget what came of it, and drop the payload that comes."""
        self._fin, opcode, size, self._skip = head
        self._opcode = opcode or self._opcode
        self._size += self._skip
        self._fragments = None
        self._move(size)

    def _drop(self) -> bool:
        """Drop payload that is not wanted; whether all of it is gone."""
        assert self._skip is not None
        step = min(self._skip, self.waiting)
        self._move(step)
        self._skip = self._skip - step or None
        return self._skip is None

    def _move(self, count: int) -> None:
        self.consumed += count
        self._start += count
        if self._start == len(self._buffer):
            self._buffer, self._start = b"", 0

    def _head(self) -> tuple[bool, int, int, int] | None:
        """FIN, opcode, bytes of the header, bytes of the payload; None if the header is not all here."""
        waiting, start, buffer = self.waiting, self._start, self._buffer
        if waiting < 2:
            return None
        first, second = buffer[start], buffer[start + 1]
        fin, opcode, length = bool(first & 0x80), first & 0x0F, second & 0x7F
        self._check(first, opcode, length, bool(second & 0x80))
        size = 2
        if length >= 126:
            size += 2 if length == 126 else 8
            if waiting < size:
                return None
            length = int.from_bytes(buffer[start + 2 : start + size], "big")
        if opcode < 8 and self._size + length > self.skip:
            raise WebSocketError(1009, "message too big")
        if self._masked:
            size += 4
        return (fin, opcode, size, length) if waiting >= size else None

    def _check(self, first: int, opcode: int, length: int, has_mask: bool) -> None:
        if first & 0x70:
            raise WebSocketError(1002, "reserved bits are set")
        if opcode not in _OPCODES:
            raise WebSocketError(1002, "unknown opcode")
        if has_mask is not self._masked:
            raise WebSocketError(1002, "frames of a client are masked, those of a server are not")
        if opcode >= 8:
            if not first & 0x80 or length > 125:
                raise WebSocketError(1002, "control frame too long or in fragments")
        elif (opcode == 0) is (self._opcode == 0):
            raise WebSocketError(1002, "continuation without a start, or a start within a message")

    def _payload(self, size: int, length: int) -> bytes:
        start = self._start + size
        payload = self._buffer[start : start + length]
        if self._masked and length:
            payload = masked(payload, self._buffer[start - 4 : start])
        self._move(size + length)
        return payload
