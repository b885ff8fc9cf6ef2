"""Whatever runs commands: many at once are done in their order, as far as they touch the same key."""

import asyncio

from causerie.store import Store


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
