"""docs/protocol.md: the commands “for everybody”. Those of moderators are in test_moderation.py and
test_room_moderators.py.
"""

import asyncio
from typing import Any

import pytest

from tests.support import JsonClient, People


async def test_help(people: People) -> None:
    """“`!help [cmd]`”: all commands of the table, and one by name."""
    alice = await people.enter("alice")
    text = "\n".join((await alice.command("!help"))["text"])
    for word in [
        "help",
        "list",
        "rooms",
        "join",
        "part",
        "topic",
        "me",
        "nick",
        "history",
        "whois",
        "cookie",
        "reconnect",
        "quit",
        "admin",
    ]:
        assert f"!{word}" in text, f"!help does not name !{word}"
    for word in ("join", "!join"):
        assert "join" in "\n".join((await alice.command(f"!help {word}"))["text"])
    await alice.refused("bad_request", "command", line="!help no-such-command")


@pytest.mark.parametrize("line", ["!nonsense", "!", "! list", "!!", "!joinn #x", "!123"])
async def test_unknown_command(people: People, line: str) -> None:
    """“`bad_request` (an unknown command too)”."""
    alice = await people.enter("alice")
    await alice.refused("bad_request", "command", line=line)


@pytest.mark.parametrize("line", ["!join", "!whois", "!nick", "!me", "!history x", "!history -1", "!join lobby"])
async def test_missing_or_bad_arguments(people: People, line: str) -> None:
    """A command without what it needs is a bad request."""
    alice = await people.enter("alice")
    answer = await alice.ask("command", line=line, want="error")
    assert answer["code"] in {"bad_request", "bad_nick", "no_such_room"}, answer


async def test_rooms(people: People) -> None:
    """“`!rooms`” names the rooms that there are, on whatever gateway they were made."""
    room = people.room()
    await people.enter("alice", 0, room=room)
    bob = await people.enter("bob", 1)
    text = "\n".join((await bob.command("!rooms"))["text"])
    assert "#lobby" in text
    assert room in text


async def test_join_and_part_by_line(people: People) -> None:
    """“`!join #room` `!part [#room]`”: without a room the current one."""
    one, two = people.room(), people.room()
    watcher = await people.enter("watcher", 1, room=one)
    await watcher.join(two)
    alice = await people.enter("alice")
    for room in (one, two):
        await alice.command(f"!join {room}")
        await watcher.expect("presence", in_=room, nick=alice.nick, state="online")
    await alice.command(f"!part {one}")
    alice.ledger.left(one)
    await watcher.expect("presence", in_=one, nick=alice.nick, state="gone")
    await alice.command("!part")
    alice.ledger.left(two)
    await watcher.expect("presence", in_=two, nick=alice.nick, state="gone")
    for room in (one, two):
        await alice.refused("not_joined", "send", to=room, body="x")


async def test_part_of_the_lobby(people: People) -> None:
    """`#lobby` is a room like others: one may leave it, and come back."""
    alice, bob = await people.enter("alice"), await people.enter("bob", 1)
    await alice.part("#lobby")
    await bob.expect("presence", in_="#lobby", nick=alice.nick, state="gone")
    await alice.refused("not_joined", "send", to="#lobby", body="x")
    await alice.join("#lobby")
    await alice.say("#lobby", "back")


async def test_topic(people: People) -> None:
    """“`!topic [text]`”: set by one, shown to another, on another gateway."""
    room = people.room()
    alice, bob = await people.enter("alice", 0), await people.enter("bob", 1)
    await alice.command(f"!join {room}")
    await bob.command(f"!join {room}")
    await alice.command("!topic all about tests")
    assert "all about tests" in "\n".join((await bob.command("!topic"))["text"])


async def test_nick(people: People) -> None:
    """“`!nick NEW`”; presence `renamed` (with “to”); “Changing the nick” keeps session, rooms, inbox."""
    room = people.room()
    watchers = [await people.enter("watcher", n, room=room) for n in (0, 1)]
    alice = await people.enter("alice", 0, room=room)
    new = people.nick("alicia")
    await alice.command(f"!nick {new}")
    for watcher in watchers:
        event = await watcher.expect("presence", in_=room, nick=alice.nick, state="renamed")
        assert event["to"] == new
    await alice.say(room, "with a new name")
    for watcher in watchers:
        assert (await watcher.message("with a new name"))["from"] == new
    await alice.hang_up()
    again = await people.back(alice, 1)
    assert (again.nick, again.session) == (new, alice.session)
    assert room in again.welcome["rooms"]


