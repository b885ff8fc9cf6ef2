"""What is written to many: encoded once for each dialect, and only for those that somebody here speaks."""

from __future__ import annotations

from typing import Final

import msgspec

from causerie.wire import jsonmsg, line
from causerie.wire.websocket import Opcode, frame, text_frames

PART: Final = 32 * 1024
"""Bytes of the parts in which large batches are given to those who are behind."""


class Dialect:
    """How a connection wants its bytes; equal dialects share them. Plain numbers: an enum's are slow to read."""

    JSON_LINES: Final = 0
    JSON_FRAMES: Final = 1
    TEXT: Final = 2


class Batch:
    """Messages `first` ... `last` of one log. `lines` are their stored JSON events, each ended by LF."""

    __slots__ = ("_ends", "_frames", "_parts", "_text", "first", "lines", "mids")

    def __init__(self, first: int, mids: list[str], lines: bytes) -> None:
        self.first = first
        self.mids = mids
        self.lines = lines
        self._frames: bytes | None = None
        self._text: bytes | None = None
        self._ends: list[int] = []
        self._parts: list[Batch] | None = None

    @property
    def last(self) -> int:
        """The seq of the last message."""
        return self.first + len(self.mids) - 1

    def form(self, dialect: int) -> bytes:
        """The messages in a dialect."""
        if dialect == Dialect.JSON_LINES:
            return self.lines
        if dialect == Dialect.JSON_FRAMES:
            if self._frames is None:
                encoded.count += 1
                self._frames = text_frames(self.lines)
            return self._frames
        if self._text is None:
            self._render()
        assert self._text is not None
        return self._text

    def ends(self) -> list[int]:
        """Where each message ends in the text form, in bytes."""
        self.form(Dialect.TEXT)
        return self._ends

    def after(self, seq: int) -> Batch:
        """The messages above `seq`, itself if that is all of them."""
        if seq < self.first:
            return self
        skip = seq - self.first + 1
        rest = self.lines.split(b"\n", skip)[-1]
        return Batch(self.first + skip, self.mids[skip:], rest)

    def part_after(self, seq: int) -> Batch:
        """The next messages above `seq`: all, or a part of a batch that is large (one message at least)."""
        if len(self.lines) <= PART:
            return self.after(seq)
        if self._parts is None:
            self._parts = self._split()
        return next(part for part in self._parts if part.last > seq).after(seq)

    def _split(self) -> list[Batch]:
        parts: list[Batch] = []
        start = done = 0
        while start < len(self.lines):
            end = self.lines.rfind(b"\n", start, start + PART)
            end = (end if end >= 0 else self.lines.index(b"\n", start)) + 1
            lines = self.lines[start:end]
            count = lines.count(b"\n")
            parts.append(Batch(self.first + done, self.mids[done : done + count], lines))
            start, done = end, done + count
        return parts

    def mid_of(self, seq: int) -> str:
        """The id of one of the messages."""
        return self.mids[seq - self.first]

    def _render(self) -> None:
        encoded.count += 1
        parts: list[bytes] = []
        end = 0
        for raw in self.lines.split(b"\n")[:-1]:
            part = _lines_of(raw)
            end += len(part)
            parts.append(part)
            self._ends.append(end)
        self._text = b"".join(parts)


def _lines_of(raw: bytes) -> bytes:
    """One kept message in the text dialect."""
    try:
        return line.message(jsonmsg.decode_message(raw)).encode()
    except msgspec.MsgspecError:  # kept by a version of another mind
        return line.notice(["there is a message that cannot be shown here"]).encode()


def join(*batches: Batch) -> Batch:
    """Batches that follow one another as one, up to about `PART` bytes."""
    some, size = list(batches[:1]), len(batches[0].lines)
    for batch in batches[1:]:
        size += len(batch.lines)
        if size > PART:
            break
        some.append(batch)
    mids = [mid for batch in some for mid in batch.mids]
    return Batch(some[0].first, mids, b"".join([batch.lines for batch in some]))


class Notice:
    """An event that is not numbered, for the members of a room but the session `skip`."""

    __slots__ = ("_forms", "event", "skip")

    def __init__(self, event: jsonmsg.Presence, skip: str = "") -> None:
        self.event = event
        self.skip = skip
        self._forms: list[bytes | None] = [None, None, None]

    def form(self, dialect: int) -> bytes:
        """The event in a dialect."""
        data = self._forms[dialect]
        if data is None:
            encoded.count += 1
            if dialect == Dialect.TEXT:
                data = line.presence(self.event).encode()
            else:
                data = wrapped(jsonmsg.encode(self.event), dialect)
            self._forms[dialect] = data
        return data


def wrapped(message: bytes, dialect: int) -> bytes:
    """One JSON message as it goes to a connection."""
    return frame(Opcode.TEXT, message) if dialect == Dialect.JSON_FRAMES else message + b"\n"


class _Encoded:
    """How often something was rendered, for `Metrics.encodings`."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


encoded: Final = _Encoded()
