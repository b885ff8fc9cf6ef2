"""Sends on their way to the store.

What is read in one turn of the loop leaves in one write, a batch a room and several rooms a call. While a call is away
others gather, so that they grow with the load: the next leaves when it is back, or after `GATHER_S`; few are away at a
time, and the room that has waited longest goes first. A room has one batch away at a time, so order from one device to
one target is kept. Direct messages of a device go one after another. When it is not known whether something was posted,
everything of the same device and target that was read before fails with it: sending it all again then keeps the order.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from causerie import names
from causerie.errors import Goodbye, Refused, Unavailable
from causerie.metrics import Metrics
from causerie.model import Origin, Outcome, Post

if TYPE_CHECKING:
    from causerie.store import Store
    from gateway.hub import Hub
    from gateway.intake import Client

MOST_POSTS: Final = 64
"""Messages of one call: what the script does in a few milliseconds."""

MOST_CALLS: Final = 2
"""Calls that are with the store: it does one after the other, and who waits here longer leaves with more."""

MOST_SMALL_CALLS: Final = 64
"""The same where a call takes one room."""

GATHER_S: Final = 0.005
"""How long rooms wait for a call of other rooms to come back."""

log = logging.getLogger(__name__)


Key = str | tuple[str, str]
"""A room, or the (sid, device) whose direct messages these are."""


class Waiting(msgspec.Struct):
    """A message for which a connection wants an answer; `to` is empty for a room."""

    connection: Client
    re: int | None
    post: Post
    to: list[str]

    @property
    def origin(self) -> Origin:
        assert self.post.origin is not None
        return self.post.origin


Batch = tuple[str, list[Waiting]]
"""Messages for one room."""


class Committer:
    """Gives messages to the store and their outcomes to the connections."""

    def __init__(self, store: Store, hub: Hub, metrics: Metrics) -> None:
        self._store = store
        self._hub = hub
        self._metrics = metrics
        self._queues: dict[Key, deque[Waiting]] = {}
        """What waits; a key is here while something waits or is away."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._gathering: deque[str] = deque()
        """Rooms whose next batch can leave, the longest waiting first."""
        self._away = 0
        """Calls for rooms that are with the store."""
        self._most_away = MOST_CALLS if store.logs.rooms_a_call > 1 else MOST_SMALL_CALLS
        self._start: asyncio.Handle | None = None

    def post(self, room: str, waiting: Waiting) -> None:
        """Queue a message for a room; `Connection.settled` is called with its outcome."""
        queue = self._queues.get(room)
        if queue is not None:
            queue.append(waiting)
        else:
            self._queues[room] = deque((waiting,))
            self._gather(room)

    def direct(self, waiting: Waiting) -> None:
        """Queue a direct message."""
        key = (waiting.origin.sid, waiting.origin.device)
        queue = self._queues.get(key)
        if queue is not None:
            queue.append(waiting)
        else:
            queue = self._queues[key] = deque((waiting,))
            self._run(self._send(key, queue))

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("committer failed", exc_info=error)

    # -- rooms -----------------------------------------------------------------------------------------------------

    def _gather(self, room: str) -> None:
        self._gathering.append(room)
        if self._start is None and self._away < self._most_away:
            if self._away:
                self._start = self._loop.call_later(GATHER_S, self._leave)
            else:
                self._leave_soon()

    def _leave_soon(self) -> None:
        if self._start is not None:
            self._start.cancel()
        self._start = self._loop.call_soon(self._leave)

    def _leave(self) -> None:
        """A batch of each room in which something waits, as far as calls may be away."""
        self._start = None
        while self._gathering and self._away < self._most_away:
            self._go(self._call())

    def _call(self) -> list[Batch]:
        """What leaves together."""
        call: list[Batch] = []
        room_for = MOST_POSTS
        while self._gathering and room_for and len(call) < self._store.logs.rooms_a_call:
            room = self._gathering.popleft()
            queue = self._queues[room]
            batch = [queue.popleft() for _ in range(min(len(queue), room_for))]
            call.append((room, batch))
            room_for -= len(batch)
        return call

    def _go(self, call: list[Batch]) -> None:
        self._away += 1
        self._hub.hold()
        self._metrics.store_batches += 1
        self._metrics.commits += sum(len(batch) for _, batch in call)
        posts = [(room, [waiting.post for waiting in batch]) for room, batch in call]
        try:
            self._store.logs.begin_append(posts, partial(self._answered, call))
        except Exception as error:  # noqa: BLE001 - whoever waits has to hear of it
            self._answered(call, error)

    def _answered(self, call: list[Batch], found: list[Outcome] | Exception) -> None:
        """Soon: the news of what was posted may be among what was read in this turn, and come first."""
        self._loop.call_soon(self._back, call, found)

    def _back(self, call: list[Batch], found: list[Outcome] | Exception) -> None:
        posted: dict[str, int] = {}
        try:
            if isinstance(found, Exception):
                self._fail_all(call, found)
            else:
                posted = self._settle_all(call, found)
        except Exception:  # the rooms have to go on
            log.exception("answers failed")
        crowded = self._away == self._most_away
        self._away -= 1
        self._hub.release(posted)
        for room, _ in call:
            if self._queues[room]:
                self._gather(room)
            else:
                del self._queues[room]
        if self._gathering and (crowded or not self._away):
            self._leave_soon()

    def _settle_all(self, call: list[Batch], outcomes: list[Outcome]) -> dict[str, int]:
        """Tell everybody; up to which seq something was posted in each room."""
        posted: dict[str, int] = {}
        at = 0
        for room, batch in call:
            its = outcomes[at : at + len(batch)]
            at += len(batch)
            for waiting, outcome in zip(batch, its, strict=True):
                self._settle(waiting, room, outcome)
            posted[room] = max([outcome.seq for outcome in its])
        return posted

    def _fail_all(self, call: list[Batch], error: Exception) -> None:
        if not isinstance(error, Unavailable):
            log.error("committer failed", exc_info=error)
        for room, batch in call:
            self._fail(room, self._queues[room], batch)

    # -- direct messages -------------------------------------------------------------------------------------------

    async def _send(self, key: Key, queue: deque[Waiting]) -> None:
        try:
            await self._send_all(queue)
        finally:
            del self._queues[key]
            if queue:  # a bug stopped us
                self._fail(names.INBOX, queue, [])

    async def _send_all(self, queue: deque[Waiting]) -> None:
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
            self._settle(waiting, names.INBOX, outcome)

    @staticmethod
    def _settle(waiting: Waiting, target: str, outcome: Outcome) -> None:
        try:
            waiting.connection.settled(waiting.re, target, outcome)
        except Exception:  # the others of the batch have to be told too
            log.exception("an answer failed")
            waiting.connection.abort()

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
            self._settle(waiting, target, Outcome(0, False, Unavailable()))
