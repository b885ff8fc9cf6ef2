"""An outage of the store is no death of its clients.

While the store is away, keys expire that nobody could renew. So after any absence (a lost connection, an
answer that took long, a store that started a moment ago or takes no writes, a pause of this worker) workers
claim nothing for one full heartbeat TTL.
"""

from __future__ import annotations

import asyncio

import structlog

from causerie.errors import Unavailable
from causerie.store import Store

_log = structlog.get_logger()


class Outage:
    """Watches the store; `over` says whether claims may be made.

    `limit` is the longest silence, in seconds, that a live client's key survives for sure: half of what is
    left of the TTL just before the next heartbeat.
    """

    def __init__(self, store: Store, *, interval: float, ttl: float) -> None:
        self._store, self._ttl = store, ttl
        self.limit = max(0.05, (ttl - interval) / 2)
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time()
        self._last = self._loop.time()
        store.on_state(lambda _: self.begin("the connection was lost"))

    @property
    def over(self) -> bool:
        """Whether the store has been there without a gap for a full TTL (or since before this worker)."""
        return self._loop.time() >= self._until

    def begin(self, why: str) -> None:
        """From now on nothing is claimed for a TTL."""
        if self.over:
            _log.warning("store was away: no session is claimed for a while", why=why, seconds=self._ttl)
        self._until = self._loop.time() + self._ttl

    async def first_look(self) -> None:
        """A store that is younger than a TTL counts as having been away. Raises `Unavailable`."""
        info = await self._store.executor.execute("INFO", "server")
        for line in (info if isinstance(info, bytes) else b"").splitlines():
            if line.startswith(b"uptime_in_seconds:"):
                left = self._ttl - float(line.partition(b":")[2])
                self._until = max(self._until, self._loop.time() + left)
        self._last = self._loop.time()

    async def watch(self) -> None:
        """Look at the store for ever, twice as often as `limit`."""
        while True:
            try:
                await self._store.sessions.prove_writable()
            except Unavailable as error:
                self.begin(error.text)
            self.seen()
            await asyncio.sleep(self.limit / 2)

    def seen(self) -> None:
        """The store has answered; if the last time was too long ago, it was away (or we were)."""
        now = self._loop.time()
        if now - self._last > self.limit:
            self.begin("no answer for some time")
        self._last = now
