"""PROTOCOL.md, “hello”: new sessions, resume, what comes and what `recovered` says of it."""

import asyncio
import secrets
from typing import Any

import pytest

from tests.support import JsonClient, People


async def _talk(who: JsonClient, room: str, count: int, stem: str = "m") -> list[str]:
    bodies = [f"{stem}{number}" for number in range(1, count + 1)]
    for body in bodies:
        await who.say(room, body)
    return bodies


async def _missed(client: JsonClient, room: str, last: str) -> list[str]:
    await client.message(last, in_=room)
    return client.bodies(room)


@pytest.mark.parametrize("transport", ["tcp", "ws"])
async def test_new_session_is_in_the_lobby_at_its_head(people: People) -> None:
    """“Every new session joins `#lobby`”; “nothing older comes unasked”."""
    alice = await people.enter("alice")
    ack = await alice.say("#lobby", "before bob")
    bob = await people.enter("bob", 1)
    assert bob.welcome["rooms"]["#lobby"]["seq"] >= ack["seq"]
    assert bob.welcome["rooms"]["#lobby"]["epoch"] == alice.position("#lobby")["epoch"]
    assert "recovered" not in bob.welcome["rooms"]["#lobby"]
    await bob.caught_up("#lobby")
    assert "before bob" not in bob.bodies("#lobby")


async def test_room_just_joined_starts_at_its_head(people: People) -> None:
    """“a room just joined ... start at the head: nothing older comes unasked”."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    await _talk(alice, room, 3)
    bob = await people.enter("bob", 1)
    assert (await bob.join(room))["seq"] == 3
    await alice.say(room, "new")
    assert await _missed(bob, room, "new") == ["new"]


async def test_room_left_and_joined_again_starts_at_the_head(people: People) -> None:
    """“a room just joined” is one also when the session was there before."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    bob = await people.enter("bob", 1, room=room)
    await alice.say(room, "seen")
    await bob.message("seen")
    await bob.part(room)
    await alice.say(room, "not seen")
    assert (await bob.join(room))["seq"] == 2
    await alice.say(room, "seen again")
    assert await _missed(bob, room, "seen again") == ["seen", "seen again"]


@pytest.mark.parametrize("transport", ["tcp", "ws"])
@pytest.mark.parametrize("gateway", [0, 1])
async def test_resume_brings_what_is_missing(people: People, gateway: int) -> None:
    """“what is missing follows the `welcome`”, on the same gateway or another: all of it, once, in order."""
    room = people.room()
    alice = await people.enter("alice", 0, room=room)
    bob = await people.enter("bob", 0, room=room)
    await _talk(bob, room, 2, "before")
    await alice.message("before2")
    await alice.hang_up()
    missed = await _talk(bob, room, 5)
    await bob.say(f"@{alice.nick}", "psst")
    again = await people.back(alice, gateway)
    assert again.welcome["rooms"][room] == {**again.welcome["rooms"][room], "seq": 7, "recovered": True}
    assert again.welcome["rooms"]["@"]["recovered"] is True
    assert await _missed(again, room, "m5") == missed
    await again.message("psst", in_="@")
    await bob.say(room, "live")
    assert await _missed(again, room, "live") == [*missed, "live"]


async def test_resume_with_nothing_missed(people: People) -> None:
    """A client that missed nothing gets nothing, and `recovered` is true."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    await alice.say(room, "seen")
    await alice.message("seen")
    await alice.hang_up()
    again = await people.back(alice, 1)
    assert again.welcome["rooms"][room]["recovered"] is True
    await again.caught_up(room)
    assert "seen" not in again.bodies(room)


async def test_resume_from_before_the_first_message(people: People) -> None:
    """A position of seq 0 is that of one who entered an empty room: everything is missing."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    start = alice.position(room)
    assert start["seq"] == 0
    bodies = await _talk(alice, room, 3)
    await alice.hang_up()
    again = await people.back(alice, resume={room: start})
    assert again.welcome["rooms"][room]["recovered"] is True
    assert await _missed(again, room, "m3") == bodies


