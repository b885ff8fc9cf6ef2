"""The master dies, sleeps or is replaced, and Sentinel promotes its copy, with or without the last writes.

What was acknowledged and not copied is lost. With `--min-replicas` nothing of the kind is acknowledged, so nothing that
was is lost; but what was delivered may be undone.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import redis

from tests.chaos.history import Fault
from tests.chaos.kinds import fault
from tests.chaos.rig import Rig
from tests.chaos.stores import START_S, Pair, client_of

COPIED_S = 1.0
"""What was written so long before is on the copy for sure, while it follows."""
ORDERED_S = 25.0
"""How long Sentinel may take to do what it was told; it may also let it be."""


class _Failing:
    """What is done to a pair in one fault."""

    def __init__(self, rig: Rig, pair: Pair, noted: Fault) -> None:
        self._rig, self.pair, self._noted = rig, pair, noted

    async def promoted(self, patience: float = START_S) -> bool:
        """Wait for the copy to be made the master; False where that was refused. From now on there is one."""
        done = await self.pair.promoted(patience)
        self._noted.back = self._rig.tape.now() if done else self._noted.t
        return done

    def look(self) -> None:
        """Take the master that Sentinel has chosen by itself; there is one again since."""
        self.pair.look()
        self._noted.back = self._rig.tape.now()


@contextlib.asynccontextmanager
async def _failing(
    rig: Rig, name: str, *, lag: float | None = COPIED_S, outage: bool = True, detail: str = ""
) -> AsyncIterator[_Failing]:
    """One fault of the pair, over when there is a copy again. What was written up to `lag` seconds before may be lost
    (None: nothing, unless Sentinel replaced the master by itself meanwhile).
    """
    pair = rig.store
    assert isinstance(pair, Pair)
    async with pair.busy, rig.fault(name, "store", outage=outage, detail=detail) as noted:
        surprises = pair.surprises
        if lag is not None:
            _may_lose(rig, noted, lag)
        try:
            yield _Failing(rig, pair, noted)
            await pair.settled()
        except AssertionError as error:
            raise AssertionError(f"{error}\n{pair.describe()}") from None
        if lag is None and pair.surprises > surprises:
            _may_lose(rig, noted, COPIED_S)
            noted.outage, noted.back = True, None


def _may_lose(rig: Rig, noted: Fault, lag: float) -> None:
    noted.undoes = max(0.0, noted.t - lag)
    noted.loses = None if rig.min_replicas else noted.undoes


@fault(1.5, on="pair", alone=True)
async def failover_coordinated(rig: Rig, rng: random.Random) -> None:
    """The master hands over to its copy: nothing is lost, nobody may be alarmed."""
    async with _failing(rig, "failover, coordinated", lag=None) as failing:
        if failing.pair.sentinel.ask("FAILOVER", "talk", "COORDINATED"):
            await failing.promoted(ORDERED_S)


@fault(2, on="pair", loses=True, alone=True)
async def failover_sudden(rig: Rig, rng: random.Random) -> None:
    """Sentinel promotes the copy while the master works on."""
    async with _failing(rig, "failover, sudden") as failing:
        old = failing.pair.server
        if failing.pair.sentinel.ask("FAILOVER", "talk") and await failing.promoted(ORDERED_S):
            await asyncio.sleep(rng.uniform(0, 2))
            await failing.pair.demote(old)


@fault(4, on="pair", loses=True, alone=True)
async def kill_master(rig: Rig, rng: random.Random) -> None:
    """`kill -9`; it comes back as a copy."""
    async with _failing(rig, "kill -9 of the master") as failing:
        old = failing.pair.server
        old.kill()
        await failing.promoted()
        await failing.pair.follow(old)


@fault(2, on="pair", loses=True, alone=True)
async def pause_master(rig: Rig, rng: random.Random) -> None:
    """It sleeps, is replaced, and wakes as a second master."""
    async with _failing(rig, "SIGSTOP of the master") as failing:
        old = failing.pair.server
        old.pause()
        try:
            await failing.promoted()
            await asyncio.sleep(rng.uniform(0, 1))
        finally:
            old.wake()
        await asyncio.sleep(rng.uniform(0, 2))
        await failing.pair.demote(old)


@fault(3, on="pair", loses=True, alone=True)
async def kill_master_ahead(rig: Rig, rng: random.Random) -> None:
    """`kill -9` while the copy lacks the writes of some time."""
    lag = rng.uniform(0.3, 2.0)
    async with _failing(rig, "kill -9 of a master ahead", detail=f"{lag:.1f} s") as failing:
        old, copy = failing.pair.server, failing.pair.copy
        async with client_of(copy) as client:
            await client.config_set("masterauth", "wrong")
            await client.execute_command("CLIENT", "KILL", "TYPE", "master")
            await asyncio.sleep(lag)
            old.kill()
            await failing.promoted()
            await client.config_set("masterauth", "")
        await failing.pair.follow(old)


@fault(2, on="pair", alone=True)
async def kill_copy(rig: Rig, rng: random.Random) -> None:
    """`kill -9` of the copy, which comes back."""
    async with _failing(rig, "kill -9 of the copy", lag=None, outage=bool(rig.min_replicas)) as failing:
        copy = failing.pair.copy
        copy.kill()
        await asyncio.sleep(rng.choice((0, 0.5, 2.0)))
        await failing.pair.follow(copy)


@fault(1, on="pair", alone=True)
async def kill_sentinel(rig: Rig, rng: random.Random) -> None:
    """`kill -9` of Sentinel: whoever is connected notices nothing."""
    async with _failing(rig, "kill -9 of Sentinel", lag=None) as failing:
        sentinel = failing.pair.sentinel
        assert sentinel.process is not None
        sentinel.process.kill()
        await asyncio.sleep(rng.choice((0, 1.0, 3.0)))
        sentinel.start()
        await sentinel.knows_replica()


@fault(3, on="pair")
async def kill_connections(rig: Rig, rng: random.Random) -> None:
    """`CLIENT KILL TYPE normal`: every program loses its connection to the master."""
    async with rig.fault("CLIENT KILL TYPE normal", "store"), rig.store.client() as client:
        with contextlib.suppress(redis.RedisError, OSError):
            await client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


async def watch(rig: Rig, pair: Pair) -> None:
    """Note the failovers that nobody asked for, for ever."""
    while True:
        await asyncio.sleep(0.1)
        master = await asyncio.to_thread(lambda: pair.sentinel.master)
        if pair.busy.locked() or master in (0, pair.server.port):
            continue
        try:
            async with _failing(rig, "failover, of its own", lag=10.0) as failing:
                failing.look()
        except AssertionError as error:
            rig.wrong("run", str(error))
