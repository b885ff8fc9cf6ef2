"""The connection to the store, against servers that misbehave."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvloop

from causerie.errors import Unavailable
from causerie.store.connect import Target
from causerie.store.resp import Connection, Wire
from tests.support import Store, eventually
from tests.support.sentinel import Sentinel


@pytest.fixture
async def complaints() -> AsyncIterator[list[dict[str, Any]]]:
    """What asyncio would log: errors that nobody caught."""
    found: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: found.append(context))
    yield found
    loop.set_exception_handler(None)


async def test_a_server_that_hangs_up_at_once(complaints: list[dict[str, Any]]) -> None:
    visits = asyncio.Semaphore(0)

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()
        visits.release()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = Connection(Target(f"redis://127.0.0.1:{port}").dial, timeout=0.2)
    with pytest.raises(Unavailable):
        await connection.start()
    for _ in range(3):
        await visits.acquire()
    await connection.close()
    server.close()
    assert complaints == []


async def test_a_server_that_hangs_up_in_the_handshake_is_dialled_again_at_once() -> None:
    """So does a proxy whose server is away: waiting out the patience of the dial would delay every return."""
    visits = asyncio.Semaphore(0)

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()
        visits.release()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = Connection(Target(f"redis://127.0.0.1:{port}", timeout=60).dial, timeout=60)
    async with asyncio.timeout(20):
        with pytest.raises(Unavailable):
            await connection.start()
        for _ in range(3):
            await visits.acquire()
    await connection.close()
    server.close()


async def test_a_sentinel_that_hangs_leaves_time_for_the_next(store: Store) -> None:
    async def say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await reader.read()

    hanging = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    with Sentinel(store) as sentinel:
        hosts = f"127.0.0.1:{hanging.sockets[0].getsockname()[1]},127.0.0.1:{sentinel.port}"
        connection = Connection(Target(f"redis+sentinel://{hosts}/talk", timeout=1.5).dial, timeout=1.5)

        async def answers() -> bool:
            with contextlib.suppress(Unavailable):
                return bool(await connection.execute("PING") == b"PONG")
            return False

        with contextlib.suppress(Unavailable):
            await connection.start()
        await eventually(answers, "a connection past the sentinel that hangs")
        await connection.close()
    hanging.close()


def test_a_look_up_that_outlives_the_timeout_is_reported_to_nobody() -> None:
    """Else it comes as an error in the log, later, of a future that nobody knows."""
    reported: list[object] = []

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(context))
        target = Target("redis://nowhere.invalid", timeout=0)
        with pytest.raises(TimeoutError):
            await target.dial(lambda: Wire(lambda _: None, lambda _: None))
        for _ in range(8):  # more than look-ups are done at one time: that one is over, too
            with contextlib.suppress(OSError):
                await loop.getaddrinfo("nowhere.invalid", 1)
        gc.collect()

    uvloop.run(scene())
    assert reported == []
