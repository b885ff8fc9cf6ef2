"""What goes wrong, and when: ONE FUNCTION A FAULT, each does something and heals it. They run side by side."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import redis

from tests.chaos.history import Wrong
from tests.chaos.proxy import Link
from tests.chaos.rig import HEARTBEAT_TTL, GatewaySeat, Rig, Seat

AT_ONCE = 8
"""Faults that may be under way together."""

Deed = Callable[[Rig, random.Random], Awaitable[None]]


class Kind(NamedTuple):
    """One kind of fault."""

    name: str
    weight: float
    """How often it is chosen, against the others."""
    loses: bool
    """It takes acknowledged messages from the store, or breaks a numbering."""
    deed: Deed


KINDS: dict[str, Kind] = {}


def fault(weight: float, *, loses: bool = False) -> Callable[[Deed], Deed]:
    """Register a kind of fault under its function's name."""

    def register(deed: Deed) -> Deed:
        KINDS[deed.__name__] = Kind(deed.__name__, weight, loses, deed)
        return deed

    return register


# Programs.


def _free(seats: "list[Seat]", rng: random.Random) -> Seat | None:
    """A program that runs and that no other fault stops at the moment."""
    some = [seat for seat in seats if not seat.busy.locked() and seat.alive]
    return rng.choice(some) if some else None


async def _kill(rig: Rig, rng: random.Random, seats: "list[Seat]") -> None:
    seat = _free(seats, rng)
    if seat is None:
        return
    async with seat.busy, rig.fault("kill -9", seat.name):
        assert seat.process is not None
        seat.look_at_log()
        seat.process.kill()
        await asyncio.sleep(rng.choice((0, 0.2, 1.0)))
        await seat.start()


async def _terminate(rig: Rig, rng: random.Random, seats: "list[Seat]") -> None:
    seat = _free(seats, rng)
    if seat is None:
        return
    async with seat.busy, rig.fault("SIGTERM", seat.name):
        await seat.stop()
        seat.look_at_log()
        await seat.start()


async def _pause(rig: Rig, rng: random.Random, seats: "list[Seat]") -> None:
    seat = _free(seats, rng)
    if seat is None:
        return
    duration = rng.choice((0.1, 0.5, 1.5, 3.0, HEARTBEAT_TTL * 1.5))
    async with seat.busy, rig.fault("SIGSTOP", seat.name, detail=f"{duration} s", blinds=rig.devices_at(seat)):
        assert seat.process is not None
        seat.process.pause()
        try:
            await asyncio.sleep(duration)
        finally:
            seat.process.wake()


@fault(7)
async def kill_gateway(rig: Rig, rng: random.Random) -> None:
    """`kill -9`, and a new one on the same ports."""
    await _kill(rig, rng, [*rig.gateways])


@fault(4)
async def terminate_gateway(rig: Rig, rng: random.Random) -> None:
    """SIGTERM: it says goodbye to everybody, and ends with status 0."""
    await _terminate(rig, rng, [*rig.gateways])


@fault(7)
async def pause_gateway(rig: Rig, rng: random.Random) -> None:
    """It sleeps while its clients move on, wakes, and must undo nothing."""
    await _pause(rig, rng, [*rig.gateways])


@fault(2)
async def kill_worker(rig: Rig, rng: random.Random) -> None:
    """`kill -9`."""
    await _kill(rig, rng, [*rig.workers])


@fault(1)
async def terminate_worker(rig: Rig, rng: random.Random) -> None:
    """SIGTERM."""
    await _terminate(rig, rng, [*rig.workers])


@fault(2)
async def pause_worker(rig: Rig, rng: random.Random) -> None:
    """A worker that wakes must claim nobody on what it knew before."""
    await _pause(rig, rng, [*rig.workers])


# The network between clients and gateways.


def _some_links(rig: Rig, rng: random.Random) -> tuple[GatewaySeat, list[Link]]:
    seat = rng.choice(rig.gateways)
    links = sorted(seat.clients, key=lambda link: link.caller)
    return seat, rng.sample(links, k=rng.randint(1, len(links))) if links else []


@fault(12)
async def cut_clients(rig: Rig, rng: random.Random) -> None:
    """Reset some connections, with whatever is on its way."""
    seat, links = _some_links(rig, rng)
    async with rig.fault("cut clients", seat.name, detail=f"{len(links)}"):
        for link in links:
            link.cut()


