"""docs/protocol.md, promise 2, “Once”: send ids, what is remembered, and what a repeat is answered."""

import asyncio
from typing import Any

import pytest

from tests.support import JsonClient, People

HELD = 256
"""“For each device and target the last 256 ids are remembered”."""


async def _send_many(who: JsonClient, to: str, first: int, count: int) -> list[dict[str, Any]]:
    """Send `count` messages with ids from `first` on, in pipelines, and return the acks."""
    acks = []
    for start in range(0, count, HELD):
        ids = range(first + start, first + min(start + HELD, count))
        await who.push_all([{"op": "send", "id": n, "to": to, "body": f"body {n - first}"} for n in ids])
        acks += [await who.answer(n) for n in ids]
    return acks


@pytest.mark.parametrize("transport", ["tcp", "ws"])
async def test_repeat_with_the_same_body(people: People) -> None:
    """“A remembered id with the same body posts nothing and is acknowledged with the first seq and
    `duplicate`”.
    """
    room = people.room()
    alice = await people.enter("alice", room=room)
    first = await alice.say(room, "once", id=5)
    assert not first.get("duplicate")
    await alice.say(room, "between", id=6)
    second = await alice.say(room, "once", id=5)
    assert (second["duplicate"], second["seq"], second["in"]) == (True, first["seq"], room)
    await alice.caught_up(room)
    assert alice.bodies(room)[:2] == ["once", "between"]
    assert len(alice.bodies(room)) == 3


async def test_repeat_with_another_body(people: People) -> None:
    """“with another body ... it is `bad_request`, never a false `ack`”."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    await alice.say(room, "first", id=5)
    await alice.refused("bad_request", "send", id=5, to=room, body="other")
    assert (await alice.say(room, "first", id=5))["duplicate"] is True
    await alice.caught_up(room)
    assert "other" not in alice.bodies(room)


async def test_repeat_on_another_gateway_after_a_reconnect(people: People) -> None:
    """“So a client that saw no answer sends again, on any gateway, before or after a reconnect”."""
    room = people.room()
    alice = await people.enter("alice", 0, room=room)
    first = await alice.say(room, "once", id=77)
    alice.abort()
    again = await people.back(alice, 1)
    repeat = await again.say(room, "once", id=77)
    assert (repeat["duplicate"], repeat["seq"]) == (True, first["seq"])
    again.abort()
    third = await people.back(again, 0)
    assert (await third.say(room, "once", id=77))["duplicate"] is True
    assert (await third.say(room, "next", id=78))["seq"] == first["seq"] + 1


async def test_answer_lost_with_the_connection(people: People) -> None:
    """A send whose connection died before the answer is posted once when it is sent again."""
    room = people.room()
    current = await people.enter("alice", 0, room=room)
    watcher = await people.enter("watcher", 1, room=room)
    for number in range(1, 9):
        await current.push({"op": "send", "id": number, "to": room, "body": f"line {number}"})
        current.abort()
        current = await people.back(current, number % 2, resume={})
        await current.say(room, f"line {number}", id=number)
    await watcher.message("line 8")
    assert watcher.bodies(room) == [f"line {n}" for n in range(1, 9)]


async def test_repeat_while_the_first_is_under_way(people: People) -> None:
    """The same op twice in one write: two answers, one message."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    op = {"op": "send", "id": 9, "to": room, "body": "twice"}
    await alice.push_all([op, op, op])
    acks = [await alice.answer(9) for _ in range(3)]
    assert {ack["ev"] for ack in acks} == {"ack"}, acks
    assert {ack["seq"] for ack in acks} == {1}
    assert sorted(bool(ack.get("duplicate")) for ack in acks) == [False, True, True]
    await alice.caught_up(room)
    assert alice.bodies(room).count("twice") == 1


