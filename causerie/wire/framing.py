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
    """Lines ended by LF (a CR before it stays); each longer than `MAX_LINE` gives one `Mark.TOO_LONG`."""

    __slots__ = ("_buffer", "_skipped", "_start", "consumed")

    def __init__(self) -> None:
        self._buffer = b""
        self._start = 0
        self._skipped = 0
        self.consumed = 0
        """Bytes of the stream up to the end of the last line taken."""

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

    @property
    def endless(self) -> bool:
        """Whether the present line is past `MAX_SKIP` without an end."""
        return self._skipped > MAX_SKIP

    def take(self) -> bytes | TooLong | None:
        """The next line without its LF, a mark for one that was skipped, or None until more is fed."""
        while True:
            end = self._buffer.find(b"\n", self._start)
            if end < 0:
                return self._keep_or_skip()
            line = self._buffer[self._start : end]
            self._move(end + 1)
            if self._skipped:
                self._skipped = 0  # the rest of a line already reported
            elif len(line) > MAX_LINE:
                return Mark.TOO_LONG
            else:
                return line

    def _keep_or_skip(self) -> TooLong | None:
        waiting = self.waiting
        first = not self._skipped
        if first and waiting <= MAX_LINE:
            if self._start:
                self._buffer, self._start = self._buffer[self._start :], 0
            return None
        self._skipped += waiting
        self._move(len(self._buffer))
        return Mark.TOO_LONG if first else None

    def _move(self, start: int) -> None:
        self.consumed += start - self._start
        if start == len(self._buffer):
            self._buffer, self._start = b"", 0
        else:
            self._start = start


def line_frame(message: bytes) -> bytes:
    """A message as a line."""
    return message + b"\n"
