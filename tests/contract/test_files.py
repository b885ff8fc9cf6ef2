"""Files on every store: who may send and have them, once, within limits, and gone when nobody can reach them
(docs/files.md).
"""

import asyncio
from pathlib import Path

import pytest

from causerie.errors import Refused, Unavailable
from causerie.store import Store
from causerie.store.files import LEASE_S, Elsewhere, Grant
from tests.contract.files import Exchange, digest, events
from tests.contract.people import person

DATA = bytes(range(256)) * 40
DAY_MS = 86_400_000


@pytest.fixture
def exchange(store: Store, tmp_path: Path) -> Exchange:
    return Exchange(store, f"file://{tmp_path}/files")


def code(caught: pytest.ExceptionInfo[Refused]) -> str:
    return caught.value.code


async def test_to_a_room(exchange: Exchange, store: Store) -> None:
    """“A `file` message in the room or inbox carries name, size, media type, SHA-256.”"""
    alice, bob = await person(store, "alice", "#dev"), await person(store, "bob", "#dev")
    record = await exchange.send(alice, "#dev", DATA, "../notes.txt")
    (event,) = await events(store, "#dev")
    assert (event["kind"], event["from"], event["body"]) == ("file", "alice", "notes.txt")
    assert event["file"] == {
        "id": record.id,
        "name": "notes.txt",
        "size": len(DATA),
        "type": "text/plain",
        "sha256": digest(DATA),
    }
    assert await exchange.get(bob, record.id) == DATA
    assert await exchange.get(alice, record.id, 1000, 1003) == DATA[1000:1003]
    assert await exchange.get(None, record.id) == DATA


async def test_to_people(exchange: Exchange, store: Store) -> None:
    alice, bob, eve = [await person(store, nick) for nick in ("alice", "bob", "eve")]
    record = await exchange.send(alice, ["@bob"], DATA)
    (event,) = await events(store, f"@{bob.sid}")
    assert event["file"]["id"] == record.id
    assert event["to"] == ["bob"]
    assert await exchange.get(bob, record.id) == await exchange.get(alice, record.id) == DATA
    for nobody in (eve, None):
        with pytest.raises(Refused) as caught:
            await exchange.get(nobody, record.id)
        assert code(caught) == "denied"


async def test_who_leaves_the_room_may_have_it_no_longer(exchange: Exchange, store: Store) -> None:
    alice, bob = await person(store, "alice", "#dev"), await person(store, "bob", "#dev")
    record = await exchange.send(alice, "#dev", DATA)
    await store.sessions.part(bob.sid, "#dev")
    with pytest.raises(Refused) as caught:
        await exchange.get(bob, record.id)
    assert code(caught) == "denied"


async def test_a_later_owner_of_the_nick_gets_nothing(exchange: Exchange, store: Store) -> None:
    """“A later owner inherits nothing of an earlier one.”"""
    alice, bob = await person(store, "alice"), await person(store, "rob")
    await store.sessions.rename(bob, "bob")
    record = await exchange.offer(alice, "@bob", DATA)
    await store.sessions.rename(bob, "robert")
    other = await person(store, "bob")
    await exchange.put(record, DATA)
    assert await exchange.get(bob, record.id) == DATA
    (event,) = await events(store, f"@{alice.sid}")
    assert event["to"] == ["robert"]
    with pytest.raises(Refused):
        await exchange.get(other, record.id)


@pytest.mark.parametrize("to", ["#dev", "@bob", "@nobody"])
async def test_who_may_not_send(exchange: Exchange, store: Store, to: str) -> None:
    alice = await person(store, "alice", "#dev")
    await person(store, "bob")
    if to == "#dev":
        await store.sanctions.suspend_in("#dev", "alice", None, "spam", "op")
        expected = "suspended"
    elif to == "@bob":
        record = await exchange.offer(alice, to, DATA)
        await store.sanctions.suspend("alice", None, "spam", "op")
        with pytest.raises(Refused) as caught:
            await exchange.put(record, DATA)
        assert code(caught) == "suspended"
        assert await exchange.kept() == []
        return
    else:
        expected = "no_such_nick"
    with pytest.raises(Refused) as caught:
        await exchange.offer(alice, to, DATA)
    assert code(caught) == expected