async def test_repeat_from_two_connections_at_once(people: People) -> None:
    """A replaced connection's last send and its repeat on the new one: one message."""
    room = people.room()
    alice = await people.enter("alice", 0, room=room)
    watcher = await people.enter("watcher", 1, room=room)
    for number in range(1, 6):
        other = await people.connect(gateway=number % 2)
        await asyncio.gather(
            alice.push({"op": "send", "id": number, "to": room, "body": f"race {number}"}),
            other.hello(cookie=alice.cookie),
        )
        await other.say(room, f"race {number}", id=number)
        alice = other
    await watcher.message("race 5")
    await watcher.caught_up("#lobby")
    assert watcher.bodies(room) == [f"race {n}" for n in range(1, 6)]


async def test_remembered_are_the_last_256(people: People) -> None:
    """“the last 256 ids are remembered”; “below the lowest remembered one once 256 are held, it is
    `bad_request`”.
    """
    room = people.room()
    alice = await people.enter("alice", room=room)
    acks = await _send_many(alice, room, 1000, HELD + 44)
    assert [ack["seq"] for ack in acks] == list(range(1, HELD + 45))
    lowest = 1000 + 44
    kept = await alice.say(room, "body 44", id=lowest)
    assert (kept["duplicate"], kept["seq"]) == (True, 45)
    for forgotten in (lowest - 1, 1000, 1, 999):
        await alice.refused("bad_request", "send", id=forgotten, to=room, body=f"body {forgotten - 1000}")
    newest = await alice.say(room, f"body {HELD + 43}", id=1000 + HELD + 43)
    assert (newest["duplicate"], newest["seq"]) == (True, HELD + 44)
    await alice.caught_up(room)
    assert len(alice.bodies(room)) == HELD + 44 + 1


async def test_256_may_be_unanswered_at_once(people: People) -> None:
    """“and so many may be unanswered at once”: all sent before any answer is read, then all again."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    ops = [{"op": "send", "id": n, "to": room, "body": f"b{n}"} for n in range(1, HELD + 1)]
    await alice.push_all(ops)
    assert [(await alice.answer(n))["seq"] for n in range(1, HELD + 1)] == list(range(1, HELD + 1))
    await alice.push_all(ops)
    again = [await alice.answer(n) for n in range(1, HELD + 1)]
    assert all(ack.get("duplicate") for ack in again)
    assert [ack["seq"] for ack in again] == list(range(1, HELD + 1))


async def test_id_between_others_that_was_never_used(people: People) -> None:
    """An id that is neither remembered nor below 256 held ones is new: after an error it may come late."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    await alice.say(room, "ten", id=10)
    await alice.say(room, "twenty", id=20)
    late = await alice.say(room, "fifteen", id=15)
    assert not late.get("duplicate")
    assert late["seq"] == 3


async def test_send_answered_by_an_error_used_up_no_id(people: People) -> None:
    """“A send answered by an error used up no id”."""
    room = people.room()
    await people.enter("owner", 1, room=room)
    alice = await people.enter("alice")
    await alice.refused("not_joined", "send", id=5, to=room, body="too early")
    await alice.join(room)
    ack = await alice.say(room, "another body", id=5)
    assert not ack.get("duplicate")
    await alice.refused("too_long", "send", id=6, to=room, body="x" * 4097)
    await alice.refused("bad_request", "send", id=6, to=room, body=" ")
    assert not (await alice.say(room, "fine", id=6)).get("duplicate")
    await alice.refused("no_such_nick", "send", id=7, to=f"@{people.nick('nobody')}", body="x")
    assert not (await alice.say(f"@{alice.nick}", "y", id=7)).get("duplicate")


