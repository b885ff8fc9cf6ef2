"""What a text client was sent, until its TCP has acknowledged it: the last line that arrived is its position.

The news that a numbering broke are such a line too: until they have arrived, the client stands in the old numbering,
and has to be told again.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.batch import Batch, Dialect, Notice
from gateway.channel import Channel

CROWD: Final = 256
"""Batches under way, past which those that have arrived are looked for."""


class _Mark(NamedTuple):
    """A batch of a channel stands at these bytes of the stream; or (no batch) the news that its numbering broke."""

    start: int
    end: float
    channel: Channel
    epoch: str
    before: int
    """The seq of the last message before it."""
    batch: Batch | None


class Sent:
    """The unacknowledged part of one text connection's stream. Empty (no deque) while nothing is under way."""

    __slots__ = ("_marks", "heartbeat", "moved", "written")

    def __init__(self) -> None:
        self.written = 0
        """Bytes given to the transport or the kernel."""
        self.moved = True
        """Whether something was sent since the positions were last saved."""
        self.heartbeat = False
        """Whether the client asked for pings."""
        self._marks: deque[_Mark] | None = None

    def note(self, before: int, channel: Channel, items: Sequence[Batch | Notice]) -> None:
        """These items of a channel are queued, behind so many bytes that are not written yet."""
        self.moved = True
        start = self.written + before
        for item in items:
            end = start + len(item.form(Dialect.TEXT))
            if isinstance(item, Batch):
                if self._marks is None:
                    self._marks = deque()
                self._marks.append(_Mark(start, end, channel, channel.epoch, item.first - 1, item))
            start = end

    def note_reset(self, before: int, size: int, channel: Channel, epoch: str, seq: int) -> None:
        """News of so many bytes are queued that the numbering broke in which the client stood at `epoch` and `seq`."""
        self._note_reset(self.written + before, self.written + before + size, channel, epoch, seq)

    def note_untold_reset(self, channel: Channel, epoch: str, seq: int) -> None:
        """The same, and the client will not be told on this connection."""
        self._note_reset(self.written, math.inf, channel, epoch, seq)

    def _note_reset(self, start: int, end: float, channel: Channel, epoch: str, seq: int) -> None:
        self.moved = True
        if self._marks is None:
            self._marks = deque()
        self._marks.append(_Mark(start, end, channel, epoch, seq, None))

    def forget_arrived(self, arrived: int) -> None:
        """The peer's TCP has acknowledged the stream up to that byte."""
        marks = self._marks
        while marks and marks[0].end <= arrived:
            marks.popleft()
        if not marks:
            self._marks = None

    @property
    def crowded(self) -> bool:
        """Whether it is time to forget what has arrived."""
        return self._marks is not None and len(self._marks) >= CROWD

    @property
    def under_way(self) -> bool:
        """Whether some of it may not have arrived."""
        return self._marks is not None

    def last_arrived(self, channel: Channel, arrived: int) -> tuple[str, int] | None:
        """Epoch and seq of the last message of a channel that has wholly arrived; None if all have."""
        for mark in self._marks or ():
            if mark.channel is channel and mark.end > arrived:
                whole = bisect_right(mark.batch.ends(), arrived - mark.start) if mark.batch is not None else 0
                return mark.epoch, mark.before + whole
        return None
