"""One run: everything is started, harmed for a while, left in peace, and read out for the checker."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import msgspec

from tests.chaos.faults.failover import watch
from tests.chaos.history import AnyRecord, End, Kept, Settings, Standing, Tape, Welcome
from tests.chaos.json_device import JsonDevice
from tests.chaos.kinds import Kind
from tests.chaos.nemesis import Nemesis
from tests.chaos.rig import HEARTBEAT_INTERVAL, HEARTBEAT_TTL, Rig
from tests.chaos.stores import Pair, Single
from tests.chaos.text_device import TextDevice
from tests.support.json_client import JsonClient

ROOMS = ["#r0", "#r1", "#r2"]
BEGIN_S = 3.0
"""Seconds of peace at the beginning."""
READ_TRIES = 3
SETTLE_S = 60.0
"""How long after the last fault everything may take to be as it should."""


class Run:
    """`records` has the history when `go` has returned."""

    def __init__(
        self,
        *,
        seed: int,
        duration: float,
        rate: float,
        kinds: Sequence[Kind],
        load: float,
        store: Single,
        min_replicas: int,
    ) -> None:
        self.rng = random.Random(seed)
        self.tape = Tape()
        self.tape.add(
            Settings(0.0, "run", seed=seed, heartbeat_interval=HEARTBEAT_INTERVAL, heartbeat_ttl=HEARTBEAT_TTL)
        )
        self.duration, self.rate, self.kinds, self.load = duration, rate, list(kinds), load
        self.rig = Rig(self.tape, self.rng, store, min_replicas=min_replicas)
        self.devices: list[JsonDevice] = []
        self.texts: list[TextDevice] = []
        self._living: list[asyncio.Task[None]] = []

    @property
    def records(self) -> list[AnyRecord]:
        return self.tape.records

    async def go(self) -> None:
        """Do all of it."""
        try:
            await self.rig.start()
            if isinstance(self.rig.store, Pair):
                self._living.append(asyncio.create_task(watch(self.rig, self.rig.store)))
            self._people()
            for device in [*self.devices, *self.texts]:
                self._living.append(asyncio.create_task(device.live(), name=device.name))
            producing = [asyncio.create_task(device.produce()) for device in self.devices]
            await asyncio.sleep(BEGIN_S)
            await Nemesis(self.rig, self.rng, rate=self.rate, kinds=self.kinds).run(self.duration)
            self.tape.add(End(self.tape.now(), "run"))
            for task in producing:
                task.cancel()
            await self._settle()
            await self._read_out()
        finally:
            for task in self._living:
                task.cancel()
            await asyncio.gather(*self._living, return_exceptions=True)
            await self.rig.close()

    def _people(self) -> None:
        doors = [seat.door for seat in self.rig.gateways]
        direct = [seat.direct for seat in self.rig.gateways]
        names = ["p0", "p1", "p2", "p3", "p4", "p5", "p0/b"]
        for i, name in enumerate(names):
            rooms = ROOMS if name.startswith("p0") else self.rng.sample(ROOMS, k=2)
            first = self.devices[0].cookie if name == "p0/b" else ""
            self.devices.append(
                JsonDevice(
                    name, self.tape, random.Random(self.rng.random()), rooms=rooms, doors=doors,
                    transport=("tcp", "ws")[i % 2], cookie=first, window=(1, 8)[i // 2 % 2],
                    rate=self.load / len(names),
                )
            )  # fmt: skip
        for i in range(3):
            rooms = self.rng.sample(ROOMS, k=2)
            self.texts.append(
                TextDevice(f"t{i}", self.tape, random.Random(self.rng.random()), rooms=rooms, doors=direct)
            )
        everybody = [device.nick for device in self.devices if not device.device] + [text.name for text in self.texts]
        for device in self.devices:
            device.peers = [nick for nick in everybody if nick != device.nick]
        self.rig.devices = {device.name: device for device in [*self.devices, *self.texts]}

    # -- the end ---------------------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Until everybody is connected and everything is acknowledged."""
        end = asyncio.get_running_loop().time() + SETTLE_S
        while not self._is_settled():
            self._check_living()
            if asyncio.get_running_loop().time() > end:
                late = [device.name for device in [*self.devices, *self.texts] if not device.connected]
                waiting = {device.name: device.waiting for device in self.devices if device.waiting}
                self.rig.wrong("run", f"not settled after {SETTLE_S:g} s: not connected {late}, not acked {waiting}")
                break
            await asyncio.sleep(0.1)
        await asyncio.sleep(2.0)

    def _check_living(self) -> None:
        """A device that fails by itself is a fault of the harness, not to be taken for a silent server."""
        for task in self._living:
            if task.done():
                task.result()

    def _is_settled(self) -> bool:
        return all(device.connected for device in [*self.devices, *self.texts]) and not any(
            device.waiting for device in self.devices
        )

    async def _read_out(self) -> None:
        """Every log as the chat gives it now."""
        people = [*[device for device in self.devices if not device.device], *self.texts]
        rooms = list(ROOMS)
        for person in people:
            for left in reversed(range(READ_TRIES)):
                try:
                    rooms = await self._read_logs_of(person, rooms)
                    break
                except (AssertionError, OSError) as error:  # its session may be lost, and its gateway not know it yet
                    if not left:
                        self.rig.wrong("run", f"the logs of {person.name} cannot be read: {error}")
                    await asyncio.sleep(HEARTBEAT_TTL)
        if rooms:
            self.rig.wrong("run", f"nobody is in {rooms} at the end")

    async def _read_logs_of(self, person: JsonDevice | TextDevice, rooms: list[str]) -> list[str]:
        """The inbox, and those of the rooms that it is in; the others are left."""
        client = await JsonClient.open(self.rig.gateways[0].direct, name=f"reader for {person.name}")
        try:
            hello = await client.hello(cookie=person.cookie, device="reader")
            standings = {log: msgspec.convert(value, Standing) for log, value in hello["rooms"].items()}
            if isinstance(person, TextDevice):
                self.tape.add(Welcome(self.tape.now(), person.name, hello["session"], True, {}))
            for log in ["@", *[room for room in rooms if room in standings]]:
                name = f"@{hello['session']}" if log == "@" else log
                entries = await _history(client, log)
                self.tape.add(Kept(self.tape.now(), "reader", name, standings[log].epoch, entries))
        finally:
            client.abort()
        return [room for room in rooms if room not in standings]


async def _history(client: JsonClient, log: str) -> list[tuple[int, str, str]]:
    """All that is kept of a log."""
    pages: list[list[dict[str, Any]]] = []
    before: dict[str, int] = {}
    while True:
        data = (await client.ask("history", of=log, limit=1000, want="result", **before))["data"]
        if not data["messages"]:
            break
        pages.append(data["messages"])
        before = {"before": data["messages"][0]["seq"]}
    return [(m["seq"], m["mid"], m["body"]) for page in reversed(pages) for m in page]
