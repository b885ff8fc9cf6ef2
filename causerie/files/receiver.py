"""One writer of one upload: bytes from a stream into parts."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from causerie.errors import Refused, Unavailable
from causerie.files.objects import Objects
from causerie.store import Store
from causerie.store.files import Elsewhere, FileRecord

FLUSH_S: Final = 60.0
"""Seconds after which what has come counts, though the part is not full: well within the lease."""


class Receiver:
    """Fills a buffer of one part, the only memory that an upload needs, and commits it when it is full.

    `check` is asked before every commit whether the sender still may; it raises.
    """

    def __init__(
        self, store: Store, objects: Objects, record: FileRecord, keep_ms: int, check: Callable[[], Awaitable[None]]
    ) -> None:
        self._store, self._objects, self._record, self._keep_ms, self._check = store, objects, record, keep_ms, check
        self._buffer = memoryview(bytearray(min(record.part, record.size)))
        self._start = 0
        """Where the part begins that is in the buffer."""
        self._filled = 0
        self._offset = 0
        """What is committed."""
        self._fence = 0
        self._loop = asyncio.get_running_loop()
        self._flushed = self._loop.time()
        self._running: hashlib._Hash | None = None
        """Over all bytes, where this writer sees them all."""

    @property
    def complete(self) -> bool:
        """Whether all bytes count."""
        return self._offset == self._record.size

    @property
    def sha256(self) -> str | None:
        """The digest of the whole file, if all of it passed here."""
        return self._running.hexdigest() if self._running is not None and self.complete else None

    async def run(self, offset: int, stream: AsyncIterator[bytes], stopping: Callable[[], bool]) -> None:
        """Take all that the stream brings. What it raises is raised when what came is committed."""
        if offset == self._record.offset == self._record.size:
            return
        await self._begin(offset)
        stopped = False
        try:
            async for data in stream:
                await self._fill(data)
                if stopped := stopping():
                    break
        except (Refused, Elsewhere):
            raise
        except Exception:  # the stream broke: what came before counts
            await self._flush()
            raise
        await self._flush()
        if stopped:
            raise Unavailable("this gateway stops; go on at another one")

    async def _begin(self, offset: int) -> None:
        record = self._record
        taken = await self._store.files.take(record.id, offset, self._keep_ms)
        self._fence, self._offset = taken.fence, offset
        self._running = hashlib.sha256() if offset == 0 else None
        self._filled = offset % record.part
        self._start = offset - self._filled
        if self._filled:
            await self._load(taken.last)

    async def _load(self, name: str) -> None:
        """Take up the part that was left short."""
        try:
            data = await self._objects.get(f"{self._record.id}/{name}")
        except FileNotFoundError:
            data = b""
        if len(data) != self._filled or hashlib.sha256(data).hexdigest() != name.split("-")[1]:
            await self._store.files.turn(self._record.id, "open", "gone")
            await self._store.files.look_at(self._record.id, 0)
            raise Refused("bad_request", "a part of the file was lost; send it again")
        self._buffer[: len(data)] = data

    async def _fill(self, data: bytes) -> None:
        if self._start + self._filled + len(data) > self._record.size:
            raise Refused("too_long", "more bytes came than were announced")
        if self._loop.time() - self._flushed > FLUSH_S:
            await self._flush()
        rest = memoryview(data)
        while rest:
            piece = rest[: len(self._buffer) - self._filled]
            self._buffer[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            rest = rest[len(piece) :]
            if self._filled == len(self._buffer):
                await self._flush()

    async def _flush(self) -> None:
        """Let what is in the buffer count, as a part that is full or as the last one, which may grow."""
        end = self._start + self._filled
        if end == self._offset:
            return
        await self._check()
        data = self._buffer[: self._filled]
        name, running = await asyncio.to_thread(self._digested, data)
        index = self._start // self._record.part
        await self._objects.put(f"{self._record.id}/{name}", data)
        span = (self._offset, end)
        replaced = await self._store.files.commit(self._record.id, self._fence, span, index, name, self._keep_ms)
        if replaced is None:
            await self._objects.delete([f"{self._record.id}/{name}"])
            raise Elsewhere("open", self._offset)
        if replaced:
            await self._objects.delete([f"{self._record.id}/{replaced}"])
        self._offset, self._running, self._flushed = end, running, self._loop.time()
        if self._filled == len(self._buffer):
            self._start, self._filled = end, 0

    def _digested(self, data: memoryview) -> tuple[str, hashlib._Hash | None]:
        """A name that tells place and content and that no other writer ever gives; the digest so far, with it."""
        running = self._running and self._running.copy()
        if running is not None:
            running.update(data[self._offset - self._start :])
        digest = hashlib.sha256(data).hexdigest()
        return f"{self._start // self._record.part:06d}-{digest}-{secrets.token_hex(4)}", running
