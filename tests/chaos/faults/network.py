"""The network between clients and gateways, and between programs and the store."""

import asyncio
import random

from tests.chaos.kinds import fault
from tests.chaos.proxy import Link
from tests.chaos.rig import HEARTBEAT_TTL, GatewaySeat, Rig


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


@fault(8, on="single")
async def cut_store_links(rig: Rig, rng: random.Random) -> None:
    """Reset some of the connections of one program to the store."""
    seat = rng.choice(rig.seats)
    links = sorted(seat.store.links, key=lambda link: link.caller)
    if links:
        async with rig.fault("cut from the store", seat.name):
            for link in rng.sample(links, k=rng.randint(1, len(links))):
                link.cut()


@fault(8, on="single")
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
