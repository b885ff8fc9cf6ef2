"""One connection to Redis that everybody in the process shares, pipelined by itself.

Commands issued in one turn of the event loop leave in one write, replies come back in order. redis-py costs
about 30 us a command in pipelines and waits for a free connection of its pool beyond a hundred; this costs a
few us and never waits (docs/performance.md). Parsing is hiredis's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, cast

import hiredis

from causerie.errors import Unavailable
from causerie.waiting import set_within

Arg = bytes | str | int | float


def pack(*args: Arg) -> bytes:
    """A command in RESP."""
    packed: bytes = hiredis.pack_command(args)  # type: ignore[arg-type]
    return packed


class ReplyError(Exception):
    """An error reply of the server; `code` is its first word."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = text.split(" ", 1)[0]


AWAY = frozenset(
    (
        "LOADING",
        "READONLY",
        "MASTERDOWN",
        "CLUSTERDOWN",
        "TRYAGAIN",
        "NOREPLICAS",
        "OOM",
        "MISCONF",
        "BUSY",
        "UNBLOCKED",
        "NOAUTH",
        "WRONGPASS",
    )
)
"""Error replies that mean: not now, perhaps later, be it after an operator has set something right."""

log = logging.getLogger(__name__)


class Trouble:
    """Tells the log why the store cannot be used, once for each reason, and when it can again."""

    MOST = 5
    """Reasons told of one trouble."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def note(self, why: object) -> None:
        """It cannot."""
        text = " ".join(str(why).split()) or type(why).__name__
        if text not in self._told and len(self._told) < self.MOST:
            self._told.add(text)
            log.warning("the store is away: %s", text)

    def over(self) -> None:
        """It can."""
        if self._told:
            self._told.clear()
            log.warning("the store is back")


Done = Callable[[Any], None]
"""Takes a reply; of a command that was refused or not answered, the `ReplyError` or the `Unavailable` (or a bug's)."""


def all_done(replies: list[Any]) -> list[Any]:
    """The replies of `execute_many` where all have to be good. Raises the first `ReplyError` among them, or
    `Unavailable` where it is one of `AWAY`.
    """
    for reply in replies:
        if isinstance(reply, ReplyError):
            raise Unavailable(f"the store says: {reply}") if reply.code in AWAY else reply
    return replies


def resolve(future: asyncio.Future[Any], found: Any, raised: type[Exception] = Unavailable) -> None:
    """Give a result, or what is to be raised, to a future that may be done already and that nobody need wait for."""
    if future.done():
        return
    if isinstance(found, raised):
        future.set_exception(found)
        future.exception()
    else:
        future.set_result(found)


class Executor(Protocol):
    """Whatever runs commands: the shared connection, or redis-py (Cluster, and the fake of unit tests)."""

    one_slot: bool
    """Whether all keys of one script must lie in one slot."""

    def begin(self, done: Done, *args: Arg) -> None:
        """Send one command at once; `done` is called with what comes of it, later."""

    async def execute(self, *args: Arg) -> Any:
        """The reply of one command. Raises `Unavailable` or `ReplyError`."""

    async def execute_many(self, commands: Sequence[tuple[Arg, ...]]) -> list[Any]:
        """The replies of many, in order; error replies come as values. Raises `Unavailable`."""

    async def close(self) -> None:
        """End the connection."""


class ByTask:
    """`begin` for executors that know only how to wait."""

    def __init__(self) -> None:
        self._begun: set[asyncio.Task[None]] = set()

    async def execute(self, *args: Arg) -> Any:
        """See `Executor`."""
        raise NotImplementedError

    def begin(self, done: Done, *args: Arg) -> None:
        """See `Executor`."""
        task = asyncio.get_running_loop().create_task(self._finish(done, args))
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)

    async def _finish(self, done: Done, args: tuple[Arg, ...]) -> None:
        try:
            reply = await self.execute(*args)
        except asyncio.CancelledError:
            hand_over(done, Unavailable())
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for it
            reply = error
        hand_over(done, reply)


def hand_over(done: Done, reply: Any) -> None:
    """Call `done`; a bug in there is no reason to keep other replies from others."""
    try:
        done(reply)
    except Exception:
        log.exception("a reply of the store could not be taken in")


