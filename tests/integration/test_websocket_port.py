"""How WebSocket connections end: in order, with a status, whoever ends them."""

import asyncio
import json
import os
import struct
from collections.abc import Callable
from contextlib import suppress

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from causerie.wire.websocket import Control, FrameReader, Opcode, close_code, frame
from tests.support import People
from tests.support.processes import address

MASK = b"mask"


class Raw:
    """A WebSocket client that sends any bytes it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, people: People) -> "Raw":
        raw = cls(*await asyncio.open_connection(*address(people.chat.gateways[0].ready["http"])))
        raw.writer.write(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        head = await raw.reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in head
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head  # RFC 6455, 1.3
        return raw

    async def to_the_end(self) -> list[bytes | Control]:
        """All frames until the server's end of the stream; a reset is an error."""
        reader, found = FrameReader(server=False), []
        while data := await asyncio.wait_for(self.reader.read(65536), 10):
            reader.feed(data)
            while (item := reader.take()) is not None:
                assert isinstance(item, bytes | Control)
                found.append(item)
        assert reader.waiting == 0
        return found


def text(op: dict[str, object]) -> bytes:
    return frame(Opcode.TEXT, json.dumps(op).encode(), MASK)


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (b"\xc1\x80" + MASK, 1002),
        (frame(Opcode.TEXT, b"unmasked"), 1002),
        (frame(Opcode.TEXT, b"\xff\xfe", MASK), 1007),
        (b"\x81\xff" + struct.pack("!Q", 2**30) + MASK, 1009),
        (frame(Opcode.CLOSE, b"\x00", MASK), 1002),
        (frame(Opcode.CLOSE, struct.pack("!H", 1005), MASK), 1002),
    ],
)
async def test_broken_framing_is_told_even_to_one_that_goes_on_sending(
    people: People, broken: bytes, code: int
) -> None:
    """The close frame arrives, and no reset eats it, though the server reads none of what follows."""
    raw = await Raw.open(people)
    raw.writer.write(frame(Opcode.PING, b"1", MASK) + broken + os.urandom(400_000))
    pong, close = await raw.to_the_end()
    assert pong == Control(Opcode.PONG, b"1")
    assert isinstance(close, Control)
    assert (close.opcode, close_code(close.payload)) == (Opcode.CLOSE, code)
    raw.writer.close()


async def test_a_close_is_answered_with_its_code_after_what_was_asked_before(people: People) -> None:
    raw = await Raw.open(people)
    hello = {"op": "hello", "id": 1, "nick": people.nick()}
    close = frame(Opcode.CLOSE, struct.pack("!H", 3456) + b"enough", MASK)
    raw.writer.write(text(hello) + text({"op": "command", "id": 2, "line": "!help"}) + close + b"nothing counts here")
    *events, last = await raw.to_the_end()
    assert [json.loads(event)["re"] for event in events if isinstance(event, bytes) and b'"re"' in event] == [1, 2]
    assert last == Control(Opcode.CLOSE, struct.pack("!H", 3456))


async def _enter(people: People, nick: str) -> ClientConnection:
    connection = await connect(people.chat.gateways[0].ws, proxy=None, ping_interval=None)
    await connection.send(json.dumps({"op": "hello", "id": 1, "nick": nick}))
    await connection.recv()
    return connection


@pytest.mark.parametrize(
    ("order", "bye", "code"),
    [
        (lambda nick: "!quit", "quit", 1000),
        (lambda nick: f"!kick {nick}", "kicked", 1008),
    ],
)
async def test_a_goodbye_closes_with_a_status(people: People, order: Callable[[str], str], bye: str, code: int) -> None:
    nick = people.nick()
    async with await _enter(people, nick) as connection:
        if bye == "quit":
            await connection.send(json.dumps({"op": "command", "id": 2, "line": order(nick)}))
        else:
            admin = await people.admin()
            await admin.command(order(nick))
        events = []
        with suppress(ConnectionClosed):
            while True:
                events.append(json.loads(await connection.recv()))
        assert (events[-1]["ev"], events[-1]["code"]) == ("bye", bye)
        assert (connection.close_code, connection.close_reason) == (code, bye)


async def test_a_handshake_elsewhere_or_of_no_websocket_is_refused(people: People) -> None:
    for request in (
        b"GET /other HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n\r\n",
        b"POST /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 2\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n{}",
    ):
        reader, writer = await asyncio.open_connection(*address(people.chat.gateways[0].ready["http"]))
        writer.write(request)
        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer.startswith(b"HTTP/1.1 4"), (request, answer)
        writer.close()
    assert "Traceback" not in people.chat.gateways[0].stderr
