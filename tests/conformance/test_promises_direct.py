"""docs/protocol.md, promises 7 and 8: commands that post, and direct messages."""

import pytest

from tests.support import People

# Promise 8.


@pytest.mark.parametrize("transport", ["tcp", "ws"])
async def test_direct_message_to_several(people: People) -> None:
    """“{“op”:“send”,“id”:5,“to”:[“@bob”,“@carol”],“body”:“psst”}” over gateways; nobody else sees it."""
    alice, bob, carol = [await people.enter(name, n % 2) for n, name in enumerate(("alice", "bob", "carol"))]
    dave = await people.enter("dave", 1)
    ack = await alice.say([f"@{bob.nick}", f"@{carol.nick}"], "psst")
    assert (ack["in"], ack["seq"]) == ("@", 1)
    for who in (alice, bob, carol):
        event = await who.message("psst", in_="@")
        assert event["from"] == alice.nick
        assert event["to"] == [bob.nick, carol.nick]
    await dave.settled()
    assert dave.bodies("@") == []


async def test_direct_message_to_twenty_and_one_more(people: People) -> None:
    """“goes to at most 20 people”: the twenty-first is too much, and then nobody gets it."""
    alice = await people.enter("alice")
    crowd = [await people.enter("one", n % 2) for n in range(21)]
    targets = [f"@{who.nick}" for who in crowd]
    await alice.say(targets[:20], "to twenty")
    answer = await alice.ask("send", to=targets, body="to too many", want="error")
    assert answer["code"] in {"bad_request", "too_long"}, answer
    await alice.say(targets[1:], "to the others")
    await crowd[0].message("to twenty")
    await crowd[20].message("to the others")
    for who in crowd[1:20]:
        await who.message("to the others")
        assert who.bodies("@") == ["to twenty", "to the others"]


async def test_ack_comes_when_every_copy_is_in(people: People) -> None:
    """“the `ack` ... comes when every copy is in”: whoever asks then finds it."""
    alice = await people.enter("alice")
    crowd = [await people.enter("one", n % 2) for n in range(5)]
    for turn in range(4):
        await alice.say([f"@{who.nick}" for who in crowd], f"turn {turn}")
        for who in crowd:
            data = (await who.ask("history", of="@", limit=1, want="result"))["data"]
            assert [message["body"] for message in data["messages"]] == [f"turn {turn}"]


async def test_unknown_recipient_fails_all_of_it(people: People) -> None:
    """“an unknown one fails all of it (`no_such_nick`)”."""
    alice, bob = await people.enter("alice"), await people.enter("bob", 1)
    nobody = f"@{people.nick('nobody')}"
    for to in ([f"@{bob.nick}", nobody], [nobody, f"@{bob.nick}"], nobody, [nobody]):
        await alice.refused("no_such_nick", "send", to=to, body="never")
    await alice.command(f"@{bob.nick} {nobody} never", want="error")
    await alice.say(f"@{bob.nick}", "only this")
    await bob.message("only this")
    assert bob.bodies("@") == ["only this"]
    await alice.message("only this")
    assert alice.bodies("@") == ["only this"]


async def test_recipient_named_twice_gets_one_copy(people: People) -> None:
    """Two spellings of a nick are one person: one copy, named once in `to`."""
    alice, bob = await people.enter("alice"), await people.enter("bob", 1)
    await alice.say([f"@{bob.nick}", f"@{bob.nick.upper()}", f"@{bob.nick}"], "once")
    await alice.say(f"@{bob.nick}", "end")
    await bob.message("end")
    assert bob.bodies("@") == ["once", "end"]
    assert bob.seen("message", body="once")[0]["to"] == [bob.nick]


async def test_sender_among_the_recipients_gets_one_copy(people: People) -> None:
    """A message to oneself and another: one copy each."""
    alice, bob = await people.enter("alice"), await people.enter("bob", 1)
    ack = await alice.say([f"@{alice.nick}", f"@{bob.nick}"], "both")
    event = await alice.message("both")
    assert event["seq"] == ack["seq"] == 1
    await bob.message("both")
    await alice.say(f"@{alice.nick}", "end")
    await alice.message("end")
    assert alice.bodies("@") == ["both", "end"]


async def test_one_that_is_away_finds_it_on_return(people: People) -> None:
    """“One that is away or crashed finds it on return”: by `resume` and by `history`."""
    alice, bob = await people.enter("alice"), await people.enter("bob", 1)
    await bob.hang_up()
    await alice.say(f"@{bob.nick}", "while you were out")
    again = await people.back(bob, 0)
    assert again.welcome["rooms"]["@"]["recovered"] is True
    event = await again.message("while you were out", in_="@")
    assert (event["seq"], event["from"]) == (1, alice.nick)


async def test_direct_message_finds_a_renamed_person(people: People) -> None:
    """A nick leads to the session that holds it now."""
    alice, bob = await people.enter("alice"), await people.enter("bob", 1)
    new = people.nick("robert")
    await bob.command(f"!nick {new}")
    await alice.say(f"@{new}", "hi robert")
    assert (await bob.message("hi robert"))["to"] == [new]
    await alice.refused("no_such_nick", "send", to=f"@{bob.nick}", body="hi bob")


# Promise 7.


