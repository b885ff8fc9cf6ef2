"""What this gateway knows of one log: where it stands, who here receives it, a room's newest messages."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Collection
from typing import TYPE_CHECKING, Final, NamedTuple

from causerie import names
from causerie.model import Position
from causerie.store.frames import Frame
from causerie.wire import jsonmsg
from gateway.batch import Batch, Notice, join
from gateway.lanes import Lanes

if TYPE_CHECKING:
    from gateway.connection import Connection
    from gateway.intake import Client
    from gateway.replay import Replay

RING_MESSAGES: Final = 512
RING_BYTES: Final = 256 * 1024
WORTH_JOINING: Final = 4
"""Batches that are put together for one who is behind."""
HELD_FRAMES: Final = 1024
"""Frames kept while a log is read; more than these are read from the log instead."""
HEARD_OF: Final = 1024
"""Sessions of a room whose latest presence is remembered, to drop repeats."""


class Kept(NamedTuple):
    """How much of a room is kept in memory: no more than the store keeps."""

    messages: int = RING_MESSAGES
    size: int = RING_BYTES
    """Bytes."""

    @classmethod
    def within(cls, messages: int, size: int) -> Kept:
        """As much as is useful, within the limits of the store."""
        return cls(min(RING_MESSAGES, messages), min(RING_BYTES, size))


class Mending:
    """A log is being read because the feed alone does not say what comes next; frames wait here meanwhile."""

    __slots__ = ("again", "held", "task")

    def __init__(self) -> None:
        self.held: list[Frame] = []
        self.again = False
        self.task: asyncio.Task[None] | None = None

    def hold(self, frame: Frame) -> None:
        """Keep a frame, within bounds."""
        if len(self.held) < HELD_FRAMES:
            self.held.append(frame)
        else:
            self.again = True


class Channel:
    """An inbox here. `seq` and `mid` are the head: the last message put on its way to `members`."""

    __slots__ = ("behind", "epoch", "lanes", "log", "members", "mending", "mid", "opening", "pending", "people", "seq")

    def __init__(self, log: str) -> None:
        self.log = log
        self.epoch = ""
        self.seq = 0
        self.mid = ""
        self.members: Collection[Connection] = ()
        """Connections in the live flow."""
        self.people: tuple[Client, ...] = ()
        """All connections of the session whose inbox this is: they get its notes."""
        self.behind: set[Replay] | None = None
        """Those who are being brought to the head."""
        self.pending: list[Batch | Notice] | None = None
        """Not yet given to the members."""
        self.opening: asyncio.Future[None] | None = None
        self.mending: Mending | None = None
        self.lanes: Lanes | None = None
        """The members as they are now, sorted for writing."""

    @property
    def shown(self) -> str:
        """The log's name on the wire."""
        return names.INBOX if self.log[0] == "@" else self.log

    @property
    def is_open(self) -> bool:
        """Whether the subscription is confirmed and the head known."""
        return self.opening is None and bool(self.epoch)

    @property
    def idle(self) -> bool:
        """Whether nobody here needs it."""
        return not self.members and not self.people and not self.behind

    @property
    def head(self) -> Position:
        """The last message that was put on its way."""
        return Position(self.epoch, self.seq, self.mid)

    @property
    def sent(self) -> int:
        """The last seq that members were given."""
        for item in self.pending or ():
            if isinstance(item, Batch):
                return item.first - 1
        return self.seq

    def stand_at(self, head: Position) -> None:
        """Take a head as it is, without delivering anything."""
        self.epoch, self.seq, self.mid = head

    def add(self, connection: Connection) -> None:
        """Let a connection into the live flow."""
        if connection not in self.members:
            members = (*self.members, connection)
            self.members = self.people if members == self.people else members  # as a rule one tuple serves for both
            self.lanes = None

    def remove(self, connection: Connection) -> None:
        """Take a connection out of the live flow."""
        self.members = tuple(member for member in self.members if member is not connection)
        self.lanes = None

    def append(self, batch: Batch) -> None:
        """Go on to the end of a batch that follows the head."""
        self.seq = batch.last
        self.mid = batch.mids[-1]

    def cut(self, position: Position) -> None:
        """Forget what is kept above a position, and stand there."""
        self.stand_at(position)

    def kept_after(self, seq: int) -> Batch | None:
        """A batch in memory that begins at `seq` + 1, or None."""
        del seq
        return None

    def mid_at(self, seq: int) -> str | None:
        """The id of the message at a seq, if known here."""
        return self.mid if seq == self.seq and self.mid else None

    def last_ts(self) -> float | None:
        """When the head was posted, if known here."""
        return None

    def kept(self) -> list[tuple[int, str]]:
        """(seq, mid) of every message known here, rising."""
        return [(self.seq, self.mid)] if self.seq and self.mid else []


