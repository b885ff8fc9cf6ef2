"""docs/protocol.md, “JSON protocol”: the shape of ops and of what answers them."""

import json
from typing import Any

import pytest

from tests.support import People

pytestmark = pytest.mark.parametrize("transport", ["tcp", "ws"])


async def test_welcome(people: People) -> None:
    """“{“ev”:“welcome”,“re”:1,“nick”:...,“session”:...,“cookie”:...,“gateway”:...,“heartbeat”:10,...}”."""
    alice = await people.connect(gateway=1)
    welcome = await alice.hello(id=1, nick=people.nick("alice"))
    assert welcome["re"] == 1
    assert welcome["gateway"] == people.chat.gateways[1].id
    assert welcome["heartbeat"] == 10
    assert welcome["resumed"] is False
    assert set(welcome["rooms"]) == {"#lobby", "@"}
    assert welcome["rooms"]["@"]["seq"] == 0


async def test_join(people: People) -> None:
    """Join is “answered by data {“room”,“epoch”,“seq”,“members”:[{“nick”,“state”,“flags”}]}”."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    await alice.say(room, "first")
    bob = await people.enter("bob", 1)
    answer = await bob.ask("join", room=room, want="result")
    data = answer["data"]
    assert (data["room"], data["seq"]) == (room, 1)
    assert data["epoch"] == alice.position(room)["epoch"]
    members = {member["nick"]: member for member in data["members"]}
    assert set(members) == {alice.nick, bob.nick}
    assert members[alice.nick] == {"nick": alice.nick, "state": "online", "flags": []}


async def test_join_again_is_harmless(people: People) -> None:
    """A join of a room that the session is in is answered like the first, and nobody hears of it."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    bob = await people.enter("bob", 1, room=room)
    await alice.expect("presence", in_=room, nick=bob.nick, state="online")
    data = await bob.join(room)
    assert {member["nick"] for member in data["members"]} == {alice.nick, bob.nick}
    await alice.caught_up(room)
    await bob.message(alice.bodies(room)[-1])
    await alice.caught_up(room)
    assert len(alice.seen("presence", in_=room, nick=bob.nick, state="online")) == 1


async def test_join_tells_the_members(people: People) -> None:
    """“{“ev”:“presence”,“in”:“#lobby”,“nick”:“bob”,“state”:“online”}”: on every gateway."""
    room = people.room()
    near = await people.enter("near", 0, room=room)
    far = await people.enter("far", 1, room=room)
    bob = await people.enter("bob", 0, room=room)
    for member in (near, far):
        event = await member.expect("presence", in_=room, nick=bob.nick)
        assert event["state"] == "online"


async def test_part(people: People) -> None:
    """After `part` nothing of the room comes, and `presence ... gone` tells the others."""
    room = people.room()
    alice = await people.enter("alice", 0, room=room)
    bob = await people.enter("bob", 1, room=room)
    await bob.part(room)
    await alice.expect("presence", in_=room, nick=bob.nick, state="gone")
    await alice.say(room, "bob must not see this")
    answer = await bob.ask("send", to=room, body="nor may he post", want="error")
    assert answer["code"] == "not_joined"
    await alice.caught_up("#lobby")
    await bob.message(alice.bodies("#lobby")[-1])
    assert bob.bodies(room) == []


async def test_part_of_a_room_that_one_is_not_in(people: People) -> None:
    """`not_joined`."""
    alice = await people.enter("alice")
    answer = await alice.ask("part", room=people.room(), want="error")
    assert answer["code"] in {"not_joined", "no_such_room"}


async def test_send_to_a_room(people: People) -> None:
    """“{“op”:“send”,“id”:4,“to”:“#lobby”,“body”:“hi”}” → “{“ev”:“ack”,“re”:4,“in”:“#lobby”,“seq”:43}”."""
    alice = await people.enter("alice", 0)
    bob = await people.enter("bob", 1)
    ack = await alice.say("#lobby", body := people.room("hi"))
    assert ack["in"] == "#lobby"
    assert not ack.get("duplicate")
    event = await bob.message(body, in_="#lobby")
    assert event["seq"] == ack["seq"]
    assert (event["from"], event["kind"]) == (alice.nick, "message")
    assert "to" not in event


async def test_send_an_action(people: People) -> None:
    """“optional “kind”:“action””."""
    room = people.room()
    alice = await people.enter("alice", 0, room=room)
    bob = await people.enter("bob", 1, room=room)
    await alice.say(room, "waves", kind="action")
    assert (await bob.message("waves"))["kind"] == "action"
    await alice.say(f"@{bob.nick}", "winks", kind="action")
    assert (await bob.message("winks", in_="@"))["kind"] == "action"


