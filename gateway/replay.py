"""From a position to the live flow: the one way in for resumes, joins and clients that were too slow.

A client is served from memory, else from pieces of the log that all who need them share, as fast as its transport
takes them. It joins the flow when its place is the channel's head, with no await between the look and the joining.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from causerie.errors import Unavailable
from causerie.model import Position
from gateway.batch import Batch, Dialect
from gateway.channel import Channel
from gateway.reader import Reader
from gateway.relay import Relay

if TYPE_CHECKING:
    from gateway.connection import Connection
    from gateway.node import Node

BURST: Final = 64 * 1024
"""Bytes written between two looks at whether the transport still takes them."""
BUFFERED: Final = 128 * 1024
"""Bytes that may wait in the transport of a client that is behind."""
RETRY_S: Final = 0.3

log = logging.getLogger(__name__)


class Plan(NamedTuple):
    """Where a client starts: it gets what is above `after`. `whole_from` is the first seq it gets all from."""

    after: int
    recovered: bool
    whole_from: int


async def plan(channel: Channel, head: int, claim: Position, reader: Reader) -> Plan:
    """What can be given to somebody who says where he stood; `head` is the log's. Raises `Unavailable`."""
    newest = max(head, channel.seq)
    if claim.epoch == channel.epoch and newest - reader.limit <= claim.seq <= newest:
        mid = channel.mid_at(claim.seq)
        if mid is None and not (claim.seq == channel.seq and not claim.mid):
            piece = await reader.piece(channel.log, channel.epoch, max(claim.seq - 1, 0))
            mid = _mid_of(piece.batch, claim.seq)
            if claim.seq < piece.first - 1:
                return Plan(piece.first - 1, False, piece.first)
        if not claim.mid or not mid or mid == claim.mid:
            return Plan(claim.seq, True, claim.seq + 1)
    first = await reader.first_kept(channel.log, channel.epoch)
    return Plan(first - 1, False, first)


def _mid_of(batch: Batch | None, seq: int) -> str | None:
    if batch is None or not batch.first <= seq <= batch.last:
        return None
    return batch.mid_of(seq)


class Replay:
    """One connection on its way to the heads of some of its channels."""

    __slots__ = ("_node", "_task", "_wake", "connection", "places")

    def __init__(self, connection: Connection, node: Node) -> None:
        self.connection = connection
        self.places: dict[Channel, int] = {}
        self._node = node
        self._task: asyncio.Task[None] | None = None
        self._wake: asyncio.Future[None] | None = None

    def add(self, channel: Channel, after: int) -> None:
        """The connection has everything of that channel up to `after`."""
        self.places[channel] = after
        if channel.behind is None:
            channel.behind = set()
        channel.behind.add(self)

    def drop(self, channel: Channel) -> None:
        """The connection needs that channel no more, or is in its flow."""
        if self.places.pop(channel, None) is not None and channel.behind is not None:
            channel.behind.discard(self)
            if not channel.behind:
                channel.behind = None

    def restarted(self, channel: Channel, epoch: str, seq: int) -> None:
        """The channel's numbering, which was `epoch`, goes on above `seq` in another one."""
        place = self.places.get(channel)
        if place is not None:
            self._reset(channel, epoch, min(place, seq))

    def _reset(self, channel: Channel, epoch: str, seq: int) -> None:
        before, self.places[channel] = self.places[channel], seq
        self.connection.tell_reset(channel, (epoch, before), seq)

    def go(self) -> None:
        """Serve what is in memory now, and the rest in a task."""
        if self._task is not None:
            return
        if self._step():
            self.connection.caught_up()
        elif self._task is None:  # writing may have paused, and begun it
            self._task = asyncio.get_running_loop().create_task(self._run())

    def resume(self) -> None:
        """The transport takes bytes again."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def stop(self) -> None:
        """The connection is gone."""
        for channel in tuple(self.places):
            self.drop(channel)
            self._node.relay.left(channel)
        self.resume()

    async def _run(self) -> None:
        try:
            await self._catch_up()
        except Exception:  # nobody else would ever serve it
            log.exception("bringing a client to the head failed")
            self.connection.fail()
        self._task = None
        self.connection.caught_up()

    async def _catch_up(self) -> None:
        connection = self.connection
        while not self._step():
            if connection.paused:
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake
                continue
            channel, after = next(iter(self.places.items()))
            try:
                await self._fetch(channel, after)
            except Unavailable:
                await asyncio.sleep(RETRY_S)

    async def _fetch(self, channel: Channel, after: int) -> None:
        """Serve a piece that is not in memory, or wait for the channel to come as far as the place."""
        relay: Relay = self._node.relay
        if after > channel.seq:
            await relay.reach(channel, after)
            if after > channel.seq and self.places.get(channel) == after:
                self._reset(channel, channel.epoch, channel.seq)
            return
        if channel.kept_after(after) is not None or after == channel.seq:
            await asyncio.sleep(0)  # let the transport say whether it is full
            return
        epoch = channel.epoch
        piece = await self._node.reader.piece(channel.log, epoch, after)
        if channel.epoch != epoch or self.places.get(channel) != after:
            return
        if piece.head.epoch != epoch:
            await relay.mended(channel)
        elif piece.batch is None or piece.batch.last <= after:
            # nothing of it is kept, or the log is shorter than the channel believes
            await relay.mended(channel)
            if channel.epoch == epoch and self.places.get(channel) == after < channel.seq:
                self._reset(channel, epoch, max(after, min(channel.seq, piece.first - 1)))
        else:
            if piece.batch.first > after + 1:
                self._reset(channel, epoch, piece.batch.first - 1)
            self._serve(channel, piece.batch)

    def _step(self) -> bool:
        """Serve from memory within a burst; whether every channel is in the live flow (or nobody is there)."""
        connection, hub = self.connection, self._node.hub
        budget = BURST
        while self.places and not connection.closing:
            if connection.paused or budget <= 0:
                return False
            channel, after = next(iter(self.places.items()))
            if after == channel.seq:
                hub.spread(channel)
                self.drop(channel)
                channel.add(connection)
                continue
            batch = channel.kept_after(after) if after < channel.seq else None
            if batch is None:
                return False
            budget -= self._serve(channel, batch)
        return True

    def _serve(self, channel: Channel, batch: Batch) -> int:
        """Write a part of a batch above the place; how many bytes."""
        connection = self.connection
        batch = batch.part_after(self.places[channel])
        self.places[channel] = batch.last
        data = batch.form(connection.dialect)
        if connection.dialect == Dialect.TEXT:
            connection.note_sent(channel, [batch])
        connection.put(data)
        connection.write_out()
        self._node.counted.deliveries += len(batch.mids)
        return len(data)