async def test_resume_with_and_without_mid(people: People) -> None:
    """“(“mid” if known)”."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    bodies = await _talk(alice, room, 4)
    second = next(e for e in alice.received if e["ev"] == "message" and e["in"] == room and e["seq"] == 2)
    await alice.hang_up()
    epoch = alice.position(room)["epoch"]
    for extra in ({}, {"mid": second["mid"]}):
        again = await people.back(alice, 1, resume={room: {"epoch": epoch, "seq": 2, **extra}})
        assert again.welcome["rooms"][room]["recovered"] is True
        assert await _missed(again, room, "m4") == bodies[2:]
        await again.hang_up()


async def test_rooms_not_named_in_resume_start_at_the_head(people: People) -> None:
    """“a room of the session that `resume` does not name” starts at the head, without `recovered`."""
    named, other = people.room(), people.room()
    alice = await people.enter("alice", room=named)
    await alice.join(other)
    bob = await people.enter("bob", 1, room=named)
    await bob.join(other)
    await alice.hang_up()
    await bob.say(named, "missed here")
    await bob.say(other, "missed there")
    await bob.say(f"@{alice.nick}", "missed in private")
    again = await people.back(alice, resume={named: alice.position(named)})
    rooms = again.welcome["rooms"]
    assert set(rooms) == {"#lobby", named, other, "@"}
    assert rooms[named]["recovered"] is True
    for room in ("#lobby", other, "@"):
        assert "recovered" not in rooms[room]
    assert rooms[other]["seq"] == 1
    assert rooms["@"]["seq"] == 1
    await bob.say(other, "new there")
    await bob.say(f"@{alice.nick}", "new in private")
    await again.message("new in private")
    await again.message("new there")
    assert again.bodies(other) == ["new there"]
    assert again.bodies("@") == ["new in private"]
    assert again.bodies(named) == ["missed here"]


async def test_resume_of_several_rooms_and_the_inbox(people: People) -> None:
    """`resume` may name every room and `@`; each is judged for itself."""
    rooms = [people.room() for _ in range(4)]
    alice = await people.enter("alice")
    bob = await people.enter("bob", 1)
    for room in rooms:
        await alice.join(room)
        await bob.join(room)
    resume = alice.positions(*rooms, "@")
    await alice.hang_up()
    for room in rooms:
        await _talk(bob, room, 3, room)
    await bob.say(f"@{alice.nick}", "p1")
    await bob.say(f"@{alice.nick}", "p2")
    resume[rooms[0]]["epoch"] = "unknown"
    again = await people.back(alice, resume=resume)
    for room in rooms:
        assert again.welcome["rooms"][room]["recovered"] is (room != rooms[0])
        assert await _missed(again, room, f"{room}3") == [f"{room}1", f"{room}2", f"{room}3"]
    assert await _missed(again, "@", "p2") == ["p1", "p2"]


async def test_resume_of_a_room_that_the_session_is_not_in(people: People) -> None:
    """“A room in `resume` that the session is not in is answered `{“error”:“not_joined”}`”."""
    room, never = people.room(), people.room()
    alice = await people.enter("alice", room=room)
    await people.enter("owner", 1, room=never)
    await alice.say(room, "hi")
    await alice.message("hi")
    old = alice.position(room)
    await alice.part(room)
    await alice.hang_up()
    resume = {room: old, never: {"epoch": "e", "seq": 0}, people.room(): {"epoch": "e", "seq": 0}}
    again = await people.back(alice, resume=resume)
    for name in resume:
        assert again.welcome["rooms"][name] == {"error": "not_joined"}
    answer = await again.ask("send", to=room, body="x", want="error")
    assert answer["code"] == "not_joined"


async def test_resume_in_full_flow(people: People) -> None:
    """“what is missing follows the `welcome`, before anything newer”: also while others keep talking."""
    room = people.room()
    alice = await people.enter("alice", 0, room=room)
    talkers = [await people.enter("talker", n % 2, room=room) for n in range(2)]
    done = asyncio.Event()

    async def chatter(who: JsonClient, stem: str) -> int:
        number = 0
        while not done.is_set():
            number += 1
            await who.say(room, f"{stem}{number}")
        return number

    talking = [asyncio.create_task(chatter(who, f"t{n}-")) for n, who in enumerate(talkers)]
    current = alice
    heard: list[int] = []
    for turn in range(6):
        await current.expect("message", in_=room)
        current.abort()
        await current.ended()
        heard += [e["seq"] for e in current.seen("message", in_=room)]
        following = await people.back(current, turn % 2, resume={room: current.position(room)})
        assert following.welcome["rooms"][room]["recovered"] is True
        current = following
    done.set()
    total = sum(await asyncio.gather(*talking))
    end = await talkers[0].say(room, "the end")
    await current.message("the end")
    heard += [e["seq"] for e in current.seen("message", in_=room)]
    assert heard == list(range(1, end["seq"] + 1))
    assert end["seq"] == total + 1


async def test_resume_of_a_long_absence(people: People) -> None:
    """All that was missed comes, also when it is much: here 1,500 messages (some 300 KB)."""
    room = people.room()
    alice = await people.enter("alice", 0, room=room)
    bob = await people.enter("bob", 1, room=room)
    resume = alice.positions(room)
    await alice.hang_up()
    for start in range(1, 1501, 250):
        ops = bob.sends(room, (f"{number} {'x' * 100}" for number in range(start, start + 250)))
        await bob.push_all(ops)
        await bob.answers(ops)
    again = await people.back(alice, 0, resume=resume)
    assert again.welcome["rooms"][room] == {**again.welcome["rooms"][room], "recovered": True, "seq": 1500}
    await again.message(f"1500 {'x' * 100}")
    assert [int(body.split()[0]) for body in again.bodies(room)] == list(range(1, 1501))


# Promise 4, as hello shows it.


async def test_resume_with_another_mid(people: People) -> None:
    """“the message at the client's seq is not the one it saw (`mid`)”: `recovered` false, and what is there
    comes.
    """
    room = people.room()
    alice = await people.enter("alice", room=room)
    bodies = await _talk(alice, room, 3)
    await alice.message("m3")
    position = {**alice.position(room), "seq": 2, "mid": "another-message"}
    await alice.hang_up()
    again = await people.back(alice, 1, resume={room: position})
    head = again.welcome["rooms"][room]
    assert (head["recovered"], head["seq"]) == (False, 3)
    assert await _missed(again, room, "m3") == bodies[head["whole_from"] - 1 :]


async def test_resume_with_an_unknown_epoch(people: People) -> None:
    """“the epoch is unknown”: `recovered` false; “`whole_from` is the first seq from which on it is”."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    bodies = await _talk(alice, room, 3)
    await alice.hang_up()
    again = await people.back(alice, 1, resume={room: {"epoch": "no-such-epoch", "seq": 2}})
    head = again.welcome["rooms"][room]
    assert head["recovered"] is False
    assert head["whole_from"] == 1, "all of the room is there, so it is whole from its first message on"
    assert head["epoch"] == alice.position(room)["epoch"]
    assert await _missed(again, room, "m3") == bodies


