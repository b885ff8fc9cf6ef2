"""Pieces of logs read from the store, shared: whoever needs the same piece at the same time waits for one read.

Ten thousand clients that come back at once stand at nearly the same place, so they cost a few reads.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final, NamedTuple

from causerie.metrics import Metrics
from causerie.model import Position
from causerie.store import Store
from gateway.batch import Batch

PIECE: Final = 128
"""Messages of a piece, which begins at a multiple of it."""
CACHE_BYTES: Final = 4 * 2**20


class Piece(NamedTuple):
    """Messages of a log, where it stood and its lowest kept seq (head + 1: none) when they were read."""

    head: Position
    first: int
    batch: Batch | None

    def holds(self, seq: int) -> bool:
        """Whether the message of that seq is in it."""
        return self.batch is not None and self.batch.first <= seq <= self.batch.last


Key = tuple[str, str, int]


class Reader:
    """Reads logs piecewise. Raises `Unavailable`."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._flights: dict[Key, asyncio.Task[Piece]] = {}
        self._cache: OrderedDict[Key, Piece] = OrderedDict()
        self._cached = 0
        self.limit = store.logs.limit
        """Messages that the store keeps of a log."""

    async def piece(self, log: str, epoch: str, after: int) -> Piece:
        """A piece with the first message above `after` (later ones, where that is trimmed; none at the head)."""
        base = after // PIECE * PIECE
        piece = await self._get(log, epoch, base, PIECE, after + 1)
        batch = piece.batch
        if batch is not None and batch.last <= after < piece.head.seq:  # large messages: the read ended early
            piece = await self._get(log, epoch, after, base + PIECE - after, after + 1)
        return piece

    async def first_kept(self, log: str, epoch: str) -> int:
        """The lowest seq kept (head + 1: none)."""
        return (await self._fly((log, epoch, 0), PIECE)).first

    async def _get(self, log: str, epoch: str, after: int, limit: int, wanted: int) -> Piece:
        key = (log, epoch, after)
        cached = self._cache.get(key)
        if cached is not None and cached.holds(wanted):
            self._cache.move_to_end(key)
            return cached
        return await self._fly(key, limit)

    async def _fly(self, key: Key, limit: int) -> Piece:
        task = self._flights.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._read(key, limit))
            self._flights[key] = task
            task.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(task)

    def _landed(self, key: Key, task: asyncio.Task[Piece]) -> None:
        del self._flights[key]
        if not task.cancelled():
            task.exception()  # those who wait have it

    async def _read(self, key: Key, limit: int) -> Piece:
        log, epoch, after = key
        self._metrics.log_reads += 1
        chunk = await self._store.logs.read(log, after, limit)
        batch = None
        if chunk.entries:
            entries = chunk.entries
            batch = Batch(entries[0].seq, [e.mid for e in entries], b"".join([e.line for e in entries]))
        piece = Piece(chunk.head, chunk.first, batch)
        if batch is not None and chunk.head.epoch == epoch:
            self._keep(key, piece)
        return piece

    def _keep(self, key: Key, piece: Piece) -> None:
        old = self._cache.pop(key, None)
        self._cached += _size(piece) - (_size(old) if old is not None else 0)
        self._cache[key] = piece
        while self._cached > CACHE_BYTES:
            _, dropped = self._cache.popitem(last=False)
            self._cached -= _size(dropped)


def _size(piece: Piece) -> int:
    return len(piece.batch.lines) if piece.batch is not None else 0
