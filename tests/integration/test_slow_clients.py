"""Promise 5, measured inside a gateway: how many bytes wait for somebody who does not read.

The gateway runs in the test's own loop, on real sockets and a real store, so that its queues can be looked at.
"""

import asyncio
import json
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from causerie.settings import Settings
from causerie.store import Store as ChatStore
from causerie.wire.framing import LineFramer
from causerie.wire.websocket import Control, FrameReader, Opcode, frame
from gateway.batch import PART
from gateway.channel import Room
from gateway.intake import Client
from gateway.listeners import Listeners
from gateway.node import Node
from gateway.replay import BURST
from tests.support import PATIENCE, Store
from tests.support.processes import address

MAX_OUTBOX = 64 * 1024
BODY = "x" * 3900
TURN = 50 * 4200
"""Bytes of the messages that are under way at one time, and so may come in one turn of the loop."""
MASK = b"mask"
PROTOCOLS = ["text", "json", "websocket"]


class Inside:
    """A gateway in this process, and the most that was ever queued to each of its clients."""

    def __init__(self, node: Node, listeners: Listeners) -> None:
        self.node = node
        self.listeners = listeners
        self.most: dict[str, int] = {}

    @staticmethod
    def queued(client: Client) -> int:
        """Bytes that wait for a client."""
        return client.transport.get_write_buffer_size() + sum(map(len, client.out or ()))

    def look(self, client: Client) -> None:
        """Whenever something was given to its transport."""
        self.most[client.named] = max(self.most.get(client.named, 0), self.queued(client))

    def client(self, nick: str) -> Client:
        return next(client for client in self.node.wheel.everybody() if client.named == nick)

    @property
    def lobby(self) -> Room:
        room = self.node.hub.channels["#lobby"]
        assert isinstance(room, Room)
        return room


@asynccontextmanager
async def gateway(store: Store, monkeypatch: pytest.MonkeyPatch, **options: Any) -> AsyncIterator[Inside]:
    settings = Settings(
        redis_url=store.url,
        namespace=f"t{secrets.token_hex(5)}",
        http_port="auto",
        tcp_port="auto",
        rate_limit=0,
        max_outbox=MAX_OUTBOX,
        **options,
    )
    node = Node(settings, await ChatStore.open(settings))
    inside = Inside(node, Listeners(node))
    take_out, left = Client.take_out, Client.left

    def taken_out(client: Client) -> bytes:
        data = take_out(client)
        inside.look(client)
        return data

    def left_over(client: Client, data: bytes) -> None:
        left(client, data)
        inside.look(client)

    monkeypatch.setattr(Client, "take_out", taken_out)
    monkeypatch.setattr(Client, "left", left_over)
    await inside.listeners.open()
    await node.reach_store()
    try:
        yield inside
    finally:
        inside.listeners.stop_accepting()
        await node.say_goodbye(0.1)
        await inside.listeners.close()
        await node.close()


