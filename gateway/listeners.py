"""The ports: TCP for text and JSON lines, HTTP for REST and WebSocket by uvicorn in the same loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import Iterator
from typing import Any, Literal

import uvicorn

from gateway.node import Node
from gateway.rest.app import create_app
from gateway.tcp import TcpClient
from gateway.websocket import WebSocketClient

BACKLOG = 2048
Port = int | Literal["auto"]


class _Uvicorn(uvicorn.Server):
    """uvicorn without its own handling of signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them to the gateway."""
        yield


def listen(host: str, port: Port, *, shared: bool) -> socket.socket:
    """A listening socket; `shared` by several processes. Raises OSError."""
    number = 0 if port == "auto" else port
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"{host}:{number}: {error.strerror}") from error
    return sock


class Listeners:
    """The open ports of a node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._tcp: asyncio.Server | None = None
        self._uvicorn: _Uvicorn | None = None
        self._http: asyncio.Task[None] | None = None
        self.http_at = ""
        self.tcp_at = ""

    async def open(self) -> None:
        """Listen. Raises OSError when a port cannot be had."""
        settings = self._node.settings
        shared = settings.processes > 1
        if settings.tcp_port != 0:
            sock = listen(settings.host, settings.tcp_port, shared=shared)
            self.tcp_at = _address(settings.host, sock)
            self._tcp = await self._node.loop.create_server(
                functools.partial(TcpClient, self._node), sock=sock, backlog=BACKLOG
            )
        if settings.http_port != 0:
            sock = listen(settings.host, settings.http_port, shared=shared)
            self.http_at = _address(settings.host, sock)
            await self._serve_http(sock)

    async def _serve_http(self, sock: socket.socket) -> None:
        websocket: Any = functools.partial(_upgraded, self._node)
        config = uvicorn.Config(
            create_app(self._node),
            ws=websocket,
            http="httptools",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        self._uvicorn = _Uvicorn(config)
        self._http = self._node.loop.create_task(self._uvicorn.serve(sockets=[sock]))
        while not self._uvicorn.started and not self._http.done():  # noqa: ASYNC110 - uvicorn only has a flag
            await asyncio.sleep(0.005)

    def stop_accepting(self) -> None:
        """Take no more connections on the TCP port; HTTP still answers that we are not ready."""
        if self._tcp is not None:
            self._tcp.close()

    async def close(self) -> None:
        """Close the HTTP port too."""
        if self._uvicorn is not None and self._http is not None:
            self._uvicorn.should_exit = True
            await self._http


def _upgraded(node: Node, config: Any, server_state: Any, app_state: Any) -> WebSocketClient:
    """What uvicorn calls for each upgrade."""
    del config, server_state, app_state
    return WebSocketClient(node)


def _address(host: str, sock: socket.socket) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{sock.getsockname()[1]}"
