"""From a `--redis-url` to a connection."""

import asyncio
import contextlib
import socket

import pytest
import uvloop

from causerie.errors import Unavailable
from causerie.store.connect import RedisPy, Target
from causerie.store.resp import Connection, Wire
from causerie.store.sentinel import Masters


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b"-ERR no role\r\n")
    await reader.read()
    writer.close()


async def test_next_node_of_a_cluster_is_tried_when_one_is_dead() -> None:
    """Any node hears what is published, so a feed must not hang on the first one of the URL."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        dead = closed.getsockname()[1]
        async with await asyncio.start_server(_answer, "127.0.0.1", 0) as server:
            alive = server.sockets[0].getsockname()[1]
            target = Target(f"redis+cluster://127.0.0.1:{dead},127.0.0.1:{alive}")
            with pytest.raises(OSError):
                await target.dial(lambda: Wire(lambda _: None, lambda _: None))
            wire = await target.dial(lambda: Wire(lambda _: None, lambda _: None))
            assert wire.transport is not None
            assert wire.transport.get_extra_info("peername")[1] == alive
            wire.abort()


class Cut:
    """redis-py's client of a node whose connection ended a moment ago: it still writes to it."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self.response_callbacks: dict[str, object] = {}
        self._transport = transport

    async def execute_command(self, *_args: object) -> None:
        self._transport.writelines([b"PING"])


def test_a_connection_that_just_ended_is_a_store_that_is_away() -> None:
    """It is a `RuntimeError` of uvloop, which is no bug and leaves no trace."""

    async def write_to_what_is_closed() -> None:
        async with await asyncio.start_server(_answer, "127.0.0.1", 0) as server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.close()
            await writer.wait_closed()
            with pytest.raises(Unavailable):
                await RedisPy(Cut(writer.transport)).execute("PING")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(write_to_what_is_closed())


class Busy:
    """redis-py's client as it is now and then: it answers although it was cancelled."""

    def __init__(self) -> None:
        self.response_callbacks: dict[str, object] = {}
        self.asked = asyncio.Event()

    async def execute_command(self, *_args: object) -> str:
        self.asked.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return "PONG"


async def test_one_who_was_cancelled_while_asking_a_cluster_ends() -> None:
    """Else a worker that is told to stop goes on for ever."""
    busy = Busy()
    asking = asyncio.create_task(RedisPy(busy).execute("PING"))
    await busy.asked.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


class Deaf:
    """redis-py's client of a sentinel as it is now and then: it answers although it was cancelled."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def sentinel_masters(self) -> dict[str, object]:
        self.asked.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        master = {"ip": "127.0.0.1", "port": 1, "is_master": True, "is_sdown": False, "is_odown": False}
        return {"talk": {**master, "num-other-sentinels": 0}}


async def test_one_who_was_cancelled_while_asking_a_sentinel_ends() -> None:
    """Else a program that is told to stop goes on dialling for ever."""
    masters = Masters([("127.0.0.1", 1)], "talk", 1.0)
    deaf = Deaf()
    masters._sentinel.sentinels = [deaf]
    finding = asyncio.create_task(masters.find())
    await deaf.asked.wait()
    finding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finding


async def test_a_store_that_answers_one_after_the_other_is_not_away() -> None:
    """However long the queue is: what waits at its end has no answer yet, and giving it all up helps nobody."""
    connection = Connection(lambda _: None, timeout=2)
    assert not connection._is_overdue(100)
    connection._waiting.append((lambda _: None, 10.0))
    assert [connection._is_overdue(now) for now in (11.9, 12.1)] == [False, True]
    connection._heard = 11.0
    assert [connection._is_overdue(now) for now in (12.9, 13.1)] == [False, True]
    connection._waiting[0] = (connection._waiting[0][0], 20.0)
    assert [connection._is_overdue(now) for now in (21.9, 22.1)] == [False, True]
