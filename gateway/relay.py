"""The feed and the logs on one side, the channels on the other: nothing is delivered that does not follow the head.

Laws. The next seq with the right predecessor is delivered; a repeat is dropped; a gap is read from the log before
anything after it; another message at a seq that was delivered, a wrong predecessor or a head below ours is a fork:
acknowledged messages were lost, so the log gets a new epoch and every member is told where it goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Final, Protocol

from causerie.errors import Unavailable
from causerie.metrics import Metrics
from causerie.model import Position
from causerie.store import Store, frames
from causerie.wire import jsonmsg
from gateway.batch import Batch
from gateway.channel import Channel, Kept, Mending, Room, channel_of
from gateway.hub import Hub
from gateway.reader import Reader

if TYPE_CHECKING:
    from causerie.store.feed import Feed

BIG_ROOM: Final = 300
"""Members above which presence is told as a count."""
LINGER_S: Final = 10.0
"""How long a log nobody needs stays subscribed."""
COMPARED_AT_ONCE: Final = 256
RETRY_S: Final = 0.3
BUG_S: Final = 5.0
COPIES: Final = 4096
"""Inboxes whose last copy of a direct message sent from here is remembered."""
FEED_HEADSTART_S: Final = 0.02
"""What is on its way on the feed gets this long before the log is read."""

log = logging.getLogger(__name__)


class Notes(Protocol):
    """Who does what the notes to a session say."""

    def apply(self, channel: Channel, note: frames.Note) -> None:
        """A note came for the session whose inbox this is."""


class Relay:
    """Opens, feeds, mends and closes the channels of a hub."""

    def __init__(self, hub: Hub, store: Store, reader: Reader, metrics: Metrics, notes: Notes) -> None:
        self.feed: Feed | None = None
        self._hub = hub
        self._store = store
        self._reader = reader
        self._metrics = metrics
        self._notes = notes
        self._loop = asyncio.get_running_loop()
        self._empty: dict[Channel, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._copies: dict[str, Position] = {}
        """What was last put into inboxes that nobody here listens to: who else would miss it?"""
        self._compare_next = 0
        self._comparing_some = False
        self._comparing_all: asyncio.Task[None] | None = None
        self._all_due = False
        self._bounds = Kept.within(store.logs.limit, store.logs.max_bytes)

    # -- opening and closing ---------------------------------------------------------------------------------------

    def channel(self, log_key: str) -> Channel:
        """The channel of a log, made (closed) if there is none."""
        found = self._hub.channels.get(log_key)
        if found is None:
            found = self._hub.channels[log_key] = channel_of(log_key, self._bounds)
        if found.idle:  # whoever asks for it gets some time to join
            self._empty[found] = self._loop.time()
        return found

    def holds(self, channel: Channel) -> bool:
        """Whether the channel is still the one of its log, and is fed."""
        return self._hub.channels.get(channel.log) is channel

    async def open(self, log_key: str) -> Channel:
        """The channel of a log, subscribed and standing at the log's head. Raises `Unavailable`."""
        channel = self.channel(log_key)
        while not channel.is_open:
            if channel.opening is not None:
                await asyncio.shield(channel.opening)
            else:
                await self._open(channel, read_head=True)
        return channel

    async def listen(self, log_key: str) -> Channel:
        """The channel of a log, subscribed; its head may not be known yet: `stand` tells it, or `open`."""
        channel = self.channel(log_key)
        if not channel.is_open:
            await self._subscribe(channel)
        return channel

    def stand(self, channel: Channel, head: Position) -> None:
        """The log stood at `head` a moment ago, after `listen`; frames that came meanwhile count."""
        if not channel.is_open and channel.opening is None:
            channel.stand_at(head)
            self._release(channel)

    async def _open(self, channel: Channel, *, read_head: bool) -> None:
        channel.opening = self._loop.create_future()
        opening = channel.opening
        try:
            await self._subscribe(channel)
            if read_head:
                channel.stand_at(await self._store.logs.head(channel.log))
        except BaseException as error:
            channel.opening = None
            opening.set_exception(error if isinstance(error, Unavailable) else Unavailable())
            opening.exception()
            raise
        channel.opening = None
        opening.set_result(None)
        self._release(channel)

    async def _subscribe(self, channel: Channel) -> None:
        if self.feed is None:
            raise Unavailable
        if channel.mending is None:
            channel.mending = Mending()  # frames wait until the head is known
        await self.feed.subscribe(channel.log)

    def _release(self, channel: Channel) -> None:
        """Take in the frames that waited."""
        mending, channel.mending = channel.mending, None
        if mending is None:
            return
        for frame in mending.held:
            self._take(channel, frame)
        if mending.again:
            self.mend(channel)

    def needed(self, channel: Channel) -> None:
        """Somebody here needs the channel."""
        self._empty.pop(channel, None)

    def left(self, channel: Channel) -> None:
        """Somebody left it; when that was the last one, it is closed a little later."""
        if channel.idle and self._hub.channels.get(channel.log) is channel:
            self._empty[channel] = self._loop.time()

    def close_empty(self) -> None:
        """Unsubscribe from what nobody has needed for a while."""
        before = self._loop.time() - LINGER_S
        for channel in [channel for channel, since in self._empty.items() if since < before]:
            if channel.opening is not None:
                continue
            del self._empty[channel]
            if not channel.idle:
                continue
            del self._hub.channels[channel.log]
            if isinstance(channel, Room) and channel.count_due is not None:
                channel.count_due.cancel()
            if self.feed is not None:
                self.feed.unsubscribe(channel.log)

    # -- the feed --------------------------------------------------------------------------------------------------

    def on_frame(self, log_key: str, data: bytes) -> None:
        """A frame from the feed."""
        channel = self._hub.channels.get(log_key)
        if channel is None:
            return
        try:
            frame = frames.parse(data)
        except ValueError as error:
            log.error("unreadable frame on %s: %s", log_key, error)
            return
        if isinstance(frame, frames.Note):
            self._notes.apply(channel, frame)
        elif isinstance(frame, frames.Presence):
            if isinstance(channel, Room):
                self._presence(channel, frame)
        elif channel.mending is not None:
            channel.mending.hold(frame)
        else:
            self._take(channel, frame)

    def _presence(self, room: Room, frame: frames.Presence) -> None:
        if frame.state == "gone":  # told once, by the version that came; after it the session is new here
            room.heard_of.pop(frame.sid, None)
        elif not room.is_news(frame.sid, frame.version, frame.state):
            return
        event = jsonmsg.Presence(room.log, frame.nick, frame.state)
        if frame.to:
            event.to = frame.to
        self._hub.tell_presence(room, event, frame.sid, frame.count, BIG_ROOM)

    def _take(self, channel: Channel, frame: frames.Frame) -> None:
        """A frame of the log itself."""
        if channel.mending is not None:
            channel.mending.hold(frame)
        elif isinstance(frame, frames.Reset):
            if frame.epoch != channel.epoch:
                self.mend(channel)
        elif isinstance(frame, frames.Posted):
            batch = Batch(frame.first, frame.mids, frame.lines)
            if frame.epoch == channel.epoch and self._follows(channel, batch, frame.prev):
                self._deliver(channel, batch)
            elif frame.epoch != channel.epoch or not self._repeats(channel, batch):
                self.mend(channel, frame)

    @staticmethod
    def _follows(channel: Channel, batch: Batch, prev: str) -> bool:
        if batch.first != channel.seq + 1:
            return False
        return not prev or not channel.mid or prev == channel.mid

    @staticmethod
    def _repeats(channel: Channel, batch: Batch) -> bool:
        """Whether the whole batch was had before, as far as that can be told here."""
        if batch.last > channel.seq:
            return False
        known = [(channel.mid_at(seq), mid) for seq, mid in enumerate(batch.mids, batch.first)]
        return all(held is None or held == mid for held, mid in known)

    def _deliver(self, channel: Channel, batch: Batch) -> None:
        channel.append(batch)
        self._hub.deliver(channel, batch)

    # -- mending ---------------------------------------------------------------------------------------------------

    def mend(self, channel: Channel, frame: frames.Frame | None = None) -> asyncio.Task[None] | None:
        """Compare a channel with its log and go on from there; frames wait meanwhile."""
        if not channel.is_open:
            return None
        mending = channel.mending
        if mending is None:
            mending = channel.mending = Mending()
            mending.task = self._spawn(self._mend(channel, mending))
        if frame is not None:
            mending.hold(frame)
        return mending.task

    async def mended(self, channel: Channel) -> None:
        """Compare a channel with its log now; returns when that is done (or the store cannot be reached)."""
        task = self.mend(channel)
        if task is not None:
            await asyncio.shield(task)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("relay failed", exc_info=error)

    async def _mend(self, channel: Channel, mending: Mending) -> None:
        self._metrics.gaps += 1
        done = False
        while not done and self._hub.channels.get(channel.log) is channel:
            covered, mending.again = len(mending.held), False
            try:
                done = await self._step(channel)
            except Unavailable:
                await asyncio.sleep(RETRY_S)
                continue
            except Exception:  # a channel left like this would be silent for ever
                log.exception("mending %s failed", channel.log)
                await asyncio.sleep(BUG_S)
                continue
            if done:  # what came before the last read began is in it
                del mending.held[:covered]
        self._release(channel)

    async def _step(self, channel: Channel) -> bool:
        """Read what follows the head, or find that the head is not on the log; whether the head is reached."""
        epoch, seq = channel.epoch, channel.seq
        self._metrics.log_reads += 1
        chunk = await self._store.logs.read(channel.log, max(seq - 1, 0), 256)
        if chunk.head.epoch != epoch:
            await self._adopt(channel, chunk.head)
            return False
        entries = chunk.entries
        at_head = entries[0] if entries and entries[0].seq == seq else None
        if chunk.head.seq < seq or (at_head and channel.mid and at_head.mid != channel.mid):
            self._metrics.forks += 1
            await self._adopt(channel, await self._store.logs.new_epoch(channel.log, epoch))
            return False
        fresh = [entry for entry in entries if entry.seq > seq]
        if not fresh:
            if chunk.head.seq > seq:  # the rest was trimmed
                self._restart(channel, chunk.head, chunk.head.seq)
            elif at_head and not channel.mid:
                channel.mid = at_head.mid
            return True
        if fresh[0].seq != seq + 1:
            before = Position(epoch, fresh[0].seq - 1)
            self._restart(channel, before, before.seq)
        lines = b"".join([entry.line for entry in fresh])
        self._deliver(channel, Batch(fresh[0].seq, [entry.mid for entry in fresh], lines))
        return channel.seq >= chunk.head.seq

    async def _adopt(self, channel: Channel, head: Position) -> None:
        """Go on under another epoch, from the last message that both numberings have."""
        common = await self._common(channel, head)
        if common is None:
            seq = await self._before_unseen(channel, head)
            self._restart(channel, Position(head.epoch, seq), seq)
        else:
            self._restart(channel, Position(head.epoch, *common), common[0], cut=True)

    async def _common(self, channel: Channel, head: Position) -> tuple[int, str] | None:
        """The last (seq, mid) known here that is on the log as it is now."""
        known = dict(channel.kept())
        if not known:
            return (0, "") if channel.seq == 0 else None
        after, best = min(known) - 1, None
        while after < min(max(known), head.seq):
            self._metrics.log_reads += 1
            chunk = await self._store.logs.read(channel.log, after, 256)
            for entry in chunk.entries:
                if known.get(entry.seq) == entry.mid:
                    best = (entry.seq, entry.mid)
            if not chunk.entries:
                break
            after = chunk.entries[-1].seq
        return best

    async def _before_unseen(self, channel: Channel, head: Position) -> int:
        """With nothing in common: the seq before the first message that is newer than all that was seen here."""
        seen = channel.last_ts()
        if seen is None:
            return head.seq
        entries = await self._store.logs.read_before(channel.log, head.seq + 1, 256)
        newer = [entry.seq for entry in entries if jsonmsg.decode_message(entry.line).ts > seen]
        return newer[0] - 1 if newer else head.seq

    def _restart(self, channel: Channel, position: Position, seq: int, *, cut: bool = False) -> None:
        """Tell everybody that the numbering goes on above `position`."""
        self._hub.spread(channel)
        before = channel.epoch, channel.seq
        if cut:
            channel.cut(position)
        else:
            channel.stand_at(position)
        for member in tuple(channel.members):
            member.tell_reset(channel, before, seq)
        for replay in tuple(channel.behind or ()):
            replay.restarted(channel, before[0], seq)

    async def reach(self, channel: Channel, seq: int) -> None:
        """Return when the channel has come to a seq that the store has given out (or the log was asked for it)."""
        for _ in range(4):
            if channel.seq >= seq:
                return
            await asyncio.sleep(FEED_HEADSTART_S / 4)
        await self.mended(channel)

    # -- comparing -------------------------------------------------------------------------------------------------

    def note_copy(self, log_key: str, copy: Position) -> None:
        """A copy of a direct message sent from here is in an inbox."""
        self._copies.pop(log_key, None)
        if len(self._copies) >= COPIES:
            del self._copies[next(iter(self._copies))]
        self._copies[log_key] = copy

    def on_back(self) -> None:
        """The feed was away: whatever was published meanwhile is missing."""
        self._all_due = True
        if self._comparing_all is None:
            self._comparing_all = self._spawn(self._compare_all())

    async def _compare_all(self) -> None:
        try:
            while self._all_due:
                self._all_due = False
                if not (await self.compare(list(self._hub.channels.values())) and await self._confirm_copies()):
                    self._all_due = True
                    await asyncio.sleep(RETRY_S)
        finally:
            self._comparing_all = None

    async def _confirm_copies(self) -> bool:
        """Look whether what was put into inboxes is still there; False if the store cannot be reached."""
        copies = list(self._copies.items())
        try:
            for i in range(0, len(copies), COMPARED_AT_ONCE):
                self._metrics.forks += await self._store.logs.confirm(copies[i : i + COMPARED_AT_ONCE])
        except Unavailable:
            return False
        return True

    async def compare(self, channels: Iterable[Channel]) -> bool:
        """Compare channels with the store, and mend those that differ; False if the store cannot be reached."""
        waiting = [channel for channel in channels if channel.is_open]
        for i in range(0, len(waiting), COMPARED_AT_ONCE):
            some = waiting[i : i + COMPARED_AT_ONCE]
            try:
                heads = await self._store.logs.heads([channel.log for channel in some])
            except Unavailable:
                return False
            for channel, head in zip(some, heads, strict=True):
                if channel.is_open and head != channel.head:
                    self.mend(channel)
        return True

    def compare_some(self, count: int) -> None:
        """Compare the next few channels, going round all of them, unless that still goes on."""
        channels = list(self._hub.channels.values())
        if not channels or self._comparing_some:
            return
        start = self._compare_next % len(channels)
        self._compare_next = start + count
        self._comparing_some = True
        self._spawn(self._compare_some(channels[start : start + count]))

    async def _compare_some(self, channels: list[Channel]) -> None:
        try:
            await self.compare(channels)
        finally:
            self._comparing_some = False
