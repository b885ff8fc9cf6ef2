"""One client: what it is told and where it stands in the logs. What it says is in `intake.py`.

Laws. Nothing here waits. What gathers in a turn of the loop is one write. A transport that is full takes its
connection out of the live flow at the place it has reached; from there it is served as from a resume. An idle
connection has no task, no timer and no queue: they are made when needed and dropped again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from causerie.errors import Goodbye, Refused
from causerie.model import Position, Session
from causerie.store.frames import Note
from causerie.wire import jsonmsg, line
from gateway.batch import Batch, Dialect, Notice, wrapped
from gateway.channel import Channel
from gateway.replay import BUFFERED, Replay
from gateway.sent import Sent
from gateway.tcpinfo import acknowledged, descriptor
from gateway.writer import write

if TYPE_CHECKING:
    from gateway.heartbeats import Backlog
    from gateway.node import Node

LINGER_S: Final = 3.0
"""How long a connection that was told goodbye may take to close."""
ENDED: Final = frozenset({"replaced", "kicked", "banned", "quit"})
"""Goodbyes after which the store need not be told that the connection is gone."""


class Connection(asyncio.Protocol):
    """The part that all transports and protocols share."""

    __slots__ = (
        "channels",
        "closing",
        "dialect",
        "direct",
        "early",
        "fd",
        "forwarded",
        "gone",
        "heard",
        "named",
        "node",
        "out",
        "parting",
        "paused",
        "replay",
        "sent",
        "session",
        "sid",
        "slot",
        "stalled",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, node: Node) -> None:
        self.node = node
        self.dialect: int = Dialect.JSON_LINES
        self.forwarded = ""
        """The client's address as a trusted balancer told it."""
        self.session: Session | None = None
        self.sid = ""
        self.named = ""
        """The nick that the client knows as its own."""
        self.channels: tuple[Channel, ...] = ()
        """Every log it receives, in the live flow or behind."""
        self.replay: Replay | None = None
        self.sent: Sent | None = None
        """For the text protocol: what was written, to tell later what arrived."""
        self.out: list[bytes] | None = None
        self.fd = -1
        """The socket's number; valid until `connection_lost`."""
        self.direct = False
        """Nothing waits in the transport, so bytes may go to the kernel past it."""
        self.heard = 0.0
        """Loop time of the last sign of life."""
        self.slot = -1
        """Where the heartbeat's wheel keeps it."""
        self.stalled: Backlog | None = None
        """What the peer's TCP had not taken when the wheel last looked."""
        self.paused = False
        """The transport is full."""
        self.closing = False
        self.gone = False
        self.parting = ""
        """The code of the goodbye said."""
        self.early: list[Note] | None = None
        """Notes that came before the welcome."""

    # -- the transport ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self.fd = descriptor(transport)
        self.heard = self.node.loop.time()
        self.node.counted.connections += 1
        self.transport.set_write_buffer_limits(high=self.node.settings.max_outbox)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        positions = self.positions()
        self.gone = self.closing = True
        self.fd = -1
        self._set_direct(False)  # no lane keeps the number, whatever happens next
        self.leave_all()
        self.out = self.early = None
        if self.session is not None and self.parting not in ENDED:
            self.node.spawn(self._part(self.session, positions))

    async def _part(self, session: Session, positions: dict[str, Position]) -> None:
        """Tell the store that the connection is gone; one that timed out is left to crash."""
        try:
            if positions:
                await self.node.store.sessions.save_positions(session.origin, positions)
            if self.parting != "timeout":
                await self.node.store.sessions.detach(session.origin)
        except Goodbye:
            await self._tell_newer(session, positions)
        except Refused:
            pass  # the session is over, or it expires: nothing is left to say

    def hand_over(self) -> None:
        """A newer connection of the device is about to take over."""
        if self.session is not None:
            self.node.spawn(self._tell_newer(self.session, self.positions()))

    async def _tell_newer(self, session: Session, positions: dict[str, Position]) -> None:
        """Say what has arrived here since the positions were last kept: the store does not take it any more."""
        if positions:
            await self.node.store.sessions.hand_over(session, positions)

    def eof_received(self) -> bool:
        return False

    @property
    def address(self) -> str:
        """The client's address, "" for a Unix socket."""
        return self.forwarded or self.peer_address

    @property
    def peer_address(self) -> str:
        """The address of who connected: the client's, or a balancer's."""
        peer = self.transport.get_extra_info("peername")
        return str(peer[0]) if isinstance(peer, tuple) else ""

    def _half_close(self, goodbye: Goodbye | None) -> None:
        """Say on the transport's own level that nothing more is written."""
        raise NotImplementedError

    # -- writing ---------------------------------------------------------------------------------------------------

    def put(self, data: bytes) -> None:
        """Write soon, together with all else that gathers."""
        if self.closing:
            return
        if self.out is None:
            self.out = [data]
            self.node.hub.wake(self)
        else:
            self.out.append(data)

    @property
    def _gathered(self) -> int:
        """Bytes that wait to be written."""
        return sum(map(len, self.out or ()))

    def take_out(self) -> bytes:
        """What has gathered, in one piece, for the kernel; empty where it is left to the transport."""
        out, self.out = self.out, None
        if not out or self.gone:
            return b""
        data = out[0] if len(out) == 1 else b"".join(out)
        if self.sent is not None:
            self.sent.written += len(data)
        if self.direct or self._may_write_directly():
            return data
        self.transport.write(data)
        return b""

    def write_out(self) -> None:
        """Write what has gathered now."""
        data = self.take_out()
        if data:
            write(self, data)

    def left(self, data: bytes) -> None:
        """The kernel is full, or the connection broken: the transport knows what to do."""
        self._set_direct(False)
        self.transport.write(data)

    def _may_write_directly(self) -> bool:
        """Past the transport, whose own way costs a third of a microsecond more a write."""
        self._set_direct(self.fd >= 0 and not self.transport.get_write_buffer_size())
        return self.direct

    def _set_direct(self, direct: bool) -> None:
        if direct is not self.direct:
            self.direct = direct
            for channel in self.channels:
                channel.lanes = None

    def say(self, text: str) -> None:
        """Write lines of the text protocol."""
        self.put(text.encode())

    def say_broken(self, text: str, broken: list[tuple[Channel, tuple[str, int]]]) -> None:
        """Write lines that tell of broken numberings; the client stood in them at (epoch, seq)."""
        for channel, before in broken:
            assert self.sent is not None
            if self.closing:
                self.sent.note_untold_reset(channel, *before)
            else:
                self.sent.note_reset(self._gathered, len(text.encode()), channel, *before)
        self.say(text)

    def tell(self, event: jsonmsg.Presence) -> None:
        """Write an event for this connection alone, unasked; who lets too much of it wait is let go."""
        self._bound()
        if self.dialect == Dialect.TEXT:
            self.say(line.presence(event))
        else:
            self.put(wrapped(jsonmsg.encode(event), self.dialect))

    def tell_reset(self, channel: Channel, before: tuple[str, int], seq: int) -> None:
        """Say that a log goes on above `seq` in another numbering; `before` (epoch, seq) is where the client stood."""
        self._bound()
        if self.dialect == Dialect.TEXT:
            self.say_broken(line.reset(channel.shown), [(channel, before)])
        else:
            self.put(wrapped(jsonmsg.encode(jsonmsg.Reset(channel.shown, channel.epoch, seq)), self.dialect))

    def _bound(self) -> None:
        if self.paused and self.transport.get_write_buffer_size() > 2 * self.node.settings.max_outbox:
            self.give_up()

    def refuse(self, refused: Refused, re: int | None = None) -> None:
        """Answer an error."""
        self.node.counted.refused += 1
        if self.dialect == Dialect.TEXT:
            self.say(line.error(refused))
        else:
            self.put(wrapped(jsonmsg.encode(jsonmsg.error(refused, re)), self.dialect))

    def answer(self, event: jsonmsg.Welcome | jsonmsg.Result | jsonmsg.Ack) -> None:
        """Write the answer to an op of the JSON protocol."""
        self.put(wrapped(jsonmsg.encode(event), self.dialect))

    # -- the end ---------------------------------------------------------------------------------------------------

    def goodbye(self, goodbye: Goodbye) -> None:
        """Say why, and close."""
        if self.closing:
            return
        self.parting = goodbye.code
        for channel in self.channels:
            self.node.hub.spread(channel)
        if self.dialect == Dialect.TEXT:
            self.say(line.bye(goodbye))
        else:
            self.put(wrapped(jsonmsg.encode(jsonmsg.bye(goodbye)), self.dialect))
        self.end(goodbye)

    def fail(self) -> None:
        """Something is wrong here; it may come back, here or elsewhere."""
        self.goodbye(Goodbye("unavailable", "something went wrong here", retry_after=self.node.jitter()))

    def give_up(self) -> None:
        """It takes in too little; it may come back for the rest."""
        if not self.closing:
            self.node.counted.slow_consumers += 1
            self.goodbye(Goodbye("slow_consumer", "you are not reading", retry_after=self.node.jitter()))

    def end(self, goodbye: Goodbye | None = None) -> None:
        """Close when what is queued is written, but not later than `LINGER_S` from now."""
        if self.closing:
            return
        for channel in self.channels:
            if self in channel.members:
                channel.remove(self)
                if self.sent is not None:  # its place is saved when the transport is closed
                    self.replay = self.replay or Replay(self, self.node)
                    self.replay.add(channel, channel.sent)
        self.closing = True
        if self.replay is not None:
            self.replay.resume()
        self.write_out()
        self._half_close(goodbye)
        self.node.loop.call_later(LINGER_S, self.abort)

    def abort(self) -> None:
        """Close at once."""
        if not self.gone:
            self.transport.abort()

    # -- the flow --------------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        self.paused = True
        if self.closing:
            return
        live = [channel for channel in self.channels if self in channel.members]
        if live:
            self.node.counted.lagging += 1
            self.transport.set_write_buffer_limits(high=min(BUFFERED, self.node.settings.max_outbox))
            replay = self.replay = self.replay or Replay(self, self.node)
            for channel in live:
                channel.remove(self)
                replay.add(channel, channel.sent)
            replay.go()

    def resume_writing(self) -> None:
        self.paused = False
        if self.replay is not None:
            self.replay.resume()

    def caught_up(self) -> None:
        """No channel is behind any more."""
        if self.replay is not None and not self.replay.places:
            self.replay = None
            if not self.gone:
                self.transport.set_write_buffer_limits(high=self.node.settings.max_outbox)

    def attach(self, starts: list[tuple[Channel, int]]) -> None:
        """Begin to receive these logs, each from above a seq."""
        if self.closing:
            return
        if not all(self.node.relay.holds(channel) for channel, _ in starts):
            self.fail()  # it took so long to come here that a channel was closed meanwhile
            return
        replay = self.replay = self.replay or Replay(self, self.node)
        for channel, after in starts:
            if channel not in self.channels:
                self.channels = (*self.channels, channel)
                self.node.relay.needed(channel)
                replay.add(channel, after)
        replay.go()

    def detach(self, channel: Channel) -> None:
        """Receive this log no more, after what is already on its way."""
        if channel.pending:
            self.node.hub.spread(channel)
        self.channels = tuple(other for other in self.channels if other is not channel)
        channel.remove(self)
        if self.replay is not None:
            self.replay.drop(channel)
        self.node.relay.left(channel)

    def leave_all(self) -> None:
        """Receive nothing any more."""
        if self.replay is not None:
            self.replay.stop()
            self.replay = None
        channels, self.channels = list(self.channels), ()
        inbox = self.node.hub.channels.get("@" + self.sid) if self.sid else None
        if inbox is not None:
            inbox.people = tuple(other for other in inbox.people if other is not self)
            channels.append(inbox)
        for channel in channels:
            channel.remove(self)
            self.node.relay.left(channel)

    def channel(self, room: str) -> Channel | None:
        """The channel of a room that it receives."""
        return next((channel for channel in self.channels if channel.log == room), None)

    def pass_on(self, note: Note) -> bool:
        """Whether a note can be applied now; else it is kept until the client is welcomed."""
        if self.early is not None:
            self.early.append(note)
            return False
        return self.session is not None and not self.closing

    # -- positions of the text protocol ----------------------------------------------------------------------------

    def note_sent(self, channel: Channel, items: list[Batch | Notice]) -> None:
        """Messages are about to be put in the text dialect."""
        if self.sent is not None:
            if self.sent.crowded:
                self.sent.forget_arrived(acknowledged(self.transport))
            self.sent.note(self._gathered, channel, items)

    def positions(self) -> dict[str, Position]:
        """What of each log has arrived at a text client; nothing for the others, who tell themselves."""
        sent = self.sent
        if sent is None or self.gone or self.session is None:
            return {}
        arrived = acknowledged(self.transport)
        sent.forget_arrived(arrived)
        return {channel.shown: self._position(sent, channel, arrived) for channel in self.channels}

    def _position(self, sent: Sent, channel: Channel, arrived: int) -> Position:
        under_way = sent.last_arrived(channel, arrived)
        if under_way is not None:
            epoch, seq = under_way
        elif self.replay is not None and channel in self.replay.places:
            epoch, seq = channel.epoch, self.replay.places[channel]
        else:
            epoch, seq = channel.epoch, channel.sent
        return Position(epoch, seq, (channel.mid_at(seq) or "") if epoch == channel.epoch else "")
