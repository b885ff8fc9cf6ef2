"""TCP: text and JSON lines on one port, told apart by the first byte."""

from __future__ import annotations

import asyncio

from causerie.errors import Goodbye
from causerie.wire.framing import LineFramer
from gateway.batch import Dialect
from gateway.intake import Client, Request
from gateway.sent import Sent
from gateway.tcpinfo import prepare


class TcpClient(Client):
    """A connection on the TCP port."""

    __slots__ = ("_begun",)

    framer: LineFramer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.framer = LineFramer()
        self._begun = False
        super().connection_made(transport)
        settings = self.node.settings
        prepare(transport, max(settings.heartbeat_ttl, settings.stall_timeout) + settings.heartbeat_interval)

    def data_received(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            if not data.startswith(b"{"):
                self.dialect = Dialect.TEXT
                self.sent = Sent()
        super().data_received(data)

    def _take(self) -> tuple[int | None, Request] | None:
        taken = None if self.framer.endless else super()._take()
        if taken is None and self.framer.endless:
            self.goodbye(Goodbye("flood", "a line without end", retry_after=self.node.jitter()))
        return taken

    def eof_received(self) -> bool:
        """The peer says no more: what it said is done and answered, then we close."""
        if self.closing:
            return False
        self.ended = True
        self.pump()
        return not self.gone

    def _half_close(self, goodbye: Goodbye | None) -> None:
        del goodbye
        if self.ended:
            self.transport.close()
        else:
            self.transport.write_eof()
