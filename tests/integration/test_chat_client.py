"""The client library and `causerie chat` against real gateways that are killed, stopped and overrun.

Clauses are those of docs/protocol.md: the promises, by their numbers, and "Programs".
"""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import IO

import pytest

from causerie.client import Ack, Client, Closed, Event, Refused, Result
from tests.support import Chat, Store
from tests.support.processes import Gateway, Process, causerie_script, run_program
from tests.support.timing import PATIENCE
from tests.support.words import new_nick, new_room


def tcp(gateway: Gateway) -> str:
    return "tcp://{}:{}".format(*gateway.tcp)


def addresses(chat: Chat, transport: str = "tcp") -> list[str]:
    return [tcp(gateway) if transport == "tcp" else gateway.ws for gateway in chat.gateways]


def chat_command(*args: str) -> list[str]:
    return [causerie_script(), "chat", *args]


async def messages_in(room: str, client: Client, count: int) -> list[Event]:
    """The next `count` messages in a room; nothing may be lost or passed over on the way."""
    found: list[Event] = []
    async with asyncio.timeout(PATIENCE * 2):
        async for event in client.events():
            assert event["ev"] not in {"lost", "gap", "reset", "skipped", "session_lost", "left"}, event
            if event["ev"] == "message" and event["in"] == room:
                found.append(event)
                if len(found) == count:
                    return found
    raise AssertionError(f"the client ended after {len(found)} of {count} messages")


def check_log(events: list[Event], bodies: list[str]) -> None:
    """Each once, in the order sent, numbered without a gap (promises 2 and 3)."""
    assert [event["body"] for event in events] == bodies
    first = events[0]["seq"]
    assert [event["seq"] for event in events] == list(range(first, first + len(bodies)))


@pytest.fixture
def doomed(store: Store) -> Iterator[Chat]:
    """Two gateways and a worker of this test alone, to be killed."""
    with Chat(store, gateways=2, workers=1) as chat:
        yield chat


@pytest.fixture
async def ann_and_bob(chat: Chat, transport: str) -> AsyncIterator[tuple[Client, Client]]:
    one, other = addresses(chat, transport)
    async with Client(one, nick=new_nick("ann")) as ann, Client(other, nick=new_nick("bob")) as bob:
        yield ann, bob


@pytest.mark.parametrize("transport", ["tcp", "ws"])
async def test_two_people_on_two_gateways(ann_and_bob: tuple[Client, Client]) -> None:
    ann, bob = ann_and_bob
    room = new_room()
    joined = await ann.join(room)
    assert [each["nick"] for each in joined.data["members"]] == [ann.nick]
    await bob.join(room)
    ack = await ann.send(room, "hi")
    assert ack == Ack(room, 1)
    (event,) = await messages_in(room, bob, 1)
    assert (event["from"], event["body"]) == (ann.nick, "hi")
    assert (await bob.send(f"@{ann.nick}", "psst")).in_ == "@"
    (direct,) = await messages_in("@", ann, 1)
    assert (direct["from"], direct["to"], direct["body"]) == (bob.nick, [ann.nick], "psst")
    listed = await ann.command(f"!list {room}")
    assert isinstance(listed, Result)
    assert {each["nick"] for each in listed.data["sessions"]} == {ann.nick, bob.nick}
    assert [message.body for message in await bob.history(room)] == ["hi"]
    assert bob.view.rooms[room].seq == 1
    with pytest.raises(Refused) as caught:
        await ann.send("@" + new_nick("nobody"), "x")
    assert caught.value.code == "no_such_nick"


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["tcp", "ws"])
async def test_a_killed_gateway_costs_nothing(doomed: Chat, transport: str) -> None:
    """Promises 1 to 3 through `kill -9`: what is acknowledged is there, once, in order, for everybody."""
    one, other = addresses(doomed, transport)
    room = new_room()
    bodies = [str(n) for n in range(300)]
    async with (
        Client([one, other], nick="ann") as ann,
        Client([one, other], nick="bob") as bob,
        Client([other, one], nick="carol") as carol,
    ):
        for client in (ann, bob, carol):
            await client.join(room)
        hearing = [asyncio.create_task(messages_in(room, each, len(bodies))) for each in (bob, carol)]
        sending = []
        for body in bodies:
            sending.append(await ann.submit(room, body))
            if body == "100":
                await sending[20]
                doomed.gateways[0].kill()
        acks = await asyncio.gather(*sending)
        assert [ack.seq for ack in acks] == list(range(1, len(bodies) + 1))
        for heard in await asyncio.gather(*hearing):
            check_log(heard, bodies)
        assert ann.gateway == bob.gateway == doomed.gateways[1].id