async def test_nick_frees_the_old_one(people: People) -> None:
    """“A nick is leased to a session”: by a rename the old one is free for others, the new one is not."""
    alice = await people.enter("alice")
    new = people.nick("alicia")
    await alice.command(f"!nick {new}")
    other = await people.connect(gateway=1)
    await other.refused("nick_taken", "hello", nick=new)
    await other.hello(nick=alice.nick)


@pytest.mark.parametrize("nick", ["a@b", "#a", "127.0.0.1", "x" * 33, "\u202eabc"])
async def test_nick_that_is_bad(people: People, nick: str) -> None:
    """`bad_nick`, and the old one stays."""
    alice = await people.enter("alice")
    await alice.refused("bad_nick", "command", line=f"!nick {nick}")
    await alice.say("#lobby", "unchanged")
    assert (await alice.message("unchanged"))["from"] == alice.nick


async def test_nick_that_is_taken(people: People) -> None:
    """`nick_taken`, without regard to case; one's own in another case is not taken by another."""
    alice, bob = await people.enter("alice"), await people.enter("bob", 1)
    await alice.refused("nick_taken", "command", line=f"!nick {bob.nick}")
    await alice.refused("nick_taken", "command", line=f"!nick {bob.nick.upper()}")
    answer = await alice.command(f"!nick {alice.nick.upper()}", want=None)
    assert answer.get("code") != "nick_taken"


async def test_old_messages_keep_their_sender(people: People) -> None:
    """What was said keeps the name that it was said under."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    await alice.say(room, "as alice")
    new = people.nick("alicia")
    await alice.command(f"!nick {new}")
    await alice.say(room, "as alicia")
    messages = (await alice.ask("history", of=room, limit=5, want="result"))["data"]["messages"]
    assert [(m["from"], m["body"]) for m in messages] == [(alice.nick, "as alice"), (new, "as alicia")]


async def test_history_by_line(people: People) -> None:
    """“`!history [n]`” shows the newest n messages of the current room."""
    room = people.room()
    alice = await people.enter("alice")
    await alice.command(f"!join {room}")
    for n in range(5):
        await alice.say(room, f"line {n}")
    text = "\n".join((await alice.command("!history 2"))["text"])
    assert "line 3" in text
    assert "line 4" in text
    assert "line 2" not in text
    typist = await people.text("typist", 1, room=room)
    await typist.send("!history 2")
    await typist.expect(r".*line 3")
    await typist.expect(r".*line 4")


async def test_whois(people: People) -> None:
    """“`!whois nick`”; of nobody: `no_such_nick`."""
    alice, bob = await people.enter("alice"), await people.enter("bob", 1)
    text = "\n".join((await alice.command(f"!whois {bob.nick}"))["text"])
    assert bob.nick in text
    assert "online" in text
    assert "127.0.0.1" not in text, "where somebody connects from is nobody's business"
    await alice.refused("no_such_nick", "command", line=f"!whois {people.nick('nobody')}")


async def test_whois_and_list_show_no_secret(people: People) -> None:
    """A cookie is a secret, and a session's id is its owner's."""
    alice, bob = await people.enter("alice"), await people.enter("bob", 1)
    for line in (f"!whois {alice.nick}", "!list", "!rooms"):
        answer = await bob.command(line)
        assert alice.cookie not in str(answer)


async def test_list_of_a_room(people: People) -> None:
    """“`!list [#room]`”."""
    room = people.room()
    alice, _ = await people.enter("alice", room=room), await people.enter("bob", 1)
    listed = (await alice.command(f"!list {room}"))["data"]["sessions"]
    assert [entry["nick"] for entry in listed] == [alice.nick]
    answer = await alice.ask("command", line=f"!list {people.room()}", want="error")
    assert answer["code"] in {"no_such_room", "not_joined"}


async def test_quit_by_line(people: People) -> None:
    """“`!quit` (also `!logout`, `quit`)”: “`quit`: `result`, then `bye`”."""
    for line in ("!quit", "!logout", "quit"):
        alice = await people.enter("alice")
        await alice.command(line)
        await alice.ended("quit")
        later = await people.connect(gateway=1)
        await later.refused("bad_cookie", "hello", cookie=alice.cookie)


async def test_admin(people: People) -> None:
    """“`!admin TOKEN`”: the right one opens what admins may."""
    alice, bob = await people.enter("alice"), await people.enter("bob", 1)
    await alice.refused("denied", "command", line=f"!suspend {bob.nick}")
    await alice.command(f"!admin {people.chat.admin_token}")
    await alice.command(f"!suspend {bob.nick}")
    await alice.command(f"!forgive {bob.nick}")


async def test_admin_token_in_hello(people: People) -> None:
    """“optional “device”, “password”, “admin_token””."""
    admin, bob = await people.admin(0), await people.enter("bob", 1)
    await admin.command(f"!suspend {bob.nick}")
    await admin.command(f"!forgive {bob.nick}")


@pytest.mark.parametrize(
    "line",
    [
        "!ban X",
        "!bans",
        "!audit",
        "!announce hi",
        "!shutdown",
        "!suspend X",
        "!forgive X",
        "!kick X",
        "!op X",
    ],
)
async def test_what_needs_the_token_is_denied_without(people: People, line: str) -> None:
    """The table's columns: in `#lobby`, which has no moderators but admins, all of these are `denied`."""
    alice, bob = await people.enter("alice"), await people.enter("bob")
    await alice.refused("denied", "command", line=line.replace("X", bob.nick))
    if "X" in line:
        word, _, rest = line.partition(" X")
        await alice.refused("denied", "command", line=f"@{bob.nick} {word}{rest}")
    await bob.say("#lobby", "nothing happened to me")


