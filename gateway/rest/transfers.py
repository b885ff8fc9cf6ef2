"""Bytes of files on their way through this gateway: how many at once, how long one may stand still."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final, Protocol

from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from causerie.errors import Refused
from gateway.rest.problem import of_refusal

AT_ONCE: Final = 32
"""Transfers of a gateway, each of which takes a part's worth of memory."""
EACH: Final = 4
"""Of one session."""


class Connection(Protocol):
    """What the HTTP port offers to those who stream; it stands in the request's scope."""

    def stream(self) -> None:
        """Lift the bounds of this request: whoever reads it has its own."""

    def abort(self) -> None:
        """End the connection at once."""


def connection(scope: Scope) -> Connection | None:
    """The connection of a request; None where there is no port, as in tests of the app alone."""
    found: Connection | None = scope.get("causerie.connection")
    return found


class Slots:
    """Who transfers now."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    @contextlib.contextmanager
    def taken(self, who: str) -> Iterator[None]:
        """Hold a slot. Raises `Refused` when there is none."""
        if who and self._taken[who] >= EACH:
            raise Refused("rate_limited", f"at most {EACH} files at once", retry_after=1.0)
        if self._taken.total() >= AT_ONCE:
            raise Refused("rate_limited", "this gateway is busy with other files", retry_after=1.0)
        self._taken[who] += 1
        try:
            yield
        finally:
            self._taken[who] -= 1
            self._taken += Counter()  # drops those who have none


async def incoming(request: Request, stall: float) -> AsyncIterator[bytes]:
    """The body of a request as it comes. Raises TimeoutError when nothing came for `stall` seconds."""
    if (port := connection(request.scope)) is not None:
        port.stream()
    stream = aiter(request.stream())
    while True:
        async with asyncio.timeout(stall):
            data = await anext(stream, None)
        if data is None:
            return
        if data:
            yield data


class Outgoing(Response):
    """A response whose body comes in pieces and goes as fast as the client reads it.

    A client that takes nothing for `stall` seconds is cut off, and so is one whose file breaks off here: with
    bytes missing, it cannot take what it has for the whole.
    """

    def __init__(self, pieces: AsyncIterator[bytes], stall: float, slots: Slots, who: str, **more: Any) -> None:
        super().__init__(**more)
        self._pieces, self._stall, self._slots, self._who = pieces, stall, slots, who

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all of it, or end the connection."""
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(self._slots.taken(self._who))
            except Refused as refused:
                await of_refusal(refused)(scope, receive, send)
                return
            try:
                await self._send(send)
            except (OSError, TimeoutError, Refused) as error:
                port = connection(scope)
                if port is None or isinstance(error, FileNotFoundError):
                    raise  # a part of a file is lost: worth a line in the log; and the port ends the connection
                port.abort()
                while (await receive())["type"] != "http.disconnect":
                    pass

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for piece in self._pieces:
            async with asyncio.timeout(self._stall):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
