"""The HTTP port, below any application: nobody holds it or fills it by sending half of something."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Chat, People, Store
from tests.support.chat import SHORT_HEARTBEATS
from tests.support.processes import Gateway, address

BEGUN = [
    b"",
    b"GET /heal",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    b"POST /api/v1/announce HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
]


@pytest.fixture(scope="module")
def chat(store: Store) -> Iterator[Chat]:
    """A request has to be whole within the heartbeat's TTL."""
    with Chat(store, gateways=1, workers=0, **SHORT_HEARTBEATS) as started:
        yield started


class Raw:
    """A connection of bytes to the HTTP port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, gateway: Gateway) -> "Raw":
        return cls(*await asyncio.open_connection(*address(gateway.ready["http"])))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        received = b""
        with contextlib.suppress(ConnectionError):
            while piece := await self.reader.read(65536):
                received += piece
        return received


def resident(gateway: Gateway) -> int:
    """Bytes of memory that the gateway's process holds."""
    status = Path(f"/proc/{gateway.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


async def test_a_request_that_is_never_whole_ends_the_connection(people: People) -> None:
    async def answer_to(begun: bytes) -> bytes:
        raw = await Raw.open(people.chat.gateways[0])
        await raw.send(begun)
        return await raw.rest()

    for answer in await asyncio.gather(*map(answer_to, BEGUN)):
        assert answer.startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 401 ")), answer


async def test_bytes_that_trickle_in_do_not_prolong_it(people: People) -> None:
    raw = await Raw.open(people.chat.gateways[0])
    await raw.send(b"GET /healthz HTTP/1.1\r\nX-Slow: ")

    async def trickle() -> None:
        while True:
            await raw.send(b"x")
            await asyncio.sleep(0.05)  # the trickle itself, no waiting for something

    trickling = asyncio.create_task(trickle())
    assert (await raw.rest()).startswith(b"HTTP/1.1 408 ")
    trickling.cancel()


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"GET /", b"x" * 65536),
        (b"GET / HTTP/1.1\r\nX-Endless: ", b"x" * 65536),
        (b"GET / HTTP/1.1\r\n", b"X-Many: 1\r\n" * 6000),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Trailer: 1\r\n" * 5000),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Endless: ", b"x" * 65536),
    ],
    ids=["url", "header", "headers", "trailers", "trailer"],
)
async def test_an_endless_request_is_refused_and_not_kept(people: People, head: bytes, piece: bytes) -> None:
    gateway = people.chat.gateways[0]
    before = resident(gateway)
    raw = await Raw.open(gateway)
    with contextlib.suppress(ConnectionError):
        await raw.send(head)
        for _ in range(48 * 2**20 // len(piece)):
            await raw.send(piece)
    grown = resident(gateway) - before
    assert grown < 16 * 2**20, f"an endless request made the gateway grow by {grown >> 20} MiB"
    assert (await asyncio.wait_for(raw.rest(), 10)).count(b"200 OK") == 0
    other = await people.enter("other", transport="ws")
    await other.say("#lobby", "nobody else notices")


async def test_junk_is_refused_and_leaves_no_trace_in_the_log(people: People) -> None:
    gateway = people.chat.gateways[0]
    for junk in (b"\x00\x01\x02\r\n\r\n", b"HELLO\r\n\r\n", b"GET \xff HTTP/1.1\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        raw = await Raw.open(gateway)
        await raw.send(junk)
        assert (await raw.rest()).startswith(b"HTTP/1.1 400 "), junk
    assert "Traceback" not in gateway.stderr
    assert "Invalid HTTP" not in gateway.stderr


async def test_requests_one_after_another_on_one_connection(people: People) -> None:
    """Bounds count for each request anew."""
    raw = await Raw.open(people.chat.gateways[0])
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Pad: " + b"x" * 20_000 + b"\r\n\r\n"
    for _ in range(60):
        await raw.send(request)
        await raw.reader.readuntil(b"HTTP/1.1 200 ")
    await raw.send(request * 30)
    for _ in range(30):
        await raw.reader.readuntil(b"HTTP/1.1 200 ")
    raw.writer.close()
