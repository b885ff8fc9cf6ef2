"""Hundreds of connections at little cost: each only counts what it is given in one room, and checks the order."""

import asyncio
import json
import re
import socket
from typing import Any, Self

from tests.support.json_client import abort
from tests.support.processes import Gateway
from tests.support.timing import PATIENCE

SEQ = re.compile(rb'"seq":(\d+)')


AT_ONCE = 50
"""People who enter together: each is told of all who are there."""


class Member(asyncio.Protocol):
    """One JSON connection over TCP: in a room, answering pings, counting messages."""

    def __init__(self, room: str) -> None:
        self.room = room
        self.mark = b'{"ev":"message","in":' + json.dumps(room).encode()
        self.cookie = ""
        self.epoch = ""
        self.seq = 0
        self.got = 0
        self.wrong = ""
        self.answers: dict[int, dict[str, Any]] = {}
        self.closed = False
        self.transport: asyncio.Transport
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True

    def say(self, **op: Any) -> None:
        self.transport.write(json.dumps(op).encode() + b"\n")

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(self.mark):
                self._count(line)
            elif line.startswith(b'{"ev":"ping"'):
                self.say(op="pong")
            elif b'"re":' in line:
                event = json.loads(line)
                self.answers[event["re"]] = event

    def _count(self, line: bytes) -> None:
        found = SEQ.search(line)
        seq = int(found[1]) if found else 0
        if seq != self.seq + 1:
            self.wrong = self.wrong or f"{seq} came after {self.seq}"
        self.seq = seq
        self.got += 1


class Crowd:
    """Many members of one room."""

    def __init__(self, room: str) -> None:
        self.room = room
        self.members: list[Member] = []

    async def enter(self, gateway: Gateway, count: int, name: str, **options: Any) -> list[Member]:
        """So many new people, some after the other; they stand at the head of the room."""
        some: list[Member] = []
        for start in range(0, count, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, count))
            some += await self._enter(gateway, [f"{name}{n}" for n in numbers], **options)
        return some

    async def _enter(self, gateway: Gateway, nicks: list[str], receive_buffer: int | None = None) -> list[Member]:
        some = [await self._connect(gateway, receive_buffer) for _ in nicks]
        for member, nick in zip(some, nicks, strict=True):
            member.say(op="hello", id=1, nick=nick)
        await self._until(lambda: all(1 in member.answers for member in some), "the welcomes")
        for member in some:
            member.cookie = member.answers[1]["cookie"]
            member.say(op="join", id=2, room=self.room)
        await self._until(lambda: all(2 in member.answers for member in some), "the joins")
        for member in some:
            data = member.answers[2]["data"]
            member.epoch, member.seq = data["epoch"], data["seq"]
        return some

    async def back(self, gateway: Gateway) -> Self:
        """The same people on new connections, all at once, each from where it stood."""
        again = type(self)(self.room)
        for old in self.members:
            member = await again._connect(gateway, None)
            member.cookie, member.epoch, member.seq = old.cookie, old.epoch, old.seq
        for member in again.members:
            place = {"epoch": member.epoch, "seq": member.seq}
            member.say(op="hello", id=1, cookie=member.cookie, resume={self.room: place})
        await again._until(lambda: all(1 in member.answers for member in again.members), "the welcomes")
        assert {member.answers[1]["rooms"][self.room]["recovered"] for member in again.members} == {True}
        return again

    async def have(self, seq: int, members: list[Member] | None = None) -> None:
        """Return when all (or these) have all up to a seq, in order."""
        some = self.members if members is None else members
        await self._until(lambda: all(member.seq >= seq or member.wrong for member in some), f"the message {seq}")
        assert {member.wrong for member in some} == {""}

    async def _connect(self, gateway: Gateway, receive_buffer: int | None) -> Member:
        sock = socket.socket()
        sock.setblocking(False)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, gateway.tcp)
        _, member = await loop.create_connection(lambda: Member(self.room), sock=sock)
        self.members.append(member)
        return member

    async def _until(self, true: Any, what: str) -> None:
        async with asyncio.timeout(4 * PATIENCE):
            while not true():
                await asyncio.sleep(0.01)

    def close(self) -> None:
        for member in self.members:
            abort(member.transport)
