"""TCP: text and JSON lines on one port, told apart by the first byte."""

from __future__ import annotations

import asyncio
import logging

from causerie.errors import Goodbye
from causerie.wire import proxy
from causerie.wire.framing import LineFramer
from causerie.wire.proxy import ProxyError
from gateway.batch import Dialect
from gateway.intake import Client, Request
from gateway.sent import Sent

log = logging.getLogger(__name__)


class TcpClient(Client):
    """A connection on the TCP port."""

    __slots__ = ("_begun", "_header")

    framer: LineFramer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.framer = LineFramer()
        self._begun = False
        super().connection_made(transport)
        proxies = self.node.proxies
        self._header: bytes | None = b"" if proxies.any and proxies.trusts(self.peer_address) else None
        """What has come of a balancer's header; None when none is awaited."""

    def data_received(self, data: bytes) -> None:
        if not self._begun:
            data = self._opened(data)
        if self.at_leisure and (message := self.framer.whole(data)) is not None:
            self.take_only(message)
        else:
            super().data_received(data)

    def _opened(self, data: bytes) -> bytes:
        """What follows a balancer's header, if there is one; its first byte tells the protocol."""
        if self._header is not None:
            data = self._without_header(self._header + data)
        if data:
            self._begun = True
            if not data.startswith(b"{"):
                self.dialect = Dialect.TEXT
                self.sent = Sent()
        return data

    def _without_header(self, data: bytes) -> bytes:
        """What follows the header of a balancer, which tells the client's address; nothing until it is whole."""
        try:
            header = proxy.decode(data)
        except ProxyError as error:
            log.warning("%s is a trusted proxy, but: %s", self.peer_address, error)
            self.abort()
            return b""
        if header is None:
            self._header = data
            return b""
        self._header, self.forwarded = None, header.address
        return data[header.size :]

    def _take(self) -> tuple[int | None, Request] | None:
        framer = self.framer
        if not framer.endless and (item := framer.take()) is not None:
            return self._understood(item)
        if framer.endless:
            self.goodbye(Goodbye("flood", "a line without end", retry_after=self.node.jitter()))
        return None

    def goodbye(self, goodbye: Goodbye) -> None:
        """One who has said nothing yet speaks no protocol that we know: no words then, we close."""
        if self._begun:
            super().goodbye(goodbye)
        else:
            self.end(goodbye)

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
