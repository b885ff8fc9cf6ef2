"""docs/protocol.md: heartbeats, `away` and `crashed`, `bye timeout`, sessions never heard from, `--nick-ttl`."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.support import Chat, JsonClient, People, Store, eventually
from tests.support.chat import SHORT_HEARTBEATS


@pytest.fixture(scope="module")
def quick_chat(store: Store) -> Iterator[Chat]:
    """Pings every 0.4 s, `crashed` after 1.5 s, nicks free 1 s later."""
    with Chat(store, gateways=2, workers=2, **SHORT_HEARTBEATS, nick_ttl=1) as chat:
        yield chat


@pytest.fixture
def chat(quick_chat: Chat) -> Chat:
    return quick_chat


@pytest.mark.parametrize("transport", ["tcp", "ws"])
async def test_pings_come_and_pongs_keep_alive(people: People) -> None:
    """“{“ev”:“ping”,“n”:9}” every heartbeat; one that answers stays."""
    alice = await people.enter("alice")
    assert alice.welcome["heartbeat"] == pytest.approx(0.4)
    for _ in range(6):
        await alice.expect("ping")
    numbers = [ping["n"] for ping in alice.seen("ping")]
    assert len(set(numbers)) == len(numbers)
    await alice.say("#lobby", "alive")


@pytest.mark.parametrize("transport", ["tcp", "ws"])
async def test_unanswered_pings_end_in_bye_timeout_and_crashed(people: People) -> None:
    """“A member whose pings go unanswered for the heartbeat TTL gets `bye timeout` and is `crashed`”."""
    room = people.room()
    watcher = await people.enter("watcher", 1, room=room)
    mute = await people.enter("mute", 0, room=room, answer_pings=False)
    await mute.ended("timeout")
    await watcher.expect("presence", in_=room, nick=mute.nick, state="crashed")
    listed = (await watcher.command(f"!list {room}"))["data"]["sessions"]
    assert {"nick": mute.nick, "state": "crashed", "flags": []} in listed
    bye = mute.seen("bye")[0]
    assert isinstance(bye.get("retry_after", 0), int | float)


async def test_any_byte_counts_as_life(people: People) -> None:
    """“Any byte received ... counts as life”: one that answers no ping but says something stays."""
    alice = await people.enter("alice", answer_pings=False)
    for _ in range(8):
        await alice.expect("ping")
        await alice.wire.write_bytes(b" ")
    await alice.wire.write_bytes(b"\n")
    await alice.settled()


async def test_taking_in_pings_is_no_life(people: People) -> None:
    """“merely taking in pings does not”."""
    alice = await people.enter("alice", answer_pings=False)
    await alice.expect("ping")
    await alice.expect("ping")
    await alice.ended("timeout")


async def test_progress_through_a_backlog_is_life(people: People) -> None:
    """“progress through a backlog, counts as life”: one that only reads, but has much to read, stays."""
    room = people.room()
    talker = await people.enter("talker", room=room)
    reader = await people.enter("reader", room=room, answer_pings=False, receive_buffer=4096)
    body = "x" * 4000
    reader.freeze()
    for start in range(0, 1500, 250):
        ops = talker.sends(room, (f"{number} {body}" for number in range(start, start + 250)))
        await talker.push_all(ops)
        await talker.answers(ops)
    loop = asyncio.get_running_loop()
    until = loop.time() + 3
    while loop.time() < until:
        # Reads some 100 KB, then rests: four times the TTL's half, always with progress.
        reader.thaw()
        await reader.expect("message", in_=room)
        reader.freeze()
        await asyncio.sleep(0.1)
    assert not reader.closed
    reader.thaw()
    await reader.message(f"1499 {body}")
    assert [event["seq"] for event in reader.seen("message", in_=room)] == list(range(1, 1501))


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_away_then_crashed_once(people: People, how: str) -> None:
    """“`away` (no connection now ...); `crashed` (its heartbeat key expired and it never said goodbye)”: each
    once, on every gateway, though two workers look.
    """
    room = people.room()
    watchers = [await people.enter("watcher", n, room=room) for n in (0, 1)]
    alice = await people.enter("alice", 0, room=room)
    if how == "close":
        await alice.hang_up()
    else:
        alice.abort()
    for watcher in watchers:
        await watcher.expect("presence", in_=room, nick=alice.nick, state="away")
        await watcher.expect("presence", in_=room, nick=alice.nick, state="crashed")
    # A second announcement would come with a worker's next look: wait for two more heartbeats.
    for watcher in watchers:
        for _ in range(4):
            await watcher.expect("ping", patience=5)
        states = [event["state"] for event in watcher.seen("presence", in_=room, nick=alice.nick)]
        assert states in (["online", "away", "crashed"], ["away", "crashed"]), states


async def test_back_in_time_is_never_announced_as_crashed(people: People) -> None:
    """A client that returns before its heartbeat expires is `online` again, and was never `crashed` or
    `gone`.
    """
    room = people.room()
    watcher = await people.enter("watcher", 1, room=room)
    current = await people.enter("alice", 0, room=room)
    for turn in range(5):
        current.abort()
        await current.ended()
        current = await people.back(current, turn % 2)
    for _ in range(5):
        await watcher.expect("ping")
    await current.say(room, "here")
    await watcher.message("here")
    states = [event["state"] for event in watcher.seen("presence", in_=room, nick=current.nick)]
    assert set(states) <= {"online", "away"}
    assert states[-1] == "online"


async def test_crashed_comes_back_and_finds_everything(people: People) -> None:
    """“One that is away or crashed finds it on return”; its rooms keep it, and it is `online` again."""
    room = people.room()
    watcher = await people.enter("watcher", 1, room=room)
    alice = await people.enter("alice", 0, room=room)
    alice.abort()
    await alice.ended()
    await watcher.expect("presence", in_=room, nick=alice.nick, state="crashed")
    await watcher.say(room, "while crashed")
    await watcher.say(f"@{alice.nick}", "in private")
    again = await people.back(alice, 1)
    assert again.session == alice.session
    await again.message("while crashed", in_=room)
    await again.message("in private", in_="@")
    await watcher.expect("presence", in_=room, nick=alice.nick, state="online")
    listed = (await watcher.command(f"!list {room}"))["data"]["sessions"]
    assert {"nick": alice.nick, "state": "online", "flags": []} in listed


async def test_quit_is_gone_not_crashed(people: People) -> None:
    """One that said goodbye is `gone`, and nothing more is heard of it."""
    room = people.room()
    watcher = await people.enter("watcher", 1, room=room)
    alice = await people.enter("alice", 0, room=room)
    await alice.quit()
    await watcher.expect("presence", in_=room, nick=alice.nick, state="gone")
    for _ in range(5):
        await watcher.expect("ping")
    states = [event["state"] for event in watcher.seen("presence", in_=room, nick=alice.nick)]
    assert states == ["online", "gone"]
    listed = (await watcher.command("!list"))["data"]["sessions"]
    assert alice.nick not in {entry["nick"] for entry in listed}


async def test_session_never_heard_from_is_dropped_as_gone(people: People) -> None:
    """“A session that nothing was ever received from after its `welcome` is dropped when its heartbeat
    expires, and announced as `gone`”; its nick is free at once.
    """
    watcher = await people.enter("watcher", 1)
    ghost = await people.enter("ghost", 0, answer_pings=False)
    ghost.abort()
    await ghost.ended()
    await watcher.expect("presence", in_="#lobby", nick=ghost.nick, state="gone")
    assert not watcher.seen("presence", in_="#lobby", nick=ghost.nick, state="crashed")
    listed = (await watcher.command("!list"))["data"]["sessions"]
    assert ghost.nick not in {entry["nick"] for entry in listed}
    later = await people.connect(gateway=1)
    await later.refused("bad_cookie", "hello", cookie=ghost.cookie)
    await later.hello(nick=ghost.nick)


async def test_session_heard_from_once_is_kept(people: People) -> None:
    """“(“received” is in the store before the first answer)”: one answered op makes it a
    `crashed` session.
    """
    watcher = await people.enter("watcher", 1)
    alice = await people.enter("alice", 0, answer_pings=False)
    await alice.settled()
    alice.abort()
    await alice.ended()
    await watcher.expect("presence", in_="#lobby", nick=alice.nick, state="crashed")
    again = await people.back(alice, 1)
    assert again.session == alice.session


async def test_resumed_session_counts_as_heard_from(people: People) -> None:
    """A `hello` that resumes is something received after the `welcome`: such a session is no ghost."""
    watcher = await people.enter("watcher", 1)
    alice = await people.enter("alice", 0, answer_pings=False)
    again = await _resume_mutely(people, alice)
    again.abort()
    await again.ended()
    await watcher.expect("presence", in_="#lobby", nick=alice.nick, state="crashed")


async def _resume_mutely(people: People, who: JsonClient) -> JsonClient:
    again = await people.connect(gateway=1, answer_pings=False)
    await again.hello(cookie=who.cookie)
    return again


async def test_other_device_keeps_the_session_alive(people: People) -> None:
    """A session is `crashed` when its heartbeat expired, not when one of its devices fell silent."""
    room = people.room()
    watcher = await people.enter("watcher", 1, room=room)
    phone = await people.enter("alice", 0, device="phone", room=room, answer_pings=False)
    laptop = await people.back(phone, 1, device="laptop", resume={})
    await phone.ended("timeout")
    await laptop.say(room, "still here")
    for _ in range(5):
        await watcher.expect("ping")
    assert not watcher.seen("presence", in_=room, nick=phone.nick, state="crashed")


async def test_nick_ttl(people: People) -> None:
    """`--nick-ttl`: “a nick whose session has been `crashed` for longer may be taken by somebody new; the old
    session then gets `bad_cookie`”.
    """
    room = people.room()
    watcher = await people.enter("watcher", 1, room=room)
    alice = await people.enter("alice", 0, room=room)
    await alice.say(f"@{alice.nick}", "mine")
    alice.abort()
    await alice.ended()
    early = await people.connect(gateway=1)
    await early.refused("nick_taken", "hello", nick=alice.nick)
    await watcher.expect("presence", in_=room, nick=alice.nick, state="crashed")

    async def taken() -> bool:
        answer = await early.ask("hello", nick=alice.nick)
        if answer["ev"] == "welcome":
            early.entered(answer)
            return True
        assert answer["code"] == "nick_taken"
        return False

    await eventually(taken, "the nick of a crashed session")
    assert early.session != alice.session
    assert early.welcome["rooms"]["@"]["seq"] == 0
    old = await people.connect(gateway=0)
    await old.refused("bad_cookie", "hello", cookie=alice.cookie)


async def test_nick_of_one_crashed_stays_its_own_until_taken(people: People) -> None:
    """“may be taken”: as long as nobody does, the old session comes back with its nick."""
    room = people.room()
    watcher = await people.enter("watcher", 1, room=room)
    alice = await people.enter("alice", 0, room=room)
    alice.abort()
    await alice.ended()
    await watcher.expect("presence", in_=room, nick=alice.nick, state="crashed")
    for _ in range(5):
        await watcher.expect("ping")
    again = await people.back(alice, 1)
    assert again.nick == alice.nick
    other = await people.connect()
    await other.refused("nick_taken", "hello", nick=alice.nick)


async def test_silent_text_client_stays(people: People) -> None:
    """“Without `!heartbeat on` a text client is never asked for anything: a silent person stays”."""
    room = people.room()
    watcher = await people.enter("watcher", 1, room=room)
    silent = await people.text("silent", 0, room=room)
    for _ in range(8):
        await watcher.expect("ping")
    await watcher.say(room, "are you there?")
    await silent.expect(rf"\[{room}\] {watcher.nick}: are you there\?")
    assert not silent.closed
    assert not silent.seen(r"!! ping .*")
    listed = (await watcher.command(f"!list {room}"))["data"]["sessions"]
    assert {"nick": silent.nick, "state": "online", "flags": []} in listed


async def test_text_heartbeat_on(people: People) -> None:
    """“only after `!heartbeat on`, `ping N` (answer `!pong N`)”; unanswered it is `bye timeout`."""
    client = await people.text("client")
    await client.send("!heartbeat on")
    for _ in range(6):
        number = (await client.expect(r"!! ping (\d+)"))[1]
        await client.send(f"!pong {number}")
    await client.expect(r"!! ping (\d+)")
    await client.ended("timeout")


async def test_session_ttl(store: Store) -> None:
    """“`--session-ttl` (24 h)”: a session unused for longer is forgotten, and its cookie with it."""
    with Chat(store, gateways=1, workers=1, **SHORT_HEARTBEATS, session_ttl=2, nick_ttl=1) as chat:
        async with People(chat) as people:
            alice = await people.enter("alice")
            await alice.settled()
            for _ in range(8):
                await alice.expect("ping")
            await alice.say("#lobby", "a session in use does not end")
            alice.abort()
            await alice.ended()

            async def forgotten() -> bool:
                client = await people.connect()
                # A hello that succeeded would prolong the session's life: look at the nick instead.
                answer = await client.ask("hello", nick=alice.nick)
                return bool(answer["ev"] == "welcome")

            await eventually(forgotten, "the session's end")
            old = await people.connect()
            await old.refused("bad_cookie", "hello", cookie=alice.cookie)
