"""docs/protocol.md, “Words”: nicks, rooms, sessions, cookies, devices, states, seq, mid, epoch."""

import base64
import re

import pytest

from tests.support import JsonClient, People

BAD_NICK_CHARACTERS = "#@!:,*?/{}<>"


# Nicks.


@pytest.mark.parametrize("transport", ["tcp", "ws"])
async def test_nick_in_welcome(people: People) -> None:
    """“nick: 1-32 characters by PRECIS UsernameCaseMapped”."""
    nick = people.nick("n")
    alice = await people.connect()
    welcome = await alice.hello(nick=nick)
    assert welcome["nick"] == nick


@pytest.mark.parametrize("character", BAD_NICK_CHARACTERS)
async def test_nick_refuses_characters_with_a_meaning(people: People, character: str) -> None:
    """“none of `# @ ! : , * ? / { } < >`”, wherever it stands in the nick."""
    client = await people.connect()
    for nick in (f"a{character}b", f"{character}ab", f"ab{character}"):
        await client.refused("bad_nick", "hello", nick=nick)


@pytest.mark.parametrize(
    "nick",
    [
        "",
        " ",
        "a b",
        "a\tb",
        "a\nb",
        "a\x00b",
        "a\x1bb",
        "a\x7fb",
        "a\u00a0b",
        "a\u2028b",
        "a\u202eb",
        "a\u200bb",
    ],
)
async def test_nick_refuses_space_and_control(people: People, nick: str) -> None:
    """“no white space or control”; PRECIS refuses invisible and bidirectional controls."""
    client = await people.connect()
    await client.refused("bad_nick", "hello", nick=nick)


@pytest.mark.parametrize("nick", ["127.0.0.1", "10.0.0.255", "::1", "2001:db8::1", "fe80::1", "203.0.113.7", "1.2.3.4"])
async def test_nick_never_parses_as_an_address(people: People, nick: str) -> None:
    """“never something that parses as an address”."""
    client = await people.connect()
    await client.refused("bad_nick", "hello", nick=nick)


async def test_nick_address_in_full_width_digits(people: People) -> None:
    """“never something that parses as an address”: also when PRECIS's width mapping makes it one."""
    client = await people.connect()
    await client.refused("bad_nick", "hello", nick="１２７.0.0.1")


async def test_nick_length(people: People) -> None:
    """“1-32 characters”: 32 is the last that fits, counted in characters."""
    fits = people.nick("x").ljust(32, "y")
    client = await people.connect()
    await client.refused("bad_nick", "hello", nick=f"{fits}z")
    assert (await client.hello(nick=fits))["nick"] == fits
    wide = people.nick("w").ljust(32, "é")
    assert len(wide.encode()) > 32
    other = await people.connect()
    assert (await other.hello(nick=wide))["nick"] == wide


async def test_nick_unique_without_regard_to_case(people: People) -> None:
    """“unique without regard to case over the whole chat”: on another gateway as well."""
    alice = await people.enter("alice", 0)
    for gateway in (0, 1):
        other = await people.connect(gateway=gateway)
        await other.refused("nick_taken", "hello", nick=alice.nick)
        await other.refused("nick_taken", "hello", nick=alice.nick.upper())
        await other.refused("nick_taken", "hello", nick=alice.nick.capitalize())


async def test_nick_normal_forms_are_one_nick(people: People) -> None:
    """RFC 8265 UsernameCaseMapped: composed and decomposed, full and half width, lower and upper are one
    name.
    """
    stem = people.nick("é")
    await people.enter(nick=stem)
    other = await people.connect()
    await other.refused("nick_taken", "hello", nick="e\u0301" + stem[1:])
    await other.refused("nick_taken", "hello", nick="É" + stem[1:])
    full_width = "".join(chr(ord(char) + 0xFEE0) if char.isascii() else char for char in stem)
    await other.refused("nick_taken", "hello", nick=full_width)


async def test_nick_free_after_quit(people: People) -> None:
    """“A nick is leased to a session”: when the session ends, the nick is free."""
    alice = await people.enter("alice")
    await alice.quit()
    later = await people.connect(gateway=1)
    assert (await later.hello(nick=alice.nick))["nick"] == alice.nick


