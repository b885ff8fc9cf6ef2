"""Pub/sub on a connection of its own: the reader only drains, subscriptions are restored after a loss,
delivery is proven.

Redis cuts subscribers that read too slowly, and a dead connection can look healthy; so a probe is published
to a channel of our own, and when it does not come back the connection is dropped and dialled again.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from typing import Any

from causerie.errors import Unavailable
from causerie.store.connect import Target
from causerie.store.keys import Keys
from causerie.store.resp import Connection, Executor, ReplyError, Wire, pack, resolve
from causerie.waiting import set_within

PROBE_S = 1.0
"""Seconds between probes; delivery counts as proven for three of them."""
BATCH = 500


class Feed:
    """The subscriptions of one process. `on_frame(log, data)` and `on_control(data)` must not block.

    `on_back()` is called when the connection had been lost and every subscription is in place again: whatever
    was published meanwhile is missing and has to be read from the store.
    """

    def __init__(
        self,
        target: Target,
        executor: Executor,
        keys: Keys,
        on_frame: Callable[[str, bytes], None],
        on_back: Callable[[], None],
        on_control: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        self._target, self._executor, self._keys = target, executor, keys
        self._on_frame, self._on_back, self._on_control = on_frame, on_back, on_control
        self._wire: Wire | None = None
        self._logs: set[str] = set()
        self._confirming: dict[bytes, tuple[float, list[asyncio.Future[None]]]] = {}
        """Channel -> when it was asked for, and who waits for it; the oldest first."""
        self._restored: tuple[bytes, asyncio.Future[None]] | None = None
        self._outgoing: list[bytes] = []
        self._probe = f"{keys.prefix}probe:{secrets.token_hex(8)}".encode()
        self._control = keys.control.encode()
        self._loop = asyncio.get_running_loop()
        self._seen = 0.0
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.drops = 0

    @property
    def proven(self) -> bool:
        """Whether something published by ourselves came back within the last three probes."""
        return self._wire is not None and self._loop.time() - self._seen < 3 * PROBE_S

    async def start(self) -> None:
        """Subscribe to the control and probe channels and keep connected. Raises `Unavailable` if that fails
        now.
        """
        first: asyncio.Future[None] = self._loop.create_future()
        self._task = self._loop.create_task(self._keep(first))
        try:
            await first
        except Unavailable:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop for good."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._drop()

    async def subscribe(self, log: str) -> None:
        """Listen to a log; returns when Redis has confirmed. Raises `Unavailable` (and is not subscribed
        then).
        """
        channel = self._keys.of(log).encode()
        asked = self._confirming.get(channel)
        if asked is None:
            if log in self._logs:
                return
            if self._wire is None:
                raise Unavailable
            asked = self._confirming[channel] = (self._loop.time(), [])
            self._logs.add(log)
            self._send("SUBSCRIBE", channel)
        confirmed: asyncio.Future[None] = self._loop.create_future()
        asked[1].append(confirmed)
        await confirmed

    def unsubscribe(self, log: str) -> None:
        """Listen no longer. Frames on their way may still arrive."""
        if log in self._logs:
            self._logs.remove(log)
            if self._wire is not None:
                self._send("UNSUBSCRIBE", self._keys.of(log).encode())

    def _send(self, command: str, channel: bytes) -> None:
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(pack(command, channel))

    def _flush(self) -> None:
        data, self._outgoing = b"".join(self._outgoing), []
        if self._wire is not None:
            self._wire.write(data)

    def _on_reply(self, reply: Any) -> None:
        if not isinstance(reply, list):
            self._drop()
            return
        kind, channel = reply[0], reply[1]
        if kind == b"message":
            self._deliver(channel, reply[2])
        elif kind == b"subscribe":
            for confirmed in self._confirming.pop(channel, (0.0, []))[1]:
                resolve(confirmed, None)
            if self._restored is not None and self._restored[0] == channel:
                resolve(self._restored[1], None)

    def _deliver(self, channel: bytes, data: bytes) -> None:
        if channel == self._control:
            self._on_control(data)
        elif channel == self._probe:
            self._seen = self._loop.time()
        elif (log := self._keys.log_of(channel.decode())) in self._logs:
            self._on_frame(log, data)

    def _drop(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            self.drops += 1
            wire.abort()
        failed, self._confirming = self._confirming, {}
        for channel, (_, waiting) in failed.items():
            self._logs.discard(self._keys.log_of(channel.decode()))
            for confirmed in waiting:
                resolve(confirmed, Unavailable())
        if self._restored is not None:
            resolve(self._restored[1], Unavailable())
        self._outgoing.clear()
        self._lost.set()

    def _on_lost(self, wire: Wire) -> None:
        if wire is self._wire:
            self._drop()

    async def _connect(self) -> None:
        """Dial and restore every subscription."""
        wire = await self._target.dial(lambda: Wire(self._on_reply, self._on_lost))
        self._lost.clear()
        self._wire = wire
        channels = [self._control, self._probe, *(self._keys.of(log).encode() for log in self._logs)]
        last = self._loop.create_future()
        self._restored = (channels[-1], last)
        try:
            for i in range(0, len(channels), BATCH):
                wire.write(pack("SUBSCRIBE", *channels[i : i + BATCH]))
            async with asyncio.timeout(self._target.timeout + len(channels) / 5000):
                await last
        except (TimeoutError, Unavailable):
            self._drop()
            raise
        self._seen = self._loop.time()

    async def _keep(self, first: asyncio.Future[None]) -> None:
        tries = 0
        while True:
            try:
                await self._connect()
            except (OSError, TimeoutError, ReplyError, Unavailable) as error:
                if not first.done():
                    first.set_exception(Unavailable(f"the store cannot be reached: {error}"))
                await asyncio.sleep(Connection.BACKOFF[min(tries, len(Connection.BACKOFF) - 1)])
                tries += 1
                continue
            tries = 0
            if first.done():
                self._on_back()
            else:
                first.set_result(None)
            await self._watch()

    async def _watch(self) -> None:
        """Probe until the connection is lost, or a probe or a subscription is."""
        while self._wire is not None:
            with contextlib.suppress(Unavailable, ReplyError):
                await self._executor.execute("PUBLISH", self._probe, b"")
            await set_within(self._lost, PROBE_S)
            now = self._loop.time()
            oldest = next((since for since, _ in self._confirming.values()), now)
            if now - self._seen > 3 * PROBE_S or now - oldest > self._target.timeout:
                self._drop()
