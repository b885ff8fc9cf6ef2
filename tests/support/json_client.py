"""A raw client of the JSON protocol, over TCP or WebSocket, that checks the contract while it listens."""

import asyncio
import contextlib
import itertools
import json
import secrets
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol, Self

import websockets
from websockets.asyncio.client import ClientConnection, connect

from tests.support.invariants import Ledger
from tests.support.processes import Gateway
from tests.support.timing import PATIENCE

Event = dict[str, Any]


class Violation(AssertionError):
    """The server broke a promise that holds at every moment."""


class Answered(AssertionError):
    """An op got another answer than the one the test needs. `event` is what came."""

    def __init__(self, op: Event, event: Event) -> None:
        super().__init__(f"{op} was answered by {event}")
        self.event = event


class Wire(Protocol):
    """One connection that carries JSON texts."""

    async def write(self, text: str) -> None: ...
    async def write_bytes(self, data: bytes) -> None: ...
    async def read(self) -> str | None: ...
    async def close(self) -> None: ...
    def abort(self) -> None: ...


class TcpWire:
    """JSON lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, gateway: Gateway, source: str | None, receive_buffer: int | None = None) -> Self:
        sock = socket.socket(socket.AF_INET)
        sock.setblocking(False)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source is not None:
            sock.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(sock, gateway.tcp)
        limit = 2**22 if receive_buffer is None else receive_buffer
        return cls(*await asyncio.open_connection(sock=sock, limit=max(limit, 2**16)))

    async def write(self, text: str) -> None:
        await self.write_bytes(text.encode() + b"\n")

    async def write_bytes(self, data: bytes) -> None:
        if self.writer.is_closing():
            raise ConnectionResetError
        self.writer.write(data)
        await self.writer.drain()

    async def read(self) -> str | None:
        try:
            line = await self.reader.readline()
        except OSError:
            return None
        if not line.endswith(b"\n"):
            self.writer.close()  # as every client does when the server has said all
            return None
        return line.decode()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def abort(self) -> None:
        abort(self.writer.transport)


class WebSocketWire:
    """JSON text frames. No WebSocket pings of ours: they would count as life."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    @classmethod
    async def open(cls, gateway: Gateway, source: str | None) -> Self:
        local: dict[str, Any] = {} if source is None else {"local_addr": (source, 0)}
        connection = await connect(
            gateway.ws,
            max_size=None,
            max_queue=None,
            ping_interval=None,
            proxy=None,
            close_timeout=2,
            **local,
        )
        return cls(connection)

    async def write(self, text: str) -> None:
        await self.connection.send(text)

    async def write_bytes(self, data: bytes) -> None:
        await self.connection.send(data)

    async def read(self) -> str | None:
        try:
            frame = await self.connection.recv()
        except (websockets.ConnectionClosed, OSError):
            return None
        assert isinstance(frame, str), f"a binary frame came from the server: {frame!r}"
        return frame

    async def close(self) -> None:
        await self.connection.close()

    def abort(self) -> None:
        abort(self.connection.transport)


def abort(transport: asyncio.WriteTransport) -> None:
    """Reset a connection."""
    # CPython 3.11: one that wrote its last bytes after `close` has no loop left to abort in
    with contextlib.suppress(AttributeError):
        transport.abort()