async def test_later_owner_inherits_nothing(people: People) -> None:
    """“a later owner inherits nothing of an earlier one but a sanction”: no inbox, no room, no cookie, no
    session.
    """
    room = people.room()
    alice = await people.enter("alice", room=room)
    bob = await people.enter("bob")
    await bob.say(f"@{alice.nick}", "for the first alice")
    await alice.message("for the first alice")
    await alice.quit()
    second = await people.connect()
    welcome = await second.hello(nick=alice.nick)
    assert welcome["session"] != alice.session
    assert welcome["cookie"] != alice.cookie
    assert set(welcome["rooms"]) == {"#lobby", "@"}
    assert welcome["rooms"]["@"]["seq"] == 0
    inbox = await second.ask("history", of="@", limit=50, want="result")
    assert inbox["data"]["messages"] == []
    old = await people.connect()
    await old.refused("bad_cookie", "hello", cookie=alice.cookie)


async def test_later_owner_does_not_own_the_rooms_of_the_earlier(people: People) -> None:
    """“a later owner inherits nothing of an earlier one”: not the moderation of a room either."""
    room = people.room()
    alice = await people.enter("alice")
    await alice.command(f"!join {room}")
    bob = await people.enter("bob", room=room)
    await alice.quit()
    second = await people.connect()
    await second.hello(nick=alice.nick)
    await second.command(f"!join {room}")
    await second.refused("denied", "command", line=f"!kick {bob.nick}")


# Rooms.


async def test_room_names(people: People) -> None:
    """“room: `#` and 1-64 characters by the same rules”."""
    alice = await people.enter("alice")
    fits = people.room("r").ljust(65, "x")
    assert (await alice.join(fits))["room"] == fits
    for room in (
        f"{fits}y",
        "#",
        "lobby",
        "",
        "##a",
        "#a b",
        "#a\nb",
        "#a,b",
        "#a{b}",
        "#a@b",
        "#a\x1b[31m",
        "@x",
    ):
        answer = await alice.ask("join", room=room, want="error")
        assert answer["code"] in {"bad_request", "no_such_room"}, (room, answer)


async def test_room_names_without_regard_to_case(people: People) -> None:
    """Rooms follow “the same rules” as nicks: case-mapped, so two spellings are one room."""
    room = people.room("café")
    alice = await people.enter("alice", room=room)
    bob = await people.enter("bob", 1)
    data = await bob.join(room.upper())
    assert data["room"] == room
    await bob.say(room.upper(), "hi")
    assert (await alice.message("hi"))["in"] == room


# Sessions and cookies.


async def test_cookie_is_a_secret_of_128_bits_in_base64url(people: People) -> None:
    """“Its cookie, a secret of at least 128 bits (base64url)”."""
    cookies = [(await people.enter()).cookie for _ in range(3)]
    for cookie in cookies:
        assert re.fullmatch(r"[A-Za-z0-9_-]+=*", cookie)
        assert len(base64.urlsafe_b64decode(cookie.rstrip("=") + "=" * (-len(cookie.rstrip("=")) % 4))) >= 16
    assert len(set(cookies)) == 3


async def test_cookie_is_stored_only_as_a_hash(people: People) -> None:
    """“stored only as a hash”: nowhere in the store does the cookie itself stand."""
    alice = await people.enter("alice")
    await alice.say("#lobby", "hello")
    with people.chat.store.client() as redis:
        found = 0
        for key in redis.scan_iter(f"{people.chat.namespace}:*", count=1000):
            kind = redis.type(key)
            found += 1
            assert alice.cookie not in key
            match kind:
                case "string":
                    content = redis.get(key)
                case "hash":
                    content = redis.hgetall(key)
                case "set":
                    content = redis.smembers(key)
                case "zset":
                    content = redis.zrange(key, 0, -1)
                case "list":
                    content = redis.lrange(key, 0, -1)
                case "stream":
                    content = redis.xrange(key)
                case _:
                    content = ""
            assert alice.cookie not in str(content), f"the cookie stands in {key}"
    assert found > 3, "the namespace is not the prefix of the keys: nothing was looked at"


