"""Gateways and workers are killed, stopped, put to sleep."""

import asyncio
import random

from tests.chaos.kinds import fault
from tests.chaos.rig import HEARTBEAT_TTL, Rig, Seat


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
