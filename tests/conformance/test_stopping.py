"""docs/protocol.md: “shutdown”, SIGTERM and SIGINT, `bye shutdown`, `retry_after`, exit status 0."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support import Chat, People, Store
from tests.support.timing import eventually


@pytest.fixture(scope="module")
def base_chat(store: Store) -> Iterator[Chat]:
    """One gateway that stays; each test starts and stops another beside it."""
    with Chat(store, gateways=1, workers=1) as chat:
        yield chat


@pytest.fixture
def chat(base_chat: Chat) -> Chat:
    return base_chat


@pytest.fixture
async def people(chat: Chat) -> AsyncIterator[People]:
    """`chat.gateways[1]` is fresh for this test."""
    await chat.gateway()
    async with People(chat) as opened:
        yield opened
    while len(chat.gateways) > 1:
        chat.gateways.pop().close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_one_gateway(people: People, number: int) -> None:
    """“SIGINT or SIGTERM stops one. Everyone connected is told first (`bye shutdown` with `retry_after`),
    what is queued is written, then the program exits 0.”
    """
    stopping = people.chat.gateways[1]
    room = people.room()
    clients = [
        await people.enter("tcp", 1, room=room),
        await people.enter("ws", 1, room=room, transport="ws"),
        await people.enter("tcp", 1, room=room),
    ]
    text = await people.text("text", 1, room=room)
    watcher = await people.enter("watcher", 0, room=room)
    unsaid = await people.connect(gateway=1)
    stopping.signal(number)
    byes = [await client.ended("shutdown") for client in clients]
    after = await text.ended("shutdown")
    assert float(after) >= 0
    waits = [bye["retry_after"] for bye in byes]
    assert all(wait >= 0 for wait in waits)
    assert len(set(waits)) > 1, "`retry_after` is jittered"
    await unsaid.ended()
    assert await stopping.exit_code() == 0
    back = [await people.back(client, 0) for client in clients]
    await watcher.caught_up(room)
    for client in back:
        assert client.welcome["resumed"] is True
    gone = {event["state"] for event in watcher.seen("presence", in_=room)} - {"online", "away"}
    assert not gone, "a rolling restart takes nobody out of the chat"


async def test_what_is_acknowledged_before_the_end_is_kept(people: People) -> None:
    """“what is queued is written”: sends in flight while the gateway stops are acked and
    kept, or sent again.
    """
    room = people.room()
    watcher = await people.enter("watcher", 0, room=room)
    alice = await people.enter("alice", 1, room=room)
    ops = alice.sends(room, (f"b{n}" for n in range(256)))
    await alice.push_all(ops)
    await alice.expect("ack")
    people.chat.gateways[1].terminate()
    await alice.ended("shutdown")
    acked = {event["re"]: event["seq"] for event in alice.seen("ack")}
    again = await people.back(alice, 0, resume={})
    await again.push_all(ops)
    for op, answer in zip(ops, await again.answers(ops), strict=True):
        assert answer["ev"] == "ack"
        if op["id"] in acked:
            assert (answer["duplicate"], answer["seq"]) == (True, acked[op["id"]])
    await watcher.message("b255")
    assert watcher.bodies(room) == [f"b{n}" for n in range(256)]


async def test_nobody_new_is_taken_while_stopping(people: People) -> None:
    """A gateway that stops takes no new connection, and is gone when it said it would be."""
    stopping = people.chat.gateways[1]
    stopping.terminate()
    assert await stopping.exit_code() == 0
    with pytest.raises(OSError):
        await people.connect(gateway=1)


async def test_one_that_does_not_read_cannot_hold_it_up(people: People) -> None:
    """“Nobody waits for a slow reader”: not a gateway that stops either."""
    room = people.room()
    deaf = await people.enter("deaf", 1, room=room, receive_buffer=4096)
    talker = await people.enter("talker", 0, room=room)
    deaf.freeze()
    for number in range(60):
        await talker.say(room, f"{number} {'x' * 4000}")
    people.chat.gateways[1].terminate()
    assert await people.chat.gateways[1].exit_code(25) == 0


async def test_one_who_has_said_nothing_is_told_nothing(people: People) -> None:
    """“A connection whose first byte is `{` speaks JSON”: until the first byte nobody knows which words to use."""
    person, program = await people.connect_text("person", 1), await people.connect("program", 1, transport="ws")
    people.chat.gateways[1].terminate()
    await program.ended("shutdown")
    await person.ended()
    assert person.lines == []


async def test_shutdown_needs_the_token(people: People) -> None:
    """`!shutdown` stands in the admins' column."""
    alice = await people.enter("alice", 1)
    await alice.refused("denied", "command", line="!shutdown")
    await alice.refused("denied", "command", line="!shutdown 1 because")
    assert people.chat.gateways[1].alive


