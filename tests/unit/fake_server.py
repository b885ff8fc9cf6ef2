"""A scripted server of the JSON protocol on real loopback sockets, for what a real one does too seldom."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websocket
from websockets.exceptions import ConnectionClosed

Op = dict[str, Any]


class Gone(Exception):
    """The client has closed the connection."""


class Peer:
    """One connection of the client under test. `read` gives its next op, pongs left out."""

    def __init__(self, read: Callable[[], Awaitable[str | bytes]], write: Callable[[str], Awaitable[None]]) -> None:
        self._read = read
        self._write = write
        self.hello: Op = {}
        self.seq: dict[str, int] = {}

    async def read(self) -> Op:
        while True:
            op: Op = json.loads(await self._read())
            if op["op"] != "pong":
                return op

    async def write(self, **event: Any) -> None:
        await self._write(json.dumps({name.rstrip("_"): value for name, value in event.items()}))

    async def welcome(self, **changes: Any) -> None:
        """Read the hello and answer it as a server does that remembers everything."""
        self.hello = await self.read()
        rooms = {log: {"epoch": "e", "seq": 0} for log in ("#lobby", "@")}
        for log, place in self.hello.get("resume", {}).items():
            rooms[log] = {"epoch": place["epoch"], "seq": place["seq"], "recovered": True}
        event: dict[str, Any] = {
            "ev": "welcome",
            "re": self.hello["id"],
            "nick": self.hello.get("nick", "ann"),
            "session": "s",
            "cookie": self.hello["cookie"],
            "gateway": "g",
            "heartbeat": 10,
            "resumed": "nick" not in self.hello,
            "rooms": rooms,
        }
        await self.write(**{**event, **changes})

    async def message(self, seq: int, body: str, sender: str = "bob", log: str = "#lobby", **more: Any) -> None:
        await self.write(
            ev="message",
            in_=log,
            seq=seq,
            body=body,
            mid=f"{log}{seq}",
            ts=1.5,
            kind="message",
            **{"from": sender},
            **more,
        )

    async def ack(self, op: Op, seq: int) -> None:
        await self.write(ev="ack", re=op["id"], in_=log_of(op), seq=seq)

    async def part_from(self, op: Op) -> None:
        """Answer a `quit`."""
        await self.write(ev="result", re=op["id"], text=["bye"], data={})
        await self.write(ev="bye", code="quit", text="bye")

    async def serve(self, seq: int = 0) -> None:
        """Acknowledge every send, echo it, and see the client off when it quits; `seq` is the lobby's head."""
        seqs = {"#lobby": seq}
        while (op := await self.read())["op"] != "quit":
            if op["op"] == "send":
                log = log_of(op)
                seqs[log] = seqs.get(log, 0) + 1
                more = {} if log != "@" else {"to": ["somebody"]}
                await self.message(seqs[log], op["body"], sender="ann", log=log, **more)
                await self.ack(op, seqs[log])
            else:
                await self.write(ev="result", re=op["id"], text=[f"did {op.get('line', op['op'])}"], data={})
        await self.part_from(op)


def log_of(op: Op) -> str:
    """Where a send is numbered."""
    return op["to"] if isinstance(op["to"], str) and op["to"].startswith("#") else "@"


Script = Callable[[Peer], Awaitable[None]]


class FakeServer:
    """Plays one script for each connection, in their order; the last one again and again.

    A script that ends closes its connection. `failures` are what scripts raised, for the test to find none.
    """

    def __init__(self, scripts: tuple[Script, ...]) -> None:
        self._scripts = scripts
        self.visits = 0
        self.failures: list[BaseException] = []
        self.tcp = ""
        self.ws = ""

    async def play(self, peer: Peer) -> None:
        script = self._scripts[min(self.visits, len(self._scripts) - 1)]
        self.visits += 1
        try:
            await script(peer)
        except (Gone, OSError, ConnectionClosed):
            pass
        except Exception as error:  # noqa: BLE001 - the test sees it
            self.failures.append(error)

    async def on_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def read() -> bytes:
            text = await reader.readline()
            if not text:
                raise Gone
            return text

        async def write(text: str) -> None:
            writer.write(text.encode() + b"\n")
            await writer.drain()

        await self.play(Peer(read, write))
        writer.close()

    async def on_websocket(self, connection: ServerConnection) -> None:
        await self.play(Peer(connection.recv, connection.send))


@contextlib.asynccontextmanager
async def fake_server(*scripts: Script) -> AsyncIterator[FakeServer]:
    """A server that plays these scripts on a TCP and on a WebSocket port."""
    fake = FakeServer(scripts)
    async with (
        await asyncio.start_server(fake.on_tcp, "127.0.0.1", 0, limit=2**20) as tcp,
        serve_websocket(fake.on_websocket, "127.0.0.1", 0) as ws,
    ):
        fake.tcp = f"tcp://127.0.0.1:{tcp.sockets[0].getsockname()[1]}"
        fake.ws = f"ws://127.0.0.1:{next(iter(ws.sockets)).getsockname()[1]}/ws"
        yield fake
        if fake.failures:
            raise fake.failures[0]
