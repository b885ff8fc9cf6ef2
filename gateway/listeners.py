"""The ports: TCP for text and JSON lines, HTTP for REST and WebSocket by uvicorn in the same loop."""

from __future__ import annotations

import asyncio
import functools
import socket
from typing import Literal

from gateway.http_port import HttpServer
from gateway.node import Node
from gateway.tcp import TcpClient
from gateway.tcpinfo import prepare

BACKLOG = 2048
Port = int | Literal["auto"]


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
        self._http: HttpServer | None = None
        self.http_at = ""
        self.tcp_at = ""

    async def open(self) -> None:
        """Listen. Raises OSError when a port cannot be had."""
        settings = self._node.settings
        shared = settings.processes > 1
        if settings.tcp_port != 0:
            sock = listen(settings.host, settings.tcp_port, shared=shared)
            prepare(sock, self._node.dead_after)
            self.tcp_at = _address(settings.host, sock)
            self._tcp = await self._node.loop.create_server(
                functools.partial(TcpClient, self._node), sock=sock, backlog=BACKLOG
            )
        if settings.http_port != 0:
            sock = listen(settings.host, settings.http_port, shared=shared)
            self.http_at = _address(settings.host, sock)
            self._node.service.files.http_port = sock.getsockname()[1]
            self._http = HttpServer(self._node)
            await self._http.start(sock)

    def stop_accepting(self) -> None:
        """Take no more connections on the TCP port; HTTP still answers that we are not ready."""
        if self._tcp is not None:
            self._tcp.close()

    async def close(self) -> None:
        """Close the HTTP port too."""
        if self._http is not None:
            await self._http.stop()


def _address(host: str, sock: socket.socket) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{sock.getsockname()[1]}"
