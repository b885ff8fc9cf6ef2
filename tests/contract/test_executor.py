"""Whatever runs commands: many at once are done in their order, as far as they touch the same key."""

import asyncio
import secrets
from typing import Any

import pytest

from causerie.errors import Unavailable
from causerie.store import Store
from causerie.store.resp import ByTask, Connection, ReplyError
from causerie.store.scripts import SCRIPTS
from tests.support.timing import PATIENCE


async def test_many_commands_for_one_key_are_done_in_order(store: Store) -> None:
    """On a Cluster each may take another connection."""
    keys = [f"{store.keys.prefix}{{order:{n}}}" for n in range(3)]
    batches = [[("RPUSH", key, n) for n in range(100) for key in keys] for _ in range(2)]
    await asyncio.gather(*[store.executor.execute_many(batch) for batch in batches])
    for key in keys:
        pushed = [int(n) for n in await store.executor.execute("LRANGE", key, 0, -1)]
        assert sorted(pushed) == sorted([*range(100), *range(100)])
        firsts = {n: pushed.index(n) for n in range(100)}
        assert list(firsts.values()) == sorted(firsts.values())


async def test_replies_of_many_are_in_order_errors_among_them(store: Store) -> None:
    key = f"{store.keys.prefix}{{counter}}"
    replies = await store.executor.execute_many([("INCR", key), ("LPUSH", key, 1), ("INCR", key), ("GET", key)])
    assert [replies[0], replies[2], bytes(replies[3])] == [1, 2, b"2"]
    assert isinstance(replies[1], Exception)


class Replies:
    """What `begin` hands over."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self._some = asyncio.Event()

    def __call__(self, reply: Any) -> None:
        self.all.append(reply)
        self._some.set()

    async def first(self, count: int) -> list[Any]:
        async with asyncio.timeout(PATIENCE):
            while len(self.all) < count:
                self._some.clear()
                await self._some.wait()
        return self.all


async def test_what_was_begun_is_handed_over_later_errors_too(store: Store) -> None:
    key, replies = f"{store.keys.prefix}{{counter}}", Replies()
    store.executor.begin(replies, "INCR", key)
    assert replies.all == []
    assert await replies.first(1) == [1]
    store.executor.begin(replies, "LPUSH", key, 1)
    assert isinstance((await replies.first(2))[1], ReplyError)


async def test_a_bug_in_who_takes_a_reply_costs_others_nothing(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    key, replies = f"{store.keys.prefix}{{counter}}", Replies()

    def buggy(_: Any) -> None:
        raise ZeroDivisionError

    store.executor.begin(buggy, "INCR", key)
    store.executor.begin(replies, "GET", key)
    await replies.first(1)
    assert await store.executor.execute("GET", key) == b"1"
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError]


@pytest.mark.parametrize("surprise", [KeyError, asyncio.CancelledError])
async def test_whatever_becomes_of_it_who_began_hears_of_it(surprise: type[BaseException]) -> None:
    class Surprising(ByTask):
        async def execute(self, *args: object) -> Any:
            raise surprise(*args)

    replies = Replies()
    Surprising().begin(replies, "PING")
    assert isinstance((await replies.first(1))[0], Unavailable if surprise is asyncio.CancelledError else surprise)


async def test_a_script_that_was_begun_is_loaded_on_the_way(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after the restart of a server, or SCRIPT FLUSH."""
    source = f"return ARGV[1] -- {secrets.token_hex(8)}"
    monkeypatch.setitem(SCRIPTS, "new", (secrets.token_hex(20), source))
    replies = Replies()
    store.scripts.begin(replies, "new", [f"{store.keys.prefix}{{any}}"], "here")
    assert await replies.first(1) == [b"here"]


async def test_what_was_begun_without_a_store_is_unavailable_later(store: Store) -> None:
    if not isinstance(store.executor, Connection):
        pytest.skip("redis-py dials for each command")
    replies = Replies()
    store.executor.begin(replies, "BLPOP", f"{store.keys.prefix}{{never}}", 0)
    store.executor.drop()
    store.executor.begin(replies, "PING")
    assert len(replies.all) == 1, "the one that waited"
    assert [type(reply) for reply in await replies.first(2)] == [Unavailable] * 2
