"""The HTTP port: REST, health and the WebSocket handshake by uvicorn, with bounds on what no application sees.

uvicorn waits for the end of a request as long as it takes, and keeps of its head whatever comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from causerie.waiting import set_within
from gateway.rest.app import create_app
from gateway.tcpinfo import prepare
from gateway.websocket import WebSocketClient

if TYPE_CHECKING:
    from gateway.node import Node

MAX_HEAD: Final = 32 * 1024
"""Bytes of a request's first line and headers."""
MAX_REQUEST: Final = 1024 * 1024
"""Bytes of a whole request on the wire, which no application has to look at before they are too many."""

DATE_S: Final = 1.0
"""Seconds for which the date in the headers of answers holds."""


class HttpConnection(HttpToolsProtocol):
    """A connection that has to bring each request within the heartbeat's TTL."""

    def __init__(self, node: Node, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._node = node
        self._ttl = node.settings.heartbeat_ttl
        self._read = 0
        """Bytes of the request that is being read."""
        self._in_head = True
        self._streamed = False
        """Whether the request's reader has bounds of its own."""
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            prepare(sock, self._ttl)
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._have_request()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes until a request is whole."""
        if self._deadline is None and not self._streamed:
            self._await_request()
        self._read += len(data)
        super().data_received(data)
        if self._in_head and self._read > MAX_HEAD:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self._read > MAX_REQUEST and not self._streamed:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def on_headers_complete(self) -> None:
        """The parser's word."""
        self._in_head = False
        self.scope["causerie.connection"] = self  # type: ignore[typeddict-unknown-key]
        if self.client is not None:
            forwarded = [value.decode("latin-1") for name, value in self.headers if name == b"x-forwarded-for"]
            self.scope["client"] = (self._node.proxies.behind(self.client[0], forwarded), self.client[1])
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The parser's word."""
        self._in_head = True
        self._streamed = False
        self._have_request()
        super().on_message_complete()

    def stream(self) -> None:
        """The request is read as a stream, with bounds of its own."""
        self._streamed = True
        self._have_request()

    def abort(self) -> None:
        """End the connection at once."""
        self.transport.abort()

    def handle_websocket_upgrade(self) -> None:
        """The request was a handshake."""
        self._have_request()
        forwarded = self.scope["client"][0] if self.scope["client"] and self.scope["client"] != self.client else ""
        websocket: Any = lambda **_: WebSocketClient(self._node, forwarded)  # noqa: E731 - uvicorn wants a class
        self.ws_protocol_class = websocket
        super().handle_websocket_upgrade()

    def _await_request(self) -> None:
        self._deadline = self.loop.call_later(self._ttl, self._refuse, HTTPStatus.REQUEST_TIMEOUT)

    def _have_request(self) -> None:
        self._read = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: HTTPStatus) -> None:
        if self.transport.is_closing():
            return
        cycle: RequestResponseCycle | None = self.cycle
        if self._in_head or cycle is None or not cycle.response_started:
            self.transport.write(f"HTTP/1.1 {status} {status.phrase}\r\nconnection: close\r\n\r\n".encode())
        self.transport.close()


class HttpServer(uvicorn.Server):
    """uvicorn without its own handling of signals."""

    def __init__(self, node: Node) -> None:
        def connection(**uvicorns: Any) -> HttpConnection:
            return HttpConnection(node, **uvicorns)

        http: Any = connection
        super().__init__(
            uvicorn.Config(
                create_app(node),
                http=http,
                ws=WebSocketClient,
                lifespan="off",
                log_config=None,
                log_level="error",  # requests that are none are no warning to operators
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=2,
            )
        )
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them to the gateway."""
        yield

    async def main_loop(self) -> None:
        """Keep the date of the answers, until stopped; uvicorn's own loop looks ten times a second whether it is."""
        while not await self.on_tick(0):
            await set_within(self._stopping, DATE_S)

    async def start(self, sock: socket.socket) -> None:
        """Serve on a listening socket; returns when it does."""
        self._task = asyncio.get_running_loop().create_task(self.serve(sockets=[sock]))
        while not self.started and not self._task.done():  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Answer what was asked, and close."""
        self.should_exit = True
        self._stopping.set()
        if self._task is not None:
            await self._task