@fault(8)
async def freeze_clients(rig: Rig, rng: random.Random) -> None:
    """Nothing gets through in one direction, or in both; later it does."""
    seat, links = _some_links(rig, rng)
    up, down = rng.choice(((True, False), (False, True), (True, True)))
    duration = rng.choice((0.2, 1.0, 3.0, 6.0))
    way = {(True, False): "from", (False, True): "to", (True, True): "from and to"}[up, down]
    detail = f"{len(links)}, {duration} s"
    async with rig.fault(f"silence {way} clients", seat.name, detail=detail, blinds=rig.devices_of(links)):
        for link in links:
            link.freeze(up=up, down=down)
        await asyncio.sleep(duration)
        for link in links:
            link.thaw()


@fault(5)
async def half_open_clients(rig: Rig, rng: random.Random) -> None:
    """One side is gone and the other never learns."""
    seat, links = _some_links(rig, rng)
    async with rig.fault("half-open clients", seat.name, detail=f"{len(links)}", blinds=rig.devices_of(links)):
        for link in links:
            link.leave_half_open(rng)
        await asyncio.sleep(HEARTBEAT_TTL)
        for link in links:
            link.cut()


# The network between programs and the store.


@fault(8)
async def cut_store_links(rig: Rig, rng: random.Random) -> None:
    """Reset some of the connections of one program to the store."""
    seat = rng.choice(rig.seats)
    links = sorted(seat.store.links, key=lambda link: link.caller)
    if links:
        async with rig.fault("cut from the store", seat.name):
            for link in rng.sample(links, k=rng.randint(1, len(links))):
                link.cut()


@fault(8)
async def freeze_store_links(rig: Rig, rng: random.Random) -> None:
    """Some connections of one program to the store carry nothing in one direction, or in both, for a while."""
    seat = rng.choice(rig.seats)
    links = sorted(seat.store.links, key=lambda link: link.caller)
    if not links:
        return
    up, down = rng.choice(((True, False), (False, True), (True, True)))
    duration = rng.choice((0.1, 0.5, 2.0, 5.0))
    detail = f"{duration} s, {'no questions' if up else 'questions'}, {'no answers' if down else 'answers'}"
    async with rig.fault("silence to the store", seat.name, detail=detail, blinds=rig.devices_at(seat)):
        chosen = rng.sample(links, k=rng.randint(1, len(links)))
        for link in chosen:
            link.freeze(up=up, down=down)
        await asyncio.sleep(duration)
        for link in chosen:
            link.thaw()


# The store.


async def _ask_store(rig: Rig, name: str, *command: str) -> None:
    """One command to the store, if it is there."""
    async with rig.fault(name, "store"), rig.redis() as client:
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


@fault(5)
async def kill_store(rig: Rig, rng: random.Random) -> None:
    """`kill -9`, and started again on what its disk has."""
    if rig.store_busy.locked():
        return
    async with rig.store_busy, rig.fault("kill -9", "store", outage=True):
        rig.store.kill()
        await asyncio.sleep(rng.choice((0, 0.3, 1.5)))
        await rig.start_store()


@fault(2)
async def terminate_store(rig: Rig, rng: random.Random) -> None:
    """SIGTERM, and started again."""
    if rig.store_busy.locked():
        return
    async with rig.store_busy, rig.fault("SIGTERM", "store", outage=True):
        assert rig.store.process is not None
        rig.store.process.terminate()
        await rig.store.process.exit_code(30)
        await rig.start_store()


@fault(4)
async def pause_store(rig: Rig, rng: random.Random) -> None:
    """It does not answer, and nobody is told why."""
    if rig.store_busy.locked():
        return
    duration = rng.choice((0.1, 0.5, 1.5, 3.0))
    async with rig.store_busy, rig.fault("SIGSTOP", "store", detail=f"{duration} s", outage=True):
        rig.store.pause()
        try:
            await asyncio.sleep(duration)
        finally:
            rig.store.wake()


@fault(0.7)
async def store_away(rig: Rig, rng: random.Random) -> None:
    """Away for longer than a heartbeat lasts: nobody may be announced as crashed for it."""
    if rig.store_busy.locked():
        return
    duration = HEARTBEAT_TTL * rng.uniform(1.2, 2.0)
    async with rig.store_busy, rig.fault("away", "store", detail=f"{duration:.1f} s", outage=True):
        if rng.random() < 0.5:
            rig.store.kill()
            await asyncio.sleep(duration)
            await rig.start_store()
        else:
            rig.store.pause()
            await asyncio.sleep(duration)
            rig.store.wake()