@pytest.mark.parametrize("kind", ["system", "game", "file", "shout", "", 1])
async def test_send_of_another_kind(people: People, kind: object) -> None:
    """A client may send messages and actions; system, game and file messages are the server's own."""
    alice = await people.enter("alice")
    answer = await alice.ask("send", to="#lobby", body="I am the system", kind=kind, want="error")
    assert answer["code"] in {"bad_request", "denied"}


async def test_send_to_a_room_not_joined(people: People) -> None:
    """`not_joined`, whether the room exists or not; `no_such_room` may say that it does not."""
    room = people.room()
    await people.enter("owner", room=room)
    alice = await people.enter("alice", 1)
    await alice.refused("not_joined", "send", to=room, body="hi")
    answer = await alice.ask("send", to=people.room(), body="hi", want="error")
    assert answer["code"] in {"not_joined", "no_such_room"}


async def test_own_message_comes_too(people: People) -> None:
    """Promise 6: “The sender gets its own message too (with its seq), after or before the `ack`”."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    ack = await alice.say(room, "mine")
    event = await alice.message("mine")
    assert event["seq"] == ack["seq"]
    ack = await alice.say(f"@{alice.nick}", "to myself")
    event = await alice.message("to myself", in_="@")
    assert event["seq"] == ack["seq"]


async def test_ids_may_be_any_whole_number_up_to_2_53(people: People) -> None:
    """“`id` is the client's own whole number (1 … 2^53-1)”."""
    alice = await people.connect()
    await alice.hello(id=2**53 - 1, nick=people.nick())
    await alice.ask("history", id=1, of="#lobby", limit=1, want="result")
    await alice.say("#lobby", "first", id=1)
    await alice.say("#lobby", "last", id=2**53 - 1)


@pytest.mark.parametrize("number", [0, -1, 2**53, 2**64, 1.5, "7", True, [1], {}])
async def test_ids_that_are_none(people: People, number: object) -> None:
    """An id that is no whole number from 1 to 2^53-1 is a `bad_request`, and the connection stays."""
    alice = await people.enter("alice")
    alice.ledger.sent({"id": number})
    await alice.raw(json.dumps({"op": "send", "id": number, "to": "#lobby", "body": "x"}))
    error = await alice.expect("error")
    assert error["code"] == "bad_request"
    await alice.settled()
    assert alice.bodies("#lobby") == []


async def test_id_of_one_point_zero(people: People) -> None:
    """`1.0` is JSON for a number that some encoders write for 1: taken or refused, but
    never both or neither.
    """
    alice = await people.enter("alice")
    alice.ledger.sent({"id": 1})
    await alice.raw('{"op":"send","id":1.0,"to":"#lobby","body":"x"}')
    answer = await alice.expect(lambda event: event["ev"] in {"ack", "error"})
    assert answer["ev"] == "ack" or answer["code"] == "bad_request"


async def test_op_without_id_gets_no_answer_but_works(people: People) -> None:
    """“every op that carries one is answered”: one that carries none still works."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    bob = await people.enter("bob", 1, room=room)
    await alice.push({"op": "send", "to": room, "body": "no id"})
    answered = await alice.expect(lambda event: event.get("body") == "no id" or event["ev"] == "error")
    if answered["ev"] == "message":
        await bob.message("no id")
    else:
        assert answered["code"] == "bad_request"
    assert not alice.seen("ack")


async def test_every_kind_of_op_is_answered_once(people: People) -> None:
    """“answered by exactly one `ack`, `result`, `welcome` or `error` with `re` = that id”: also when
    pipelined.
    """
    room = people.room()
    alice = await people.enter("alice", room=room)
    first = alice.next_ids(20)[0]
    ops: list[dict[str, Any]] = [
        {"op": "send", "to": room, "body": "a"},
        {"op": "history", "of": room, "limit": 5},
        {"op": "send", "to": people.room(), "body": "b"},
        {"op": "join", "room": people.room()},
        {"op": "command", "line": "!list"},
        {"op": "command", "line": "!nonsense"},
        {"op": "command", "line": f"{room} posted by a line"},
        {"op": "send", "to": f"@{alice.nick}", "body": "c"},
        {"op": "part", "room": room},
        {"op": "pong", "n": 1},
        {"op": "quit"},
    ]
    batch: list[dict[str, Any]] = [{"id": first + n, **op} for n, op in enumerate(ops, 1)]
    await alice.push_all(batch)
    await alice.ended("quit")
    answers = {number: [event["ev"] for event in events] for number, events in alice.ledger.answers.items()}
    for n, op in enumerate(ops, 1):
        if op["op"] != "pong":
            assert len(answers.get(first + n, [])) == 1, (op, answers)


async def test_history(people: People) -> None:
    """“newest `limit` messages with seq < before ... data {“messages”:[...]} in rising seq”."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    for n in range(1, 8):
        await alice.say(room, f"m{n}")

    async def bodies(**fields: Any) -> list[str]:
        data = (await alice.ask("history", of=room, want="result", **fields))["data"]
        seqs = [message["seq"] for message in data["messages"]]
        assert seqs == sorted(seqs)
        return [message["body"] for message in data["messages"]]

    assert await bodies(before=5, limit=2) == ["m3", "m4"]
    assert await bodies(limit=3) == ["m5", "m6", "m7"]
    assert await bodies(before=3, limit=50) == ["m1", "m2"]
    assert await bodies(before=1, limit=50) == []
    assert await bodies(before=2**53 - 1, limit=1) == ["m7"]
    assert await bodies() == [f"m{n}" for n in range(1, 8)]