async def test_who_is_suspended_at_the_last_byte_posts_nothing_until_forgiven(exchange: Exchange, store: Store) -> None:
    alice, bob = await person(store, "alice", "#dev"), await person(store, "bob", "#dev")
    record = await exchange.offer(alice, "#dev", DATA)
    check = exchange.service.uploads.check_sender

    async def overlooked(_: object) -> None:
        pass

    exchange.service.uploads.check_sender = overlooked  # type: ignore[method-assign]
    await store.sanctions.suspend("alice", None, "spam", "op")
    with pytest.raises(Refused) as caught:
        await exchange.put(record, DATA)
    exchange.service.uploads.check_sender = check  # type: ignore[method-assign]
    assert code(caught) == "suspended"
    assert await events(store, "#dev") == []
    with pytest.raises(Refused) as caught:
        await exchange.get(bob, record.id)
    assert code(caught) == "unavailable"
    await store.sanctions.lift("suspend", "alice")
    assert (await exchange.offer(alice, "#dev", DATA)).id == record.id
    assert [event["file"]["id"] for event in await events(store, "#dev")] == [record.id]


async def test_asking_again_goes_on(exchange: Exchange, store: Store) -> None:
    alice = await person(store, "alice", "#dev")
    record = await exchange.offer(alice, "#dev", DATA)
    with pytest.raises(ConnectionError):
        await exchange.put(record, DATA[:700], ConnectionError())
    again = await exchange.offer(alice, "#dev", DATA)
    assert (again.id, again.offset) == (record.id, 700)
    done = await exchange.put(again, DATA[700:], offset=700)
    assert done.state == "sent"
    assert await exchange.get(alice, record.id) == DATA


async def test_under_one_id_it_is_sent_once(exchange: Exchange, store: Store) -> None:
    alice = await person(store, "alice", "#dev")
    record = await exchange.offer(alice, "#dev", DATA, id_=7)
    await exchange.put(record, DATA)
    assert (await exchange.offer(alice, "#dev", DATA, id_=7)).state == "sent"
    with pytest.raises(Refused) as caught:
        await exchange.offer(alice, "#dev", DATA + b"!", id_=7)
    assert code(caught) == "bad_request"
    assert len(await events(store, "#dev")) == 1


async def test_under_one_id_it_goes_on_after_a_death(exchange: Exchange, store: Store) -> None:
    """What was opened and not counted yet is counted; what is sent meanwhile is not sent again."""
    alice = await person(store, "alice", "#dev")
    real = store.files.remember_open

    async def dies(_: object) -> bool:
        raise Unavailable

    store.files.remember_open = dies  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await exchange.offer(alice, "#dev", DATA, id_=7)
    store.files.remember_open = real  # type: ignore[method-assign]
    record = await exchange.offer(alice, "#dev", DATA, id_=7)
    assert await store.files.usage(alice.sid) == await store.files.usage() == 65536
    await exchange.put(record, DATA)
    other = await exchange.offer(alice, "#dev", DATA, id_=8)
    again = await exchange.offer(alice, "#dev", DATA, id_=7)
    assert (again.id, again.state, other.state) == (record.id, "sent", "sent")
    assert len(await events(store, "#dev")) == 2


async def test_the_wrong_place_and_too_many_bytes(exchange: Exchange, store: Store) -> None:
    alice = await person(store, "alice")
    record = await exchange.offer(alice, "#lobby", DATA)
    with pytest.raises(Elsewhere) as elsewhere:
        await exchange.put(record, DATA, offset=1)
    assert elsewhere.value.offset == 0
    with pytest.raises(Refused) as caught:
        await exchange.put(record, DATA + b"!")
    assert code(caught) == "too_long"


async def test_other_bytes_than_announced(exchange: Exchange, store: Store) -> None:
    """“Integrity checked on both ends”."""
    alice = await person(store, "alice")
    record = await exchange.offer(alice, "#lobby", DATA)
    with pytest.raises(Refused) as caught:
        await exchange.put(record, DATA[:-1] + b"!")
    assert code(caught) == "bad_request"
    assert await events(store, "#lobby") == []
    await exchange.work()
    assert (await exchange.kept(), await exchange.state(record.id)) == ([], "")
    assert (await exchange.send(alice, "#lobby", DATA)).state == "sent"


async def test_who_is_overtaken_changes_nothing(exchange: Exchange, store: Store) -> None:
    """Concurrent writers of one upload are fenced: the last one that began has the right."""
    alice = await person(store, "alice")
    record = await exchange.offer(alice, "#lobby", DATA)
    slow_began, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> object:
        async def pieces():
            yield b"x" * 100
            slow_began.set()
            await go_on.wait()

        return await exchange.service.uploads.receive(record, 0, pieces())

    slow = asyncio.create_task(slowly())
    await slow_began.wait()
    assert (await exchange.put(record, DATA)).state == "sent"
    go_on.set()
    with pytest.raises(Elsewhere):
        await slow
    assert await exchange.get(alice, record.id) == DATA
    assert len(await exchange.kept()) == 1


