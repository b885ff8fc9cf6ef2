"""PROTOCOL.md, promise 4, “Honest loss”, where something is really gone: trimmed logs, a
store that forgot.
"""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support import Chat, JsonClient, People, Store, eventually
from tests.support.rest import room_path

LIMIT = 20


@pytest.fixture(scope="module")
def small_chat(store: Store) -> Iterator[Chat]:
    """A chat that keeps twenty messages a room."""
    with Chat(store, gateways=2, workers=1, history_limit=LIMIT) as chat:
        yield chat


@pytest.fixture
def chat(small_chat: Chat) -> Chat:
    return small_chat


async def _post(who: JsonClient, room: str, count: int) -> None:
    for start in range(1, count + 1, 200):
        ops = who.sends(room, (f"b{n}" for n in range(start, min(start + 200, count + 1))))
        await who.push_all(ops)
        assert {answer["ev"] for answer in await who.answers(ops)} == {"ack"}


async def test_history_limit(people: People) -> None:
    """“`--history-limit` (10,000 messages a room)”: no more are kept, and none less than nearly that many."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    await _post(alice, room, 300)

    async def trimmed() -> list[int]:
        data = (await alice.ask("history", of=room, limit=200, want="result"))["data"]
        seqs = [message["seq"] for message in data["messages"]]
        return seqs if len(seqs) <= 2 * LIMIT else []

    seqs = await eventually(trimmed, "a room trimmed to its limit")
    assert len(seqs) >= LIMIT
    assert seqs == list(range(seqs[0], 301))


async def test_resume_from_what_was_trimmed(people: People) -> None:
    """“Where messages asked for are trimmed ..., `recovered` is false”; the rest comes from
    `whole_from` on.
    """
    room = people.room()
    alice = await people.enter("alice", 0, room=room)
    bob = await people.enter("bob", 1, room=room)
    await alice.say(room, "seen")
    await alice.message("seen")
    await alice.hang_up()
    await _post(bob, room, 500)
    again = await people.back(alice, 1)
    head = again.welcome["rooms"][room]
    assert (head["recovered"], head["seq"]) == (False, 501)
    assert 2 < head["whole_from"] <= 501 - LIMIT + 1
    await again.message("b500")
    seqs = [event["seq"] for event in again.seen("message", in_=room)]
    assert seqs == list(range(head["whole_from"], 502))


async def test_resume_just_inside_what_is_kept(people: People) -> None:
    """Trimming elsewhere in the log is no loss for one who needs only what is still there."""
    room = people.room()
    bob = await people.enter("bob", 1, room=room)
    alice = await people.enter("alice", 0, room=room)
    await _post(bob, room, 100)
    await alice.message("b100")
    await alice.hang_up()
    await _post(bob, room, LIMIT - 1)
    again = await people.back(alice, 1)
    assert again.welcome["rooms"][room]["recovered"] is True
    await again.message(f"b{LIMIT - 1}")


async def test_room_bytes(store: Store) -> None:
    """“`--room-bytes` (16 MiB a room)”: a room of large messages is trimmed by its size, honestly."""
    with Chat(store, gateways=1, room_bytes=100_000) as chat:
        async with People(chat) as people:
            room = people.room()
            alice = await people.enter("alice", room=room)
            start = alice.position(room)
            ops = alice.sends(room, ["x" * 4000] * 100)
            await alice.push_all(ops)
            await alice.answers(ops)

            async def trimmed() -> list[int]:
                data = (await alice.ask("history", of=room, limit=200, want="result"))["data"]
                seqs = [message["seq"] for message in data["messages"]]
                return seqs if len(seqs) * 4000 <= 200_000 else []

            seqs = await eventually(trimmed, "a room trimmed to its bytes")
            assert seqs
            assert seqs[-1] == 100
            await alice.hang_up()
            again = await people.back(alice, resume={room: start})
            assert again.welcome["rooms"][room]["recovered"] is False
            assert again.welcome["rooms"][room]["whole_from"] > 1


# A store that lost what it had acknowledged.


@pytest.fixture
def own_store() -> Iterator[Store]:
    with Store() as started:
        yield started


@pytest.fixture
async def own_people(own_store: Store) -> AsyncIterator[People]:
    with Chat(own_store, gateways=2, workers=1) as chat:
        async with People(chat) as people:
            yield people


async def _forget(store: Store) -> None:
    """Bring the store back as it was at the last SAVE."""
    store.kill()
    await store.restart()


async def test_lost_messages_change_the_epoch(own_store: Store, own_people: People) -> None:
    """“If the store ever lost acknowledged messages ...: the epoch changes and clients are told (`recovered:
    false` at a resume, a `reset` event to those connected), never silently.”
    """
    people, room = own_people, own_people.room()
    near, far = await people.enter("near", 0, room=room), await people.enter("far", 1, room=room)
    gone = await people.enter("gone", 0, room=room)
    await near.say(room, "kept")
    for who in (near, far, gone):
        await who.message("kept")
    with own_store.client() as redis:
        redis.save()
    await near.say(room, "lost 1")
    await far.say(room, "lost 2")
    for who in (near, far, gone):
        await who.message("lost 2")
    position = gone.position(room)
    await gone.hang_up()
    await _forget(own_store)
    resets = [await who.expect("reset", in_=room) for who in (near, far)]
    assert {reset["epoch"] for reset in resets} != {position["epoch"]}
    assert resets[0]["epoch"] == resets[1]["epoch"], "many finders make one change"
    await _until_taken(near, room, "after the loss")
    await _until_taken(far, room, "after the loss")
    again = await people.back(gone, 1, resume={room: position})
    assert again.welcome["rooms"][room]["recovered"] is False
    assert again.welcome["rooms"][room]["epoch"] == resets[0]["epoch"]
    assert len(near.seen("reset", in_=room)) == 1


async def test_new_epoch_is_told_where_the_loss_was_not_seen(own_store: Store, own_people: People) -> None:
    """“A new epoch is told by every gateway to its members of that room, also where the lost messages had not
    been seen.”
    """
    people, room = own_people, own_people.room()
    near, far = await people.enter("near", 0, room=room), await people.enter("far", 1, room=room)
    await near.say(room, "kept")
    await far.message("kept")
    sleeper = people.chat.gateways[1]
    with own_store.client() as redis:
        redis.save()
        sleeper.pause()
        redis.client_kill_filter(_type="pubsub")  # or the sleeper would find the message in its socket
    await near.say(room, "lost")
    await near.message("lost")
    own_store.kill()
    sleeper.wake()
    await own_store.restart()
    resets = [await who.expect("reset", in_=room) for who in (near, far)]
    assert resets[0]["epoch"] == resets[1]["epoch"]
    await _until_taken(far, room, "after the loss")
    await near.message("after the loss")
    assert "lost" not in far.bodies(room)


async def test_a_lost_direct_message_is_told_to_whom_it_was_for(own_store: Store, own_people: People) -> None:
    """“never silently”: also where its inbox had no connection, so that only the sender's gateway can know."""
    people = own_people
    alice, bob = await people.enter("alice", 0), await people.enter("bob", 1)
    await alice.say(f"@{bob.nick}", "kept")
    await bob.message("kept")
    position = bob.position("@")
    await bob.hang_up()
    with own_store.client() as redis:
        redis.save()
    await alice.say(f"@{bob.nick}", "lost")
    await _forget(own_store)
    await alice.expect("reset", in_="@")

    async def told() -> bool:
        again = await people.back(bob, 1, resume={"@": position})
        return bool(again.welcome["rooms"]["@"]["recovered"] is False or again.seen("reset", in_="@"))

    await eventually(told, "bob told of a loss in his inbox")


