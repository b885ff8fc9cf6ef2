"""A TCP proxy whose connections can be cut, frozen in one or both directions, or left half-open."""

import asyncio
import random
from collections.abc import Callable
from typing import Self, cast

from tests.support.store import free_port

WAITING = 2**20
"""Bytes that wait in one direction before the proxy stops to read."""


class _End(asyncio.Protocol):
    """One side of a connection."""

    def __init__(self, link: "Link") -> None:
        self.link = link
        self.transport: asyncio.Transport | None = None
        self.other: _End
        self.early: list[bytes] = []
        self.frozen = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=WAITING)
        for data in self.other.early:
            self.transport.write(data)
        self.other.early.clear()

    def data_received(self, data: bytes) -> None:
        if self.other.transport is None:
            self.early.append(data)
        else:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        if self.other.transport is not None and self.other.transport.can_write_eof():
            self.other.transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.link.lost(self, exc)

    def pause_writing(self) -> None:
        self.other.read(False)

    def resume_writing(self) -> None:
        self.other.read(not self.other.frozen)

    def read(self, wanted: bool) -> None:
        """Go on or stop reading what this side says."""
        if self.transport is not None and not self.transport.is_closing():
            if wanted:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()


class Link:
    """One connection through the proxy: `near` is who called, `far` the server behind."""

    def __init__(self, proxy: "Proxy") -> None:
        self.proxy = proxy
        self.near, self.far = _End(self), _End(self)
        self.near.other, self.far.other = self.far, self.near
        self.half_open = False
        self._task: asyncio.Task[None] | None = None

    def accept(self) -> _End:
        """Somebody calls: be its protocol, and call the server."""
        self.proxy.links.add(self)
        self._task = asyncio.get_running_loop().create_task(self._call())
        return self.near

    async def _call(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self.far, *self.proxy.target())
        except OSError:
            self.cut()

    @property
    def caller(self) -> int:
        """The port of who called; 0 when it is gone."""
        peer = self.near.transport.get_extra_info("peername") if self.near.transport else None
        return peer[1] if peer else 0

    def cut(self) -> None:
        """Reset both sides."""
        self.half_open = False
        for end in (self.near, self.far):
            if end.transport is not None:
                end.transport.abort()
        self.proxy.links.discard(self)

    def leave_half_open(self, rng: random.Random) -> None:
        """One side is reset, the other is never told."""
        self.half_open = True
        gone, kept = (self.near, self.far) if rng.random() < 0.5 else (self.far, self.near)
        if gone.transport is not None:
            gone.transport.abort()
        kept.read(False)

    def freeze(self, *, up: bool, down: bool) -> None:
        """Carry nothing from the caller (`up`), from the server (`down`)."""
        for end, frozen in ((self.near, up), (self.far, down)):
            end.frozen = end.frozen or frozen
            end.read(not end.frozen)

    def thaw(self) -> None:
        """Carry everything again, and what has waited."""
        for end in (self.near, self.far):
            end.frozen = False
            end.read(True)

    def lost(self, end: _End, exc: Exception | None) -> None:
        """One side is gone: so is the other, unless it is not to know."""
        end.transport = None
        if self.half_open:
            return
        other = end.other.transport
        if other is not None:
            if exc is None:
                other.close()
            else:
                other.abort()
        self.proxy.links.discard(self)


class Proxy:
    """Listens on a port and carries each connection to `target()`."""

    def __init__(self, target: Callable[[], tuple[str, int]]) -> None:
        self.target = target
        self.port = free_port()
        self.links: set[Link] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> Self:
        """Listen."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Link(self).accept(), "127.0.0.1", self.port, backlog=1024
        )
        return self

    async def close(self) -> None:
        """End everything."""
        if self._server is not None:
            self._server.close()
        for link in list(self.links):
            link.cut()
