"""Who the master is, as Sentinel says, also while we are connected to one that is a master no more.

After a failover Sentinel turns the old master into a replica only some ten seconds later; until then it takes writes
that are lost with its demotion. So we do not wait to be thrown out: we look, and leave.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final
from weakref import WeakKeyDictionary

import redis.exceptions
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff

from causerie.errors import Unavailable
from causerie.store.cancellation import unless_cancelled
from causerie.store.resp import Wire

LOOK_S: Final = 0.5
"""Seconds between two looks."""

Address = tuple[str, int]


class Masters:
    """Finds the master `name`, and ends connections to whatever was it before."""

    def __init__(self, sentinels: Sequence[Address], name: str, timeout: float) -> None:
        patience = timeout / (len(sentinels) + 1)  # so that one that hangs leaves time for the others
        self._sentinel = Sentinel(  # type: ignore[no-untyped-call]
            sentinels,
            sentinel_kwargs={
                "socket_timeout": patience,
                "socket_connect_timeout": patience,
                "retry": Retry(NoBackoff(), 0),
            },
        )
        self._name = name
        self._wires: WeakKeyDictionary[Wire, Address] = WeakKeyDictionary()
        self._looking: asyncio.Task[None] | None = None

    async def find(self) -> Address:
        """Where the master is. Raises `Unavailable`."""
        try:
            host, port = await unless_cancelled(self._sentinel.discover_master(self._name))
        except (MasterNotFoundError, redis.exceptions.RedisError, OSError):  # whose texts hold whole objects
            raise Unavailable(f"no sentinel says where the master {self._name} is") from None
        return host, port

    def keep(self, wire: Wire, address: Address) -> None:
        """From now on end this connection when the master is elsewhere."""
        self._wires[wire] = address
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            with contextlib.suppress(Unavailable):
                master = await self.find()
                for wire in [wire for wire, address in self._wires.items() if address != master]:
                    wire.hang_up()

    async def close(self) -> None:
        """Stop looking."""
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
        for client in self._sentinel.sentinels:
            await client.aclose()
