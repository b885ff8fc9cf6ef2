"""Runs the games: one worker a room, woken by what is posted there, taken over when that worker dies.

Who runs what is only a matter of speed: a step counts once, whoever takes it (`causerie.referee`).
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Final

import structlog

from causerie.errors import Unavailable
from causerie.referee import Referee, Seat, Standing
from causerie.store import Store
from causerie.store.feed import Feed
from causerie.waiting import set_within

LOOK_S: Final = 0.5
"""Seconds between two looks at who runs what; well below the time after which a worker counts as dead."""
IDLE_S: Final = 1.0
"""Seconds after which a game is looked at although nothing woke its runner."""
LINGER_S: Final = 5.0
"""How long a room without a game is kept: one may just be beginning."""
RETRY_S: Final = 0.2

_log = structlog.get_logger()


@dataclass(slots=True)
class _Table:
    """A room whose game is run here."""

    seat: Seat = field(default_factory=Seat)
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Runners:
    """The games that one worker runs."""

    def __init__(self, store: Store, worker: str) -> None:
        self._store, self._worker = store, worker
        self._referee = Referee(store.games)
        self._tables: dict[str, _Table] = {}
        self._look = asyncio.Event()
        self._feed: Feed | None = None
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Run games until cancelled; then hand them over."""
        try:
            await self._listen()
            while True:
                self._look.clear()
                try:
                    await self._look_around()
                except Unavailable:
                    _log.info("store away", sweep="games")
                await set_within(self._look, LOOK_S)
        finally:
            await self._leave()

    async def _listen(self) -> None:
        while self._feed is None:
            try:
                self._feed = await self._store.feed(self._on_frame, self._on_back, lambda _: self._look.set())
            except Unavailable:
                await asyncio.sleep(RETRY_S)

    def _on_frame(self, log: str, data: bytes) -> None:
        table = self._tables.get(log)
        if table is not None:
            if data.startswith(b"P") and b'"renamed"' in data:
                table.seat.stale = True
            table.woken.set()

    def _on_back(self) -> None:
        for table in self._tables.values():
            table.seat.stale = True
            table.woken.set()

    async def _look_around(self) -> None:
        """Take every game that nobody alive runs, and let go of those that others took."""
        games = self._store.games
        alive = await games.check_in(self._worker)
        running = await games.running()
        for room, owner in running.items():
            mine = owner == self._worker
            if not mine and owner not in alive:
                mine = await games.claim(room, owner, self._worker)
            if mine and room not in self._tables:
                self._take(room)
        for room in [room for room in self._tables if running.get(room) not in {self._worker, ""}]:
            self._drop(room)

    def _take(self, room: str) -> None:
        table = self._tables[room] = _Table()
        table.task = self._loop.create_task(self._run(room, table))

    def _drop(self, room: str) -> None:
        table = self._tables.pop(room, None)
        if table is not None and table.task is not None and table.task is not asyncio.current_task():
            table.task.cancel()
        if self._feed is not None:
            self._feed.unsubscribe(room)

    async def _run(self, room: str, table: _Table) -> None:
        """Play one room's game to its end."""
        assert self._feed is not None
        last_seen = self._loop.time()
        while True:
            table.woken.clear()
            try:
                await self._feed.subscribe(room)
                standing = await self._referee.advance(room, table.seat)
                if table.seat.letters:
                    await self._referee.deliver(room, table.seat)
            except Unavailable:
                table.seat.forget()
                await asyncio.sleep(RETRY_S)
                continue
            except Exception as error:  # noqa: BLE001 - a bug here must not stop the other games
                _log.exception("runner failed", room=room, error=type(error).__name__)
                table.seat.forget()
                await asyncio.sleep(IDLE_S)
                continue
            if standing is Standing.ON:
                last_seen = self._loop.time()
            elif self._loop.time() - last_seen > LINGER_S and await self._finish(room):
                return
            await set_within(table.woken, IDLE_S)

    async def _finish(self, room: str) -> bool:
        """The game is over: nobody needs to run it."""
        with contextlib.suppress(Unavailable):
            if await self._store.games.claim(room, self._worker, None):
                self._drop(room)
                return True
        return False

    async def _leave(self) -> None:
        """Let go of every game, so that others take them at once."""
        rooms = list(self._tables)
        tasks = [table.task for table in self._tables.values() if table.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(Unavailable):
            await self._store.games.check_out(self._worker)
            for room in rooms:
                await self._store.games.claim(room, self._worker, "")
            if rooms:
                await self._store.control.publish("games", {})
        if self._feed is not None:
            await self._feed.close()