@pytest.mark.parametrize("transport", ["tcp", "ws"])
async def test_command_that_posts_is_a_send_with_that_id(people: People) -> None:
    """“A command that posts is a `send` with that id: answered by `ack`, posted once”."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    bob = await people.enter("bob", 1, room=room)
    first = await alice.ask("command", id=5, line=f"{room} by a line", want="ack")
    assert (first["in"], first["seq"]) == (room, 1)
    repeat = await alice.ask("command", id=5, line=f"{room} by a line", want="ack")
    assert (repeat["duplicate"], repeat["seq"]) == (True, 1)
    as_send = await alice.ask("send", id=5, to=room, body="by a line", want="ack")
    assert (as_send["duplicate"], as_send["seq"]) == (True, 1)
    await alice.refused("bad_request", "command", id=5, line=f"{room} another line")
    await alice.caught_up(room)
    await bob.message(alice.bodies(room)[-1])
    assert bob.bodies(room)[0] == "by a line"
    assert len(bob.bodies(room)) == 2


async def test_me_is_an_action_to_the_current_room(people: People) -> None:
    """“`!me text`” posts: an `action`, acknowledged and remembered."""
    room = people.room()
    alice = await people.enter("alice")
    bob = await people.enter("bob", 1, room=room)
    await alice.command(f"!join {room}")
    first = await alice.ask("command", id=5, line="!me waves", want="ack")
    assert (first["in"], first["seq"]) == (room, 1)
    event = await bob.message("waves")
    assert (event["kind"], event["from"]) == ("action", alice.nick)
    assert (await alice.ask("command", id=5, line="!me waves", want="ack"))["duplicate"] is True


async def test_direct_line_is_a_send_to_the_inbox(people: People) -> None:
    """“with `@nick` a direct message (`@bob @carol psst`)”."""
    alice, bob, carol = [await people.enter(name) for name in ("alice", "bob", "carol")]
    ack = await alice.ask("command", id=5, line=f"@{bob.nick} @{carol.nick} psst", want="ack")
    assert (ack["in"], ack["seq"]) == ("@", 1)
    for who in (bob, carol):
        event = await who.message("psst", in_="@")
        assert event["to"] == [bob.nick, carol.nick]
    repeat = await alice.ask("command", id=5, line=f"@{bob.nick} @{carol.nick} psst", want="ack")
    assert repeat["duplicate"] is True


async def test_current_room_is_the_lobby_at_first(people: People) -> None:
    """“Its current room is the last one joined by `!join`, else `#lobby`”: the op `join` changes nothing of
    it.
    """
    alice = await people.enter("alice", room=people.room())
    assert (await alice.command("where am I", want="ack"))["in"] == "#lobby"


async def test_current_room_is_the_last_one_joined_by_command(people: People) -> None:
    """“the last one joined by `!join`”, also when it was joined before."""
    one, two = people.room(), people.room()
    alice = await people.enter("alice")
    await alice.command(f"!join {one}")
    assert (await alice.command("in one", want="ack"))["in"] == one
    await alice.command(f"!join {two}")
    assert (await alice.command("in two", want="ack"))["in"] == two
    await alice.command(f"!join {one}")
    assert (await alice.command("in one again", want="ack"))["in"] == one


async def test_line_that_posts_a_bad_body(people: People) -> None:
    """A line is checked like a body: blank is `bad_request`, over 4 KiB `too_long`, with `re`."""
    alice, bob = await people.enter("alice"), await people.enter("bob")
    await alice.refused("bad_request", "command", line="")
    await alice.refused("bad_request", "command", line="   ")
    await alice.refused("bad_request", "command", line="#lobby  ")
    await alice.refused("bad_request", "command", line=f"@{bob.nick}")
    await alice.refused("too_long", "command", line="x" * 4097)
    await alice.refused("too_long", "command", line=f"@{bob.nick} " + "x" * 4097)
    assert (await alice.command(f"@{bob.nick} " + "x" * 4096, want="ack"))["in"] == "@"


async def test_list(people: People) -> None:
    """“`!list` answers one line a person (nick, state, flags) and data
    {“sessions”:[{“nick”,“state”,“flags”}]}”.
    """
    room = people.room()
    alice, bob = await people.enter("alice", room=room), await people.enter("bob", 1, room=room)
    await bob.hang_up()
    watcher = await people.enter("watcher", 1, room=room)
    await watcher.command("!list")
    admin = await people.admin(0, room=room)
    await admin.command(f"!suspend {alice.nick} 10m")
    answer = await watcher.command(f"!list {room}")
    listed = {entry["nick"]: entry for entry in answer["data"]["sessions"]}
    assert set(listed) == {alice.nick, bob.nick, watcher.nick, admin.nick}
    assert listed[alice.nick] == {"nick": alice.nick, "state": "online", "flags": ["suspended"]}
    assert listed[bob.nick] == {"nick": bob.nick, "state": "away", "flags": []}
    for entry in listed.values():
        (line,) = [text for text in answer["text"] if entry["nick"] in text]
        assert entry["state"] in line
        assert all(flag in line for flag in entry["flags"])
    everybody = await watcher.command("!list")
    assert set(listed) <= {entry["nick"] for entry in everybody["data"]["sessions"]}