async def test_announce(people: People) -> None:
    """“`!announce text`”: everybody hears it, on every gateway."""
    admin = await people.admin(0)
    alice, typist = await people.enter("alice", 1), await people.text("typist", 1)
    body = people.nick("attention")
    await admin.command(f"!announce {body}", want=None)
    event = await alice.expect(lambda e: e["ev"] == "message" and e["body"] == body)
    assert event["kind"] == "system"
    await typist.expect(rf".*{body}")


async def test_commands_without_regard_to_case_or_blanks(people: People) -> None:
    """What people type: blanks around are no other command."""
    alice = await people.enter("alice")
    for line in ("!list ", "!help  join"):
        await alice.command(line)


async def test_sender_cannot_fake_system_messages(people: People) -> None:
    """Nothing that one user sends can pass for the server: the kind and the sender are the server's."""
    room = people.room()
    alice, bob = await people.enter("alice", room=room), await people.enter("bob", 1, room=room)
    forged: dict[str, Any] = {"from": "server", "mid": "mine", "seq": 99, "ts": 0}
    await alice.ask("send", to=room, body="fake", **forged)
    event = await bob.expect("message", in_=room)
    assert (event["from"], event["kind"], event["seq"]) == (alice.nick, "message", 1)
    assert event["mid"] != "mine"
    assert event["ts"] > 0


async def test_gone_means_the_room_is_left(people: People) -> None:
    """A room that everybody left is no obstacle: its name can be joined again."""
    room = people.room()
    alice: JsonClient = await people.enter("alice", room=room)
    await alice.say(room, "one")
    await alice.part(room)
    again = await alice.join(room)
    assert again["seq"] in (0, 1)
    await alice.say(room, "two")


async def test_one_nick_for_two_renames_at_once(people: People) -> None:
    """“unique ... over the whole chat”: of two that rename at once, on two gateways, one gets it."""
    crowd = [await people.enter("one", n % 2) for n in range(4)]
    nick = people.nick("wanted")
    answers = await asyncio.gather(*(who.ask("command", line=f"!nick {nick}") for who in crowd))
    assert sorted(answer["ev"] for answer in answers) == ["error"] * 3 + ["result"]
    (winner,) = [who for who, answer in zip(crowd, answers, strict=True) if answer["ev"] == "result"]
    await winner.say("#lobby", f"I am {nick}")
    assert (await winner.message(f"I am {nick}"))["from"] == nick
    for who in crowd:
        if who is not winner:
            await who.say("#lobby", "I am who I was")
            assert (await who.message("I am who I was", from_=who.nick))["from"] == who.nick