async def test_who_slept_past_the_lease_changes_nothing(exchange: Exchange, store: Store) -> None:
    alice = await person(store, "alice")
    record = await exchange.offer(alice, "#lobby", DATA)
    taken = await store.files.take(record.id, 0, DAY_MS)
    slept = await store.sessions.now_ms() - LEASE_S * 1000 - 1
    await store.executor.execute("HSET", store.keys.file(record.id), "at", slept)
    assert await store.files.commit(record.id, taken.fence, (0, 10), 0, "p", DAY_MS) is None
    taken = await store.files.take(record.id, 0, DAY_MS)
    assert await store.files.commit(record.id, taken.fence, (0, 10), 0, "p", DAY_MS) == ""


# The same bytes.


async def test_the_same_bytes_are_uploaded_once(exchange: Exchange, store: Store) -> None:
    """“The same bytes sent twice are uploaded once (the cache).”"""
    alice, bob = await person(store, "alice", "#dev"), await person(store, "bob", "#dev")
    first = await exchange.send(alice, "#dev", DATA, "a.txt")
    second = await exchange.offer(alice, "@bob", DATA, "b.png")
    third = await exchange.offer(bob, "#dev", DATA)
    assert [second.state, third.state] == ["sent", "sent"]
    assert len({first.id, second.id, third.id}) == 3
    assert [event["body"] for event in await events(store, "#dev")] == ["a.txt", "a.bin"]
    assert await exchange.get(bob, second.id) == DATA
    assert len(await exchange.kept()) == 1


async def test_to_know_a_digest_gives_nothing(exchange: Exchange, store: Store) -> None:
    """Who could not read the bytes must upload them, and they are kept once all the same."""
    alice, bob, eve = [await person(store, nick) for nick in ("alice", "bob", "eve")]
    await exchange.send(alice, "@bob", DATA)
    record = await exchange.offer(eve, "#lobby", DATA)
    assert (record.state, record.offset) == ("open", 0)
    with pytest.raises(Refused):
        await exchange.get(eve, record.id)
    with pytest.raises(Refused):
        await exchange.put(record, bytes(len(DATA)))
    mine = await exchange.offer(eve, "#lobby", DATA)
    await exchange.put(mine, DATA)
    assert await exchange.get(bob, mine.id) == DATA
    await exchange.work()
    assert len(await exchange.kept()) == 1


async def test_a_digest_with_another_size(exchange: Exchange, store: Store) -> None:
    alice = await person(store, "alice")
    await exchange.send(alice, "#lobby", DATA)
    with pytest.raises(Refused) as caught:
        await exchange.offer(alice, "#lobby", DATA, size=len(DATA) + 1)
    assert code(caught) == "bad_request"


