"""The processes of a run and what stands between them: a store, gateways and workers, and a proxy on every way."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.chaos.history import Fault, Tape, Wrong
from tests.chaos.proxy import Link, Proxy
from tests.chaos.stores import Single
from tests.support.processes import Gateway, Process, Worker
from tests.support.store import free_port

HEARTBEAT_INTERVAL, HEARTBEAT_TTL = 1.0, 4.0
STOP_S = 30.0
"""How long a program may take to stop after SIGTERM, on a machine under such a load."""


class Door:
    """Where devices find a gateway; has what `tests.support` wants to know of one."""

    def __init__(self, name: str, tcp_port: int, http_port: int) -> None:
        self.name = name
        self.tcp = ("127.0.0.1", tcp_port)
        self.http = f"http://127.0.0.1:{http_port}"
        self.ws = f"ws://127.0.0.1:{http_port}/ws"


class Seat:
    """The place of one program: its ports and proxies stay while processes come and go."""

    def __init__(self, name: str, rig: "Rig") -> None:
        self.name = name
        self.rig = rig
        self.busy = asyncio.Lock()
        """Held by the fault that stops and starts it."""
        self.process: Process | None = None
        self.store = Proxy(lambda: ("127.0.0.1", rig.store.server.port))

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.alive

    def make(self) -> Process:
        """Launch the program."""
        raise NotImplementedError

    async def open(self) -> None:
        """Listen on the proxies."""
        await self.store.start()

    async def start(self) -> None:
        """Launch the program and wait until it is ready."""
        self.process = self.make()
        await asyncio.to_thread(self.process.wait_ready)

    async def stop(self) -> None:
        """SIGTERM; it must end with status 0."""
        assert self.process is not None
        process = self.process
        process.terminate()
        try:
            status = await process.exit_code(STOP_S)
        except AssertionError as error:
            self.rig.wrong(self.name, f"does not stop: {error}")
            process.kill()
            return
        if status != 0:
            self.rig.wrong(self.name, f"ended with {status} after SIGTERM: {process.stderr[-2000:]}")

    def look_at_log(self) -> None:
        """A traceback in a log is a bug, whatever happened."""
        if self.process is not None and "Traceback" in self.process.stderr:
            self.rig.wrong(self.name, f"traceback: {self.process.stderr[-3000:]}")

    async def close(self) -> None:
        """End all of it."""
        if self.process is not None:
            self.look_at_log()
            self.process.close()
        await self.store.close()

    def settings(self) -> dict[str, Any]:
        """What every program of the run is given."""
        return {
            "redis_url": self.rig.store.url(self.store),
            "min_replicas": self.rig.min_replicas,
            "heartbeat_interval": HEARTBEAT_INTERVAL,
            "heartbeat_ttl": HEARTBEAT_TTL,
            "history_limit": 10_000_000,
            "room_bytes": 10_000_000_000,
            "rate_limit": 0,
            "log_level": "warning",
        }


class GatewaySeat(Seat):
    """The place of a gateway."""

    def __init__(self, name: str, rig: "Rig") -> None:
        super().__init__(name, rig)
        self.tcp_port, self.http_port = free_port(), free_port()
        self.tcp = Proxy(lambda: ("127.0.0.1", self.tcp_port))
        self.http = Proxy(lambda: ("127.0.0.1", self.http_port))
        self.door = Door(name, self.tcp.port, self.http.port)
        """Through the proxies."""
        self.direct = Door(name, self.tcp_port, self.http_port)

    async def open(self) -> None:
        await super().open()
        await self.tcp.start()
        await self.http.start()

    def make(self) -> Process:
        return Gateway(http_port=self.http_port, tcp_port=self.tcp_port, gateway_id=self.name, **self.settings())

    @property
    def clients(self) -> list[Link]:
        """The connections of clients through the proxies."""
        return [*self.tcp.links, *self.http.links]

    async def close(self) -> None:
        await super().close()
        await self.tcp.close()
        await self.http.close()


class WorkerSeat(Seat):
    """The place of a worker."""

    def make(self) -> Process:
        return Worker(**self.settings())


class Rig:
    """A store with an append-only file that is synced always, some gateways and workers."""

    def __init__(
        self,
        tape: Tape,
        rng: random.Random,
        store: Single,
        *,
        min_replicas: int = 0,
        gateways: int = 3,
        workers: int = 2,
    ) -> None:
        self.tape, self.rng, self.store, self.min_replicas = tape, rng, store, min_replicas
        self.gateways = [GatewaySeat(f"g{i}", self) for i in range(gateways)]
        self.workers = [WorkerSeat(f"w{i}", self) for i in range(workers)]
        self.devices: dict[str, Any] = {}
        self.faults: list[Fault] = []

    @property
    def seats(self) -> list[Seat]:
        return [*self.gateways, *self.workers]

    async def start(self) -> None:
        """Start everything."""
        await self.store.start()
        for seat in self.seats:
            await seat.open()
        await asyncio.gather(*[seat.start() for seat in self.seats])

    async def close(self) -> None:
        """End everything."""
        for seat in self.seats:
            await seat.close()
        self.store.close()

    def wrong(self, who: str, text: str) -> None:
        """Note something that must not happen."""
        self.tape.add(Wrong(self.tape.now(), who, text))

    # -- faults ----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def fault(self, name: str, who: str, **fields: Any) -> AsyncIterator[Fault]:
        """Note what is done inside as one fault, from its beginning to its healing."""
        fault = Fault(self.tape.now(), who, name, 0.0, **fields)
        self.faults.append(fault)
        try:
            yield fault
        finally:
            fault.until = self.tape.now()
            self.tape.add(fault)

    def devices_at(self, seat: Seat) -> list[str]:
        """The devices that are connected to a gateway."""
        return [device.name for device in self.devices.values() if device.connected and device.gateway == seat.name]

    def devices_of(self, links: "list[Link]") -> list[str]:
        """The devices whose connections these are."""
        ports = {link.caller for link in links}
        return [device.name for device in self.devices.values() if getattr(device, "port", 0) in ports]