async def test_history_gives_the_messages_as_they_came(people: People) -> None:
    """A message in history has the fields that it had when it came."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    await alice.say(room, "multi\nline\tand ünï 🎉", kind="action")
    live = await alice.expect("message", in_=room)
    (kept,) = (await alice.ask("history", of=room, limit=5, want="result"))["data"]["messages"]
    assert {key: kept.get(key) for key in live} == live


async def test_history_of_the_inbox(people: People) -> None:
    """““@” for the inbox”."""
    alice = await people.enter("alice")
    bob = await people.enter("bob", 1)
    await bob.say(f"@{alice.nick}", "one")
    await bob.say(f"@{alice.nick}", "two")
    await alice.message("two")
    data = (await alice.ask("history", of="@", limit=50, want="result"))["data"]
    assert [(m["in"], m["seq"], m["body"], m["to"]) for m in data["messages"]] == [
        ("@", 1, "one", [alice.nick]),
        ("@", 2, "two", [alice.nick]),
    ]


async def test_history_of_a_room_not_joined(people: People) -> None:
    """What is said in a room is for its members: `not_joined`."""
    room = people.room()
    owner = await people.enter("owner", room=room)
    await owner.say(room, "inside")
    alice = await people.enter("alice", 1)
    await alice.refused("not_joined", "history", of=room, limit=5)


@pytest.mark.parametrize(
    "fields", [{"limit": -1}, {"limit": "x"}, {"before": "x"}, {"before": -5}, {"of": 3}, {"of": "lobby"}]
)
async def test_history_with_bad_arguments(people: People, fields: dict[str, Any]) -> None:
    """`bad_request`."""
    alice = await people.enter("alice")
    await alice.refused("bad_request", "history", **{"of": "#lobby", **fields})


async def test_history_with_a_huge_limit_is_bounded(people: People) -> None:
    """Promise 5: no answer grows without bound, but the answer is the newest ones."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    await alice.say(room, "only")
    answer = await alice.ask("history", of=room, limit=2**40)
    if answer["ev"] == "result":
        assert [message["body"] for message in answer["data"]["messages"]] == ["only"]
    else:
        assert answer["code"] == "bad_request"


async def test_command_is_any_line_a_person_could_type(people: People) -> None:
    """“any line that a person could type”: commands, room lines, direct lines, plain lines."""
    alice = await people.enter("alice")
    bob = await people.enter("bob", 1)
    room = people.room()
    await alice.command(f"!join {room}")
    await bob.join(room)
    assert (await alice.command("plain", want="ack"))["in"] == room
    assert (await bob.message("plain"))["in"] == room
    assert (await alice.command("#lobby to the lobby", want="ack"))["in"] == "#lobby"
    assert (await alice.command(f"@{bob.nick} psst", want="ack"))["in"] == "@"
    assert (await bob.message("psst"))["in"] == "@"
    listed = await alice.command(f"!list {room}")
    assert {entry["nick"] for entry in listed["data"]["sessions"]} == {alice.nick, bob.nick}


async def test_pong_unasked_is_harmless(people: People) -> None:
    """A `pong` to no ping does nothing, and needs no id."""
    alice = await people.enter("alice")
    await alice.push({"op": "pong", "n": 999})
    await alice.settled()
    assert not alice.seen("error")


async def test_pong_with_an_id_is_answered(people: People) -> None:
    """“every op that carries one is answered by exactly one `ack`, `result`, `welcome` or `error`”: a `pong` too,
    before the `welcome`, as the first word of a session, and later.
    """
    alice = await people.connect()
    assert (await alice.ask("pong", n=1, want="error"))["code"] == "bad_request"
    await alice.hello(nick=people.nick("alice"))
    for number in (2, 3):
        assert (await alice.ask("pong", n=number, want="result"))["data"] == {}


async def test_quit(people: People) -> None:
    """“After every `bye` the server closes (`quit`: `result`, then `bye`)”."""
    room = people.room()
    watcher = await people.enter("watcher", 1, room=room)
    alice = await people.enter("alice", room=room)
    answer = await alice.ask("quit", want="result")
    await alice.ended("quit")
    order = [event["ev"] for event in alice.received if event in (answer, alice.received[-1])]
    assert order == ["result", "bye"]
    await watcher.expect("presence", in_=room, nick=alice.nick, state="gone")


