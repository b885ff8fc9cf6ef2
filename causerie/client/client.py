"""The shell around `causerie.client.core`: sockets, tasks, clocks, and futures for those who wait for
answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import deque
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from causerie.client import files
from causerie.client.core import CONTROL_LANE, Answer, Core, Hangup, lane_name
from causerie.client.files import Progress, SavedFile, SentFile
from causerie.client.lanes import REMEMBERED
from causerie.client.results import Ack, ClientError, Closed, Event, Message, Result, Unreachable
from causerie.client.transport import Transport, TransportError, check_url, open_transport
from causerie.errors import Refused
from causerie.view import View

CONNECT_LIMIT = 5.0
"""Seconds for a connection and its handshake."""

WELCOME_LIMIT = 10.0
"""Seconds for the answer to `hello`."""

MISSED_HEARTBEATS = 2.5
"""Heartbeats of silence after which the server is taken for dead; below three, to be back before one is
`crashed`."""

FIRST_DELAY, LONGEST_DELAY = 0.25, 15.0
"""Seconds: bounds of the back-off; what is waited is a random part of it (full jitter)."""

STEADY = 5.0
"""Seconds that a connection must last to count as a success, so that one that breaks at once is backed off
from."""

T = TypeVar("T")


class Client:
    """One person (or bot), as one device, connected to a chat.

    `urls` are `ws://host:port/ws`, `wss://...` or `tcp://host:port`; several: the next one is tried when one
    fails. `cookie` brings a session back; `nick` makes a new one (with both: the nick is used if the session
    is no more); with the `positions` saved beside it, what came since then follows. `window` limits the sends
    under way for each target; with 1, order holds even where the server refuses some for a moment.
    `patience`: seconds without any server after which the client gives up with `Unreachable`; None: never.
    `backlog`: events kept for a reader that lags; beyond it the oldest are dropped and a `skipped` event says
    so.

    Leaving the `async with` block says goodbye (`quit`), unless `close` has kept the session for another
    time.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        nick: str | None = None,
        device: str = "",
        password: str | None = None,
        admin_token: str | None = None,
        cookie: str | None = None,
        positions: dict[str, dict[str, Any]] | None = None,
        window: int = REMEMBERED,
        patience: float | None = None,
        backlog: int = 20_000,
    ) -> None:
        self.urls = [check_url(url) for url in ([urls] if isinstance(urls, str) else urls)]
        if not self.urls or not (nick or cookie):
            raise ValueError("a client needs an address, and a nick or a cookie")
        self.view = View()
        self._core = Core(
            nick,
            device=device,
            password=password,
            admin_token=admin_token,
            cookie=cookie,
            positions=positions if cookie else None,
            window=min(max(window, 1), REMEMBERED),
        )
        self._patience = patience
        self._backlog = backlog
        self._queue: deque[Event] = deque()
        self._skipped = 0
        self._wake = asyncio.Event()
        self._waiters: list[asyncio.Future[None]] = []
        self._futures: dict[int, asyncio.Future[Event]] = {}
        self._task: asyncio.Task[None] | None = None
        self.url = self.urls[0]
        """Where the client is, or was last."""
        self._welcomed = False
        self._leaving = False
        self._answered = 0
        self.closed: ClientError | Refused | None = None

    # -- life ----------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.closed is None and self._welcomed:
            await self.quit()
        await self.close()

    def start(self) -> None:
        """Begin to connect, in the background."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="causerie client")

    async def open(self) -> None:
        """Connect and wait for the welcome. Raises `Refused` (nick taken, banned, ...) or `Unreachable`."""
        self.start()
        try:
            await self.welcomed()
        except BaseException:
            await self.close()
            raise

    async def welcomed(self) -> None:
        """Wait for the first welcome. Raises what ended the client before it."""
        while not self._welcomed:
            self._check_open()
            await self._news()

    async def drain(self, patience: float | None = None) -> bool:
        """Wait until everything asked is answered; False if no answer came for `patience` seconds."""
        while self._core.unanswered and self.closed is None:
            seen = self._answered
            try:
                async with asyncio.timeout(patience):
                    while self._core.unanswered and self._answered == seen and self.closed is None:
                        await self._news()
            except TimeoutError:
                return False
        return not self._core.unanswered

    async def quit(self, timeout: float = 5.0) -> None:
        """Say goodbye: the session ends and the nick is free. Gives up after `timeout` seconds and just
        leaves.
        """
        if self.closed is None and self._task is not None:
            self._core.quit()
            self._wake.set()
            await asyncio.wait([self._task], timeout=timeout)
        await self.close()

    async def close(self) -> None:
        """Leave without a goodbye: the session stays, and its `cookie` brings it back."""
        if self._task is not None:
            self._leaving = True
            while not self._task.done():  # a cancellation can be lost in a library, where it meets what was awaited
                self._task.cancel()
                await asyncio.wait([self._task], timeout=1)
        self._end(Closed("closed"))

    # -- what is known -------------------------------------------------------------------------------------

    @property
    def nick(self) -> str:
        """The own nick, as the server writes it."""
        return self._core.nick

    @property
    def cookie(self) -> str:
        """The secret that brings the session back, also in another process."""
        return self._core.cookie

    @property
    def positions(self) -> dict[str, dict[str, Any]]:
        """What was received of each log; saved beside the cookie, it lets another process go on from
        there.
        """
        return self._core.positions.resume()

    @property
    def session(self) -> str:
        """The session's public id."""
        return self._core.session

    @property
    def gateway(self) -> str:
        """The gateway that answered last."""
        return self._core.gateway

    @property
    def connected(self) -> bool:
        """Whether the session is on line at this moment."""
        return self._core.state == "open"

    @property
    def unanswered(self) -> int:
        """How many sends and commands wait for their answer."""
        return self._core.unanswered

    # -- doing ---------------------------------------------------------------------------------------------

    async def send(self, to: str | list[str], body: str, *, kind: str | None = None) -> Ack:
        """Send to `"#room"`, `"@nick"` or several `"@nick"`s, and wait until the message is kept.

        It is repeated through lost connections, dead gateways, rate limits and an absent store until it is
        answered. Raises `Refused`, or `OutcomeUnknown` when the session ended meanwhile. Giving up waiting
        does not unsend it.
        """
        return await (await self.submit(to, body, kind=kind))

    async def submit(self, to: str | list[str], body: str, *, kind: str | None = None) -> asyncio.Task[Ack]:
        """Send without waiting for the answer, which the returned task gives; waits while 256 are
        unanswered.
        """
        await self._room_in(lane_name(to))
        future = self._ask(self._core.send(to, body, kind))
        return asyncio.get_running_loop().create_task(_converted(future, Ack))

    async def reply(self, message: Message, body: str) -> Ack:
        """Answer where the message was said."""
        return await self.send(message.reply_to, body)

    async def command(self, line: str) -> Result | Ack:
        """Do what a person would type (`"!list"`, `"@bob !kick"`); a line that posts is answered by an `Ack`.

        Raises `Refused`, or `OutcomeUnknown` for what must not be done twice and got no answer.
        """
        await self._room_in(CONTROL_LANE)
        event = await self._ask(self._core.command(line))
        return msgspec.convert(event, Ack) if event["ev"] == "ack" else msgspec.convert(event, Result)

    async def ask(self, line: str, again: int | None = None) -> tuple[int, Result]:
        """Do a command whose answer is for the asker alone and no event; also its id, by which to ask it again."""
        await self._room_in(CONTROL_LANE)
        request_id = self._core.command(line, quiet=True, again=again)
        return request_id, await _converted(self._ask(request_id), Result)

    async def send_file(
        self, to: str | list[str], path: str | Path, *, name: str | None = None, progress: Progress | None = None
    ) -> SentFile:
        """Send a file to a room ("": the current one) or to people, through whatever dies meanwhile.

        Returns when it is posted. Bytes that are at the server already, for this session to read, are not
        uploaded. Raises `Refused` (too large, suspended, ...; `NotSent` for what cannot be read here) and
        `TransferFailed`.
        """
        return await files.send(self, to, Path(path), name, progress or _nobody)

    async def get_file(
        self, file_id: str, path: str | Path = ".", *, overwrite: bool = False, progress: Progress | None = None
    ) -> SavedFile:
        """Get a file into a folder or under a name; what came of it in an earlier try is gone on from.

        It is there under its name only when its SHA-256 is right. Raises `FileExistsError` where there is a
        file already, `Refused`, `TransferFailed`, `OSError`.
        """
        return await files.get(self, file_id, Path(path), overwrite=overwrite, progress=progress or _nobody)

    async def join(self, room: str) -> Result:
        """Enter a room; data {"room", "epoch", "seq", "members"}."""
        return await self._op(op="join", room=room)

    async def part(self, room: str) -> Result:
        """Leave a room."""
        return await self._op(op="part", room=room)

    async def history(self, of: str, *, before: int | None = None, limit: int = 50) -> list[Message]:
        """The newest `limit` messages of a room, or of `"@"`, with a seq below `before`, in rising order."""
        extra = {} if before is None else {"before": before}
        result = await self._op(op="history", of=of, limit=limit, **extra)
        return msgspec.convert(result.data["messages"], list[Message])

    # -- hearing -------------------------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[Event]:
        """Everything that happens, from the first welcome on, each once; for one reader.

        Ends after `quit` and `close`; raises `Closed` when the server ended the session, `Refused` when it
        does not take it back.
        """
        while True:
            if self._skipped:
                skipped, self._skipped = self._skipped, 0
                yield {"ev": "skipped", "count": skipped}
            while self._queue:
                yield self._queue.popleft()
            if self.closed is not None:
                if isinstance(self.closed, Closed) and self.closed.code in {"quit", "closed"}:
                    return
                raise self.closed
            await self._news()

    async def messages(self, *, own: bool = False) -> AsyncIterator[Message]:
        """The messages among `events`; one's own only if asked for."""
        async for event in self.events():
            if event["ev"] == "message" and (own or event["from"] != self.nick):
                yield msgspec.convert(event, Message)

    # -- asking --------------------------------------------------------------------------------------------

    async def _op(self, **op: Any) -> Result:
        await self._room_in(CONTROL_LANE)
        return await _converted(self._ask(self._core.request(CONTROL_LANE, **op)), Result)

    async def _room_in(self, lane: str) -> None:
        self._check_open()
        while self._core.lane(lane).full:
            await self._news()
            self._check_open()

    def _ask(self, request_id: int) -> asyncio.Future[Event]:
        future: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._futures[request_id] = future
        self._wake.set()
        return future

    def _check_open(self) -> None:
        if self.closed is not None:
            raise self.closed

    async def _news(self) -> None:
        """Wait until something came in, or the client has ended."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(future)
        await future

    # -- connecting ----------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            self._end(await self._stay_connected())
        except Exception as error:
            self._end(ClientError(f"the client failed: {error!r}"))
            raise

    async def _stay_connected(self) -> ClientError | Refused:
        clock = asyncio.get_running_loop().time
        last_seen, failures = clock(), 0
        for url in itertools.cycle(self.urls):
            begun = clock()
            hangup, welcomed = await self._visit(url)
            if hangup.final is not None:
                return hangup.final
            if welcomed:
                last_seen = clock()
            failures = 1 if welcomed and clock() - begun >= STEADY else failures + 1
            delay = hangup.retry_after
            if delay is None:
                delay = random.uniform(0, self._ceiling(failures))
            self._tell({"ev": "disconnected", "url": url, "reason": hangup.reason, "retry_in": round(delay, 3)})
            if self._patience is not None and clock() + delay - last_seen > self._patience:
                return Unreachable(f"no server for {clock() - last_seen:.0f} s; the last: {hangup.reason}")
            await asyncio.sleep(delay)
        raise AssertionError("a cycle does not end")

    def _ceiling(self, failures: int) -> float:
        rounds = (failures - 1) // len(self.urls)
        return float(min(FIRST_DELAY * 2 ** min(rounds, 16), LONGEST_DELAY))

    async def _visit(self, url: str) -> tuple[Hangup, bool]:
        """One connection from its beginning to its end: why it ended, and whether it was ever welcomed."""
        try:
            transport = await open_transport(url, CONNECT_LIMIT)
        except TransportError as error:
            return Hangup(str(error)), False
        writer: asyncio.Task[None] | None = None
        self.url = url
        try:
            await transport.send([self._core.connected()])
            writer = asyncio.get_running_loop().create_task(self._write(transport))
            reason = await self._read(transport)
        except TransportError as error:
            reason = str(error)
        finally:
            if writer is not None:
                writer.cancel()
                await asyncio.wait([writer])
            welcomed = self._core.state == "open"
            self._core.disconnected()
            self._pass_on()
            await self._part_with(transport)
        return self._core.hangup or Hangup(reason), welcomed

    async def _part_with(self, transport: Transport) -> None:
        hangup = self._core.hangup
        if self._leaving or (hangup is not None and hangup.final is not None):
            await transport.close()
        else:
            transport.abort()  # courtesy to a peer that may be dead would delay the return

    async def _read(self, transport: Transport) -> str:
        core, clock = self._core, asyncio.get_running_loop().time
        while core.hangup is None:
            greeting = core.state == "greeting"
            limit = WELCOME_LIMIT if greeting else max(core.heartbeat * MISSED_HEARTBEATS, 1.0)
            try:
                async with asyncio.timeout(limit):
                    frames = await transport.receive()
            except TimeoutError:
                return f"the server was silent for {limit:g} s"
            if not frames:
                return "the connection was lost"
            now = clock()
            for frame in frames:
                core.receive(frame, now)
            self._pass_on()
            # A socket that always has more would keep whoever reads the events from running.
            await asyncio.sleep(0)
        return core.hangup.reason

    async def _write(self, transport: Transport) -> None:
        core, clock = self._core, asyncio.get_running_loop().time
        with contextlib.suppress(TransportError):
            while core.hangup is None:
                if frames := core.output(clock()):
                    await transport.send(frames)
                    continue
                self._wake.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(core.deadline()):
                        await self._wake.wait()
        transport.abort()  # the reader ends with it

    # -- passing on ----------------------------------------------------------------------------------------

    def _pass_on(self) -> None:
        for event in self._core.take_events():
            self._tell(event)
        for answer in self._core.take_answers():
            self._settle(answer)
        self._wake.set()

    def _tell(self, event: Event) -> None:
        self._welcomed = self._welcomed or event["ev"] == "welcome"
        self.view = self.view.apply(event)
        if len(self._queue) >= self._backlog:
            self._queue.popleft()
            self._skipped += 1
        self._queue.append(event)
        self._rouse()

    def _settle(self, answer: Answer) -> None:
        self._answered += 1
        future = self._futures.pop(answer.id, None)
        if future is not None and not future.done():
            if answer.error is not None:
                future.set_exception(answer.error)
            else:
                assert answer.event is not None
                future.set_result(answer.event)
        self._rouse()

    def _rouse(self) -> None:
        waiters, self._waiters = self._waiters, []
        for future in waiters:
            if not future.done():
                future.set_result(None)

    def _end(self, error: ClientError | Refused) -> None:
        if self.closed is None:
            self.closed = error
            self._core.close(error)
            self._pass_on()
            self._rouse()


def _nobody(_done: int, _total: int) -> None:
    """Progress that nobody watches."""


async def _converted(future: asyncio.Future[Event], kind: type[T]) -> T:
    return msgspec.convert(await future, kind)