@pytest.mark.slow
async def test_a_rolling_restart_costs_nothing(doomed: Chat) -> None:
    """shutdown: "Everyone connected is told first (`bye shutdown` with `retry_after`)"."""
    room = new_room()
    bodies = [str(n) for n in range(200)]
    async with (
        Client(addresses(doomed), nick="ann") as ann,
        Client(addresses(doomed), nick="bob") as bob,
    ):
        await ann.join(room)
        await bob.join(room)
        hearing = asyncio.create_task(messages_in(room, bob, len(bodies)))
        for body in bodies:
            await ann.send(room, body)
            if body in {"50", "120"}:
                stopped = doomed.gateways[0 if body == "50" else 1]
                settings = {"http_port": stopped.http.rpartition(":")[2], "tcp_port": str(stopped.tcp[1])}
                stopped.terminate()
                assert await stopped.exit_code() == 0
                await doomed.gateway(**settings)
        check_log(await hearing, bodies)


@pytest.mark.slow
async def test_a_store_that_dies_and_comes_back_costs_nothing() -> None:
    """Promise 1 with `appendfsync always`; `unavailable` is the client's business, not its user's."""
    with Store(durable=True) as store, Chat(store, gateways=1, workers=1) as chat:
        async with Client(addresses(chat), nick="ann") as ann, Client(addresses(chat), nick="bob") as bob:
            bodies = [str(n) for n in range(150)]
            hearing = asyncio.create_task(messages_in("#lobby", bob, len(bodies)))
            sending = []
            for body in bodies:
                sending.append(await ann.submit("#lobby", body))
                if body == "60":
                    await sending[10]
                    store.kill()
                if body == "100":
                    await store.restart()
            acks = await asyncio.gather(*sending)
            heard = await hearing
            assert sorted(event["body"] for event in heard) == sorted(bodies)
            assert [event["seq"] for event in heard] == list(range(1, len(bodies) + 1))
            assert {event["seq"]: event["body"] for event in heard} == {
                ack.seq: body for ack, body in zip(acks, bodies, strict=True)
            }


async def test_a_session_is_brought_back_by_its_cookie(chat: Chat) -> None:
    one, other = addresses(chat)
    room = new_room()
    async with Client(one, nick=new_nick("ann")) as ann, Client(one, nick=new_nick("bob")) as bob:
        await ann.join(room)
        await ann.close()
        async with Client(other, cookie=ann.cookie) as back:
            assert (back.nick, back.session) == (ann.nick, ann.session)
            await bob.send(f"@{ann.nick}", "still there?")
            (direct,) = await messages_in("@", back, 1)
            assert direct["body"] == "still there?"
            assert room in back.view.rooms
        assert isinstance(back.closed, Closed)
        assert back.closed.code == "quit"
        with pytest.raises(Refused, match="cookie"):
            await Client(one, cookie=ann.cookie).open()


async def test_kicked_by_a_moderator_it_stays_away(chat: Chat) -> None:
    (url, _) = addresses(chat)
    async with Client(url, nick=new_nick("bob")) as bob:
        async with Client(url, nick=new_nick("admin"), admin_token=chat.admin_token) as admin:
            await admin.command(f"@{bob.nick} !kick spam")
        with pytest.raises(Closed) as caught:
            await messages_in("#lobby", bob, 10_000)
        assert caught.value.code == "kicked"


async def test_a_taken_nick_is_refused(chat: Chat) -> None:
    (url, _) = addresses(chat)
    nick = new_nick("ann")
    async with Client(url, nick=nick):
        with pytest.raises(Refused) as caught:
            await Client(url, nick=nick.upper()).open()
        assert caught.value.code == "nick_taken"