async def test_restart_without_loss_changes_nothing(own_people: People, own_store: Store) -> None:
    """A plain restart is no loss: no `reset`, the same epoch, the numbering goes on."""
    people, room = own_people, own_people.room()
    alice, bob = await people.enter("alice", 0, room=room), await people.enter("bob", 1, room=room)
    await alice.say(room, "before")
    await bob.message("before")
    epoch = alice.position(room)["epoch"]
    with own_store.client() as redis:
        redis.save()
    await _forget(own_store)
    await _until_taken(alice, room, "after")
    await bob.message("after")
    assert not alice.seen("reset")
    assert not bob.seen("reset")
    carol = await people.enter("carol", 1, room=room)
    assert carol.position(room) == {"epoch": epoch, "seq": 2}


async def _until_taken(who: JsonClient, room: str, body: str) -> None:
    """Send until it is taken: while the store is away the answer is `unavailable`, “send again”."""
    number = who.next_id()

    async def taken() -> bool:
        answer = await who.ask("send", id=number, to=room, body=body)
        assert answer["ev"] == "ack" or answer["code"] == "unavailable", answer
        return bool(answer["ev"] == "ack")

    await eventually(taken, "a send that is taken again")


async def test_history_over_rest_of_a_trimmed_room(people: People) -> None:
    """REST shows what is kept, no more, and its pages end."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    await _post(alice, room, 100)
    rest = people.rest(1)
    page = await rest.get(f"{room_path(room)}/messages", limit=5)
    assert sorted(item["seq"] for item in page["items"]) == [96, 97, 98, 99, 100]
    assert len(await rest.items(f"{room_path(room)}/messages", limit=7)) >= LIMIT
