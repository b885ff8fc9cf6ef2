"""The one place for Redis. `Store` is the door; every call may raise `causerie.errors.Unavailable`.

Calls made in one turn of the event loop travel in one write and never wait longer than two seconds for a dead
store. Whatever races is decided by a Lua script (`lua/`, each with its contract in its first lines); keys are
in `keys.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from causerie.errors import Unfit
from causerie.settings import Settings
from causerie.store.connect import Target, connect
from causerie.store.control import Control
from causerie.store.direct import Direct
from causerie.store.feed import Feed
from causerie.store.files import Files
from causerie.store.games import Games
from causerie.store.keys import FORMAT, Keys
from causerie.store.logs import Logs
from causerie.store.replicas import Replicated
from causerie.store.resp import Connection, ReplyError, Wire
from causerie.store.rooms import Rooms
from causerie.store.sanctions import Sanctions
from causerie.store.scripts import Scripts
from causerie.store.sessions import Sessions


class Store:
    """Everything that lasts, under one namespace."""

    def __init__(
        self, executor: Any, target: Target | None, settings: Settings, commits: Replicated | None = None
    ) -> None:
        self.executor, self._target, self._commits = executor, target, commits
        self.keys = Keys(settings.namespace)
        self.scripts = Scripts(executor)
        posting = Scripts(commits) if commits is not None else self.scripts
        self.logs = Logs(
            self.scripts, posting, executor, self.keys, limit=settings.history_limit, max_bytes=settings.room_bytes
        )
        self.sessions = Sessions(
            self.scripts, executor, self.keys, self.logs,
            ttl=settings.heartbeat_ttl, session_ttl=settings.session_ttl,
            nick_ttl=settings.nick_ttl, max_rooms=settings.max_rooms,
        )  # fmt: skip
        self.rooms = Rooms(self.scripts, executor, self.keys)
        self.control = Control(executor, self.keys)
        self.sanctions = Sanctions(self.scripts, executor, self.keys, self.sessions, self.control)
        self.files = Files(self.scripts, executor, self.keys)
        self.games = Games(self.scripts, executor, self.keys, self.logs)
        self.direct = Direct(posting, executor, self.keys, self.logs, self.sessions, self.games.plays)

    @classmethod
    async def open(cls, settings: Settings) -> Store:
        """A store that connects by itself: until something answers, and whenever it does not, calls raise
        `Unavailable`.

        `check_format` comes first.
        """
        target = Target(str(settings.redis_url))
        executor = await connect(target)
        commits = None
        if settings.min_replicas and isinstance(executor, Connection):
            own = await connect(target)
            assert isinstance(own, Connection)
            commits = Replicated(own, settings.min_replicas)
        return cls(executor, target, settings, commits)

    async def check_format(self) -> None:
        """Mark an empty store as ours, refuse a newer one, and one that does not take our writes. Raises `Unfit`,
        `Unavailable`.
        """
        try:
            found = await self.executor.execute("SET", self.keys.format, FORMAT, "NX", "GET")
        except ReplyError as error:  # this user may not, or it is too old
            raise Unfit(f"the store refuses to serve: {error}") from None
        if found is not None and int(found) > FORMAT:
            raise Unfit(f"the store has format {int(found)}; this Causerie knows up to {FORMAT}")

    async def feed(
        self,
        on_frame: Callable[[str, bytes], None],
        on_back: Callable[[], None],
        on_control: Callable[[bytes], None] = lambda _: None,
    ) -> Feed:
        """A started feed. Raises `Unavailable`."""
        assert self._target is not None
        feed = Feed(self._target, self.executor, self.keys, on_frame, on_back, on_control)
        await feed.start()
        return feed

    async def dial(self, factory: Callable[[], Wire]) -> Wire:
        """A connection of one's own, for what blocks or subscribes. Raises OSError, `Unavailable`."""
        assert self._target is not None
        return await self._target.dial(factory)

    async def claim_round(self, name: str, period: float) -> bool:
        """Whether this caller is the one to do something that many would do, once in `period` seconds."""
        key = f"{self.keys.prefix}round:{name}"
        return bool(await self.executor.execute("SET", key, 1, "NX", "PX", max(1, int(period * 900))))

    @property
    def up(self) -> bool:
        """Whether the store answered last time."""
        return self.executor.up if isinstance(self.executor, Connection) else True

    def on_state(self, callback: Callable[[bool], None]) -> None:
        """Be told when the connection comes (True) and goes (False)."""
        if isinstance(self.executor, Connection):
            self.executor.on_state.append(callback)

    async def close(self) -> None:
        """End the connections."""
        if self._commits is not None:
            await self._commits.close()
        await self.executor.close()
        if self._target is not None:
            await self._target.close()
