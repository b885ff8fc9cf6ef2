"""A TCP stream cut into lines, with a limit.

The caller feeds what it read and then takes lines until there is none. Lines too long are skipped as they come,
so memory is bounded by the limit plus what was fed and not yet taken.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal

MAX_LINE: Final = 16 * 1024
"""Bytes of a line or a message, its end not counted."""
MAX_SKIP: Final = 1024 * 1024
"""A line longer than this may cost the connection."""


class Mark(Enum):
    """What a framer gives in place of a message that it did not keep."""

    TOO_LONG = "too_long"
    BINARY = "binary"


TooLong = Literal[Mark.TOO_LONG]


class LineFramer:
    """Lines ended by LF or CRLF; each longer than `limit` bytes gives one `Mark.TOO_LONG` as soon as that is seen."""

    __slots__ = ("_buffer", "_skipped", "_start", "consumed", "endless")

    limit = MAX_LINE
    skip = MAX_SKIP

    def __init__(self) -> None:
        self._buffer = b""
        self._start = 0
        self._skipped = 0
        self.consumed = 0
        """Bytes of the stream up to the end of the last line taken."""
        self.endless = False
        """Whether a line went past `skip`."""

    def feed(self, data: bytes) -> None:
        """Add what was read."""
        if self._start < len(self._buffer):
            data = self._buffer[self._start :] + data
        self._buffer = data
        self._start = 0

    def whole(self, data: bytes) -> bytes | None:
        """What was read, fed and taken in one step where it is a line and nothing else, as most is; else None."""
        size = len(data)
        if self._buffer or self._skipped or not 0 < size <= self.limit or data.find(b"\n") != size - 1:
            return None
        self.consumed += size
        return data[:-1].removesuffix(b"\r")

    @property
    def waiting(self) -> int:
        """Bytes fed and not yet taken."""
        return len(self._buffer) - self._start

    @property
    def received(self) -> int:
        """Bytes of the stream fed so far."""
        return self.consumed + self.waiting

    def take(self) -> bytes | TooLong | None:
        """The next line without its end, a mark for one that is too long, or None until more is fed."""
        while buffer := self._buffer:
            start = self._start
            end = buffer.find(b"\n", start)
            if end < 0:
                return self._keep_or_skip()
            if self._skipped:  # the rest of a line already reported
                self._skip(end - start)
                self._skipped = 0
                self._move(end + 1)
                continue
            line = buffer[start:end].removesuffix(b"\r")
            if len(line) > self.limit:
                self._skip(end - start)
                return Mark.TOO_LONG
            self._move(end + 1)
            return line
        return None

    def _keep_or_skip(self) -> TooLong | None:
        waiting, first = self.waiting, not self._skipped
        if first and (waiting <= self.limit or (waiting == self.limit + 1 and self._buffer.endswith(b"\r"))):
            if self._start:
                self._buffer, self._start = self._buffer[self._start :], 0
            return None
        self._skip(waiting)
        return Mark.TOO_LONG if first else None

    def _skip(self, count: int) -> None:
        self._skipped += count
        self.endless = self.endless or self._skipped > self.skip
        self._move(self._start + count)

    def _move(self, start: int) -> None:
        self.consumed += start - self._start
        if start == len(self._buffer):
            self._buffer, self._start = b"", 0
        else:
            self._start = start
