"""Senders that need no second look: nothing that is taken from them goes unnoticed, and no message comes twice."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import fakeredis
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from causerie.errors import Refused, Unavailable
from causerie.model import Mids, Origin, Outcome, Post, Session
from causerie.settings import Settings
from causerie.store import Store
from causerie.store import cleared as module
from causerie.store.connect import RedisPy
from tests.contract.people import back, code, person, post, say

Takes = Callable[[Store, Session], Awaitable[object]]

TAKES: dict[str, tuple[str, Takes]] = {
    "suspended": ("suspended", lambda store, alice: store.sanctions.suspend("alice", 60, "", "root")),
    "suspended in the room": (
        "suspended",
        lambda store, alice: store.sanctions.suspend_in("#dev", "alice", 60, "", "root"),
    ),
    "banned": ("not_joined", lambda store, alice: store.sanctions.ban("alice", 60, "", "root")),
    "banned from the room": (
        "not_joined",
        lambda store, alice: store.sanctions.ban_from("#dev", "alice", 60, "", "root"),
    ),
    "parted": ("not_joined", lambda store, alice: store.sessions.part(alice.sid, "#dev")),
    "ended": ("not_joined", lambda store, alice: store.sessions.end(alice.sid, "quit", "")),
    "replaced": ("replaced", lambda store, alice: back(store, alice.sid)),
}


def is_cleared(store: Store, session: Session, room: str) -> bool:
    """Whether the next message is posted without a look at what is against its sender."""
    return store.logs._cleared.version(room, [post(session, None)]) != b""


@pytest.mark.parametrize(("expected", "take"), TAKES.values(), ids=list(TAKES))
async def test_the_next_message_is_refused(store: Store, expected: str, take: Takes) -> None:
    """“when a call has answered not one more line gets through”, also of one who was let through a moment ago."""
    alice, bob = await person(store, "alice", "#dev"), await person(store, "bob", "#dev")
    for n in range(2):
        assert [code(await say(store, who, "#dev", n + 1)) for who in (alice, bob)] == ["", ""]
    assert is_cleared(store, alice, "#dev")
    await take(store, alice)
    assert code(await say(store, alice, "#dev", 3)) == expected
    assert code(await say(store, bob, "#dev", 3)) == ""
    assert is_cleared(store, bob, "#dev")
    assert not is_cleared(store, alice, "#dev")


async def test_another_room_and_what_is_forgiven(store: Store) -> None:
    alice = await person(store, "alice", "#dev")
    for _ in range(2):
        assert code(await say(store, alice, "#lobby")) == code(await say(store, alice, "#dev")) == ""
    await store.sanctions.suspend_in("#dev", "alice", 60, "", "root")
    assert code(await say(store, alice, "#lobby")) == ""
    assert code(await say(store, alice, "#dev")) == "suspended"
    await store.sanctions.forgive_in("#dev", "alice")
    assert code(await say(store, alice, "#dev")) == ""


@pytest.mark.parametrize("lost", ["meta", "access", "log"])
async def test_a_lost_key_clears_nobody(store: Store, lost: str) -> None:
    alice = await person(store, "alice")
    for n in range(3):
        await say(store, alice, "#lobby", n + 1)
    await store.executor.execute("DEL", f"{store.keys.of('#lobby')}:{lost}")
    if lost == "access":  # of whose version the meta still speaks: they are lost together, or not at all
        await store.executor.execute("HDEL", f"{store.keys.of('#lobby')}:meta", "access")
    outcome = await say(store, alice, "#lobby", 4)
    assert (code(outcome), outcome.seq) == (("not_joined", 0) if lost == "access" else ("", 4))


async def test_newest_messages_deleted_by_hand(store: Store) -> None:
    """No number is given out twice, though the counter was set back together with the log."""
    alice = await person(store, "alice")
    posted = await store.logs.append("#lobby", [post(alice, n) for n in range(1, 6)])
    kept = await store.logs.read("#lobby", 2, 1)
    base = store.keys.of("#lobby")
    await store.executor.execute("XDEL", f"{base}:log", "4-0", "5-0")
    await store.executor.execute("HSET", f"{base}:meta", "seq", 3, "mid", kept.entries[0].mid)
    before = await store.executor.execute("HGET", f"{base}:meta", "epoch")
    again = await store.logs.append("#lobby", [post(alice, n) for n in (6, 7)])
    assert [outcome.seq for outcome in again] == [posted[-1].seq + 1, posted[-1].seq + 2]
    assert (await store.logs.head("#lobby")).epoch.encode() != before


async def test_of_many_senders_only_so_many_are_known(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    people = [await person(store, f"p{n}") for n in range(5)]
    for _ in range(3):
        for who in people:
            assert code(await say(store, who, "#lobby")) == ""
            assert store.logs._cleared._count == sum(len(r.newest) for r in store.logs._cleared._rooms.values()) <= 3


async def test_of_many_rooms_only_so_many_are_known(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of those in which nobody speaks but the system."""
    monkeypatch.setattr(module, "MOST", 3)
    rooms = [f"#r{n}" for n in range(5)]
    await person(store, "alice", *rooms)
    for room in rooms:
        (outcome,) = await store.logs.append(room, [Post(None, "bot", None, "message", "hi", "mid")])
        assert code(outcome) == ""
        assert len(store.logs._cleared._rooms) <= 3


