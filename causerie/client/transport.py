"""Frames over a socket: JSON lines on `tcp://`, text frames on `ws://` and `wss://`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

LARGEST_FRAME = 64 * 1024 * 1024
"""Bytes of one frame from the server, which answers a long `history` in one; a limit only against
nonsense."""

READ_SIZE = 256 * 1024
LOCAL_HOSTS = frozenset({"localhost", "::1"})


class TransportError(Exception):
    """No connection, or no connection any more; the text says why."""


class Transport(Protocol):
    """One connection that carries frames. Only one task receives and only one sends."""

    async def send(self, frames: Sequence[bytes]) -> None:
        """Write the frames; waits while the peer does not read. Raises `TransportError`."""

    async def receive(self) -> list[bytes]:
        """The next frames, at least one; an empty list at the end of the connection."""

    async def close(self) -> None:
        """End the connection; what was sent is on its way."""

    def abort(self) -> None:
        """End the connection at once, without a word to a peer that may be dead."""


def check_url(url: str) -> str:
    """Return the URL if the client can use it; raises ValueError with one clear line."""
    parts = urlsplit(url)
    if parts.scheme not in {"ws", "wss", "tcp"} or not parts.hostname:
        raise ValueError(f"not a ws://, wss:// or tcp:// address: {url!r}")
    if parts.scheme == "tcp" and parts.port is None:
        raise ValueError(f"this address names no port: {url!r}")
    return url


async def open_transport(url: str, timeout: float) -> Transport:
    """Connect within `timeout` seconds. Raises `TransportError`."""
    try:
        async with asyncio.timeout(timeout):
            return await (_open_tcp(url) if url.startswith("tcp:") else _open_websocket(url))
    except TimeoutError:
        raise TransportError(f"no connection within {timeout:g} s") from None
    except (OSError, WebSocketException, EOFError) as error:
        raise TransportError(str(error) or type(error).__name__) from None


class TcpTransport:
    """JSON objects, one a line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._rest = bytearray()

    async def send(self, frames: Sequence[bytes]) -> None:
        """Write the frames in one go."""
        try:
            self._writer.write(b"".join([frame + b"\n" for frame in frames]))
            await self._writer.drain()
        except OSError as error:
            raise TransportError(str(error)) from None

    async def receive(self) -> list[bytes]:
        """All whole lines that have come."""
        while True:
            try:
                data = await self._reader.read(READ_SIZE)
            except OSError:
                return []
            if not data:
                return []
            *lines, rest = (bytes(self._rest) + data).split(b"\n") if b"\n" in data else [data]
            if lines:
                self._rest = bytearray(rest)
                return lines
            self._rest += rest
            if len(self._rest) > LARGEST_FRAME:
                return []

    async def close(self) -> None:
        """Close the socket; a peer that does not read has a second for what is still on its way."""
        self._writer.close()
        asyncio.get_running_loop().call_later(1.0, self.abort)

    def abort(self) -> None:
        """Drop the socket."""
        self._writer.transport.abort()


class WebSocketTransport:
    """JSON objects, one a text frame."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, frames: Sequence[bytes]) -> None:
        """Write each as a text frame."""
        try:
            for frame in frames:
                await self._connection.send(frame, text=True)
        except (ConnectionClosed, OSError) as error:
            raise TransportError(str(error)) from None

    async def receive(self) -> list[bytes]:
        """The next message."""
        try:
            return [await self._connection.recv(decode=False)]
        except (ConnectionClosed, OSError):
            return []

    async def close(self) -> None:
        """Say goodbye as RFC 6455 wants it, but wait for a second at most."""
        await self._connection.close()

    def abort(self) -> None:
        """Drop the socket."""
        self._connection.transport.abort()


async def _open_tcp(url: str) -> Transport:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=READ_SIZE)
    return TcpTransport(reader, writer)


async def _open_websocket(url: str) -> Transport:
    host = urlsplit(url).hostname or ""
    local = host in LOCAL_HOSTS or host.startswith("127.")
    connection = await connect(
        url,
        compression=None,
        max_size=LARGEST_FRAME,
        max_queue=64,
        # The protocol has a heartbeat of its own, which also sees a server that answers nothing but pings.
        ping_interval=None,
        close_timeout=1,
        open_timeout=None,
        proxy=None if local else True,
    )
    return WebSocketTransport(connection)