async def test_remembered_id_is_answered_before_membership(people: People) -> None:
    """“A remembered id is answered before membership and sanctions are looked at”: after a `part`."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    await people.enter("stays", 1, room=room)
    first = await alice.say(room, "hi", id=5)
    await alice.part(room)
    repeat = await alice.say(room, "hi", id=5)
    assert (repeat["duplicate"], repeat["seq"]) == (True, first["seq"])
    await alice.refused("not_joined", "send", id=6, to=room, body="new")


async def test_remembered_id_is_answered_before_sanctions(people: People) -> None:
    """“answered before membership and sanctions are looked at”: to rooms and to people."""
    room = people.room()
    alice, bob = await people.enter("alice", room=room), await people.enter("bob", 1)
    admin = await people.admin(1)
    in_room = await alice.say(room, "hi", id=5)
    private = await alice.say(f"@{bob.nick}", "psst", id=6)
    await admin.command(f"!suspend {alice.nick} 10m")
    for to, body, first in ((room, "hi", in_room), (f"@{bob.nick}", "psst", private)):
        repeat = await alice.say(to, body, id=first["re"])
        assert (repeat["duplicate"], repeat["seq"]) == (True, first["seq"])
    await alice.refused("suspended", "send", id=7, to=room, body="new")
    await alice.refused("bad_request", "send", id=5, to=room, body="other body under a remembered id")


async def test_devices_have_ids_of_their_own(people: People) -> None:
    """“Send ids rise over the *session's device*”: the same id on another device is another message."""
    room = people.room()
    phone = await people.enter("alice", 0, device="phone", room=room)
    laptop = await people.back(phone, 1, device="laptop")
    one = await phone.say(room, "from the phone", id=5)
    two = await laptop.say(room, "from the laptop", id=5)
    assert (one["seq"], two["seq"]) == (1, 2)
    assert not two.get("duplicate")
    assert (await laptop.say(room, "from the laptop", id=5))["seq"] == 2
    assert (await phone.say(room, "from the phone", id=5))["seq"] == 1


async def test_sessions_have_ids_of_their_own(people: People) -> None:
    """Another person's ids are another person's."""
    room = people.room()
    alice, bob = await people.enter("alice", room=room), await people.enter("bob", room=room)
    assert not (await alice.say(room, "hi", id=5)).get("duplicate")
    assert not (await bob.say(room, "hi", id=5)).get("duplicate")


async def test_targets_are_remembered_apart(people: People) -> None:
    """“For each device and target the last 256 ids”: much talk in one room forgets nothing of another."""
    quiet, loud = people.room(), people.room()
    alice = await people.enter("alice", room=quiet)
    await alice.join(loud)
    first = await alice.say(quiet, "kept", id=1)
    await _send_many(alice, loud, 2, HELD + 10)
    repeat = await alice.say(quiet, "kept", id=1)
    assert (repeat["duplicate"], repeat["seq"]) == (True, first["seq"])


async def test_direct_messages_of_a_device_are_one_target(people: People) -> None:
    """“All direct messages of a device are one target”: an id used for bob is used for carol too."""
    alice, bob, carol = [await people.enter(name) for name in ("alice", "bob", "carol")]
    await alice.say(f"@{bob.nick}", "for bob", id=5)
    await alice.refused("bad_request", "send", id=5, to=f"@{carol.nick}", body="for carol")
    repeat = await alice.say(f"@{bob.nick}", "for bob", id=5)
    assert (repeat["duplicate"], repeat["in"], repeat["seq"]) == (True, "@", 1)
    await alice.say([f"@{bob.nick}", f"@{carol.nick}"], "end", id=6)
    await carol.message("end")
    await bob.message("end")
    assert carol.bodies("@") == ["end"]
    assert bob.bodies("@") == ["for bob", "end"]


async def test_direct_message_repeated_after_the_recipient_left(people: People) -> None:
    """A remembered id is answered although its recipient is gone meanwhile."""
    alice, bob = await people.enter("alice"), await people.enter("bob", 1)
    first = await alice.say(f"@{bob.nick}", "bye", id=5)
    await bob.quit()
    repeat = await alice.say(f"@{bob.nick}", "bye", id=5)
    assert (repeat["duplicate"], repeat["seq"]) == (True, first["seq"])


async def test_message_and_action_with_one_body_are_not_one_send(people: People) -> None:
    """Never a false `ack`: a `message` is not acknowledged for an `action`, nor posted
    under a remembered id.
    """
    room = people.room()
    alice = await people.enter("alice", room=room)
    await alice.say(room, "waves", id=5)
    answer = await alice.ask("send", id=5, to=room, body="waves", kind="action")
    assert answer.get("duplicate") or answer["code"] == "bad_request"
    await alice.caught_up(room)
    assert [event["kind"] for event in alice.seen("message", body="waves")] == ["message"]
