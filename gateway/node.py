"""One gateway: its parts, wired."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Coroutine
from typing import Any, Final

from causerie.errors import Goodbye, Unavailable, Unfit
from causerie.metrics import Metrics
from causerie.model import Mids
from causerie.service import Service
from causerie.settings import Settings
from causerie.store import Store
from causerie.waiting import set_within
from gateway.addresses import Addresses
from gateway.batch import encoded
from gateway.committer import Committer
from gateway.control import ControlLoop
from gateway.heartbeats import Wheel
from gateway.hub import Hub
from gateway.limits import Limits, Shares
from gateway.notes import Notes
from gateway.proxies import Proxies
from gateway.reader import Reader
from gateway.relay import Relay
from gateway.writer import writer

HELLOS_AT_ONCE: Final = 64
"""Hellos that are with the store at the same time; the others of a storm wait."""
RETRY_S: Final = 0.25
CARE_S: Final = 1.0
"""Seconds between rounds of the small periodic work."""
COMPARED_A_ROUND: Final = 20
"""Channels compared with the store in such a round."""

log = logging.getLogger(__name__)


class Node:
    """Holds sockets and nothing else: all that must last is in the store."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.settings = settings
        self.id = settings.gateway_id
        self.loop = asyncio.get_running_loop()
        self.counted = Metrics()
        self.store = store
        self.service = Service(store, settings)
        self.mids = Mids()
        self.addresses = Addresses()
        self.proxies = Proxies(settings.trusted_proxies)
        self.limits = Limits(settings.rate_limit, self.loop.time)
        self.shares = Shares(self)
        self.hub = Hub(self.counted, self.loop, writer())
        self.reader = Reader(store, self.counted)
        self.notes = Notes(self)
        self.relay = Relay(self.hub, store, self.reader, self.counted, self.notes)
        store.direct.on_copy = self.relay.note_copy
        self.committer = Committer(store, self.hub, self.counted)
        self.wheel = Wheel(
            self,
            interval=settings.heartbeat_interval,
            ttl=settings.heartbeat_ttl,
            stall=settings.stall_timeout,
        )
        self.control = ControlLoop(self)
        self.hellos = asyncio.Semaphore(HELLOS_AT_ONCE)
        self.stopping = asyncio.Event()
        """Nobody new is taken any more."""
        self.leaving = asyncio.Event()
        """It is time to say goodbye."""
        self.stop_reason = ""
        self._leave_at = math.inf
        self._reached = False
        self._tasks: set[asyncio.Task[Any]] = set()

    # -- what others ask -------------------------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """Whether hellos are taken."""
        return self._reached and not self.stopping.is_set()

    @property
    def dead_after(self) -> float:
        """Seconds without a sign of the peer's TCP after which a connection is dead."""
        settings = self.settings
        return max(settings.heartbeat_ttl, settings.stall_timeout) + settings.heartbeat_interval

    @property
    def ready(self) -> bool:
        """Whether delivery was just proven to work, and the gateway is not stopping."""
        feed = self.relay.feed
        return self.open and self.store.up and feed is not None and feed.proven

    @property
    def metrics(self) -> Metrics:
        """What was counted, with the gauges as they are now."""
        everybody = self.wheel.everybody()
        self.counted.connections_now = len(everybody)
        self.counted.sessions_now = sum(client.session is not None for client in everybody)
        self.counted.encodings = encoded.count
        return self.counted

    def jitter(self) -> float:
        """Seconds after which a client may come back, so that a fleet does not come in one instant."""
        spread = 1.0 + len(self.hub.channels) / 2000
        return random.uniform(0.1, 0.1 + min(spread, 15.0))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something small on the side; its bugs reach the log."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, Unavailable):
            log.error("a task failed", exc_info=error)

    # -- life ------------------------------------------------------------------------------------------------------

    async def reach_store(self) -> None:
        """Return when the store was reached and the feed runs; tries as long as it takes. Raises `Unfit`."""
        while True:
            try:
                await self.store.check_format()
                await self.control.begin()
                await self.addresses.load(self.store)
                self.relay.feed = await self.store.feed(self.relay.on_frame, self.relay.on_back, self.control.nudge)
                break
            except Unfit:
                raise
            except Unavailable:
                await asyncio.sleep(RETRY_S)
        self.store.on_state(self._on_state)
        self._reached = True
        self.wheel.start()
        self.spawn(self._care())
        self.control.start()

    def _on_state(self, up: bool) -> None:
        if up:
            self.control.register_again()
            self.wheel.renew_everybody()

    async def _care(self) -> None:
        while not self.leaving.is_set():
            await set_within(self.leaving, CARE_S)
            try:
                self.relay.close_empty()
                self.relay.compare_some(COMPARED_A_ROUND)
                self.limits.forget_full()
                self.shares.forget()
            except Exception:  # the next round is as good
                log.exception("a round of care failed")

    def stop(self, reason: str = "the gateway stops", grace: float = 0.0) -> None:
        """Take nobody new, and leave `grace` seconds from now; asked again, the earlier time holds."""
        at = self.loop.time() + grace
        if at < self._leave_at:
            self.stop_reason, self._leave_at = reason, at
            self.loop.call_at(at, self.leaving.set)
        self.stopping.set()

    def drop_banned(self) -> None:
        """The banned addresses changed: end the connections from there."""
        for client in self.wheel.everybody():
            ban = self.addresses.find(client.address)
            if ban is not None and not client.closing:
                client.goodbye(Goodbye("banned", ban.reason or "your address is banned"))

    async def say_goodbye(self, limit: float) -> None:
        """Tell everybody, write what is queued, take leave of the sessions; give up after `limit` seconds."""
        for client in self.wheel.everybody():
            client.goodbye(Goodbye("shutdown", self.stop_reason, retry_after=self.jitter()))
        end = self.loop.time() + limit
        while (self.wheel.everybody() or self._tasks) and self.loop.time() < end:  # noqa: ASYNC110 - two things, once
            await asyncio.sleep(0.01)
        for client in self.wheel.everybody():
            client.abort()

    async def close(self) -> None:
        """Let go of the store."""
        self.wheel.stop()
        await self.control.stop()
        for task in self._tasks:
            task.cancel()
        if self.relay.feed is not None:
            await self.relay.feed.close()
        await self.store.close()
        self.hub.close()