class JsonClient:
    """One connection. Every event received is kept in `received`, in order.

    `expect` takes the first event that matches and was not taken before; `ask` sends an op and returns its
    answer. Pings are answered unless `answer_pings` is False. A broken promise raises `Violation`.
    """

    def __init__(self, wire: Wire, name: str, *, answer_pings: bool = True) -> None:
        self.wire = wire
        self.name = name
        self.answer_pings = answer_pings
        self.ledger = Ledger()
        self.received: list[Event] = []
        self.welcome: Event = {}
        self.closed = False
        self.nick = name
        self.cookie = ""
        self.session = ""
        self._untaken: list[Event] = []
        self._news = asyncio.Condition()
        # A client without a saved counter starts from its clock in microseconds.
        self._ids = itertools.count(time.time_ns() // 1000)
        self._reading = asyncio.Event()
        self._reading.set()
        self._reader = asyncio.create_task(self._read(), name=f"reader of {name}")

    @classmethod
    async def open(
        cls,
        gateway: Gateway,
        *,
        transport: str = "tcp",
        name: str = "client",
        source: str | None = None,
        answer_pings: bool = True,
        receive_buffer: int | None = None,
    ) -> Self:
        """Connect, from the address `source` if given (any of 127.0.0.0/8). Says nothing yet."""
        wire: Wire
        if transport == "tcp":
            wire = await TcpWire.open(gateway, source, receive_buffer)
        else:
            wire = await WebSocketWire.open(gateway, source)
        return cls(wire, name, answer_pings=answer_pings)

    # Sending.

    async def op(self, op: str, **fields: Any) -> int:
        """Send an op and return its id, which `id=` may choose. Waits for no answer."""
        number = fields.pop("id", None) or self.next_id()
        await self.push({"op": op, "id": number, **fields})
        return int(number)

    def next_id(self) -> int:
        """The next id of this client."""
        return next(self._ids)

    def next_ids(self, count: int) -> range:
        """The next `count` ids, which no later op of this client will use."""
        first = self.next_id()
        self._ids = itertools.count(first + count)
        return range(first, first + count)

    def sends(self, to: str | list[str], bodies: Iterable[str]) -> list[Event]:
        """Ops that send these bodies, for `push_all`."""
        texts = list(bodies)
        ids = self.next_ids(len(texts))
        return [{"op": "send", "id": number, "to": to, "body": body} for number, body in zip(ids, texts, strict=True)]

    async def answers(self, ops: list[Event], patience: float = PATIENCE) -> list[Event]:
        """The answers to these ops, in their order."""
        return [await self.answer(op["id"], patience) for op in ops]

    async def push(self, message: Event) -> None:
        """Send exactly this object, and note it in the ledger."""
        self.ledger.sent(message)
        await self.wire.write(json.dumps(message, ensure_ascii=False))

    async def push_all(self, messages: list[Event]) -> None:
        """Send many ops back to back."""
        if isinstance(self.wire, TcpWire):
            for message in messages:
                self.ledger.sent(message)
            await self.wire.write_bytes("".join(f"{json.dumps(m, ensure_ascii=False)}\n" for m in messages).encode())
            return
        for message in messages:
            await self.push(message)

    async def raw(self, text: str) -> None:
        """Send a line or text frame that need not be JSON."""
        await self.wire.write(text)

    async def ask(self, op: str, *, want: str | None = None, patience: float = PATIENCE, **fields: Any) -> Event:
        """Send an op and return its one answer. `want` names the `ev` it must be."""
        number = await self.op(op, **fields)
        answer = await self.answer(number, patience)
        if want is not None and answer["ev"] != want:
            raise Answered({"op": op, "id": number, **fields}, answer)
        return answer

    async def answer(self, number: int, patience: float = PATIENCE) -> Event:
        """Wait for the answer (`re`) to the id `number`."""
        return await self.expect(lambda event: event.get("re") == number, patience=patience)

    async def hello(self, **fields: Any) -> Event:
        """Say hello and expect the welcome, which is also kept as `welcome`."""
        return self.entered(await self.ask("hello", want="welcome", **fields))

    def entered(self, welcome: Event) -> Event:
        self.welcome = welcome
        self.nick, self.cookie, self.session = welcome["nick"], welcome["cookie"], welcome["session"]
        return welcome

    async def say(self, to: str | list[str], body: str, **fields: Any) -> Event:
        """Send a message and return its ack."""
        return await self.ask("send", to=to, body=body, want="ack", **fields)

    async def join(self, room: str) -> Event:
        """Join a room and return the answer's data."""
        data: Event = (await self.ask("join", room=room, want="result"))["data"]
        return data

    async def part(self, room: str) -> None:
        await self.ask("part", room=room, want="result")
        self.ledger.left(room)

    async def command(self, line: str, *, want: str | None = "result") -> Event:
        """Type a line and return the answer."""
        return await self.ask("command", line=line, want=want)

    async def refused(self, code: str, op: str, **fields: Any) -> Event:
        """Send an op that must be answered by the error `code`."""
        answer = await self.ask(op, want="error", **fields)
        assert answer["code"] == code, f"{op} {fields}: wanted {code}, got {answer}"
        return answer

    # Receiving.

    async def expect(
        self, test: Callable[[Event], bool] | str | None = None, *, patience: float = PATIENCE, **fields: Any
    ) -> Event:
        """Take the first event, not yet taken, that matches: a predicate, or an `ev` and fields' values.

        `in_` and `from_` stand for `in` and `from`.
        """
        wanted = _predicate(test, fields)
        what = f"{test} {fields}"
        deadline = time.monotonic() + patience
        async with self._news:
            while True:
                self.check()
                for index, event in enumerate(self._untaken):
                    if wanted(event):
                        return self._untaken.pop(index)
                if self.closed:
                    raise AssertionError(f"{self.name}: the connection ended before {what}\n{self.tail()}")
                try:
                    await asyncio.wait_for(self._news.wait(), deadline - time.monotonic())
                except TimeoutError:
                    raise AssertionError(f"{self.name}: no {what} in {patience:g} s\n{self.tail()}") from None

    def seen(self, test: Callable[[Event], bool] | str | None = None, **fields: Any) -> list[Event]:
        """Every matching event received so far, taken or not."""
        wanted = _predicate(test, fields)
        return [event for event in self.received if wanted(event)]

    def bodies(self, room: str) -> list[str]:
        """The bodies received in a room (`@` for the inbox), in the order they came."""
        return [event["body"] for event in self.received if event["ev"] == "message" and event["in"] == room]

    async def message(self, body: str, **fields: Any) -> Event:
        """Wait for the message with this body."""
        return await self.expect("message", body=body, **fields)

    async def settled(self) -> None:
        """A barrier for this connection: what the gateway had queued for it before has arrived."""
        await self.ask("history", of="@", limit=1, want="result")

    async def caught_up(self, room: str) -> None:
        """A barrier for a room: every message of the room up to one posted now has arrived here."""
        marker = f"marker-{secrets.token_hex(6)}"
        await self.say(room, marker)
        await self.message(marker, in_=room)

    async def ended(self, code: str | None = None, patience: float = PATIENCE) -> Event:
        """Wait until the server closed the connection; with `code`, after a `bye` of that code: returned."""
        bye: Event = {}
        if code is not None:
            bye = await self.expect("bye", patience=patience)
            assert bye["code"] == code, f"{self.name}: wanted bye {code}, got {bye}"
        async with self._news:
            try:
                await asyncio.wait_for(self._news.wait_for(lambda: self.closed), patience)
            except TimeoutError:
                raise AssertionError(f"{self.name}: still connected after {patience:g} s\n{self.tail()}") from None
        self.check()
        return bye

    def position(self, room: str) -> Event:
        """Where this client stands in a room, as `resume` wants it."""
        epoch: str = self._epoch(room)
        for event in reversed(self.received):
            if event["ev"] == "message" and event["in"] == room:
                return {"epoch": epoch, "seq": event["seq"], "mid": event["mid"]}
            if event["ev"] == "reset" and event["in"] == room:
                return {"epoch": epoch, "seq": event["seq"]}
        joined = self._joined_at(room)
        return {"epoch": epoch, "seq": joined["seq"]}

    def positions(self, *rooms: str) -> dict[str, Event]:
        """`resume` for these rooms; without any argument, for all that it is in."""
        return {room: self.position(room) for room in (rooms or self._entered())}

    def freeze(self) -> None:
        """Stop reading the socket, as a client that hangs."""
        self._reading.clear()

    def thaw(self) -> None:
        self._reading.set()

    # Ending.

    def check(self) -> None:
        """Raise what the ledger found."""
        if self.ledger.violations:
            found, self.ledger.violations = self.ledger.violations, []
            raise Violation(f"{self.name}: " + "\n".join(found) + f"\n{self.tail()}")

    def abort(self) -> None:
        """Vanish: reset the connection without a word."""
        self.wire.abort()

    async def hang_up(self) -> None:
        """Close the connection without `quit`: the session stays."""
        await self.wire.close()
        await self.ended()

    async def quit(self) -> Event:
        """End the session."""
        answer = await self.ask("quit", want="result")
        await self.ended("quit")
        return answer

    async def dispose(self) -> None:
        """For teardown: leave the chat if possible, end the reader, whatever state all is in."""
        self.thaw()
        with contextlib.suppress(Exception):
            if not self.closed and self.welcome:
                await asyncio.wait_for(self.quit(), 2)
        self.abort()
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await self._reader

    def tail(self, count: int = 12) -> str:
        """The last events, for a failure's text."""
        return "\n".join(f"  {json.dumps(event)[:300]}" for event in self.received[-count:]) or "  (nothing received)"

    async def _read(self) -> None:
        try:
            while True:
                await self._reading.wait()
                raw = await self.wire.read()
                if raw is None:
                    return
                event = self.ledger.received(raw)
                async with self._news:
                    self.received.append(event)
                    self._untaken.append(event)
                    self._news.notify_all()
                if event["ev"] == "ping" and self.answer_pings:
                    with contextlib.suppress(OSError, websockets.ConnectionClosed):
                        await self.wire.write(json.dumps({"op": "pong", "n": event["n"]}))
        finally:
            self.closed = True
            async with self._news:
                self._news.notify_all()

    def _epoch(self, room: str) -> str:
        for event in reversed(self.received):
            if event["ev"] == "reset" and event["in"] == room:
                return str(event["epoch"])
            joined = _joined(event, room)
            if joined is not None:
                return str(joined["epoch"])
        raise AssertionError(f"{self.name} never entered {room}\n{self.tail()}")

    def _entered(self) -> list[str]:
        """The inbox and the rooms that a welcome or an answer to a join brought, and no part took away."""
        entered: dict[str, None] = {}
        for event in self.received:
            if event["ev"] == "welcome":
                entered |= dict.fromkeys(room for room, head in event["rooms"].items() if "seq" in head)
            data = event.get("data")
            if event["ev"] == "result" and isinstance(data, dict) and "room" in data and "epoch" in data:
                entered[data["room"]] = None
            if event["ev"] == "presence" and event["state"] == "gone" and event.get("nick") == self.nick:
                entered.pop(event["in"], None)
        return list(entered)

    def _joined_at(self, room: str) -> Event:
        for event in reversed(self.received):
            joined = _joined(event, room)
            if joined is not None:
                return joined
        raise AssertionError(f"{self.name} never entered {room}\n{self.tail()}")


def _joined(event: Event, room: str) -> Event | None:
    """The head (`epoch`, `seq`) in the welcome or join answer that brought this room, if `event` is one."""
    if event["ev"] == "welcome" and "seq" in event["rooms"].get(room, {}):
        return dict(event["rooms"][room])
    data = event.get("data")
    if event["ev"] == "result" and isinstance(data, dict) and data.get("room") == room and "epoch" in data:
        return data
    return None


def _predicate(test: Callable[[Event], bool] | str | None, fields: dict[str, Any]) -> Callable[[Event], bool]:
    if callable(test):
        return test
    wanted = {key.rstrip("_"): value for key, value in fields.items()}
    if test is not None:
        wanted["ev"] = test
    return lambda event: all(key in event and event[key] == value for key, value in wanted.items())
