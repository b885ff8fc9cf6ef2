"""`--min-replicas`: nothing is acknowledged that only one server has."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from causerie.errors import Unavailable
from causerie.settings import Settings
from causerie.store import Store
from tests.contract.people import person, say, tell
from tests.support import Store as Server


@pytest.fixture
def master() -> Iterator[Server]:
    with Server(repl_diskless_sync_delay=0) as server:
        yield server


@pytest.fixture
def replica(master: Server) -> Iterator[Server]:
    with Server(replicaof=f"127.0.0.1 {master.port}") as server:
        yield server


@pytest.fixture
async def stores(master: Server, replica: Server) -> AsyncIterator[list[Store]]:
    """Two gateways' stores."""
    opened = [await Store.open(Settings(redis_url=master.url, min_replicas=1)) for _ in range(2)]
    await opened[0].check_format()
    await _replicated(opened[0])
    yield opened
    for store in opened:
        await store.close()


@pytest.fixture
def store(stores: list[Store]) -> Store:
    return stores[0]


async def _replicated(store: Store) -> None:
    """Until the replica follows."""
    while not await store.executor.execute("WAIT", 1, 100):
        pass


async def _says(store: Store, replica: Server) -> None:
    """The replica answers again."""
    replica.wake()
    await _replicated(store)


async def test_an_ack_waits_for_the_replica(stores: list[Store], replica: Server) -> None:
    """Not even the answer to a repeated id, on another gateway, says that it is kept before it is."""
    alice = await person(stores[0], "alice")
    assert (await say(stores[0], alice, "#lobby", 1)).seq == 1
    replica.pause()
    for store in stores:
        with pytest.raises(Unavailable, match="replicas"):
            await say(store, alice, "#lobby", 2)
    await _says(stores[0], replica)
    again = await say(stores[1], alice, "#lobby", 2)
    assert (again.seq, again.duplicate) == (2, True)


async def test_a_direct_message_waits_too(stores: list[Store], replica: Server) -> None:
    alice, _ = await person(stores[0], "alice"), await person(stores[0], "bob")
    replica.pause()
    for store in stores:
        with pytest.raises(Unavailable, match="replicas"):
            await tell(store, alice, ["bob"], 1)
    await _says(stores[0], replica)
    assert (await tell(stores[1], alice, ["bob"], 1)).duplicate


async def test_nothing_else_waits(store: Store, replica: Server) -> None:
    """Reads and heartbeats go on while an ack waits."""
    alice = await person(store, "alice")
    replica.pause()
    waiting = asyncio.create_task(say(store, alice, "#lobby", 1))
    while (await store.logs.head("#lobby")).seq == 0:
        pass
    assert not waiting.done()
    with pytest.raises(Unavailable):
        await waiting
    await _says(store, replica)


async def test_acks_of_one_turn_share_a_wait(store: Store, master: Server) -> None:
    alice = await person(store, "alice", "#a", "#b", "#c")
    await say(store, alice, "#lobby", 1)  # the server knows the script
    with master.client() as redis:
        before = redis.info("commandstats")["cmdstat_wait"]["calls"]
        await asyncio.gather(*[say(store, alice, room, 1) for room in ("#a", "#b", "#c")])
        assert redis.info("commandstats")["cmdstat_wait"]["calls"] == before + 1
