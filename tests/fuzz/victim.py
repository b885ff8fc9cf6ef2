"""A gateway under fire, with two people who talk through it all the while."""

import asyncio
import contextlib
import itertools
import json
import secrets
from collections.abc import Iterator

from causerie.wire.websocket import Control, FrameReader
from tests.fuzz.streams import HANDSHAKE, NICK
from tests.support import Chat, JsonClient, Store
from tests.support.invariants import EVENTS
from tests.support.processes import address
from tests.support.text_client import CONTROL, FORMS

DROPPED_AFTER = 5.0
"""Seconds within which a gateway closes after its peer has."""


class Victim:
    """Runs its own loop, so that plain test functions can use it again and again."""

    def __init__(self, store: Store) -> None:
        self.chat = Chat(store, gateways=1, workers=0)
        self._numbers = itertools.count()
        self._runner = asyncio.Runner()
        self._witnesses: list[JsonClient] = []

    def __enter__(self) -> "Victim":
        self.chat.start()
        self._runner.run(self._enter())
        return self

    def __exit__(self, *_: object) -> None:
        for witness in self._witnesses:
            self._runner.run(witness.dispose())
        self._runner.close()
        self.chat.close()

    def tcp(self, stream: bytes) -> None:
        """A TCP client sends this, and ends."""
        answer = self._runner.run(self._attack(self.chat.gateways[0].tcp, stream))
        if stream.startswith(b"{"):
            for raw in answer.split(b"\n")[:-1]:
                assert json.loads(raw)["ev"] in EVENTS, raw
        else:
            for each in answer.decode().split("\n")[:-1]:
                assert FORMS.match(each + " "), each
                assert not CONTROL.search(each), each
        self._runner.run(self._check())

    def web(self, stream: bytes) -> None:
        """An HTTP client sends this, and ends."""
        answer = self._runner.run(self._attack(address(self.chat.gateways[0].ready["http"]), stream))
        assert not answer or answer.startswith(b"HTTP/1.1 "), answer
        self._runner.run(self._check())

    def frames(self, stream: bytes) -> None:
        """A WebSocket client sends this, and ends."""
        http = address(self.chat.gateways[0].ready["http"])
        answer = self._runner.run(self._attack(http, stream, after=HANDSHAKE))
        head, _, rest = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        for item in _frames(rest):
            assert isinstance(item, Control) or json.loads(item)["ev"] in EVENTS, item
        self._runner.run(self._check())

    async def _enter(self) -> None:
        for name, transport in (("witness-a", "tcp"), ("witness-b", "ws")):
            client = await JsonClient.open(self.chat.gateways[0], transport=transport, name=name)
            await client.hello(nick=name)
            self._witnesses.append(client)

    async def _attack(self, where: tuple[str, int], stream: bytes, after: bytes = b"") -> bytes:
        """Send, say that nothing more comes, and return all that is answered."""
        stream = stream.replace(NICK.encode(), f"f{next(self._numbers)}".encode())
        reader, writer = await asyncio.open_connection(*where)
        answer = b""
        with contextlib.suppress(ConnectionError):
            if after:
                writer.write(after)
                answer = await reader.readuntil(b"\r\n\r\n")
            writer.write(stream)
            writer.write_eof()
            async with asyncio.timeout(DROPPED_AFTER):
                answer += await reader.read()
        writer.close()
        return answer

    async def _check(self) -> None:
        """Nobody else noticed, and there is nothing in the log."""
        gateway = self.chat.gateways[0]
        speaker, listener = self._witnesses
        word = secrets.token_hex(6)
        await speaker.say("#lobby", word)
        await listener.message(word)
        for witness in self._witnesses:
            witness.check()
            witness.received.clear()
            witness._untaken.clear()
        self._witnesses.reverse()
        assert gateway.alive
        assert "Traceback" not in gateway.stderr, gateway.stderr[-4000:]
        assert "ERROR" not in gateway.stderr, gateway.stderr[-4000:]


def _frames(stream: bytes) -> Iterator[bytes | Control]:
    reader = FrameReader(server=False)
    reader.feed(stream)
    while (item := reader.take()) is not None:
        assert isinstance(item, bytes | Control), item
        yield item
    assert reader.waiting == 0, stream