class Room(Channel):
    """A room here."""

    __slots__ = (
        "_bounds",
        "_joined",
        "_ring",
        "_ring_bytes",
        "count",
        "count_due",
        "heard_of",
        "notices",
        "notices_seen",
    )

    def __init__(self, log: str, bounds: Kept) -> None:
        super().__init__(log)
        self._bounds = bounds
        self.members: set[Connection] = set()
        self._ring: deque[Batch] = deque()
        self._ring_bytes = 0
        self._joined: Batch | None = None
        """What was last put together for those who come back: as a rule many stand at one place."""
        self.heard_of: dict[str, tuple[int, str]] = {}
        """sid -> version and state of its latest presence here."""
        self.notices: deque[Notice] = deque(maxlen=32)
        self.notices_seen = 0
        self.count = 0
        self.count_due: asyncio.TimerHandle | None = None

    def add(self, connection: Connection) -> None:
        self.members.add(connection)
        self.lanes = None

    def remove(self, connection: Connection) -> None:
        self.members.discard(connection)
        self.lanes = None

    def append(self, batch: Batch) -> None:
        super().append(batch)
        ring = self._ring
        if ring and ring[-1].last + 1 != batch.first:
            self._clear()
        ring.append(batch)
        self._ring_bytes += len(batch.lines)
        messages, size = self._bounds
        while len(ring) > 1 and (self._ring_bytes > size or ring[-1].last - ring[0].last >= messages):
            self._ring_bytes -= len(ring.popleft().lines)

    def stand_at(self, head: Position) -> None:
        super().stand_at(head)
        self._clear()

    def cut(self, position: Position) -> None:
        self._joined = None
        kept = [batch for batch in self._ring if batch.last <= position.seq]
        super().cut(position)
        self._ring.extend(kept)
        self._ring_bytes = sum(len(batch.lines) for batch in kept)

    def _clear(self) -> None:
        self._ring.clear()
        self._ring_bytes = 0
        self._joined = None

    def kept_after(self, seq: int) -> Batch | None:
        ring, joined = self._ring, self._joined
        if not ring or not ring[0].first <= seq + 1 <= ring[-1].last:
            return None
        if joined is not None and joined.first == seq + 1:
            return joined
        following: list[Batch] = []
        for batch in reversed(ring):
            following.append(batch)
            if batch.first <= seq + 1:
                break
        if len(following) < WORTH_JOINING:
            return following[-1].after(seq)
        self._joined = join(following[-1].after(seq), *reversed(following[:-1]))
        return self._joined

    def mid_at(self, seq: int) -> str | None:
        batch = self._find(seq)
        return batch.mid_of(seq) if batch is not None else super().mid_at(seq)

    def kept(self) -> list[tuple[int, str]]:
        if not self._ring:
            return super().kept()
        return [pair for batch in self._ring for pair in enumerate(batch.mids, batch.first)]

    def last_ts(self) -> float | None:
        if not self._ring:
            return None
        return jsonmsg.decode_message(self._ring[-1].lines.rsplit(b"\n", 2)[-2]).ts

    def _find(self, seq: int) -> Batch | None:
        ring = self._ring
        if not ring or not ring[0].first <= seq <= ring[-1].last:
            return None
        for batch in reversed(ring):
            if batch.first <= seq:
                return batch
        return None

    def is_news(self, sid: str, version: int, state: str) -> bool:
        """Whether a presence of this session is not older than the last one, nor the same again."""
        heard_of = self.heard_of
        last = heard_of.pop(sid, (0, ""))
        news = version >= last[0] and (version, state) != last
        if len(heard_of) >= HEARD_OF:
            del heard_of[next(iter(heard_of))]
        heard_of[sid] = (version, sys.intern(state)) if news else last
        return news


def channel_of(log: str, bounds: Kept) -> Channel:
    """A closed channel for a log."""
    return Room(log, bounds) if log[0] == "#" else Channel(log)
