"""Sessions: leases, cookies, devices, heartbeats, the end; each change told once."""

import asyncio

import pytest

from causerie.errors import Refused
from causerie.model import Position, new_sid
from causerie.store import Store
from causerie.store.keys import shard_of
from causerie.store.sessions import RENEWALS, Claim, Renewal
from tests.contract.people import back, bodies, code, person, say, states, tell, wait_for_the_next_millisecond
from tests.support.timing import PATIENCE

FRESH = 60_000


async def expire(store: Store, sid: str) -> None:
    """The heartbeat is over, as if the time had passed."""
    await store.executor.execute("DEL", f"{store.keys.session(sid)}:alive")


async def claim(store: Store, sid: str) -> Claim:
    return (await store.sessions.claim([sid], await store.sessions.now_ms(), FRESH))[0]


async def test_a_nick_is_leased_to_one_session(store: Store) -> None:
    alice = await person(store, "alice")
    with pytest.raises(Refused) as refused:
        await store.sessions.create("alice", "other", "", "g", "127.0.0.1", sid=new_sid())
    assert refused.value.code == "nick_taken"
    await store.sessions.end(alice.sid, "quit", "")
    await person(store, "alice")


async def test_of_many_at_once_one_gets_the_nick(store: Store) -> None:
    tries = [store.sessions.create("alice", f"c{n}", "", "g", "127.0.0.1", sid=new_sid()) for n in range(8)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(not isinstance(result, Exception) for result in results) == 1


async def test_hello_repeated_with_the_same_cookie_is_the_same_session(store: Store) -> None:
    """A hello that got no answer can be repeated, wherever its gateway died on the way."""
    first = await store.sessions.create("alice", "secret", "", "g1", "127.0.0.1", sid=new_sid())
    again = await store.sessions.create("alice", "secret", "", "g2", "127.0.0.1", sid=new_sid())
    assert again.session.sid == first.session.sid
    await store.executor.execute("DEL", store.keys.cookie("secret"))  # died before the cookie was written
    third = await store.sessions.create("alice", "secret", "", "g2", "127.0.0.1", sid=new_sid())
    assert third.session.sid == first.session.sid
    assert await store.sessions.find("secret") == first.session.sid


async def test_at_most_eight_devices_connected(store: Store) -> None:
    alice = await person(store, "alice")
    for n in range(7):
        last = await back(store, alice.sid, f"d{n}")
    with pytest.raises(Refused) as refused:
        await back(store, alice.sid, "ninth")
    assert refused.value.code == "denied"
    await store.sessions.detach(last.session.origin)
    await back(store, alice.sid, "ninth")


async def test_away_when_the_last_device_goes(store: Store) -> None:
    alice = await person(store, "alice")
    phone = (await back(store, alice.sid, "phone")).session
    await store.sessions.detach(alice.origin)
    assert await states(store, "#lobby") == {"alice": "online"}
    await store.sessions.detach(phone.origin)
    assert await states(store, "#lobby") == {"alice": "away"}
    await store.sessions.detach(alice.origin)  # late news of an older connection
    await back(store, alice.sid)
    assert await states(store, "#lobby") == {"alice": "online"}


async def test_crashed_once_and_back(store: Store) -> None:
    alice = await person(store, "alice", "#dev")
    assert (await claim(store, alice.sid)).verdict == "alive"
    await expire(store, alice.sid)
    verdicts = [c.verdict for c in await asyncio.gather(*(claim(store, alice.sid) for _ in range(5)))]
    assert sorted(verdicts) == ["crashed"] + ["waiting"] * 4
    await store.sessions.tell(alice.sid)
    assert await states(store, "#dev") == {"alice": "crashed"}
    await back(store, alice.sid)
    assert await states(store, "#dev") == {"alice": "online"}


async def test_sessions_of_all_shards_whose_time_has_come_are_due(store: Store) -> None:
    sessions = store.sessions
    people = [(await person(store, nick)).sid for nick in ("ann", "bob", "cid", "dan")]
    assert (await sessions.due(10))[::2] == ([], False)
    await sessions.schedule([(sid, 0) for sid in people[:3]])
    sids, now, more = await sessions.due(10)
    assert (sorted(sids), more) == (sorted(people[:3]), False)
    assert abs(now - await sessions.now_ms()) < PATIENCE * 1000
    some, _, more = await sessions.due(1)
    assert more
    assert len({shard_of(sid) for sid in some}) == len(some) == len({shard_of(sid) for sid in sids})
    for sid in sids:
        await sessions.dismiss(sid)
    assert (await sessions.due(10))[::2] == ([], False)


async def test_nothing_is_claimed_across_an_outage(store: Store) -> None:
    alice = await person(store, "alice")
    await expire(store, alice.sid)
    [late] = await store.sessions.claim([alice.sid], await store.sessions.now_ms() - 5000, 1000)
    assert late.verdict == "late"
    assert await states(store, "#lobby") == {"alice": "online"}


async def test_a_heartbeat_brings_a_crashed_session_back(store: Store) -> None:
    """A gateway that was cut off for longer than the TTL still has its clients."""
    alice = await person(store, "alice")
    await expire(store, alice.sid)
    await claim(store, alice.sid)
    await store.sessions.tell(alice.sid)
    [renewed] = await store.sessions.renew([Renewal(alice.origin, 5000)])
    assert (renewed.error, renewed.repair) == (None, True)
    await store.sessions.tell(alice.sid)
    assert await states(store, "#lobby") == {"alice": "online"}


async def test_renewal_of_a_replaced_device_is_refused(store: Store) -> None:
    alice = await person(store, "alice")
    await back(store, alice.sid)
    [renewed] = await store.sessions.renew([Renewal(alice.origin, 5000)])
    assert renewed.error is not None
    assert renewed.error.code == "replaced"


async def test_a_generation_that_was_lost_is_not_given_out_again(store: Store) -> None:
    """A failover can lose an attach. Whoever it was for may come back (`unavailable`: nobody took the place), and is
    fenced off by the next one.
    """
    alice = await person(store, "alice")
    rec, devices = (f"{store.keys.session(alice.sid)}:{name}" for name in ("rec", "devices"))
    gens = [await store.executor.execute("HGET", rec, "gen"), await store.executor.execute("HGET", devices, "g:")]
    lost = (await back(store, alice.sid)).session
    await store.executor.execute("HSET", rec, "gen", gens[0])
    await store.executor.execute("HSET", devices, "g:", gens[1])
    [renewed] = await store.sessions.renew([Renewal(lost.origin, 5000)])
    assert renewed.error is not None
    assert renewed.error.code == "unavailable"
    await wait_for_the_next_millisecond(store)
    again = (await back(store, alice.sid)).session
    assert again.gen > lost.gen
    [renewed] = await store.sessions.renew([Renewal(lost.origin, 5000)])
    assert renewed.error is not None
    assert renewed.error.code == "replaced"
    assert code(await say(store, lost, "#lobby")) == "replaced"


async def test_coming_back_unnoticed_is_two_calls_of_scripts(store: Store) -> None:
    alice = await person(store, "alice")
    before = store.scripts.calls
    attached = await store.sessions.attach(alice.sid, "", "g2", "127.0.0.2")
    await store.sessions.enter(attached.session, attached.rooms, told=attached.told)
    assert attached.told
    assert store.scripts.calls - before == 2


async def test_coming_back_from_a_crash_is_told_and_struck_off(store: Store) -> None:
    alice = await person(store, "alice")
    await expire(store, alice.sid)
    await claim(store, alice.sid)
    attached = await store.sessions.attach(alice.sid, "", "g2", "127.0.0.2")
    assert not attached.told
    await store.sessions.enter(attached.session, attached.rooms, told=attached.told)
    assert await states(store, "#lobby") == {"alice": "online"}
    assert (await store.sessions.attach(alice.sid, "", "g2", "127.0.0.2")).told


async def test_many_heartbeats_are_few_calls(store: Store) -> None:
    people = [await person(store, f"p{i}") for i in range(RENEWALS + 1)]
    await back(store, people[3].sid)
    before = store.scripts.calls
    renewed = await store.sessions.renew([Renewal(one.origin, 5000) for one in people])
    assert store.scripts.calls - before == (len(people) if store.executor.one_slot else 2)
    assert [one.origin for one in renewed] == [one.origin for one in people]
    assert [i for i, one in enumerate(renewed) if one.error is not None] == [3]


async def test_never_heard_of_is_dropped(store: Store) -> None:
    attached = await store.sessions.create("ghost", "c", "", "g", "127.0.0.1", sid=new_sid())
    await store.sessions.join(attached.session, "#lobby")
    await expire(store, attached.session.sid)
    assert (await claim(store, attached.session.sid)).verdict == "ended"
    await store.sessions.cleanup(attached.session.sid)
    assert await states(store, "#lobby") == {}
    assert await store.sessions.lookup("ghost") is None


async def test_nick_of_the_long_crashed_goes_to_somebody_new(open_store) -> None:
    """Nick TTL: the newcomer inherits nothing, the old cookie is void."""
    store = await open_store(nick_ttl=0)
    old, bob = await person(store, "alice"), await person(store, "bob")
    await tell(store, bob, ["alice"], 1, "for the old one")
    await expire(store, old.sid)
    await claim(store, old.sid)
    new = await store.sessions.create("alice", "new-cookie", "", "g", "127.0.0.1", sid=new_sid())
    with pytest.raises(Refused) as refused:
        await back(store, old.sid)
    assert refused.value.code == "bad_cookie"
    assert await store.sessions.find("cookie-alice") is None
    assert await bodies(store, f"@{new.session.sid}") == []
    assert code(await say(store, old, "#lobby")) == "not_joined"


async def test_the_end_leaves_nothing_behind(store: Store) -> None:
    alice = await person(store, "alice", "#dev")
    await say(store, alice, "#dev", 1)
    await tell(store, alice, ["alice"], 2)
    await store.sessions.save_positions(alice.origin, {"#dev": Position("e", 1, "m")})
    assert await store.sessions.end(alice.sid, "quit", "")
    assert not await store.sessions.end(alice.sid, "quit", "")
    for name in ("rec", "alive", "devices", "rooms", "tell", "pos", "log", "meta", "pending", "from", "sent:"):
        assert not await store.executor.execute("EXISTS", f"{store.keys.session(alice.sid)}:{name}"), name
    assert not await store.executor.execute("EXISTS", f"{store.keys.of('#dev')}:sent:{alice.sid}/")
    assert await store.executor.execute("ZSCORE", store.keys.due(shard_of(alice.sid)), alice.sid) is None
    access = await store.executor.execute("HKEYS", f"{store.keys.of('#dev')}:access")
    assert not [field for field in access if alice.sid.encode() in field]


async def test_rename_moves_the_lease(store: Store) -> None:
    alice, _ = await person(store, "alice"), await person(store, "bob")
    with pytest.raises(Refused) as refused:
        await store.sessions.rename(alice, "bob")
    assert refused.value.code == "nick_taken"
    assert await store.sessions.rename(alice, "eve") == "alice"
    assert await states(store, "#lobby") == {"bob": "online", "eve": "online"}
    await person(store, "alice")


async def test_new_cookie_voids_the_old_one(store: Store) -> None:
    alice = await person(store, "alice")
    await store.sessions.new_cookie(alice, "fresh")
    assert await store.sessions.find("cookie-alice") is None
    assert await store.sessions.find("fresh") == alice.sid


async def test_saved_positions_come_back_for_that_device(store: Store) -> None:
    alice = await person(store, "alice", "#dev")
    seen = {"#dev": Position("e", 7, "m"), "@": Position("f", 3, "")}
    await store.sessions.save_positions(alice.origin, seen, "#dev")
    attached = await back(store, alice.sid)
    assert (attached.positions, attached.current) == (seen, "#dev")
    assert (await back(store, alice.sid, "phone")).positions == {}


async def test_first_to_join_moderates_but_not_the_lobby(store: Store) -> None:
    alice, bob = await person(store, "alice", "#dev"), await person(store, "bob", "#dev")
    assert await store.rooms.is_moderator("#dev", alice.sid)
    assert not await store.rooms.is_moderator("#dev", bob.sid)
    assert not await store.rooms.is_moderator("#lobby", alice.sid)


async def test_a_lost_meta_key_makes_nobody_a_moderator(store: Store) -> None:
    alice = await person(store, "alice", "#dev")
    await say(store, alice, "#dev")
    await store.executor.execute("DEL", f"{store.keys.of('#dev')}:meta")
    bob = await person(store, "bob", "#dev")
    assert not await store.rooms.is_moderator("#dev", bob.sid)


async def test_an_empty_unwritten_room_is_forgotten(store: Store) -> None:
    alice = await person(store, "alice", "#dev")
    await store.sessions.part(alice.sid, "#dev", origin=alice.origin)
    assert await store.rooms.info("#dev") is None
    assert "#dev" not in await store.rooms.names()


async def test_too_many_rooms(open_store) -> None:
    store = await open_store(max_rooms=2)
    alice = await person(store, "alice", "#a")
    with pytest.raises(Refused) as refused:
        await store.sessions.join(alice, "#b")
    assert refused.value.code == "denied"


async def test_pages_hold_every_session_once(store: Store) -> None:
    for n in range(7):
        await person(store, f"p{n}")
    seen: list[str] = []
    cursor = None
    while True:
        items, cursor = await store.sessions.page(cursor=cursor, limit=2)
        seen += [item.nick for item in items]
        if cursor is None:
            break
    assert sorted(seen) == [f"p{n}" for n in range(7)]


async def test_a_room_only_asked_for_leaves_no_trace_for_long(store: Store) -> None:
    """A refused join of random names must not fill the store."""
    alice = await person(store, "alice")
    meta = f"{store.keys.of('#dev')}:meta"
    asked = await store.logs.head("#dev")
    assert await store.executor.execute("TTL", meta) > 0
    joined = await store.sessions.join(alice, "#dev")
    assert (joined.head, joined.created) == (asked, True)
    assert await store.executor.execute("TTL", meta) == -1