async def test_the_bytes_stay_while_any_file_has_them(exchange: Exchange, store: Store) -> None:
    alice, bob = await person(store, "alice"), await person(store, "bob")
    first = await exchange.send(alice, "@bob", DATA, "a")
    second = await exchange.send(bob, "#lobby", DATA, "b")
    assert await store.files.turn(first.id, "sent", "gone")
    await exchange.work(DAY_MS // 2)
    assert await exchange.get(alice, second.id) == DATA
    with pytest.raises(Refused):
        await exchange.get(alice, first.id)
    await exchange.expire(second.id)
    await exchange.work(8 * DAY_MS)
    await exchange.work(1)
    assert (await exchange.state(first.id), await exchange.state(second.id)) == ("", "")
    assert await exchange.kept() == []
    assert await store.files.usage() == 0


async def test_an_empty_file(exchange: Exchange, store: Store) -> None:
    alice = await person(store, "alice")
    record = await exchange.offer(alice, "#lobby", b"")
    assert record.state == "sent"
    assert await exchange.get(alice, record.id) == b""


# Limits.


async def test_limits(store: Store, tmp_path: Path) -> None:
    mib = 2**20
    limits = {"max_file": mib, "session_quota": 3 * mib // 2, "files_quota": 2 * mib}
    exchange = Exchange(store, f"file://{tmp_path}/files", **limits)
    alice, bob, carol = [await person(store, nick) for nick in ("alice", "bob", "carol")]
    with pytest.raises(Refused) as caught:
        await exchange.offer(alice, "#lobby", b"", size=mib + 1)
    assert (code(caught), caught.value.text) == ("too_long", "a file has at most 1 MiB")
    first = await exchange.offer(alice, "#lobby", b"1", size=mib)
    with pytest.raises(Refused) as caught:
        await exchange.offer(alice, "#lobby", b"2", size=mib)
    assert (code(caught), "1.5 MiB" in caught.value.text) == ("denied", True)
    await exchange.offer(bob, "#lobby", b"3", size=mib - 1)
    with pytest.raises(Refused) as caught:
        await exchange.offer(carol, "#lobby", b"4", size=mib)
    assert (code(caught), "no room" in caught.value.text) == ("denied", True)
    await exchange.service.uploads.cancel(first)
    await exchange.work(1)
    assert (await exchange.offer(carol, "#lobby", b"5", size=mib)).state == "open"
    assert await store.files.usage(alice.sid) == 0


async def test_unfinished_uploads_are_few(exchange: Exchange, store: Store) -> None:
    alice = await person(store, "alice")
    for n in range(16):
        await exchange.offer(alice, "#lobby", DATA, str(n))
    with pytest.raises(Refused) as caught:
        await exchange.offer(alice, "#lobby", DATA, "one more")
    assert code(caught) == "denied"


# Dying in between.


async def test_a_worker_finishes_what_a_gateway_left(exchange: Exchange, store: Store) -> None:
    """“Idempotently (once, even when the gateway dies between)”."""
    alice = await person(store, "alice")
    uploads = exchange.service.uploads
    for step in ("_settle", "_post", "_append", "forget_open", "turn"):
        record = await exchange.offer(alice, "#lobby", step.encode(), step)
        holder = uploads if step.startswith("_") else store.files
        real, calls = getattr(holder, step), []

        async def dies(*args: object, step: str = step, real: object = real, calls: list[int] = calls, **more: object):
            calls.append(1)
            if step == "turn" and args[1:3] != ("whole", "sent"):
                return await real(*args, **more)  # type: ignore[operator]
            if step == "_append":
                await real(*args, **more)  # type: ignore[operator]
            raise Unavailable

        setattr(holder, step, dies)
        with pytest.raises(Unavailable):
            await exchange.put(record, step.encode())
        delattr(holder, step)
        await exchange.work(70_000)
        assert await exchange.state(record.id) == "sent", step
        assert await exchange.get(alice, record.id) == step.encode()
    assert [event["body"] for event in await events(store, "#lobby")] == [
        "_settle",
        "_post",
        "_append",
        "forget_open",
        "turn",
    ]


async def test_a_file_ends(exchange: Exchange, store: Store) -> None:
    """“The worker removes files that nobody can reach any more.”"""
    alice, bob = await person(store, "alice", "#dev"), await person(store, "bob")
    in_room = await exchange.send(alice, "#dev", b"1")
    direct = await exchange.send(alice, "@bob", b"2")
    await store.sessions.end(alice.sid, "quit", "")
    await exchange.work(2 * DAY_MS)
    assert await exchange.get(bob, direct.id) == b"2"
    assert await store.rooms.forget("#dev", await store.sessions.now_ms() + 1)
    await store.sessions.end(bob.sid, "quit", "")
    await exchange.work(2 * DAY_MS)
    assert (await exchange.state(in_room.id), await exchange.state(direct.id)) == ("", "")
    assert await exchange.kept() == []
    assert await store.files.usage() == 0
    assert await store.executor.execute("ZCARD", store.keys.files) == 0


async def test_a_file_ends_with_its_time(exchange: Exchange, store: Store) -> None:
    alice = await person(store, "alice")
    record = await exchange.send(alice, "#lobby", DATA)
    await exchange.work(6 * DAY_MS)
    assert await exchange.state(record.id) == "sent"
    await exchange.expire(record.id)
    await exchange.work(8 * DAY_MS)
    assert (await exchange.state(record.id), await exchange.kept()) == ("", [])
    assert await store.files.listed("#lobby", 10) == []
    assert await store.files.usage(alice.sid) == 0


async def test_tokens(exchange: Exchange, store: Store) -> None:
    alice = await person(store, "alice")
    record = await exchange.send(alice, "#lobby", DATA)
    token = await exchange.service.grant("get", record, alice.sid)
    assert await exchange.service.granted(token) == Grant("get", record.id, alice.sid)
    assert await exchange.service.granted(token[:-1] + "~") is None
    assert token not in str(await store.executor.execute("GET", store.keys.grant(digest(token.encode()))))
    await store.executor.execute("PEXPIRE", store.keys.grant(digest(token.encode())), 1)
    await asyncio.sleep(0.01)
    assert await exchange.service.granted(token) is None


async def test_without_a_place_there_are_no_files(store: Store) -> None:
    alice = await person(store, "alice")
    with pytest.raises(Refused) as caught:
        await Exchange(store, "off").offer(alice, "#lobby", DATA)
    assert code(caught) == "denied"