async def test_cookie_brings_the_session_back_on_any_gateway(people: People) -> None:
    """“brings the session back on any gateway”; the session outlives connections."""
    room = people.room()
    alice = await people.enter("alice", 0, room=room)
    await alice.hang_up()
    again = await people.back(alice, 1)
    assert again.welcome["resumed"] is True
    assert again.session == alice.session
    assert again.nick == alice.nick
    assert room in again.welcome["rooms"]


async def test_cookie_stays_over_a_resume(people: People) -> None:
    """“It changes only by `!cookie new`”."""
    alice = await people.enter("alice")
    await alice.hang_up()
    again = await people.back(alice, 1)
    assert again.cookie == alice.cookie


async def test_unknown_cookie_is_refused(people: People) -> None:
    """A cookie of no session, without a nick, is `bad_cookie`."""
    client = await people.connect()
    await client.refused("bad_cookie", "hello", cookie="A" * 43)
    assert (await client.hello(nick=people.nick()))["resumed"] is False


async def test_cookie_new_voids_the_old_one(people: People) -> None:
    """“It changes only by `!cookie new`, which voids the old one”."""
    alice = await people.enter("alice")
    shown = await alice.command("!cookie")
    assert alice.cookie in "\n".join(shown["text"])
    answer = await alice.command("!cookie new")
    words = re.findall(r"[A-Za-z0-9_-]{22,}", " ".join(answer["text"]))
    (fresh,) = [word for word in words if word != alice.cookie]
    other = await people.connect(gateway=1)
    await other.refused("bad_cookie", "hello", cookie=alice.cookie)
    welcome = await other.hello(cookie=fresh, device="other")
    assert welcome["session"] == alice.session


# Devices.


@pytest.mark.parametrize("transport", ["tcp", "ws"])
async def test_second_connection_of_a_device_replaces_the_first(people: People) -> None:
    """“A second connection of the same device replaces the first (`bye replaced`)”: over gateways."""
    alice = await people.enter("alice", 0)
    again = await people.back(alice, 1, resume={})
    await alice.ended("replaced")
    third = await people.back(again, 1, resume={})
    await again.ended("replaced")
    await third.say("#lobby", "still here")


async def test_replacement_is_no_absence(people: People) -> None:
    """`away` is “no connection now”: a device that only moved was never away."""
    room = people.room()
    watcher = await people.enter("watcher", 1, room=room)
    alice = await people.enter("alice", 0, room=room)
    for gateway in (1, 0, 0):
        moved = await people.back(alice, gateway, resume={})
        await alice.ended("replaced")
        alice = moved
    await alice.say(room, "moved thrice")
    await watcher.message("moved thrice")
    await watcher.caught_up("#lobby")
    states = {event["state"] for event in watcher.seen("presence", in_=room, nick=alice.nick)}
    assert states == {"online"}


async def test_other_devices_stay_and_see_everything(people: People) -> None:
    """“other devices stay. Every device sees everything”, own messages of the other device too."""
    room = people.room()
    phone = await people.enter("alice", 0, device="phone", room=room)
    laptop = await people.back(phone, 1, device="laptop")
    bob = await people.enter("bob", 0, room=room)
    await bob.say(room, "hi")
    await bob.say(f"@{phone.nick}", "psst")
    await phone.say(room, "from the phone")
    await laptop.say(room, "from the laptop")
    for device in (phone, laptop):
        await device.message("psst", in_="@")
        await device.message("from the laptop", in_=room)
        assert device.bodies(room) == ["hi", "from the phone", "from the laptop"]
    assert not phone.closed


async def test_room_joined_by_one_device_is_joined_by_all(people: People) -> None:
    """A session has rooms, and “every device sees everything”."""
    phone = await people.enter("alice", 0, device="phone")
    laptop = await people.back(phone, 1, device="laptop")
    room = people.room()
    await phone.join(room)
    bob = await people.enter("bob", 1, room=room)
    await bob.say(room, "hi both")
    await phone.message("hi both")
    await laptop.message("hi both")
    await phone.part(room)
    await bob.say(room, "nobody")
    await bob.message("nobody")
    answer = await laptop.ask("send", to=room, body="am I in?", want="error")
    assert answer["code"] == "not_joined"


