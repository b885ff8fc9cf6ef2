"""Laws of the numbered logs (`causerie/store/logs.py`), promises 1 to 4 of the contract."""

import json
from collections.abc import Awaitable, Callable

import pytest

from causerie.model import Position
from causerie.store import Store
from tests.contract.people import back, bodies, code, person, post, say, tell


async def test_numbers_rise_by_one_from_one(store: Store) -> None:
    alice, bob = await person(store, "alice"), await person(store, "bob")
    outcomes = await store.logs.append("#lobby", [post(alice, 1), post(bob, 1), post(alice, 2)])
    assert [o.seq for o in outcomes] == [1, 2, 3]
    events = [json.loads(entry.line) for entry in (await store.logs.read("#lobby", 0, 10)).entries]
    assert [(e["seq"], e["from"]) for e in events] == [(1, "alice"), (2, "bob"), (3, "alice")]
    assert list(events[0]) == ["ev", "in", "seq", "from", "body", "mid", "ts", "kind"]
    assert sorted(e["ts"] for e in events) == [e["ts"] for e in events]


async def test_remembered_id_posts_nothing(store: Store) -> None:
    """Promise 2: the first seq again; another body is refused; what was refused used up no id."""
    alice = await person(store, "alice")
    assert (await say(store, alice, "#lobby", 5)).seq == 1
    again = await say(store, alice, "#lobby", 5)
    assert (again.seq, again.duplicate) == (1, True)
    assert code(await say(store, alice, "#lobby", 5, "other")) == "bad_request"
    assert code(await say(store, alice, "#elsewhere", 6)) == "not_joined"
    await store.sessions.join(alice, "#elsewhere")
    assert (await say(store, alice, "#elsewhere", 6)).seq == 1
    assert await bodies(store, "#lobby") == ["hi"]


async def test_window_of_remembered_ids(store: Store) -> None:
    """Promise 2: 256 are held for each device and target; below the lowest of them is no false ack."""
    alice = await person(store, "alice", "#b")
    await store.logs.append("#lobby", [post(alice, id_) for id_ in range(10, 10 + 2 * 256, 2)])
    assert (await say(store, alice, "#lobby", 10)).duplicate
    assert (await say(store, alice, "#lobby", 11)).seq == 257  # new, above the lowest: 10 is forgotten now
    assert code(await say(store, alice, "#lobby", 10)) == "bad_request"
    assert (await say(store, alice, "#b", 10)).seq == 1  # another target has its own
    other = (await back(store, alice.sid, "phone")).session
    assert (await say(store, other, "#lobby", 10)).seq == 258  # and so has another device


async def test_remembered_before_membership_and_sanctions(store: Store) -> None:
    """Promise 2: a remembered id is answered before membership and sanctions are looked at."""
    alice, _ = await person(store, "alice"), await person(store, "bob")
    await say(store, alice, "#lobby", 1)
    await tell(store, alice, ["bob"], 2)
    await store.sanctions.suspend("alice", None, "", "root")
    await store.sessions.part(alice.sid, "#lobby")
    await store.sessions.end((await store.sessions.lookup("bob")) or "", "quit", "")
    assert (await say(store, alice, "#lobby", 1)).duplicate
    assert (await tell(store, alice, ["bob"], 2)).duplicate
    assert code(await say(store, alice, "#lobby", 3)) == "not_joined"
    assert code(await tell(store, alice, ["bob"], 4)) == "no_such_nick"


async def test_older_generation_is_fenced_off(store: Store) -> None:
    """A connection that was replaced writes nothing more; another device stays."""
    alice = await person(store, "alice")
    phone = (await back(store, alice.sid, "phone")).session
    new = (await back(store, alice.sid)).session
    assert code(await say(store, alice, "#lobby")) == "replaced"
    assert code(await tell(store, alice, ["alice"])) == "replaced"
    assert code(await say(store, new, "#lobby")) == ""
    assert code(await say(store, phone, "#lobby")) == ""


@pytest.mark.parametrize("keys", [("log",), ("meta", "log")], ids="+".join)
async def test_a_remembered_id_of_what_was_lost_posts_again(store: Store, keys: tuple[str, ...]) -> None:
    """An ack says that a message is kept: no memory of an id may outlive it."""
    alice = await person(store, "alice")
    await store.logs.append("#lobby", [post(alice, id_) for id_ in (1, 2, 3)])
    await store.executor.execute("DEL", *[f"{store.keys.of('#lobby')}:{key}" for key in keys])
    again = await say(store, alice, "#lobby", 2)
    assert not again.duplicate
    repeated = await say(store, alice, "#lobby", 2)
    assert (repeated.seq, repeated.duplicate) == (again.seq, True)
    assert await bodies(store, "#lobby") == ["hi"]


async def test_a_remembered_id_of_what_was_trimmed_stays_remembered(
    open_store: Callable[..., Awaitable[Store]],
) -> None:
    store = await open_store(history_limit=2)
    alice = await person(store, "alice")
    await store.logs.append("#lobby", [post(alice, id_) for id_ in (1, 2, 3)])
    assert (await say(store, alice, "#lobby", 1)).duplicate