@fault(1.5)
async def full_memory(rig: Rig, rng: random.Random) -> None:
    """`maxmemory` is reached: the store answers, and refuses every write."""
    if rig.store_busy.locked():
        return
    async with rig.store_busy, rig.fault("maxmemory", "store", outage=True), rig.redis() as client:
        await client.config_set("maxmemory", "1mb")
        await asyncio.sleep(rng.choice((0.2, 1.0, 3.0)))
        await client.config_set("maxmemory", "0")


@fault(1)
async def full_disk(rig: Rig, rng: random.Random) -> None:
    """The store can write no more to its file, gives up in the middle of an entry, and is started with room again."""
    if rig.store_busy.locked():
        return
    async with rig.store_busy, rig.fault("full disk", "store", outage=True):
        rig.limit_files(rig.store_file_size() + rng.randint(1, 3000))
        assert rig.store.process is not None
        try:
            await rig.store.process.exit_code(10)
        except AssertionError:  # nobody wrote enough
            rig.store.kill()
        await rig.start_store()


# What the store loses.


@fault(0.3, loses=True)
async def flush_all(rig: Rig, rng: random.Random) -> None:
    """Everything is gone."""
    async with rig.fault("FLUSHALL", "store", loses=0.0, undoes=0.0), rig.redis() as client:
        with contextlib.suppress(redis.RedisError, OSError):
            await client.flushall()


async def _lose_key(rig: Rig, rng: random.Random, kind: str, *, loses: bool) -> None:
    async with rig.redis() as client:
        try:
            keys = sorted([key async for key in client.scan_iter(match=f"*:{kind}", count=1000)])
            owner = rng.choice(("{#", "{s:"))
            key = rng.choice([key for key in keys if owner in key])
            log = key.partition("{")[2].partition("}")[0]
            log = f"@{log[2:]}" if log.startswith("s:") else log
            start = 0.0 if loses else None
            async with rig.fault(f"DEL {kind}", "store", detail=log, logs=[log], loses=start, undoes=0.0):
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


# Clients.


@fault(1.5)
async def jump_clock(rig: Rig, rng: random.Random) -> None:
    """A device starts again without its counter, and with a wrong clock."""
    device = rng.choice([device for device in rig.devices.values() if hasattr(device, "forget_counter")])
    shift = rng.choice((-3600.0, -5.0, 3600.0))
    async with rig.fault("clock jump", device.name, detail=f"{shift:+} s"):
        device.forget_counter(shift)


@fault(4)
async def leave_text(rig: Rig, rng: random.Random) -> None:
    """A text client ends its connection, and comes back."""
    some = [device for device in rig.devices.values() if hasattr(device, "leave") and device.connected]
    if some:
        device = rng.choice(some)
        async with rig.fault("hang up", device.name):
            await device.leave()


class Nemesis:
    """Chooses faults by their weights, `rate` a second, until `duration` has passed or `most` were done."""

    def __init__(self, rig: Rig, rng: random.Random, *, rate: float, kinds: "list[Kind]") -> None:
        self._rig, self._rng, self._rate, self._kinds = rig, rng, rate, kinds
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, duration: float) -> None:
        """Do harm for so many seconds; returns when all of it is healed."""
        if not self._kinds:
            await asyncio.sleep(duration)
            return
        weights = [kind.weight for kind in self._kinds]
        try:
            async with asyncio.timeout(duration):
                while True:
                    await asyncio.sleep(self._rng.expovariate(self._rate))
                    kind = self._rng.choices(self._kinds, weights)[0]
                    while len(self._tasks) >= AT_ONCE:
                        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                    task = asyncio.create_task(self._do(kind, random.Random(self._rng.random())), name=kind.name)
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
        except TimeoutError:
            pass
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _do(self, kind: Kind, rng: random.Random) -> None:
        try:
            await kind.deed(self._rig, rng)
        except Exception as error:  # noqa: BLE001 - a program that does not start again, for one
            self._rig.tape.add(Wrong(self._rig.tape.now(), kind.name, f"{type(error).__name__}: {error}"))
