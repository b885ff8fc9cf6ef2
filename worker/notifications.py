"""The fast way to learn that a heartbeat has expired: keyspace notifications. They may be lost; the sweep is
never.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from causerie.errors import Unavailable
from causerie.store import Store
from causerie.store.resp import ReplyError, Wire, pack

RETRY_S = 1.0


class Expiries:
    """Sids whose heartbeat key has just expired, as the store tells them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sids: asyncio.Queue[str] = asyncio.Queue(maxsize=10_000)
        self._prefix = f"{store.keys.prefix}{{s:".encode()

    async def get(self) -> list[str]:
        """The next ones, at least one."""
        found = [await self._sids.get()]
        while not self._sids.empty() and len(found) < 500:
            found.append(self._sids.get_nowait())
        return found

    def _on_reply(self, reply: Any) -> None:
        if isinstance(reply, list) and reply[0] == b"pmessage" and reply[3].startswith(self._prefix):
            sid, _, name = reply[3][len(self._prefix) :].partition(b"}:")
            if name == b"alive":
                with contextlib.suppress(asyncio.QueueFull):
                    self._sids.put_nowait(sid.decode())

    async def listen(self) -> None:
        """Subscribe for ever."""
        while True:
            try:
                with contextlib.suppress(ReplyError):  # a managed store may forbid it; the sweep remains
                    await self._store.executor.execute("CONFIG", "SET", "notify-keyspace-events", "Ex")
                await self._hear()
            except (OSError, Unavailable, ReplyError):
                pass
            await asyncio.sleep(RETRY_S)

    async def _hear(self) -> None:
        """Subscribe; returns when the connection is lost."""
        lost = asyncio.Event()
        wire = await self._store.dial(lambda: Wire(self._on_reply, lambda _: lost.set()))
        wire.write(pack("PSUBSCRIBE", "__keyevent@*__:expired"))
        await lost.wait()
