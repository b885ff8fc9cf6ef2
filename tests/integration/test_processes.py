"""`causerie gateway --processes N`: several gateways on the same ports that live and die as one."""

import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from causerie.settings import Settings
from gateway import processes
from tests.support import Chat, Gateway, JsonClient, People, Store, eventually
from tests.support.store import free_port

Start = Callable[..., Any]


@pytest.fixture
def chat(store: Store) -> Chat:
    """A chat whose gateways each test starts itself."""
    return Chat(store)


@pytest.fixture
async def start(chat: Chat) -> AsyncIterator[Start]:
    async def started(**settings: Any) -> Gateway:
        return await chat.gateway(**{"processes": 2, "gateway_id": "twins", **settings})

    yield started
    chat.close()


def children(gateway: Gateway) -> list[int]:
    """The processes that the parent has forked."""
    return [int(pid) for pid in Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()]


async def gone(pids: list[int]) -> None:
    """Wait until none of these runs."""

    async def nobody() -> bool:
        return not any(Path(f"/proc/{pid}").exists() for pid in pids)

    await eventually(nobody, f"the end of {pids}")


async def one_at_each(people: People) -> list[JsonClient]:
    """A client at each of the two; the kernel chooses, so try until both have one."""
    found: dict[str, JsonClient] = {}
    for _ in range(60):
        client = await people.enter()
        found.setdefault(client.welcome["gateway"], client)
        if len(found) == 2:
            return [found[name] for name in sorted(found)]
    raise AssertionError(f"all at {list(found)}")


async def test_ready_once_and_one_chat(start: Start, people: People) -> None:
    gateway = await start()
    assert gateway.ready["gateway"] == "twins"
    alice, bob = await one_at_each(people)
    assert [alice.welcome["gateway"], bob.welcome["gateway"]] == ["twins-1", "twins-2"]
    await alice.say("#lobby", "across")
    await bob.message("across")
    bob.abort()
    back = await people.back(bob)
    assert back.welcome["resumed"] is True
    assert (await people.rest().http.get("/readyz")).status_code == 200
    assert len(gateway.stdout_lines) == 1


async def test_a_signal_to_the_parent_stops_all_gracefully(start: Start, people: People) -> None:
    gateway = await start()
    twins = children(gateway)
    clients = await one_at_each(people)
    gateway.terminate()
    for client in clients:
        await client.ended("shutdown")
    assert await gateway.exit_code() == 0
    assert gateway.stderr == ""
    await gone(twins)


async def test_shutdown_from_inside_stops_all(start: Start, people: People) -> None:
    gateway = await start()
    await one_at_each(people)
    await (await people.admin()).command("!shutdown")
    assert await gateway.exit_code() == 0


async def test_a_child_that_is_killed_takes_the_others_with_it(start: Start, people: People) -> None:
    gateway = await start()
    first, second = children(gateway)
    _, at_second = await one_at_each(people)
    os.kill(first, signal.SIGKILL)
    await at_second.ended("shutdown")
    assert await gateway.exit_code() == 1
    assert gateway.stderr.splitlines() == ["causerie gateway: a process ended with -9"]
    await gone([first, second])


async def test_a_parent_that_is_killed_leaves_nothing(start: Start) -> None:
    gateway = await start()
    twins = children(gateway)
    gateway.kill()
    await gone(twins)
    await start(tcp_port=gateway.tcp[1])  # and its ports are free


async def test_a_taken_port_is_one_clear_line(chat: Chat, start: Start) -> None:
    running = await start()
    with socket.create_server(("127.0.0.1", 0)) as other:
        for port in (running.tcp[1], other.getsockname()[1]):
            late = chat.launch_gateway(processes=2, tcp_port=port)
            assert await late.exit_code() == 1
            assert late.stderr == f"causerie gateway: 127.0.0.1:{port}: Address already in use\n"
            assert late.stdout == ""


async def test_a_stop_before_the_store_is_reached(chat: Chat) -> None:
    gateway = chat.launch_gateway(processes=2, redis_url=f"redis://127.0.0.1:{free_port()}")

    async def forked() -> bool:
        return len(children(gateway)) == 2

    await eventually(forked, "two children")
    gateway.signal(signal.SIGINT)
    assert await gateway.exit_code() == 0
    assert gateway.stdout == ""


def test_a_signal_between_the_forks_is_not_lost() -> None:
    def serve(settings: Settings) -> int:
        signal.pause()
        return 3

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    family = processes._Family()
    try:
        family.handle_signals()
        family.start(Settings(), serve)
        os.kill(os.getpid(), signal.SIGTERM)
        family.start(Settings(), serve)
        assert family.ready() is None
        assert family.wait() == 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
