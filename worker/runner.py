"""Runs the sweeps. Nothing is elected: each round of a sweep is claimed under its name and due time, one
worker wins.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import pkgutil
import secrets
import signal
import sys
import time
from collections.abc import Coroutine
from typing import Any

import structlog
import uvloop

from causerie.errors import Unavailable, Unfit
from causerie.service import Service
from causerie.settings import Settings
from causerie.store import Store
from worker import sweeps
from worker.games import Runners
from worker.notifications import Expiries
from worker.outage import Outage
from worker.sweeps.sessions import look

_log = structlog.get_logger()


def run(settings: Settings) -> int:
    """Work until SIGINT or SIGTERM; the exit status."""
    for module in pkgutil.iter_modules(sweeps.__path__):
        importlib.import_module(f"worker.sweeps.{module.name}")
    try:
        uvloop.run(Worker(settings).main())
    except Unfit as error:
        print(f"causerie: {error}", file=sys.stderr)
        return 2
    return 0


class Worker:
    """One worker process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.id = f"w-{secrets.token_hex(4)}"

    async def main(self) -> None:
        """Wait for the store, say `ready`, work, stop. Raises `Unfit`."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        store = await Store.open(self.settings)
        outage = Outage(store, interval=self.settings.heartbeat_interval, ttl=self.settings.heartbeat_ttl)
        context = sweeps.Context(store, self.settings, outage, Service(store, self.settings).files)
        working = asyncio.create_task(self._work(context))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            working.cancel()
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await working
        finally:
            stopping.cancel()
            await store.close()

    async def _work(self, context: sweeps.Context) -> None:
        while True:
            with contextlib.suppress(Unavailable):
                await context.store.check_format()
                await context.outage.first_look()
                break
            await asyncio.sleep(0.2)
        print(f"ready worker={self.id}", flush=True)
        expiries = Expiries(context.store)
        async with asyncio.TaskGroup() as group:
            group.create_task(context.outage.watch())
            group.create_task(expiries.listen())
            group.create_task(self._fast(context, expiries))
            group.create_task(Runners(context.store, self.id).run())
            for entry in sweeps.REGISTRY:
                group.create_task(self._repeat(context, entry))

    async def _repeat(self, context: sweeps.Context, entry: sweeps.Entry) -> None:
        period = entry.every(context)
        while True:
            await self._guarded(entry.name, self._round(context, entry, period))
            await asyncio.sleep(period)

    async def _round(self, context: sweeps.Context, entry: sweeps.Entry, period: float) -> None:
        if entry.everywhere or await context.store.claim_round(entry.name, period):
            await entry.run(context)

    async def _fast(self, context: sweeps.Context, expiries: Expiries) -> None:
        while True:
            sids = await expiries.get()
            if context.outage.over:
                await self._guarded("expiries", self._look(context, sids))

    @staticmethod
    async def _look(context: sweeps.Context, sids: list[str]) -> None:
        now = await context.store.sessions.now_ms()
        context.outage.seen()
        if context.outage.over:
            await look(context, sids, now)

    @staticmethod
    async def _guarded(name: str, round_: Coroutine[Any, Any, None]) -> None:
        """A round that fails is logged; the next one goes on."""
        started = time.monotonic()
        try:
            await round_
        except Unavailable:
            _log.info("store away", sweep=name, seconds=round(time.monotonic() - started, 3))
        except Exception:  # noqa: BLE001 - a bug in one sweep must not stop the others
            _log.exception("sweep failed", sweep=name)
