"""The store on everything that it runs on: fakeredis, one Valkey, a Cluster of three."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack

import fakeredis
import pytest

from causerie.settings import Settings
from causerie.store import Store
from causerie.store.connect import RedisPy
from tests.support.store import Store as Server
from tests.support.store import free_port
from tests.support.timing import PATIENCE

SLOTS = ((0, 5460), (5461, 10922), (10923, 16383))


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    with Server() as server:
        yield server.url


@pytest.fixture(scope="session")
def cluster_url() -> Iterator[str]:
    with ExitStack() as stack:
        nodes = [stack.enter_context(Server(cluster_enabled="yes", cluster_port=free_port())) for _ in SLOTS]
        clients = [stack.enter_context(node.client()) for node in nodes]
        for client, (low, high) in zip(clients, SLOTS, strict=True):
            client.execute_command(f"CLUSTER ADDSLOTSRANGE {low} {high}")
        for node in nodes[1:]:
            bus = node.extra["cluster_port"]
            clients[0].execute_command(f"CLUSTER MEET 127.0.0.1 {node.port} {bus}")
        deadline = time.monotonic() + PATIENCE
        while not all(_whole(client) for client in clients):
            assert time.monotonic() < deadline, "the cluster does not come up"
            time.sleep(0.05)
        yield f"redis+cluster://127.0.0.1:{nodes[0].port}"


def _whole(client: object) -> bool:
    info = client.execute_command("CLUSTER INFO")  # type: ignore[attr-defined]
    return info["cluster_state"] == "ok" and info["cluster_known_nodes"] == "3"


Open = Callable[..., "asyncio.Future[Store]"]


@pytest.fixture(params=["fake", "valkey", "cluster"])
async def open_store(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., object]]:
    """Open stores with options of `Settings`, each under a fresh namespace."""
    stores: list[Store] = []

    async def opened(**options: object) -> Store:
        options.setdefault("namespace", f"t{secrets.token_hex(6)}")
        if request.param == "fake":
            settings = Settings(**options)
            store = Store(RedisPy(fakeredis.FakeAsyncRedis(protocol=2)), None, settings)
        else:
            url = request.getfixturevalue(f"{request.param}_url")
            store = await Store.open(Settings(redis_url=url, **options))
        await store.check_format()
        stores.append(store)
        return store

    yield opened
    for store in stores:
        await store.close()


@pytest.fixture
async def store(open_store: Callable[..., object]) -> Store:
    return await open_store()  # type: ignore[misc]
