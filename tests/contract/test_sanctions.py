"""Sanctions: when a call has answered not one more line gets through; they outlive sessions and renames."""

import pytest

from causerie.errors import Refused
from causerie.model import new_sid
from causerie.store import Store
from tests.contract.people import back, code, person, say, tell


async def test_suspended_everywhere_until_forgiven(store: Store) -> None:
    alice = await person(store, "alice", "#dev")
    await store.sanctions.suspend("alice", 60, "spam", "root")
    for outcome in [await say(store, alice, room) for room in ("#lobby", "#dev")] + [
        await tell(store, alice, ["alice"])
    ]:
        assert code(outcome) == "suspended"
        assert isinstance(outcome.error, Refused)
        assert outcome.error.until is not None
    await store.sessions.join(alice, "#late")
    assert code(await say(store, alice, "#late")) == "suspended"
    assert [s.subject for s in await store.sanctions.suspensions()] == ["alice"]
    assert {m.nick: m.flags for m in await store.rooms.members("#dev")}["alice"][0] == "suspended"
    assert await store.sanctions.forgive("alice") == ["suspend"]
    assert [code(await say(store, alice, room)) for room in ("#lobby", "#dev", "#late")] == ["", "", ""]
    assert await store.sanctions.suspensions() == []


async def test_an_ended_suspension_is_none(store: Store) -> None:
    alice = await person(store, "alice")
    await store.sanctions.suspend("alice", -1, "over", "root")
    assert code(await say(store, alice, "#lobby")) == ""
    assert await store.sanctions.suspensions() == []


async def test_holds_for_the_next_session_with_that_nick(store: Store) -> None:
    first = await person(store, "alice")
    await store.sanctions.suspend("alice", None, "", "root")
    await store.sessions.end(first.sid, "quit", "")
    second = await person(store, "alice")
    assert code(await say(store, second, "#lobby")) == "suspended"


async def test_suspended_person_cannot_take_another_nick(store: Store) -> None:
    alice = await person(store, "alice")
    await store.sanctions.suspend("alice", None, "", "root")
    with pytest.raises(Refused) as refused:
        await store.sessions.rename(alice, "eve")
    assert refused.value.code == "suspended"
    assert await store.sessions.lookup("eve") is None


async def test_ban_ends_the_session_and_keeps_the_nick_shut(store: Store) -> None:
    bob = await person(store, "bob", "#dev")
    await store.sanctions.ban("bob", None, "spam", "root")
    assert code(await say(store, bob, "#dev")) == "not_joined"
    assert await store.sessions.find("cookie-bob") is None
    assert [m.nick for m in await store.rooms.members("#dev")] == []
    with pytest.raises(Refused) as refused:
        await person(store, "bob")
    assert (refused.value.code, refused.value.until) == ("banned", None)
    assert await store.sanctions.forgive("bob") == ["ban"]
    await person(store, "bob")


async def test_room_suspension_is_not_shed_by_renaming_or_parting(store: Store) -> None:
    bob = await person(store, "bob", "#dev")
    await store.sanctions.suspend_in("#dev", "bob", None, "", "mod")
    assert code(await say(store, bob, "#lobby")) == ""
    await store.sessions.rename(bob, "rob")
    await store.sessions.part(bob.sid, "#dev", origin=bob.origin)
    await store.sessions.join(bob, "#dev")
    assert code(await say(store, bob, "#dev")) == "suspended"
    assert await store.sanctions.forgive_in("#dev", "rob") == ["suspend"]
    assert code(await say(store, bob, "#dev")) == ""


async def test_room_ban_is_not_shed_by_renaming(store: Store) -> None:
    bob = await person(store, "bob", "#dev")
    await store.sanctions.ban_from("#dev", "bob", None, "", "mod")
    assert code(await say(store, bob, "#dev")) == "not_joined"
    await store.sessions.rename(bob, "rob")
    with pytest.raises(Refused) as refused:
        await store.sessions.join(bob, "#dev")
    assert refused.value.code == "banned"


async def test_the_newer_writing_wins_whatever_arrives_last(store: Store) -> None:
    """A worker that carries an old suspension after a forgiveness changes nothing."""
    alice = await person(store, "alice")
    base = store.keys.nick("alice")
    await store.sanctions.suspend("alice", None, "", "root")
    old = await store.executor.execute("HGET", f"{base}:sanctions", "suspend")
    await store.sanctions.forgive("alice")
    await store.sanctions._mute(alice.sid, old.decode())
    assert code(await say(store, alice, "#lobby")) == ""


async def test_worker_carries_what_a_dead_gateway_left(store: Store) -> None:
    alice = await person(store, "alice")
    carry, store.sanctions._mute = store.sanctions._mute, _nothing  # type: ignore[method-assign, assignment]
    await store.sanctions.suspend("alice", None, "", "root")
    store.sanctions._mute = carry  # type: ignore[method-assign]
    assert code(await say(store, alice, "#lobby")) == ""
    await store.sanctions.repair()
    assert code(await say(store, alice, "#lobby")) == "suspended"


async def _nothing(sid: str, value: str) -> None:
    """A gateway that died between the record and the rooms."""


async def test_suspension_survives_a_return(store: Store) -> None:
    alice = await person(store, "alice")
    await store.sanctions.suspend("alice", 60, "", "root")
    attached = await back(store, alice.sid)
    assert code(await say(store, attached.session, "#lobby")) == "suspended"
    assert attached.suspended != 0.0


async def test_address_ban_is_listed_and_lifted(store: Store) -> None:
    await store.sanctions.ban_address("203.0.113.0/24", None, "flood", "root")
    assert [s.subject for s in await store.sanctions.bans()] == ["203.0.113.0/24"]
    assert await store.sanctions.forgive_address("203.0.113.0/24")
    assert not await store.sanctions.forgive_address("203.0.113.0/24")
    assert new_sid() != new_sid()
