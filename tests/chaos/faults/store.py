"""The store dies, sleeps, refuses, forgets."""

import asyncio
import contextlib
import random

import redis

from tests.chaos.kinds import fault
from tests.chaos.rig import HEARTBEAT_TTL, Rig


async def _ask_store(rig: Rig, name: str, *command: str) -> None:
    """One command to the store, if it is there."""
    async with rig.fault(name, "store"), rig.store.client() as client:
        with contextlib.suppress(redis.RedisError, OSError):
            await client.execute_command(*command)


@fault(3)
async def kill_pubsub(rig: Rig, rng: random.Random) -> None:
    """`CLIENT KILL TYPE pubsub`, as Redis does to those who read too slowly."""
    await _ask_store(rig, "CLIENT KILL TYPE pubsub", "CLIENT", "KILL", "TYPE", "pubsub")


@fault(2)
async def flush_scripts(rig: Rig, rng: random.Random) -> None:
    """`SCRIPT FLUSH`."""
    await _ask_store(rig, "SCRIPT FLUSH", "SCRIPT", "FLUSH")


@fault(5, on="single", alone=True)
async def kill_store(rig: Rig, rng: random.Random) -> None:
    """`kill -9`, and started again on what its disk has."""
    async with rig.store.busy, rig.fault("kill -9", "store", outage=True):
        rig.store.server.kill()
        await asyncio.sleep(rng.choice((0, 0.3, 1.5)))
        await rig.store.start()


@fault(2, on="single", alone=True)
async def terminate_store(rig: Rig, rng: random.Random) -> None:
    """SIGTERM, and started again."""
    async with rig.store.busy, rig.fault("SIGTERM", "store", outage=True):
        assert rig.store.server.process is not None
        rig.store.server.process.terminate()
        await rig.store.server.process.exit_code(30)
        await rig.store.start()


@fault(4, on="single", alone=True)
async def pause_store(rig: Rig, rng: random.Random) -> None:
    """It does not answer, and nobody is told why."""
    duration = rng.choice((0.1, 0.5, 1.5, 3.0))
    async with rig.store.busy, rig.fault("SIGSTOP", "store", detail=f"{duration} s", outage=True):
        rig.store.server.pause()
        try:
            await asyncio.sleep(duration)
        finally:
            rig.store.server.wake()


@fault(0.7, on="single", alone=True)
async def store_away(rig: Rig, rng: random.Random) -> None:
    """Away for longer than a heartbeat lasts: nobody may be announced as crashed for it."""
    duration = HEARTBEAT_TTL * rng.uniform(1.2, 2.0)
    async with rig.store.busy, rig.fault("away", "store", detail=f"{duration:.1f} s", outage=True):
        if rng.random() < 0.5:
            rig.store.server.kill()
            await asyncio.sleep(duration)
            await rig.store.start()
        else:
            rig.store.server.pause()
            await asyncio.sleep(duration)
            rig.store.server.wake()


@fault(1.5, alone=True)
async def full_memory(rig: Rig, rng: random.Random) -> None:
    """`maxmemory` is reached: the store answers, and refuses every write."""
    async with rig.store.busy, rig.fault("maxmemory", "store", outage=True), rig.store.client() as client:
        await client.config_set("maxmemory", "1mb")
        await asyncio.sleep(rng.choice((0.2, 1.0, 3.0)))
        await client.config_set("maxmemory", "0")


@fault(1, on="single", alone=True)
async def full_disk(rig: Rig, rng: random.Random) -> None:
    """The store can write no more to its file, gives up in the middle of an entry, and is started with room again."""
    async with rig.store.busy, rig.fault("full disk", "store", outage=True):
        rig.store.limit_files(rig.store.file_size() + rng.randint(1, 3000))
        assert rig.store.server.process is not None
        try:
            await rig.store.server.process.exit_code(10)
        except AssertionError:  # nobody wrote enough
            rig.store.server.kill()
        await rig.store.start()


# What it loses.


@fault(0.3, loses=True)
async def flush_all(rig: Rig, rng: random.Random) -> None:
    """Everything is gone."""
    async with rig.fault("FLUSHALL", "store", loses=0.0, undoes=0.0), rig.store.client() as client:
        with contextlib.suppress(redis.RedisError, OSError):
            await client.flushall()


async def _lose_key(rig: Rig, rng: random.Random, kind: str, *, loses: bool) -> None:
    async with rig.store.client() as client:
        try:
            keys = sorted([key async for key in client.scan_iter(match=f"*:{kind}", count=1000)])
            owner = rng.choice(("{#", "{s:"))
            key = rng.choice([key for key in keys if owner in key])
            log = key.partition("{")[2].partition("}")[0]
            logs = [log]
            if log.startswith("s:"):
                nick = await client.hget(f"{key.removesuffix(kind)}rec", "nick")
                logs = [f"@{log[2:]}", f"@{nick}"]
            start = 0.0 if loses else None
            async with rig.fault(f"DEL {kind}", "store", detail=logs[-1], logs=logs, loses=start, undoes=0.0):
                await client.delete(key)
        except (redis.RedisError, OSError, IndexError):
            pass


@fault(0.7, loses=True)
async def lose_meta(rig: Rig, rng: random.Random) -> None:
    """A counter is gone: the messages are there, and the numbering goes on above them."""
    await _lose_key(rig, rng, "meta", loses=False)


@fault(0.5, loses=True)
async def lose_stream(rig: Rig, rng: random.Random) -> None:
    """The messages of one log are gone."""
    await _lose_key(rig, rng, "log", loses=True)