class TestLineClient:
    @pytest.mark.slow
    async def test_lines_through_a_killed_gateway(self, doomed: Chat) -> None:
        """Programs: "several = fail over between gateways", and all typed lines arrive, once and in order."""
        one, other = addresses(doomed)
        bodies = [f"line {n}" for n in range(400)]
        async with Client(other, nick="watcher") as watcher:
            hearing = asyncio.create_task(messages_in("#lobby", watcher, len(bodies)))
            process = await asyncio.create_subprocess_exec(
                *chat_command(one, other, "--nick", "ann", "--json"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("".join(f"{body}\n" for body in bodies).encode())
            process.stdin.close()
            acks = 0
            printed = []
            while line := await asyncio.wait_for(process.stdout.readline(), PATIENCE):
                printed.append(json.loads(line))
                acks += printed[-1]["ev"] == "ack"
                if acks == 50 and doomed.gateways[0].alive:
                    doomed.gateways[0].kill()
            assert await process.wait() == 0
            check_log(await hearing, bodies)
            own = [event["body"] for event in printed if event["ev"] == "message"]
            assert own == bodies, "its own messages, each printed once"

    async def test_an_overrun_rate_limit_keeps_the_order(self, store: Store) -> None:
        """rate_limited is honoured: every line is posted, in order, though far more than the burst come at
        once.
        """
        with Chat(store, gateways=1, workers=0, rate_limit=50) as chat:
            (url,) = addresses(chat)
            bodies = [str(n) for n in range(160)]
            async with Client(url, nick="watcher") as watcher:
                done = await run_program(
                    chat_command(url, "--nick", "ann"), stdin="".join(f"{body}\n" for body in bodies)
                )
                assert (done.returncode, done.stderr) == (0, "")
                check_log(await messages_in("#lobby", watcher, len(bodies)), bodies)

    async def test_talk_in_text(self, chat: Chat) -> None:
        one, other = addresses(chat, "ws")
        ann, bob, room = new_nick("ann"), new_nick("bob"), new_room()
        with Process(chat_command(other, "--nick", bob), name="bob", stdin=subprocess.PIPE) as listening:
            stdin: IO[bytes] | None = listening.popen.stdin
            assert stdin is not None
            await asyncio.to_thread(listening.wait_for_line, lambda line: f"you are {bob}" in line, "a welcome")
            stdin.write(f"!join {room}\n".encode())
            stdin.flush()
            await asyncio.to_thread(listening.wait_for_line, lambda line: f"you are now in {room}" in line, "the join")
            typed = f"!join {room}\nhi\n!me waves\n@{bob} psst\n!nonsense\n!list {room}\n"
            done = await run_program(chat_command(one, "--nick", ann), stdin=typed)
            assert done.returncode == 0, done.stderr
            for line in (
                f"* {ann} joined {room}",
                f"[{room}] {ann}: hi",
                f"[{room}] * {ann} waves",
                f"[@] {ann} -> {bob}: psst",
                f"* {ann} left {room}",
            ):
                await asyncio.to_thread(listening.wait_for_line, line.__eq__, line)
            assert any(line.startswith("! bad_request: ") for line in done.stdout.splitlines())
            listening.signal(signal.SIGINT)
            assert await listening.exit_code() == 0
            assert listening.stderr == ""

    async def test_coming_back_with_the_cookie(self, chat: Chat) -> None:
        (url, _) = addresses(chat)
        async with Client(url, nick=new_nick("ann")) as ann:
            await ann.send("#lobby", "x")
            await ann.close()
            done = await run_program(chat_command(url, "--json", "--cookie", ann.cookie), stdin="back\n")
            assert done.returncode == 0, done.stderr
            welcome = json.loads(done.stdout.splitlines()[0])
            assert (welcome["ev"], welcome["nick"], welcome["resumed"]) == ("welcome", ann.nick, True)


async def test_the_bot_of_the_examples_answers(chat: Chat) -> None:
    (url, _) = addresses(chat)
    with Process([sys.executable, "examples/echo_bot.py", url], name="bot") as bot:
        async with Client(url, nick=new_nick("ann")) as ann:
            async with asyncio.timeout(PATIENCE):
                while True:
                    try:
                        await ann.send("@echo", "hello")
                        break
                    except Refused:
                        await asyncio.sleep(0.05)
            said, answer = await messages_in("@", ann, 2)
            assert (said["body"], answer["from"], answer["body"]) == ("hello", "echo", "hello")
            bot.pause()
            async with Client(url, nick=new_nick("eve")) as eve:
                await eve.send("@echo", "I do not wait for an answer")
            bot.wake()
            await ann.send("@echo", "still there?")
            _, answer = await messages_in("@", ann, 2)
            assert answer["body"] == "still there?"
        bot.signal(signal.SIGINT)
        assert await bot.exit_code() == 0
        async with Client(url, nick="echo"):
            pass
