"""Direct messages (promise 8): one mid, one copy each, in order, whoever finishes them."""

import json

import pytest

from causerie.errors import Unavailable
from causerie.model import Position
from causerie.store import Store
from tests.contract.people import bodies, code, person, tell, wait_for_the_next_millisecond


async def test_a_copy_in_every_inbox_under_one_mid(store: Store) -> None:
    alice, bob, carol = [await person(store, nick) for nick in ("alice", "bob", "carol")]
    assert (await tell(store, alice, ["bob", "carol", "bob"])).seq == 1
    events = [json.loads((await store.logs.read_before(f"@{s.sid}", None, 5))[0].line) for s in (alice, bob, carol)]
    assert {event["mid"] for event in events} == {events[0]["mid"]}
    assert all(event["to"] == ["bob", "carol"] and event["in"] == "@" for event in events)


async def test_to_oneself_comes_once(store: Store) -> None:
    alice = await person(store, "alice")
    await tell(store, alice, ["alice"])
    assert await bodies(store, f"@{alice.sid}") == ["psst"]


async def test_unknown_recipient_fails_all_of_it(store: Store) -> None:
    alice, bob = await person(store, "alice"), await person(store, "bob")
    assert code(await tell(store, alice, ["bob", "nobody"], 1)) == "no_such_nick"
    assert await bodies(store, f"@{bob.sid}") == []
    assert await bodies(store, f"@{alice.sid}") == []
    assert (await tell(store, alice, ["bob"], 1)).seq == 1


async def test_who_delivers_learns_where_each_copy_is(store: Store) -> None:
    alice, bob, carol = [await person(store, nick) for nick in ("alice", "bob", "carol")]
    copies: list[tuple[str, Position]] = []
    store.direct.on_copy = lambda log, copy: copies.append((log, copy))
    await tell(store, alice, ["bob", "carol"], 1)
    await tell(store, alice, ["bob", "carol"], 1)
    assert copies == [(f"@{one.sid}", await store.logs.head(f"@{one.sid}")) for one in (bob, carol)]


class _Cut:
    """An executor that dies before the copies are delivered."""

    def __init__(self, store: Store) -> None:
        self.run = store.scripts.many
        store.scripts.many = self  # type: ignore[method-assign, assignment]
        self.store, self.cuts = store, 1

    async def __call__(self, name: str, calls: object) -> object:
        if name == "dm_deliver" and self.cuts:
            self.cuts -= 1
            raise Unavailable
        return await self.run(name, calls)  # type: ignore[arg-type]


@pytest.mark.parametrize("finisher", ["resend", "next", "worker"])
async def test_a_message_cut_off_half_way_is_finished_once(store: Store, finisher: str) -> None:
    """Whoever finds it goes on: the resend, the sender's next message (behind it, in order), a worker."""
    alice, bob = await person(store, "alice"), await person(store, "bob")
    _Cut(store)
    with pytest.raises(Unavailable):
        await tell(store, alice, ["bob"], 1, "one")
    assert await bodies(store, f"@{bob.sid}") == []
    if finisher == "worker":
        await store.direct.finish(alice.sid)
    if finisher == "next":
        assert (await tell(store, alice, ["bob"], 2, "two")).seq == 2
    assert (await tell(store, alice, ["bob"], 1, "one")).duplicate
    await store.direct.finish(alice.sid)
    assert await bodies(store, f"@{bob.sid}") == ["one"] + (["two"] if finisher == "next" else [])


async def test_an_inbox_that_was_lost_does_not_swallow_what_is_sent_from_it(store: Store) -> None:
    """Its numbering begins anew; the recipients have seen higher numbers."""
    alice, bob = await person(store, "alice"), await person(store, "bob")
    for body in ("one", "two"):
        await tell(store, alice, ["bob"], None, body)
    base = store.keys.session(alice.sid)
    await store.executor.execute("DEL", f"{base}:meta", f"{base}:log")
    await wait_for_the_next_millisecond(store)
    await tell(store, alice, ["bob"], None, "three")
    assert await bodies(store, f"@{bob.sid}") == ["one", "two", "three"]


async def test_an_inbox_that_was_lost_does_not_double_what_others_have(store: Store) -> None:
    alice, bob = await person(store, "alice"), await person(store, "bob")
    await tell(store, alice, ["bob"], 1, "one")
    await store.executor.execute("DEL", f"{store.keys.session(alice.sid)}:log")
    assert (await tell(store, alice, ["bob"], 1, "one")).duplicate
    assert await bodies(store, f"@{bob.sid}") == ["one"]
