"""WebSocket at `/ws`: the handshake by `websockets`' sans-I/O code, then frames of our own without a task.

uvicorn makes one for each upgrade, feeds it the request again, and then makes it the transport's protocol.
"""

from __future__ import annotations

import asyncio
import http
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from websockets.http11 import Request
from websockets.server import ServerProtocol

from causerie.errors import Goodbye
from causerie.wire.framing import MAX_LINE
from causerie.wire.websocket import (
    Control,
    FrameReader,
    Opcode,
    WebSocketError,
    close_code,
    close_frame,
    frame,
)
from gateway.batch import Dialect
from gateway.intake import Client
from gateway.tcpinfo import prepare

if TYPE_CHECKING:
    from gateway.node import Node

PATH = "/ws"
CLOSE_CODES = {"quit": 1000, "shutdown": 1001, "unavailable": 1013}
"""The status code for a goodbye; 1008 (policy) for every other."""

_handshake_log = logging.getLogger("gateway.handshake")
_handshake_log.setLevel(logging.WARNING)


class WebSocketClient(Client):
    """A connection that was upgraded, or is just being."""

    __slots__ = ("_broken", "_close_sent", "_handshake")

    def __init__(self, node: Node, forwarded: str) -> None:
        super().__init__(node)
        self.forwarded = forwarded
        self.dialect = Dialect.JSON_FRAMES
        self.framer = FrameReader()
        self._broken = False
        self._close_sent = False
        self._handshake: ServerProtocol | None = ServerProtocol(max_size=MAX_LINE, logger=_handshake_log)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A request asks to be upgraded."""
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            prepare(sock, self.node.dead_after)

    def data_received(self, data: bytes) -> None:
        """The handshake, then frames."""
        if self._handshake is not None:
            self._shake_hands(self._handshake, data)
        else:
            self._receive(data)

    def _receive(self, data: bytes) -> None:
        if self.closing:
            self._await_close(data)
        else:
            super().data_received(data)

    def _shake_hands(self, handshake: ServerProtocol, data: bytes) -> None:
        handshake.receive_data(data)
        for request in handshake.events_received():
            if not isinstance(request, Request):
                continue
            if urlsplit(request.path).path != PATH:
                response = handshake.reject(http.HTTPStatus.NOT_FOUND, f"WebSocket is at {PATH}\n")
            elif not self.node.open:
                response = handshake.reject(http.HTTPStatus.SERVICE_UNAVAILABLE, "not now\n")
            else:
                response = handshake.accept(request)
            handshake.send_response(response)
            self._handshake = None
            for piece in handshake.data_to_send():
                if piece:
                    self.transport.write(piece)
            if response.status_code != http.HTTPStatus.SWITCHING_PROTOCOLS:
                self.closing = True
                self.transport.close()
            return
        if handshake.close_expected():  # no request that can be one of WebSocket
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
            self.closing = True
            self.transport.close()

    def _take(self) -> Any:
        """The next request; control frames are dealt with here."""
        try:
            while isinstance(item := self.framer.take(), Control):
                self._control(item)
                if self.closing:
                    return None
        except WebSocketError as error:
            self._broken = True
            self._close(error.code, error.reason)
            return None
        return None if item is None else self._understood(item)

    def _control(self, control: Control) -> None:
        if control.opcode == Opcode.PING:
            self.put(frame(Opcode.PONG, control.payload))
        elif control.opcode == Opcode.CLOSE:
            code = close_code(control.payload)
            self._close(1000 if code == 1005 else code, "")

    def _close(self, code: int, reason: str) -> None:
        """Close without a goodbye: the peer asked for it, or broke the framing."""
        self.put(close_frame(code, reason))
        self._close_sent = True
        self.end()

    def _half_close(self, goodbye: Goodbye | None) -> None:
        if not self._close_sent:
            self._close_sent = True
            code = goodbye.code if goodbye is not None else ""
            self.transport.write(close_frame(CLOSE_CODES.get(code, 1008), code))
        elif self._broken:
            self.transport.write_eof()
        else:
            self.transport.close()

    def _await_close(self, data: bytes) -> None:
        """Drop what still comes until the peer's close frame; after broken framing, until it ends."""
        if self._broken:
            return
        self.framer.feed(data)
        try:
            while (item := self.framer.take()) is not None:
                if isinstance(item, Control) and item.opcode == Opcode.CLOSE:
                    self.transport.close()
        except WebSocketError:
            self.transport.close()