async def test_unknown_fields_are_ignored(people: People) -> None:
    """“Unknown fields are ignored.”"""
    alice = await people.connect()
    await alice.hello(nick=people.nick(), colour="blue", future={"a": [1, 2]})
    await alice.say("#lobby", "hi", priority=9, re=17)


async def test_body_keeps_newline_and_tab_and_all_of_unicode(people: People) -> None:
    """“newline and tab are the only control characters in it”: they and all text come out as they went in."""
    room = people.room()
    alice = await people.enter("alice", 0, room=room)
    bob = await people.enter("bob", 1, room=room)
    for body in (
        "a\nb\n\nc",
        "a\tb",
        "  leading and trailing  ",
        '"quoted" \\ back',
        "naïve 日本語 👩‍👩‍👧 עברית",
        "!not a command",
        "</script>",
    ):
        await alice.say(room, body)
        assert (await bob.expect("message", in_=room))["body"] == body


@pytest.mark.parametrize(
    "char",
    ["\x00", "\x01", "\x07", "\x08", "\x0b", "\x0c", "\r", "\x1b", "\x1f", "\x7f", "\x80", "\x9b", "\x9f"],
)
async def test_body_with_other_control_characters(people: People, char: str) -> None:
    """“newline and tab are the only control characters in it”: any other is `bad_request`, with `re`."""
    alice = await people.enter("alice")
    await alice.refused("bad_request", "send", to="#lobby", body=f"a{char}b")
    await alice.refused("bad_request", "send", to=f"@{alice.nick}", body=f"a{char}b")
    await alice.refused("bad_request", "command", line=f"#lobby a{char}b")


@pytest.mark.parametrize("body", ["", " ", "\n", " \t\n ", "\u00a0", "\u3000\u2003"])
async def test_blank_body(people: People, body: str) -> None:
    """“not blank”."""
    alice = await people.enter("alice")
    await alice.refused("bad_request", "send", to="#lobby", body=body)


@pytest.mark.parametrize("body", [None, 7, True, ["x"], {"a": "b"}])
async def test_body_that_is_no_text(people: People, body: object) -> None:
    """A body is a string."""
    alice = await people.enter("alice")
    await alice.refused("bad_request", "send", to="#lobby", body=body)


async def test_body_of_4_kib_and_one_more(people: People) -> None:
    """“a body at most 4 KiB”, in bytes; “a body over 4 KiB is `too_long` with `re`”."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    for fits, over in (("x" * 4096, "x" * 4097), ("é" * 2048, "é" * 2049), ("🎉" * 1024, "🎉" * 1024 + "x")):
        await alice.say(room, fits)
        assert (await alice.expect("message", in_=room))["body"] == fits
        await alice.refused("too_long", "send", to=room, body=over)
        await alice.refused("too_long", "send", to=f"@{alice.nick}", body=over)


@pytest.mark.parametrize(
    "to",
    [None, 7, "", "lobby", [], ["#lobby", "#other"], ["#lobby", "@x"], ["@"], "@", [7], {"a": 1}, "#", "# ", "@a b"],
)
async def test_target_that_is_none(people: People, to: object) -> None:
    """“target: `#room` or `@nick`”, or a list of nicks."""
    alice = await people.enter("alice")
    answer = await alice.ask("send", to=to, body="hi", want="error")
    assert answer["code"] in {"bad_request", "no_such_nick", "no_such_room", "bad_nick"}, answer


async def test_unknown_op(people: People) -> None:
    """`bad_request`, with `re`, and the connection stays."""
    alice = await people.enter("alice")
    for op in ("fly", "", "HELLO", "message"):
        await alice.refused("bad_request", op)
    await alice.settled()


async def test_ops_before_hello(people: People) -> None:
    """Nothing but `hello` is possible before it: an error with `re`, and `hello` still works afterwards."""
    client = await people.connect()
    ops: list[tuple[str, dict[str, Any]]] = [
        ("send", {"to": "#lobby", "body": "hi"}),
        ("join", {"room": "#lobby"}),
        ("history", {"of": "#lobby"}),
        ("command", {"line": "!list"}),
    ]
    for op, fields in ops:
        answer = await client.ask(op, want="error", **fields)
        assert answer["code"] in {"bad_request", "denied"}, answer
    await client.hello(nick=people.nick())


async def test_second_hello_on_a_connection(people: People) -> None:
    """A connection has one session: another `hello` is `bad_request` and changes nothing."""
    alice = await people.enter("alice")
    await alice.refused("bad_request", "hello", nick=people.nick("other"))
    await alice.say("#lobby", "still alice")
    assert (await alice.message("still alice"))["from"] == alice.nick