async def test_at_most_eight_devices(people: People) -> None:
    """“each names itself in `hello` (`device`, default `”“`, at most 8)”."""
    first = await people.enter("alice")
    for number in range(7):
        await people.back(first, number % 2, device=f"d{number}", resume={})
    ninth = await people.connect()
    answer = await ninth.ask("hello", cookie=first.cookie, device="one-too-many", want="error")
    assert answer["code"] in {"denied", "bad_request", "locked"}, answer
    assert not first.closed
    replaced = await people.connect()
    await replaced.hello(cookie=first.cookie, device="d3")
    await first.say("#lobby", "all eight still work")


async def test_device_name_must_be_a_string(people: People) -> None:
    """`device` names itself: anything else than a string is a bad request."""
    client = await people.connect()
    for device in (7, True, ["x"], {"a": 1}):
        answer = await client.ask("hello", nick=people.nick(), device=device, want="error")
        assert answer["code"] == "bad_request", (device, answer)


async def test_quit_of_one_device_ends_the_session(people: People) -> None:
    """`quit` ends the session (its cookie is of no use), so every other device gets a `bye` too."""
    phone = await people.enter("alice", 0, device="phone")
    laptop = await people.back(phone, 1, device="laptop", resume={})
    await phone.quit()
    await laptop.ended("quit")
    later = await people.connect()
    await later.refused("bad_cookie", "hello", cookie=phone.cookie)


# States.


async def test_state_online_and_away(people: People) -> None:
    """“`online`; `away` (no connection now, its heartbeat has not expired)”."""
    room = people.room()
    watcher = await people.enter("watcher", 0, room=room)
    alice = await people.enter("alice", 1, room=room)
    await watcher.expect("presence", in_=room, nick=alice.nick, state="online")
    assert await _state(watcher, alice.nick, room) == "online"
    await alice.hang_up()
    await watcher.expect("presence", in_=room, nick=alice.nick, state="away")
    assert await _state(watcher, alice.nick, room) == "away"
    again = await people.back(alice, 0)
    await watcher.expect("presence", in_=room, nick=alice.nick, state="online")
    assert await _state(again, alice.nick, room) == "online"


async def test_state_stays_online_while_one_device_is_there(people: People) -> None:
    """`away` is “no connection now”: not while another device is connected."""
    room = people.room()
    watcher = await people.enter("watcher", 0, room=room)
    phone = await people.enter("alice", 1, device="phone", room=room)
    laptop = await people.back(phone, 0, device="laptop", resume={})
    await watcher.expect("presence", in_=room, nick=phone.nick, state="online")
    await phone.hang_up()
    await laptop.say(room, "still online")
    await watcher.caught_up(room)
    assert await _state(watcher, phone.nick, room) == "online"
    assert not watcher.seen("presence", in_=room, nick=phone.nick, state="away")


async def test_flag_suspended(people: People) -> None:
    """“plus the flags `suspended` and, in a game, `dead`”."""
    alice = await people.enter("alice")
    admin = await people.admin(1)
    assert await _flags(alice, alice.nick) == []
    await admin.command(f"!suspend {alice.nick} 10m")
    assert await _flags(alice, alice.nick) == ["suspended"]
    await admin.command(f"!forgive {alice.nick}")
    assert await _flags(alice, alice.nick) == []


async def _state(client: JsonClient, nick: str, room: str) -> str:
    listed = (await client.command(f"!list {room}"))["data"]["sessions"]
    return next(str(entry["state"]) for entry in listed if entry["nick"] == nick)


async def _flags(client: JsonClient, nick: str) -> list[str]:
    listed = (await client.command("!list"))["data"]["sessions"]
    return next(entry["flags"] for entry in listed if entry["nick"] == nick)


# seq, mid, epoch, position.


