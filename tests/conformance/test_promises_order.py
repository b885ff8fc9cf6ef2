"""docs/protocol.md, promises 1 and 3: kept, in order, without gaps, while nothing dies (see test_kills.py for
deaths).
"""

import asyncio
from typing import Any

import pytest

from tests.support import JsonClient, People


@pytest.mark.parametrize("transport", ["tcp", "ws"])
async def test_a_device_s_sends_are_numbered_in_the_order_sent(people: People) -> None:
    """“What one device sends to one target is numbered in the order it was sent”: pipelined."""
    room = people.room()
    alice = await people.enter("alice", 0, room=room)
    bob = await people.enter("bob", 1, room=room)
    ops = alice.sends(room, map(str, range(200)))
    await alice.push_all(ops)
    assert [answer["seq"] for answer in await alice.answers(ops)] == list(range(1, 201))
    await bob.message("199")
    assert bob.bodies(room) == [str(n) for n in range(200)]


async def test_order_holds_for_each_of_many_targets(people: People) -> None:
    """The same with rooms, people and typed lines mixed in one pipeline."""
    rooms = [people.room() for _ in range(3)]
    alice, bob = await people.enter("alice", 0), await people.enter("bob", 1)
    for room in rooms:
        await alice.join(room)
        await bob.join(room)
    first = alice.next_ids(120)[0]
    ops: list[dict[str, Any]] = []
    for n in range(120):
        target = [*rooms, f"@{bob.nick}"][n % 4]
        if n % 3:
            ops.append({"op": "send", "id": first + n, "to": target, "body": str(n)})
        else:
            ops.append({"op": "command", "id": first + n, "line": f"{target} {n}"})
    await alice.push_all(ops)
    assert {answer["ev"] for answer in await alice.answers(ops)} == {"ack"}
    for index, room in enumerate([*rooms, "@"]):
        await bob.message(str(116 + index), in_=room)
        assert bob.bodies(room) == [str(n) for n in range(index, 120, 4)]


async def test_order_around_commands(people: People) -> None:
    """A pipeline of join, send, part, send is done in its order: the last send is refused."""
    room = people.room()
    bob = await people.enter("bob", 1, room=room)
    alice = await people.enter("alice", 0)
    first = alice.next_ids(4)[0]
    await alice.push_all(
        [
            {"op": "join", "id": first, "room": room},
            {"op": "send", "id": first + 1, "to": room, "body": "in"},
            {"op": "part", "id": first + 2, "room": room},
            {"op": "send", "id": first + 3, "to": room, "body": "out"},
        ]
    )
    answers = [await alice.answer(first + n) for n in range(4)]
    assert [answer["ev"] for answer in answers] == ["result", "ack", "result", "error"]
    assert answers[3]["code"] == "not_joined"
    await bob.message("in")


async def test_many_senders_on_two_gateways_give_one_order(people: People) -> None:
    """“a connection gets each room's messages in rising seq, each once”, the same for all."""
    room = people.room()
    members = [await people.enter("member", n % 2, room=room, transport=("tcp", "ws")[n // 2 % 2]) for n in range(8)]

    async def talk(who: JsonClient, number: int) -> list[int]:
        return [(await who.say(room, f"{number}/{n}"))["seq"] for n in range(25)]

    seqs = await asyncio.gather(*(talk(who, number) for number, who in enumerate(members)))
    assert sorted(seq for own in seqs for seq in own) == list(range(1, 201))
    end = await members[0].say(room, "end")
    assert end["seq"] == 201
    orders = []
    for who in members:
        await who.message("end")
        orders.append(who.bodies(room))
    assert all(order == orders[0] for order in orders)
    for number in range(8):
        own = [body for body in orders[0] if body.startswith(f"{number}/")]
        assert own == [f"{number}/{n}" for n in range(25)]


async def test_acknowledged_is_in_history_at_once_everywhere(people: People) -> None:
    """“Acknowledged is kept”: whoever asks next, on any gateway, finds it."""
    room = people.room()
    alice = await people.enter("alice", 0, room=room)
    bob = await people.enter("bob", 1, room=room)
    for n in range(10):
        ack = await alice.say(room, f"kept {n}")
        data = (await bob.ask("history", of=room, limit=1, want="result"))["data"]
        assert [(m["seq"], m["body"]) for m in data["messages"]] == [(ack["seq"], f"kept {n}")]


async def test_join_and_live_flow_leave_no_gap(people: People) -> None:
    """Between the head that `join` answers and the first live message nothing is missing, in full flow."""
    room = people.room()
    talker = await people.enter("talker", 0, room=room)
    done = asyncio.Event()

    async def chatter() -> None:
        while not done.is_set():
            await talker.say(room, "talk")

    talking = asyncio.create_task(chatter())
    joiners = [await people.enter("joiner", n % 2) for n in range(6)]
    heads = {}
    for joiner in joiners:
        heads[joiner.nick] = (await joiner.join(room))["seq"]
        await joiner.expect("message", in_=room)
    done.set()
    await talking
    end = await talker.say(room, "end")
    for joiner in joiners:
        await joiner.message("end")
        seqs = [event["seq"] for event in joiner.seen("message", in_=room)]
        assert seqs == list(range(heads[joiner.nick] + 1, end["seq"] + 1))


async def test_one_connection_with_many_rooms(people: People) -> None:
    """“`--max-rooms` (50 a session)”: fifty rooms work, each with its own numbering."""
    rooms = [people.room() for _ in range(49)]
    alice, bob = await people.enter("alice", 0), await people.enter("bob", 1)
    for room in rooms:
        await alice.join(room)
        await bob.join(room)
    answer = await bob.ask("join", room=people.room(), want="error")
    assert answer["code"] in {"denied", "bad_request", "rate_limited", "locked"}, answer
    await asyncio.gather(*(alice.say(room, room) for room in rooms))
    for room in rooms:
        assert (await bob.message(room, in_=room))["seq"] == 1
    await bob.part(rooms[0])
    await bob.join(people.room())
