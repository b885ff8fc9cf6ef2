"""Who is in which log here, and the writing: what gathers in a turn of the loop leaves in one write a connection.

1. Nobody is waited for; a connection whose transport is full leaves the flow.
2. A message is encoded once a dialect, and its bytes are shared by all who get it.
3. What a channel was given before somebody joins its flow is spread first, so nobody gets a message twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final

from causerie.metrics import Metrics
from causerie.wire.jsonmsg import Presence
from gateway import lanes
from gateway.batch import Batch, Notice
from gateway.channel import Channel, Room
from gateway.lanes import Lanes
from gateway.writer import Writer

if TYPE_CHECKING:
    from gateway.connection import Connection

GATHER_S: Final = 0.001
"""Under load, the least time between two rounds of writing, and how long one waits for answers of the store, or their
news.
"""

COUNTED: Final = 2000
"""Members told how many there are, a second: a room that fills up must not be busy with that alone."""

log = logging.getLogger(__name__)


def _joined(items: list[Batch | Notice], dialect: int) -> bytes:
    return b"".join([item.form(dialect) for item in items])


class Hub:
    """The channels of this gateway and the connections with something to write."""

    def __init__(self, metrics: Metrics, loop: asyncio.AbstractEventLoop, writer: Writer) -> None:
        self.channels: dict[str, Channel] = {}
        self.metrics = metrics
        self._loop = loop
        self._writer = writer
        self._dirty: list[Channel] = []
        self._waiting: list[Connection] = []
        self._writing: asyncio.Handle | None = None
        """The next round of writing."""
        self._waits = False
        """Whether it waits for its time."""
        self._held = 0
        self._awaited: dict[Channel, int] = {}
        """What is on its way on the feed, since the store has answered already: up to which seq."""
        self._last = 0.0

    # -- giving ----------------------------------------------------------------------------------------------------

    def deliver(self, channel: Channel, item: Batch | Notice) -> None:
        """Give messages (already the channel's head) or a notice to its members, soon."""
        if not channel.members:
            return
        if self._awaited:
            self._came(channel)
        if channel.pending is None:
            channel.pending = [item]
            self._dirty.append(channel)
            self._schedule()
        else:
            channel.pending.append(item)

    def wake(self, connection: Connection) -> None:
        """A connection has something to write where it had nothing."""
        self._waiting.append(connection)
        self._schedule()

    def spread(self, channel: Channel, *, last: bool = False) -> None:
        """Hand what is pending to the members now; it is written later in the same turn.

        `last` is for the round of writing: no other channel has something to give, so what those of many get who have
        nothing else to write is handed to the writer.
        """
        pending, channel.pending = channel.pending, None
        if not pending:
            return
        messages = sum(len(item.mids) for item in pending if isinstance(item, Batch))
        self.metrics.deliveries += len(channel.members) * messages
        skipped = {item.skip for item in pending if isinstance(item, Notice) and item.skip}
        forms: list[bytes | None] = [None, None, None]
        members: Collection[Connection] = channel.members
        if last and len(members) >= lanes.WORTH and not skipped:
            busy = {member for member in self._waiting if member.out is not None and member in members}
            if len(busy) <= lanes.BUSY:
                members = self._spread_in_lanes(channel, pending, busy)
        for member in members:
            if skipped and member.sid in skipped:
                self._hand_over_unless_own(channel, member, pending)
                continue
            data = forms[member.dialect]
            if data is None:
                data = forms[member.dialect] = _joined(pending, member.dialect)
            if member.sent is not None:
                member.note_sent(channel, pending)
            if member.out is not None:
                member.out.append(data)
            else:
                member.out = [data]
                self._waiting.append(member)

    def _spread_in_lanes(
        self, channel: Channel, pending: list[Batch | Notice], busy: set[Connection]
    ) -> list[Connection]:
        """Write to all who have nothing else to write, in a lane or behind what they have; who is in no lane."""
        found = channel.lanes = channel.lanes or Lanes(channel.members)  # writing may make the channel forget it
        for lane in found.lanes:
            data = _joined(pending, lane.dialect)
            members, fds, late = lane.split(busy)
            for member in late:
                member.put(data)
            self._writer.all(members, fds, data)
            self.metrics.writes += len(fds)
        return found.others

    def _hand_over_unless_own(self, channel: Channel, member: Connection, pending: list[Batch | Notice]) -> None:
        mine = [item for item in pending if isinstance(item, Batch) or item.skip != member.sid]
        if member.sent is not None:
            member.note_sent(channel, mine)
        for item in mine:
            member.put(item.form(member.dialect))

    # -- writing ---------------------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Answers of the store are on their way: what is to be written waits a little for them."""
        self._held += 1

    def release(self, posted: Mapping[str, int]) -> None:
        """Those answers are there, and tell up to which seq something was posted in rooms.

        Where the message itself is not here yet, it waits a little for that, too: its sender gets both in one write.
        """
        self._held -= 1
        for room, seq in posted.items():
            channel = self.channels.get(room)
            if channel is not None and channel.members and channel.seq < seq:
                self._awaited[channel] = seq
        if not self._awaited:
            self._hurry()

    def _came(self, channel: Channel) -> None:
        if channel in self._awaited and channel.seq >= self._awaited[channel]:
            del self._awaited[channel]
            if not self._awaited:
                self._hurry()

    def _hurry(self) -> None:
        """Nothing is waited for any more but the time between two rounds."""
        if self._writing is not None and self._waits and self._loop.time() >= self._last + GATHER_S:
            self._writing.cancel()
            self._flush_soon()

    def _schedule(self) -> None:
        if self._writing is not None:
            return
        wait = GATHER_S if self._held or self._awaited else self._last + GATHER_S - self._loop.time()
        if wait > 0:
            self._waits = True
            self._writing = self._loop.call_later(wait, self._flush_soon)
        else:
            self._flush_soon()

    def _flush_soon(self) -> None:
        """Write after the callbacks of what was just read: answers have theirs behind the news."""
        self._waits = False
        self._writing = self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write everything that has gathered."""
        self._writing = None
        self._awaited.clear()
        dirty, self._dirty = self._dirty, []
        try:
            for i, channel in enumerate(dirty, 1):
                self._give(channel, last=i == len(dirty))
            waiting, self._waiting = self._waiting, []
            for connection in waiting:
                try:
                    data = connection.take_out()
                    if data:
                        self._writer.each(connection, data)
                except Exception:  # one connection that cannot be written to is no reason to leave the others mute
                    log.exception("something cannot be written")
                    connection.abort()
        finally:
            self._writer.done()
        self.metrics.writes += len(waiting)
        self._last = self._loop.time()

    def _give(self, channel: Channel, *, last: bool) -> None:
        try:
            self.spread(channel, last=last)
        except Exception:  # one room that cannot be shown is no reason to leave the others without news
            log.exception("news of %s cannot be given", channel.log)
            self._writer.done()  # what was said comes before the last words
            self._let_go(channel)

    def close(self) -> None:
        """Write nothing any more."""
        self._writer.close()

    @staticmethod
    def _let_go(channel: Channel) -> None:
        """Nobody knows who missed what, so all come back."""
        for member in tuple(channel.members):
            member.fail()

    # -- presence --------------------------------------------------------------------------------------------------

    def tell_presence(self, room: Room, event: Presence, sid: str, count: int, big: int) -> None:
        """A member's change, to the others; in a room of more than `big` only how many are left, once a second or less
        often.
        """
        if count <= big:
            notice = Notice(event, sid)
            room.notices.append(notice)
            room.notices_seen += 1
            self.deliver(room, notice)
        elif room.count_due is None:
            room.count_due = self._loop.call_later(max(1.0, len(room.members) / COUNTED), self._tell_count, room)
            room.count = count
        else:
            room.count = count

    def _tell_count(self, room: Room) -> None:
        room.count_due = None
        self.deliver(room, Notice(Presence(room.log, count=room.count)))
