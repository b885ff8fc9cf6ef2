"""An echo server on the gateway's own WebSocket transport and port: only the chat is taken out of it.

Run as a program, it prints `ready echo=URL`.
"""

import asyncio
import functools
from typing import Any, cast

import uvicorn
import uvloop

from causerie.metrics import Metrics
from causerie.settings import Settings
from causerie.wire.framing import Mark
from causerie.wire.websocket import FrameReader, frame
from gateway import intake
from gateway.hub import Hub
from gateway.listeners import listen
from gateway.websocket import PATH, WebSocketClient
from gateway.writer import writer

LARGEST = 64 * 2**20
intake.MOST_UNREAD = LARGEST  # type: ignore[misc]  # more than a message waits in no gateway


class EchoReader(FrameReader):
    """Takes messages of any kind and size, as the frames that answer them."""

    __slots__ = ()
    limit = skip = LARGEST

    def _message(self, opcode: int, payload: bytes) -> bytes | Mark:
        super()._message(opcode, payload)
        return frame(opcode, payload)


class EchoClient(WebSocketClient):
    """Says what it hears."""

    __slots__ = ()

    def __init__(self, node: Any) -> None:
        super().__init__(node, forwarded="")
        self.framer = EchoReader()

    def _understood(self, item: bytes | Mark) -> Any:
        return None, item

    def _begin(self, re: int | None, request: Any) -> bool:
        self.put(request)
        return True


class EchoNode:
    """What a connection needs of its node."""

    open = True
    dead_after = 60.0

    def __init__(self) -> None:
        self.settings = Settings()
        self.loop = asyncio.get_running_loop()
        self.counted = Metrics()
        self.hub = Hub(self.counted, self.loop, writer())
        self.wheel = self

    def add(self, client: WebSocketClient) -> None: ...
    def remove(self, client: WebSocketClient) -> None: ...


async def _nothing(scope: object, receive: object, send: object) -> None:
    raise AssertionError("this is no web server")


async def main() -> None:
    node = EchoNode()
    sock = listen("127.0.0.1", "auto", shared=False)
    config = uvicorn.Config(
        cast("Any", _nothing),
        ws=cast("Any", lambda **_: EchoClient(node)),
        http="httptools",
        lifespan="off",
        log_level="warning",
    )
    host, port = sock.getsockname()
    server = uvicorn.Server(config)
    node.loop.call_soon(functools.partial(print, f"ready echo=ws://{host}:{port}{PATH}", flush=True))
    await server.serve(sockets=[sock])


if __name__ == "__main__":
    uvloop.run(main())