async def test_several_rooms_in_one_step(store: Store) -> None:
    """Each room's messages keep their order and have their own numbers and refusals."""
    alice, bob = await person(store, "alice", "#a", "#b"), await person(store, "bob", "#b")
    if store.logs.rooms_a_call == 1:
        pytest.skip("one room a call here")
    for n in (1, 2):
        asked = [
            ("#a", [post(alice, n), post(bob, n), post(alice, n + 10)]),
            ("#b", [post(bob, n), post(alice, n), post(bob, n)]),
        ]
        outcomes = await store.logs.append_all(asked)
        assert [code(outcome) for outcome in outcomes] == ["", "not_joined", "", "", "", ""]
        assert [outcome.seq for outcome in outcomes] == [2 * n - 1, 0, 2 * n, 2 * n - 1, 2 * n, 2 * n - 1]
        assert [outcome.duplicate for outcome in outcomes] == [False] * 5 + [True]


class Unheard(RedisPy):
    """A store whose answer can be lost after it has done everything."""

    lose = False

    async def execute(self, *args: Any) -> Any:
        reply = await super().execute(*args)
        if self.lose and args[0] in ("EVALSHA", "EVAL"):
            raise Unavailable
        return reply


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("post"), st.lists(st.one_of(st.integers(1, 8), st.none()), min_size=1, max_size=4)),
        st.tuples(st.just("unheard"), st.lists(st.integers(1, 8), min_size=1, max_size=4)),
        st.tuples(st.just("move"), st.integers(0, 1)),
        st.tuples(st.just("suspend"), st.booleans()),
    ),
    max_size=25,
)


@settings(max_examples=150)
@given(STEPS)
@example([("post", [2]), ("post", [3]), ("unheard", [1, 4]), ("post", [4])])
def test_an_id_is_posted_once(steps: list[tuple[str, Any]]) -> None:
    """Whatever order the ids come in, whichever gateway they come through, whether or not its answers arrive."""
    asyncio.run(_walk(steps))


async def _walk(steps: list[tuple[str, Any]]) -> None:
    server = fakeredis.FakeServer()
    executors = [Unheard(fakeredis.FakeAsyncRedis(server=server, protocol=2)) for _ in range(2)]
    stores = [Store(executor, None, Settings()) for executor in executors]
    alice, at, muted, mids = await person(stores[0], "alice"), 0, False, Mids()
    posted: dict[int, int] = {}
    for what, value in steps:
        if what == "move":
            at = value
            alice = (await back(stores[at], alice.sid)).session
        elif what == "suspend":
            muted = value
            if value:
                await stores[1 - at].sanctions.suspend("alice", None, "", "root")
            else:
                await stores[1 - at].sanctions.forgive("alice")
        else:
            executors[at].lose = what == "unheard"
            try:
                outcomes = await stores[at].logs.append("#lobby", [_of(alice.origin, id_, mids) for id_ in value])
            except Unavailable:
                outcomes = await _seen(stores[at], value, posted)
            executors[at].lose = False
            for id_, outcome in zip(value, outcomes, strict=True):
                _check(id_, outcome, muted, posted)
    bodies = [json.loads(e.line)["body"] for e in await stores[0].logs.read_before("#lobby", None, 1000)]
    with_id = [body for body in bodies if body != "None"]
    assert sorted(with_id) == sorted(set(with_id))
    assert set(with_id) == {str(id_) for id_ in posted}


def _of(origin: Origin, id_: int | None, mids: Mids) -> Post:
    return Post(origin, "alice", id_, "message", str(id_), mids.next())


async def _seen(store: Store, ids: list[int], posted: dict[int, int]) -> list[Outcome]:
    """What must have become of messages whose answers were lost, by what is on the log."""
    seqs = {json.loads(e.line)["body"]: e.seq for e in await store.logs.read_before("#lobby", None, 1000)}
    refused = Refused("suspended", "")
    return [
        Outcome(seqs[str(id_)], id_ in posted or id_ in ids[:n]) if str(id_) in seqs else Outcome(0, error=refused)
        for n, id_ in enumerate(ids)
    ]


def _check(id_: int | None, outcome: Outcome, muted: bool, posted: dict[int, int]) -> None:
    if id_ in posted:
        assert (outcome.seq, outcome.duplicate) == (posted[id_], True)
    elif muted:
        assert code(outcome) == "suspended"
    else:
        assert (code(outcome), outcome.duplicate) == ("", False)
        if id_ is not None:
            posted[id_] = outcome.seq