class Wire(asyncio.Protocol):
    """Bytes to replies for one socket; knows nothing of commands."""

    def __init__(self, on_reply: Callable[[Any], None], on_lost: Callable[[Wire], None]) -> None:
        self.reader = hiredis.Reader(replyError=ReplyError, notEnoughData=Ellipsis)
        self.on_reply = on_reply
        self.on_lost = on_lost
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.WriteTransport, transport)

    def write(self, data: bytes) -> None:
        """Send commands. Raises `Unavailable` when the connection is lost."""
        if self.transport is None:
            raise Unavailable("the store hung up")
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        """Hand over every whole reply."""
        reader = self.reader
        reader.feed(data)
        try:
            while self.transport is not None and (reply := reader.gets()) is not ...:
                self.on_reply(reply)
        except hiredis.ProtocolError:  # whoever answers is no Redis
            self.hang_up()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Say so."""
        self.transport = None
        self.on_lost(self)

    def hang_up(self) -> None:
        """End the connection, and tell as if the peer had."""
        if self.transport is not None:
            self.transport.abort()

    def abort(self) -> None:
        """End the connection; no reply comes any more."""
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.abort()


class Connection:
    """A self-mending pipelined connection.

    While it is down, or when a command waits and none was answered for `timeout` seconds, calls raise `Unavailable`
    at once; it comes back by itself within `BACKOFF[-1]` seconds of the server's return.
    """

    BACKOFF = (0.02, 0.05, 0.1, 0.2, 0.3)
    one_slot = False

    def __init__(self, dial: Callable[[Callable[[], Wire]], Any], *, timeout: float = 2.0) -> None:
        self._dial = dial
        self._timeout = timeout
        self._wire: Wire | None = None
        self._waiting: deque[tuple[Done, float]] = deque()
        self._heard = 0.0
        """Loop time of the last reply."""
        self._outgoing: list[bytes] = []
        self._flushing = False
        self._keeper: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._trouble = Trouble()
        self.incarnation = 0
        self.on_state: list[Callable[[bool], None]] = []

    @property
    def up(self) -> bool:
        """Whether there is a connection that answered last time."""
        return self._wire is not None

    async def start(self) -> None:
        """Connect and keep connected from now on. Raises `Unavailable` if the first try fails (and goes on
        trying).
        """
        first: asyncio.Future[None] = self._loop.create_future()
        self._keeper = self._loop.create_task(self._keep(first))
        await first

    async def execute(self, *args: Arg) -> Any:
        """The reply to one command. Raises `Unavailable`, or `ReplyError` for an error reply."""
        reply = await self.submit(*args)
        if isinstance(reply, ReplyError):
            raise self._away(reply) if reply.code in AWAY else reply
        return reply

    def _away(self, reply: ReplyError) -> Unavailable:
        self._trouble.note(reply)
        return Unavailable(f"the store says: {reply}")

    async def execute_many(self, commands: Sequence[tuple[Arg, ...]]) -> list[Any]:
        """The replies of many commands, in one write; error replies come as values. Raises `Unavailable`, also where
        one of them was not done for now.
        """
        futures = [self.submit(*command) for command in commands]
        replies = [await future for future in futures]
        for reply in replies:
            if isinstance(reply, ReplyError) and reply.code in AWAY:
                raise self._away(reply)
        return replies

    def submit(self, *args: Arg) -> asyncio.Future[Any]:
        """Queue one command for this turn's write; error replies come as values, a lost connection as
        exception.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._wire is None:
            resolve(future, Unavailable())
            return future
        self._queue(partial(resolve, future), args)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)
        return future

    def begin(self, done: Done, *args: Arg) -> None:
        """See `Executor`."""
        if self._wire is None:
            self._loop.call_soon(hand_over, done, Unavailable())
            return
        self._queue(partial(self._conclude, done), args)
        self._flush()

    def _queue(self, done: Done, args: tuple[Arg, ...]) -> None:
        self._outgoing.append(pack(*args))
        self._waiting.append((done, self._loop.time()))

    def _conclude(self, done: Done, reply: Any) -> None:
        if isinstance(reply, ReplyError) and reply.code in AWAY:
            reply = self._away(reply)
        hand_over(done, reply)

    def _flush(self) -> None:
        self._flushing = False
        data, self._outgoing = b"".join(self._outgoing), []
        if self._wire is not None and data:
            self._wire.write(data)

    def _on_reply(self, reply: Any) -> None:
        done, _ = self._waiting.popleft()
        self._heard = self._loop.time()
        done(reply)
        if isinstance(reply, ReplyError) and reply.code == "READONLY":
            self.drop()

    def drop(self) -> None:
        """End this connection (a failover, a timeout); the keeper dials again."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.abort()
        self._fail_waiting()
        self._lost.set()

    def _on_lost(self, wire: Wire) -> None:
        if wire is self._wire:
            self.drop()

    def _fail_waiting(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        self._outgoing.clear()
        for done, _ in waiting:
            done(Unavailable())

    async def _connect(self) -> None:
        wire = await self._dial(lambda: Wire(self._on_reply, self._on_lost))
        if wire.transport is None:
            raise Unavailable("the store hung up")
        self._lost.clear()
        self._wire = wire
        self.incarnation += 1

    async def _keep(self, first: asyncio.Future[None]) -> None:
        tries = 0
        while True:
            try:
                await self._connect()
            except (OSError, TimeoutError, ReplyError, Unavailable) as error:
                self._trouble.note(error)
                if not first.done():
                    first.set_exception(Unavailable(f"the store cannot be reached: {error}"))
                await asyncio.sleep(self.BACKOFF[min(tries, len(self.BACKOFF) - 1)])
                tries += 1
                continue
            tries = 0
            self._trouble.over()
            if not first.done():
                first.set_result(None)
            self._tell(True)
            await self._watch()
            self._tell(False)

    async def _watch(self) -> None:
        looked = self._loop.time()
        while self._wire is not None:
            await set_within(self._lost, self._timeout / 4)
            now, before = self._loop.time(), looked
            looked = now
            if now - before > self._timeout / 2:
                continue  # this process was held up: what came meanwhile is to be read first
            if self._is_overdue(now):
                self.drop()

    def _is_overdue(self, now: float) -> bool:
        """Whether nothing was answered for too long. A store that answers one after the other is slow, not away."""
        return bool(self._waiting) and now - max(self._waiting[0][1], self._heard) > self._timeout

    def _tell(self, up: bool) -> None:
        for callback in self.on_state:
            callback(up)

    async def close(self) -> None:
        """Stop for good."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        self.drop()