async def test_seq_from_one_without_gaps_the_same_for_everybody(people: People) -> None:
    """“every message in a room has the next whole number there, from 1, no gaps, the same for everybody”."""
    room = people.room()
    alice = await people.enter("alice", 0, room=room)
    bob = await people.enter("bob", 1, room=room)
    assert alice.position(room)["seq"] == 0
    acks = [(await (alice if n % 2 else bob).say(room, f"line {n}"))["seq"] for n in range(10)]
    assert acks == list(range(1, 11))
    await alice.message("line 9")
    await bob.message("line 9")
    theirs = [[(e["seq"], e["body"], e["mid"], e["ts"]) for e in who.seen("message", in_=room)] for who in (alice, bob)]
    assert theirs[0] == theirs[1]


async def test_presence_and_sanctions_post_no_numbered_message(people: People) -> None:
    """“Presence and sanctions post no numbered message”."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    admin = await people.admin(1)
    await alice.say(room, "one")
    bob = await people.enter("bob", 1, room=room)
    await admin.command(f"!suspend {bob.nick} 10m reason")
    await admin.command(f"!forgive {bob.nick}")
    await bob.part(room)
    carol = await people.enter("carol", 1, room=room)
    await carol.quit()
    assert (await alice.say(room, "two"))["seq"] == 2


async def test_mid_is_unique_and_shared_by_all_copies(people: People) -> None:
    """“every message has an id unique in the whole chat ... all copies of a direct message have the same”."""
    alice, bob, carol = [await people.enter(name, n % 2) for n, name in enumerate(("alice", "bob", "carol"))]
    await alice.say([f"@{bob.nick}", f"@{carol.nick}"], "psst")
    copies = [await who.message("psst", in_="@") for who in (alice, bob, carol)]
    assert len({copy["mid"] for copy in copies}) == 1
    assert len({copy["ts"] for copy in copies}) == 1
    assert all(sorted(copy["to"]) == sorted([bob.nick, carol.nick]) for copy in copies)
    rooms = [people.room(), people.room()]
    mids = {copies[0]["mid"]}
    for room in rooms:
        await alice.join(room)
        await alice.say(room, "same body")
        mids.add((await alice.message("same body", in_=room))["mid"])
    assert len(mids) == 3


async def test_inbox_is_numbered_the_same_way(people: People) -> None:
    """“A person's direct messages are numbered the same way in that person's inbox, which is written `@`”."""
    alice, bob, carol = await people.enter("alice"), await people.enter("bob", 1), await people.enter("carol")
    await alice.say(f"@{bob.nick}", "1")
    await carol.say(f"@{bob.nick}", "2")
    ack = await bob.say(f"@{alice.nick}", "3")
    assert (ack["in"], ack["seq"]) == ("@", 3)
    await bob.message("3", in_="@")
    assert [event["seq"] for event in bob.seen("message", in_="@")] == [1, 2, 3]
    await alice.message("3", in_="@")
    assert [event["seq"] for event in alice.seen("message", in_="@")] == [1, 2]


async def test_epochs_of_rooms_differ_and_stay(people: People) -> None:
    """“epoch: a random name for one unbroken numbering”: one a room, the same for all, on all gateways."""
    one, two = people.room(), people.room()
    alice = await people.enter("alice", 0)
    first = [(await alice.join(room))["epoch"] for room in (one, two)]
    assert first[0] != first[1]
    bob = await people.enter("bob", 1)
    assert [(await bob.join(room))["epoch"] for room in (one, two)] == first


async def test_timestamps_never_fall(people: People) -> None:
    """`ts` is seconds since 1970 with a fraction, and does not fall within a room."""
    room = people.room()
    alice = await people.enter("alice", 0, room=room)
    bob = await people.enter("bob", 1, room=room)
    for n in range(6):
        await (alice if n % 2 else bob).say(room, str(n))
    await alice.message("5")
    stamps = [event["ts"] for event in alice.seen("message", in_=room)]
    assert stamps == sorted(stamps)
    assert all(1_600_000_000 < stamp < 4_000_000_000 for stamp in stamps)


async def test_sessions_have_random_ids(people: People) -> None:
    """“It has a random id, a nick, rooms, an inbox”."""
    sessions = {(await people.enter()).session for _ in range(3)}
    assert len(sessions) == 3