class Peer:
    """A client of any protocol that reads only when told to."""

    def __init__(self, protocol: str, sock: socket.socket) -> None:
        self.protocol = protocol
        self.sock = sock
        self.framer: LineFramer | FrameReader = FrameReader(server=False) if protocol == "websocket" else LineFramer()
        self.items: list[str] = []
        self.ended = False

    @classmethod
    async def enter(cls, inside: Inside, protocol: str, nick: str, **hello: str) -> "Peer":
        where = inside.listeners.http_at if protocol == "websocket" else inside.listeners.tcp_at
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await asyncio.get_running_loop().sock_connect(sock, address(where))
        peer = cls(protocol, sock)
        if protocol == "websocket":
            await peer.send_bytes(
                b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += await asyncio.get_running_loop().sock_recv(sock, 1)
        await peer.send(nick if protocol == "text" else json.dumps({"op": "hello", "id": 1, "nick": nick, **hello}))
        await peer.read_until(lambda item: "!! cookie" in item or '"welcome"' in item)
        return peer

    async def send(self, text: str) -> None:
        data = text.encode()
        await self.send_bytes(frame(Opcode.TEXT, data, MASK) if self.protocol == "websocket" else data + b"\n")

    async def send_bytes(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def read_until(self, wanted: Callable[[str], bool]) -> str:
        """Take items until one is wanted; "" at the end of the connection."""
        while True:
            while (item := self.framer.take()) is not None:
                if isinstance(item, Control):
                    await self.send_bytes(frame(item.opcode, item.payload, MASK))
                    continue
                assert isinstance(item, bytes), item
                self.items.append(item.decode())
                if wanted(self.items[-1]):
                    return self.items[-1]
            async with asyncio.timeout(PATIENCE):
                data = await asyncio.get_running_loop().sock_recv(self.sock, 65536)
            if not data:
                return ""
            self.framer.feed(data)

    def numbers(self) -> list[int]:
        """The numbers in the messages heard."""
        return [int(item.split(BODY)[0][-6:]) for item in self.items if BODY in item]


async def talk(talker: Peer, listener: Peer, first: int, count: int) -> None:
    """Post numbered messages; returns when `listener` has them all."""
    for start in range(first, first + count, 50):
        numbers = range(start, min(start + 50, first + count))
        ops = [{"op": "send", "id": n, "to": "#lobby", "body": f"{n:06}{BODY}"} for n in numbers]
        sending = asyncio.create_task(talker.send_bytes("".join(json.dumps(op) + "\n" for op in ops).encode()))
        last = f'"re":{numbers[-1]},'
        await talker.read_until(lambda item, last=last: last in item or '"error"' in item)  # type: ignore[misc]
        await sending
        await listener.read_until(lambda item, number=numbers[-1]: f"{number:06}{BODY}" in item)  # type: ignore[misc]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_waits_for_one_that_does_not_read_is_bounded(
    store: Store, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    """It leaves the live flow; later it gets all of it, in order, in pieces, and is live again."""

    async def scene() -> None:
        async with gateway(store, monkeypatch) as inside:
            slow = await Peer.enter(inside, protocol, "slow")
            quick = await Peer.enter(inside, "json", "quick")
            talker = await Peer.enter(inside, "json", "talker")
            await talk(talker, quick, 100, 600)
            client = inside.client("slow")
            assert client not in inside.lobby.members
            queued = inside.queued(client)
            assert queued <= MAX_OUTBOX + TURN
            await talk(talker, quick, 700, 200)
            assert inside.queued(client) == queued, "nothing more is queued to one that is behind"
            inside.most.clear()
            await slow.read_until(lambda item: f"{899:06}{BODY}" in item)
            assert slow.numbers() == list(range(100, 900))
            assert inside.most["slow"] <= MAX_OUTBOX + BURST + PART
            await talk(talker, slow, 900, 1)
            assert client in inside.lobby.members
            assert client.replay is None

    uvloop.run(scene())


def test_one_that_reads_nothing_at_all_is_let_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """“`--stall-timeout` ... without reading anything: `bye slow_consumer`”, on every protocol."""

    async def scene() -> None:
        options = {"stall_timeout": 1.0, "heartbeat_interval": 0.5, "heartbeat_ttl": 20.0}
        async with gateway(store, monkeypatch, **options) as inside:
            quick = await Peer.enter(inside, "json", "quick")
            talker = await Peer.enter(inside, "json", "talker")
            slow = [await Peer.enter(inside, protocol, f"slow-{protocol}") for protocol in PROTOCOLS]
            clients = [inside.client(f"slow-{protocol}") for protocol in PROTOCOLS]
            await talk(talker, quick, 100, 300)
            await talker.send(json.dumps({"op": "quit", "id": 1}))
            await talker.read_until(lambda item: '"bye"' in item)
            while not all(client.parting for client in clients):
                await quick.read_until(lambda item: '"ping"' in item)
            assert {client.parting for client in clients} == {"slow_consumer"}
            assert inside.node.counted.slow_consumers == 3
            for peer in slow:
                await peer.read_until(lambda item: "slow_consumer" in item)
                assert peer.numbers() == list(range(100, 100 + len(peer.numbers())))
                assert await peer.read_until(lambda _: False) == ""
                said = peer.items[-1]
                assert "!! bye slow_consumer " in said if peer.protocol == "text" else '"slow_consumer"' in said
                peer.sock.close()
            while not all(client.gone for client in clients):
                await asyncio.sleep(0)
            assert all(client.out is None and client.replay is None for client in clients)

    uvloop.run(scene())


def test_what_is_told_unasked_to_one_that_does_not_read_is_bounded(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its other device comes and goes, which is no message of a log and cannot be read later from one."""

    async def scene() -> None:
        async with gateway(store, monkeypatch) as inside:
            slow = await Peer.enter(inside, "json", "slow")
            cookie = json.loads(slow.items[-1])["cookie"]
            busy = await Peer.enter(inside, "json", "busy")
            await talk(busy, busy, 100, 200)
            client = inside.client("slow")
            await busy.send(json.dumps({"op": "quit", "id": 1}))
            other = await Peer.enter(inside, "json", "other", cookie=cookie, device="phone")
            for start in range(1, 600, 100):
                for number in range(start, start + 100, 2):
                    await other.send(json.dumps({"op": "join", "id": number, "room": "#there"}))
                    await other.send(json.dumps({"op": "part", "id": number + 1, "room": "#there"}))
                await other.read_until(lambda item, last=start + 99: f'"re":{last}' in item)  # type: ignore[misc]
            assert client.parting == "slow_consumer"
            assert inside.most["slow"] <= max(2 * MAX_OUTBOX, TURN) + 1024
            await slow.read_until(lambda item: '"slow_consumer"' in item)

    uvloop.run(scene())