@pytest.mark.parametrize("how", ["command", "rest", "text"])
async def test_shutdown_stops_every_gateway(store: Store, how: str) -> None:
    """“`!shutdown` stops every gateway that runs now (not one started later)”; “the program exits 0”; workers
    stay.
    """
    with Chat(store, gateways=2, workers=1) as chat:
        async with People(chat) as people:
            alice = await people.enter("alice", 0)
            bob = await people.enter("bob", 1, transport="ws")
            text = await people.text("text", 1)
            if how == "command":
                admin = await people.admin(0)
                answer = await admin.command("!shutdown 0 maintenance")
                assert answer["ev"] == "result"
                await admin.ended("shutdown")
            elif how == "rest":
                await people.rest(1).post("/shutdown", {"grace": 0})
            else:
                typist = await people.text("typist", 0)
                await typist.send(f"!admin {chat.admin_token}")
                await typist.expect(r"\* .*")
                await typist.send("!shutdown")
            byes = [await who.ended("shutdown") for who in (alice, bob)]
            assert all(isinstance(bye["retry_after"], int | float) for bye in byes)
            await text.ended("shutdown")
            assert [await gateway.exit_code(30) for gateway in chat.gateways] == [0, 0]
            assert chat.workers[0].alive
            later = await chat.gateway()
            again = await people.back(alice, later)
            assert again.session == alice.session
            await again.say("#lobby", "one started later runs on")
            assert later.alive


async def test_a_signal_does_not_wait_for_an_announced_end(store: Store) -> None:
    """“SIGINT or SIGTERM stops one”, also one that was to stop in an hour."""
    with Chat(store, gateways=1) as chat:
        async with People(chat) as people:
            alice = await people.enter("alice")
            await people.rest(0).post("/shutdown", {"grace": "1h"})
            newcomer = await people.connect()

            async def draining() -> bool:
                return bool((await people.rest(0).http.get("/readyz")).status_code == 503)

            await eventually(draining, "the announced end")
            await newcomer.refused("unavailable", "hello", nick=people.nick())
            await alice.say("#lobby", "still here")
            chat.gateways[0].terminate()
            await alice.ended("shutdown")
            assert await chat.gateways[0].exit_code() == 0


async def test_shutdown_reaches_a_gateway_that_slept(store: Store) -> None:
    """“`!shutdown` stops every gateway that runs now”, and docs/architecture.md: “the publish beside it is only a
    nudge”: one that was paused when it was said stops too.
    """
    with Chat(store, gateways=2) as chat:
        async with People(chat) as people:
            admin = await people.admin(0)
            chat.gateways[1].pause()
            await admin.command("!shutdown 0")
            assert await chat.gateways[0].exit_code(30) == 0
            chat.gateways[1].wake()
            assert await chat.gateways[1].exit_code(30) == 0


async def test_worker_stops_on_a_signal(store: Store) -> None:
    """“Exit status: 0 after a graceful stop”: workers too."""
    with Chat(store, gateways=0, workers=2) as chat:
        chat.workers[0].signal(signal.SIGTERM)
        chat.workers[1].signal(signal.SIGINT)
        assert [await worker.exit_code() for worker in chat.workers] == [0, 0]
        for worker in chat.workers:
            assert "Traceback" not in worker.stderr


async def test_rolling_restart_loses_nothing(store: Store) -> None:
    """“a rolling restart of all gateways loses nothing”: with talk going on all the time."""
    with Chat(store, gateways=2, workers=1) as chat:
        async with People(chat) as people:
            room = people.room()
            alice, bob = await people.enter("alice", 0, room=room), await people.enter("bob", 1, room=room)
            heard: list[str] = []
            said = 0
            for old in (0, 1):
                stays = 1 - old
                leaver, stayer = (alice, bob) if old == 0 else (bob, alice)
                for _ in range(10):
                    said += 1
                    await stayer.say(room, str(said))
                chat.gateways[old].terminate()
                await leaver.ended("shutdown")
                for _ in range(10):
                    said += 1
                    await stayer.say(room, str(said))
                assert await chat.gateways[old].exit_code() == 0
                moved = await people.back(leaver, stays)
                assert moved.welcome["rooms"][room]["recovered"] is True
                if leaver is bob:
                    heard += bob.bodies(room)
                    bob = moved
                else:
                    alice = moved
                chat.gateways[old] = await chat.gateway()
                chat.gateways.pop()
                if old == 0:
                    previous = alice
                    alice = await people.back(alice, 0)
                    await previous.ended("replaced")
            await bob.message(str(said), in_=room)
            await asyncio.sleep(0)
            assert [*heard, *bob.bodies(room)] == [str(n) for n in range(1, said + 1)]


async def test_stderr_of_a_graceful_stop_has_no_traceback(people: People) -> None:
    """A graceful stop is no error: nothing that looks like one is printed."""
    await people.enter("alice", 1)
    await people.enter("bob", 1, transport="ws")
    stopping = people.chat.gateways[1]
    stopping.terminate()
    assert await stopping.exit_code() == 0
    assert "Traceback" not in stopping.stderr
    assert [line for line in stopping.stdout_lines if line] == [
        line for line in stopping.stdout_lines if line.startswith("ready ")
    ]