async def test_resume_beyond_the_head(people: People) -> None:
    """“the seq lies beyond the head”: `recovered` false, and the live flow goes on."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    await _talk(alice, room, 3)
    epoch = alice.position(room)["epoch"]
    await alice.hang_up()
    again = await people.back(alice, 1, resume={room: {"epoch": epoch, "seq": 4}})
    head = again.welcome["rooms"][room]
    assert (head["recovered"], head["seq"]) == (False, 3)
    await again.say(room, "live")
    await again.message("live")


async def test_resume_of_the_inbox_with_lies(people: People) -> None:
    """“`@`” is judged like a room: unknown epoch, another mid, beyond the head."""
    alice = await people.enter("alice")
    await alice.say(f"@{alice.nick}", "one")
    await alice.message("one")
    true = alice.position("@")
    await alice.hang_up()
    for lie in ({"epoch": "x"}, {"mid": "x"}, {"seq": 99}):
        again = await people.back(alice, 1, resume={"@": {**true, **lie}})
        head = again.welcome["rooms"]["@"]
        assert (head["recovered"], head["seq"], head["epoch"]) == (False, 1, true["epoch"]), lie
        await again.hang_up()
    honest = await people.back(alice, 0, resume={"@": true})
    assert honest.welcome["rooms"]["@"]["recovered"] is True


async def test_a_client_s_claim_changes_only_its_own_answer(people: People) -> None:
    """“What a client claims changes only its own answer”: no reset, no new epoch for the others."""
    room = people.room()
    bob = await people.enter("bob", 0, room=room)
    alice = await people.enter("alice", 1, room=room)
    await _talk(alice, room, 2)
    epoch = alice.position(room)["epoch"]
    await alice.hang_up()
    for lie in (
        {"epoch": "x", "seq": 1},
        {"epoch": epoch, "seq": 10**12},
        {"epoch": epoch, "seq": 1, "mid": "x"},
    ):
        liar = await people.back(alice, 0, resume={room: lie})
        assert liar.welcome["rooms"][room]["recovered"] is False
        await liar.hang_up()
    honest = await people.back(alice, 1, resume={room: {"epoch": epoch, "seq": 0}})
    assert honest.welcome["rooms"][room]["recovered"] is True
    await bob.caught_up(room)
    assert not bob.seen("reset")


@pytest.mark.parametrize(
    "resume",
    [7, "x", [], {"#lobby": 7}, {"#lobby": None}, {"#lobby": {"epoch": 1, "seq": 1}}]
    + [{"#lobby": {"epoch": "e", "seq": seq}} for seq in (-1, "1", 1.5, None, 2**70)]
    + [{"#lobby": {"epoch": "e"}}, {"#lobby": {"seq": 1}}, {"#lobby": {"epoch": "e", "seq": 1, "mid": 5}}],
)
async def test_resume_of_a_wrong_shape(people: People, resume: Any) -> None:
    """A `resume` that is none is `bad_request` (or, a number too large, beyond the head); hello can be
    repeated.
    """
    alice = await people.enter("alice")
    await alice.hang_up()
    again = await people.connect()
    again.ledger.violations.clear()
    answer = await again.ask("hello", cookie=alice.cookie, resume=resume)
    if answer["ev"] == "welcome":
        assert answer["rooms"]["#lobby"].get("recovered") is False
        return
    assert answer["code"] == "bad_request", answer
    assert (await again.hello(cookie=alice.cookie))["resumed"] is True


# Client-made cookies.


@pytest.mark.parametrize("transport", ["tcp", "ws"])
async def test_client_made_cookie_creates_then_resumes(people: People) -> None:
    """“an unknown cookie creates, a known one resumes”: so a `hello` without answer can be repeated."""
    cookie, nick = secrets.token_urlsafe(32), people.nick("alice")
    first = await people.connect(gateway=0)
    welcome = await first.hello(nick=nick, cookie=cookie)
    assert (welcome["resumed"], welcome["cookie"], welcome["nick"]) == (False, cookie, nick)
    first.abort()
    second = await people.connect(gateway=1)
    welcome = await second.hello(nick=nick, cookie=cookie)
    assert welcome["resumed"] is True
    assert welcome["session"] == first.session


async def test_hello_that_got_no_answer_is_repeated(people: People) -> None:
    """“With a client-made cookie beside `nick`, a `hello` that got no answer can be repeated”: cut at any
    moment.
    """
    cookie, nick = secrets.token_urlsafe(32), people.nick("alice")
    for gateway in (0, 1, 0):
        cut = await people.connect(gateway=gateway)
        await cut.op("hello", nick=nick, cookie=cookie)
        cut.abort()
    for _ in range(4):  # a hello that is still on its way may replace a later one
        alice = await people.connect(gateway=1)
        await alice.op("hello", nick=nick, cookie=cookie)
        sent = await alice.op("send", to="#lobby", body="in at last")
        answer = await alice.expect(lambda event, sent=sent: event.get("re") == sent or event["ev"] == "bye")
        if answer["ev"] == "ack":
            return
        assert answer["code"] == "replaced", answer
    raise AssertionError("replaced again and again")


async def test_two_hellos_with_one_new_cookie_at_once(people: People) -> None:
    """One cookie is one session, also when two gateways get it in the same instant."""
    cookie, nick = secrets.token_urlsafe(32), people.nick("alice")
    clients = [await people.connect(gateway=n % 2) for n in range(4)]
    welcomes = await asyncio.gather(
        *(client.hello(nick=nick, cookie=cookie, device=f"d{n}") for n, client in enumerate(clients))
    )
    assert len({welcome["session"] for welcome in welcomes}) == 1
    assert sorted(welcome["resumed"] for welcome in welcomes) == [False, True, True, True]


async def test_client_made_cookie_of_somebody_elses_nick(people: People) -> None:
    """An unknown cookie creates, so the nick must be free."""
    alice = await people.enter("alice")
    client = await people.connect(gateway=1)
    await client.refused("nick_taken", "hello", nick=alice.nick, cookie=secrets.token_urlsafe(32))


@pytest.mark.parametrize("cookie", ["", "short", "x" * 21, "no spaces allowed in base64url", 7, ["x"], "x" * 5000])
async def test_client_made_cookie_that_is_none(people: People, cookie: Any) -> None:
    """“a secret of at least 128 bits (base64url)”: what cannot be one is refused, and creates nothing."""
    nick = people.nick("alice")
    client = await people.connect()
    answer = await client.ask("hello", nick=nick, cookie=cookie, want="error")
    assert answer["code"] in {"bad_cookie", "bad_request"}
    await client.hello(nick=nick)


async def test_nick_is_ignored_with_a_known_cookie(people: People) -> None:
    """“With a known cookie, `nick` is ignored”: even a bad or a taken one."""
    alice, bob = await people.enter("alice"), await people.enter("bob")
    await alice.hang_up()
    for nick in (bob.nick, "not a nick!", people.nick("new"), ""):
        again = await people.back(alice, 1, nick=nick, resume={})
        assert again.nick == alice.nick


@pytest.mark.parametrize("fields", [{}, {"nick": None}, {"nick": 7}, {"nick": ["a"]}])
async def test_hello_without_a_nick_or_cookie(people: People, fields: dict[str, Any]) -> None:
    """An error, and the connection stays."""
    client = await people.connect()
    answer = await client.ask("hello", want="error", **fields)
    assert answer["code"] in {"bad_request", "bad_nick"}
    await client.hello(nick=people.nick())


async def test_refused_hello_takes_nothing(people: People) -> None:
    """A refused `hello` makes no session: the right one works on the same connection."""
    alice = await people.enter("alice")
    client = await people.connect()
    await client.refused("nick_taken", "hello", nick=alice.nick)
    await client.refused("bad_nick", "hello", nick="a b")
    await client.refused("bad_cookie", "hello", cookie="A" * 43)
    await client.hello(nick=people.nick())


async def test_one_nick_for_many_at_once(people: People) -> None:
    """A nick is leased to one session: of many that ask at once, on two gateways, one gets it."""
    nick = people.nick("wanted")
    clients = [await people.connect(gateway=n % 2) for n in range(6)]
    answers = await asyncio.gather(*(client.ask("hello", nick=nick) for client in clients))
    assert sorted(answer["ev"] for answer in answers) == ["error"] * 5 + ["welcome"]
    assert all(answer["code"] == "nick_taken" for answer in answers if answer["ev"] == "error")


async def test_rooms_of_the_session_come_back(people: People) -> None:
    """“`rooms` in `welcome` names every room that the session is in and `@`”."""
    rooms = {people.room() for _ in range(5)}
    alice = await people.enter("alice")
    for room in rooms:
        await alice.join(room)
    await alice.part("#lobby")
    await alice.hang_up()
    again = await people.back(alice, 1, resume={})
    assert set(again.welcome["rooms"]) == rooms | {"@"}
    for room in rooms:
        await again.say(room, "I am in")