@pytest.mark.parametrize("lost", ["log", "meta"])
async def test_lost_key_changes_the_epoch_and_numbers_go_on(store: Store, lost: str) -> None:
    """Promise 4: numbers that are given out again never pass for the old ones."""
    alice = await person(store, "alice")
    await store.logs.append("#lobby", [post(alice, n) for n in range(1, 6)])
    before = await store.logs.head("#lobby")
    await store.executor.execute("DEL", f"{store.keys.of('#lobby')}:{lost}")
    outcome = await say(store, alice, "#lobby", 9)
    after = await store.logs.head("#lobby")
    assert outcome.seq == 6
    assert after.epoch != before.epoch
    assert after == await store.logs.head("#lobby")


async def test_a_counter_behind_the_log_is_noticed(store: Store) -> None:
    alice = await person(store, "alice")
    await store.logs.append("#lobby", [post(alice, n) for n in range(1, 6)])
    before = await store.logs.head("#lobby")
    await store.executor.execute("HSET", f"{store.keys.of('#lobby')}:meta", "seq", 3)
    after = await store.logs.head("#lobby")
    assert (after.seq, after.epoch != before.epoch) == (5, True)


async def test_new_epoch_is_compare_and_set(store: Store) -> None:
    alice = await person(store, "alice")
    await say(store, alice, "#lobby")
    old = await store.logs.head("#lobby")
    first = await store.logs.new_epoch("#lobby", old.epoch)
    second = await store.logs.new_epoch("#lobby", old.epoch)
    assert first == second
    assert (first.epoch != old.epoch, first.seq, first.mid) == (True, old.seq, old.mid)


async def test_trimmed_by_count(open_store) -> None:
    store = await open_store(history_limit=3)
    alice = await person(store, "alice")
    await store.logs.append("#lobby", [post(alice, n, str(n)) for n in range(1, 8)])
    assert await bodies(store, "#lobby") == ["5", "6", "7"]
    chunk = await store.logs.read("#lobby", 0, 10)
    assert (chunk.first, [entry.seq for entry in chunk.entries]) == (5, [5, 6, 7])


async def test_what_was_written_and_is_not_there_changes_the_epoch(open_store) -> None:
    """Nobody else may have seen it. Trimmed is not lost, and what another epoch tells of is told."""
    store = await open_store(history_limit=3)
    alice = await person(store, "alice")
    await store.logs.append("#lobby", [post(alice, n, str(n)) for n in range(1, 8)])
    epoch, _, mid = head = await store.logs.head("#lobby")
    true = [head, Position(epoch, 2, "trimmed"), Position("another", 6, "another"), Position("another", 9, "x")]
    assert await store.logs.confirm([("#lobby", seen) for seen in true]) == 0
    assert await store.logs.confirm([("@nobody", Position(epoch, 1, mid))]) == 0
    for lost in (Position(epoch, 8, "beyond"), Position(epoch, 6, "another")):
        assert await store.logs.head("#lobby") == head
        assert await store.logs.confirm([("#lobby", lost), ("#lobby", lost)]) == 1
        changed = await store.logs.head("#lobby")
        assert (changed.epoch != epoch, changed[1:]) == (True, head[1:])
        await store.executor.execute("HSET", f"{store.keys.of('#lobby')}:meta", "epoch", epoch)


async def test_trimmed_by_bytes(open_store) -> None:
    store = await open_store(room_bytes=3000)
    alice = await person(store, "alice")
    for n in range(1, 30):
        await say(store, alice, "#lobby", n, "x" * 200)
    kept = await store.logs.read("#lobby", 0, 100)
    assert sum(len(entry.line) for entry in kept.entries) <= 3000
    assert kept.entries[-1].seq == 29
    assert len(kept.entries) > 3


async def test_idempotent_post_of_the_system(store: Store) -> None:
    """REST: an Idempotency-Key posts once, another body under it is refused."""
    from causerie.model import Post

    await person(store, "alice")
    first, again, other = await store.logs.append(
        "#lobby",
        [
            Post(None, "bot", 1, "message", "hi", "mid-1", key="k"),
            Post(None, "bot", 1, "message", "hi", "mid-2", key="k"),
            Post(None, "bot", 1, "message", "ho", "mid-3", key="k"),
        ],
    )
    assert (first.seq, again.seq, again.duplicate, again.mid) == (1, 1, True, "mid-1")
    assert code(other) == "bad_request"


async def test_ids_that_do_not_rise(store: Store) -> None:
    """Promise 2: an id refused at first may be used after higher ones; each is remembered in its place."""
    alice = await person(store, "alice")
    order = [20, 40, 30, 10, 35]
    seqs = {id_: (await say(store, alice, "#lobby", id_, str(id_))).seq for id_ in order}
    assert list(seqs.values()) == [1, 2, 3, 4, 5]
    for id_ in sorted(order):
        again = await say(store, alice, "#lobby", id_, str(id_))
        assert (again.seq, again.duplicate) == (seqs[id_], True)
    assert code(await say(store, alice, "#lobby", 30, "other")) == "bad_request"


async def test_many_more_ids_than_are_remembered(store: Store) -> None:
    """Promise 2: of any number of ids the last 256 are held; what the store keeps of them is bounded."""
    alice = await person(store, "alice")
    for start in range(10**15, 10**15 + 2048, 128):
        await store.logs.append("#lobby", [post(alice, id_) for id_ in range(start, start + 128)])
    lowest = 10**15 + 2048 - 256
    assert (await say(store, alice, "#lobby", lowest)).duplicate
    assert code(await say(store, alice, "#lobby", lowest - 1)) == "bad_request"
    key = f"{store.keys.of('#lobby')}:sent:{alice.sid}/{alice.device}"
    assert await store.executor.execute("STRLEN", key) < 32 * 1024
