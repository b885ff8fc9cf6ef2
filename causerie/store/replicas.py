"""`--min-replicas`: what was written counts only when enough replicas have it too."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from causerie.errors import Unavailable
from causerie.store.resp import Arg, ByTask, Connection, ReplyError, all_done, resolve

PATIENCE_MS: Final = 1000
"""How long a write waits for the replicas; less than a `Connection` waits for an answer."""


class Replicated(ByTask):
    """An executor whose commands have reached `count` replicas when they return.

    It has a connection of its own, for two reasons: WAIT holds up whatever comes behind it, and it speaks only of what
    its own connection wrote. So a script that finds its work done already, perhaps by another connection, must write
    something nevertheless. All that is asked in one turn of the loop shares one WAIT.
    """

    one_slot = False

    def __init__(self, connection: Connection, count: int) -> None:
        super().__init__()
        self._connection, self._count = connection, count
        self._loop = asyncio.get_running_loop()
        self._turn: asyncio.Future[Any] | None = None

    async def execute(self, *args: Arg) -> Any:
        """See `Executor`."""
        return all_done(await self.execute_many([args]))[0]

    async def execute_many(self, commands: Sequence[tuple[Arg, ...]]) -> list[Any]:
        """See `Executor`. `Unavailable` also when too few replicas answer in time."""
        replies = [self._connection.submit(*command) for command in commands]
        replicas = self._replicas()
        done = [await reply for reply in replies]
        if all(isinstance(reply, ReplyError) for reply in done):
            return done  # nothing was written
        found = await asyncio.shield(replicas)
        if isinstance(found, ReplyError) or found < self._count:
            raise Unavailable(f"too few replicas have it: {found} of {self._count}")
        return done

    def _replicas(self) -> asyncio.Future[Any]:
        """How many replicas have what is asked in this turn."""
        if self._turn is None:
            self._turn = self._loop.create_future()
            self._loop.call_soon(self._wait)
        return self._turn

    def _wait(self) -> None:
        turn, self._turn = self._turn, None
        assert turn is not None
        reply = self._connection.submit("WAIT", self._count, PATIENCE_MS)
        reply.add_done_callback(lambda _: _pass_on(reply, turn))

    async def close(self) -> None:
        """End the connection."""
        await self._connection.close()


def _pass_on(reply: asyncio.Future[Any], turn: asyncio.Future[Any]) -> None:
    resolve(turn, reply.exception() or reply.result())
