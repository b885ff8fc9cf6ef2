"""Sends on their way to the store.

All that gathers while a batch is away goes out as the next one, one batch of a room at a time, so order from one
device to one target is kept and batches grow with the load. Direct messages of a device go one after another. When
it is not known whether something was posted, everything of the same device and target that was read before fails
with it: sending it all again then keeps the order.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from causerie import names
from causerie.errors import Goodbye, Refused, Unavailable
from causerie.metrics import Metrics
from causerie.model import Origin, Outcome, Post

if TYPE_CHECKING:
    from causerie.store import Store
    from gateway.intake import Client

MOST_POSTS: Final = 128
"""Messages of one call: what the script does in a few milliseconds."""

log = logging.getLogger(__name__)


Key = str | tuple[str, str]
"""A room, or the (sid, device) whose direct messages these are."""


class Waiting(NamedTuple):
    """A message for which a connection wants an answer; `to` is empty for a room."""

    connection: Client
    re: int | None
    post: Post
    to: list[str]

    @property
    def origin(self) -> Origin:
        assert self.post.origin is not None
        return self.post.origin


class Committer:
    """Gives messages to the store and their outcomes to the connections."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._queues: dict[Key, deque[Waiting]] = {}
        """A key is here while its task runs."""
        self._tasks: set[asyncio.Task[None]] = set()

    def post(self, room: str, waiting: Waiting) -> None:
        """Queue a message for a room; `Connection.settled` is called with its outcome."""
        self._queue(room, waiting)

    def direct(self, waiting: Waiting) -> None:
        """Queue a direct message."""
        self._queue((waiting.origin.sid, waiting.origin.device), waiting)

    def _queue(self, key: Key, waiting: Waiting) -> None:
        queue = self._queues.get(key)
        if queue is not None:
            queue.append(waiting)
            return
        queue = self._queues[key] = deque((waiting,))
        task = asyncio.get_running_loop().create_task(self._work(key, queue))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("committer failed", exc_info=error)

    async def idle(self) -> None:
        """Wait until everything queued is settled."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _work(self, key: Key, queue: deque[Waiting]) -> None:
        try:
            if isinstance(key, str):
                await self._commit(key, queue)
            else:
                await self._send(queue)
        finally:
            del self._queues[key]
            if queue:  # a bug stopped us
                self._fail(key if isinstance(key, str) else names.INBOX, queue, [])

    async def _commit(self, room: str, queue: deque[Waiting]) -> None:
        while queue:
            batch = [queue.popleft() for _ in range(min(len(queue), MOST_POSTS))]
            self._metrics.store_batches += 1
            self._metrics.commits += len(batch)
            try:
                outcomes = await self._store.logs.append(room, [waiting.post for waiting in batch])
            except BaseException as error:
                self._fail(room, queue, batch)
                if not isinstance(error, Unavailable):
                    raise
                continue
            for waiting, outcome in zip(batch, outcomes, strict=True):
                waiting.connection.settled(waiting.re, room, outcome)

    async def _send(self, queue: deque[Waiting]) -> None:
        while queue:
            waiting = queue.popleft()
            post = waiting.post
            self._metrics.commits += 1
            try:
                outcome = await self._store.direct.send(
                    waiting.origin, post.nick, post.id, post.kind, post.body, post.mid, waiting.to
                )
            except Refused as error:
                if isinstance(error, Unavailable):
                    self._fail(names.INBOX, queue, [waiting])
                    continue
                outcome = Outcome(0, False, error)
            except Goodbye as error:
                outcome = Outcome(0, False, error)
            except BaseException:
                self._fail(names.INBOX, queue, [waiting])
                raise
            waiting.connection.settled(waiting.re, names.INBOX, outcome)

    def _fail(self, target: str, queue: deque[Waiting], batch: list[Waiting]) -> None:
        """Answer `unavailable` to a batch and to all that the same devices have queued behind it."""
        devices = {waiting.origin[:2] for waiting in batch or queue}
        failed = batch + [waiting for waiting in queue if waiting.origin[:2] in devices]
        kept = [waiting for waiting in queue if waiting.origin[:2] not in devices]
        queue.clear()
        queue.extend(kept)
        self._metrics.unavailable += len(failed)
        for connection in {waiting.connection for waiting in failed}:
            connection.poison(target)
        for waiting in failed:
            waiting.connection.settled(waiting.re, target, Outcome(0, False, Unavailable()))
