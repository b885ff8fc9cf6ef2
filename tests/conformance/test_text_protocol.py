"""PROTOCOL.md, “Text protocol”: what `nc` shows and takes."""

import re

import pytest

from tests.support import JsonClient, People, TextClient


async def _both(people: People) -> tuple[TextClient, JsonClient, str]:
    """A text person on one gateway and a JSON one on the other, in a room of their own."""
    room = people.room()
    return await people.text("typist", 0, room=room), await people.enter("reader", 1, room=room), room


async def test_first_line_is_a_nick(people: People) -> None:
    """“The first line is a nick”; “`!! cookie TOKEN`” follows, and “After it you are in `#lobby`”."""
    client = await people.connect_text()
    nick = people.nick("typist")
    cookie = await client.enter(nick)
    assert client.lines[0] == f"!! cookie {cookie}"
    assert re.fullmatch(r"[A-Za-z0-9_-]{22,}", cookie)
    watcher = await people.enter("watcher", 1)
    await client.send("hello lobby")
    event = await watcher.message("hello lobby", in_="#lobby")
    assert event["from"] == nick


@pytest.mark.parametrize("end", ["\n", "\r\n"])
async def test_lines_end_with_lf_or_crlf(people: People, end: str) -> None:
    """“UTF-8 lines, LF or CRLF”."""
    room = people.room()
    reader = await people.enter("reader", room=room)
    client = await people.connect_text()
    client.nick = people.nick("typist")
    await client.send(client.nick, end=end)
    await client.expect(r"!! cookie \S+")
    await client.send(f"!join {room}", end=end)
    await client.send("naïve 日本語 🎉", end=end)
    event = await reader.expect("message", in_=room)
    assert event["body"] == "naïve 日本語 🎉"


@pytest.mark.parametrize("first", ["a b", "#room", "127.0.0.1", "x" * 33, "@bob", "!list", "nick!"])
async def test_first_line_that_is_no_nick(people: People, first: str) -> None:
    """An error, and another first line is awaited."""
    client = await people.connect_text()
    await client.send(first)
    await client.expect(r"! (bad_nick|bad_request|bad_cookie): .*")
    await client.enter(people.nick())


async def test_first_line_with_a_taken_nick(people: People) -> None:
    """“`! nick_taken: ...`”, and another may be tried."""
    alice = await people.enter("alice")
    client = await people.connect_text()
    await client.send(alice.nick)
    await client.expect(r"! nick_taken: .*")
    await client.enter(people.nick())


async def test_reconnect_as_the_first_line(people: People) -> None:
    """“or `!reconnect COOKIE`. After it you are ... back where you were”, on any gateway."""
    typist, reader, room = await _both(people)
    await typist.hang_up()
    again = await people.connect_text("again", 1)
    assert await again.reconnect(typist.cookie) == typist.cookie
    await again.send("back where I was")
    event = await reader.message("back where I was")
    assert (event["in"], event["from"]) == (room, typist.nick)


async def test_reconnect_with_a_wrong_cookie(people: People) -> None:
    """“`! bad_cookie: ...`”, and a nick may be given."""
    client = await people.connect_text()
    await client.send(f"!reconnect {'A' * 43}")
    await client.expect(r"! bad_cookie: .*")
    await client.enter(people.nick())


async def test_room_message_forms(people: People) -> None:
    """“anything else goes to the current room”, “with `#room ` a message to that room”;
    “`[#lobby] bob: hi`”.
    """
    typist, reader, room = await _both(people)
    await typist.send("plain words")
    assert (await reader.message("plain words"))["in"] == room
    await typist.expect(rf"\[{room}\] {typist.nick}: plain words")
    await typist.send("#lobby to the lobby")
    assert (await reader.message("to the lobby"))["in"] == "#lobby"
    await typist.expect(rf"\[#lobby\] {typist.nick}: to the lobby")
    await reader.say(room, "an answer")
    await typist.expect(rf"\[{room}\] {reader.nick}: an answer")


async def test_direct_message_forms(people: People) -> None:
    """“with `@nick` a direct message (`@bob @carol psst`)”; “`[@] bob -> alice, carol: psst`”."""
    typist, reader, _ = await _both(people)
    carol = await people.text("carol", 1)
    await typist.send(f"@{reader.nick} @{carol.nick} psst")
    shown = rf"\[@\] {typist.nick} -> {reader.nick}, {carol.nick}: psst"
    await carol.expect(shown)
    await typist.expect(shown)
    assert (await reader.message("psst"))["to"] == [reader.nick, carol.nick]
    await reader.say(f"@{typist.nick}", "hi")
    await typist.expect(rf"\[@\] {reader.nick} -> {typist.nick}: hi")


async def test_presence_and_notices(people: People) -> None:
    """“`* bob joined #lobby` presence and notices”."""
    typist, _, room = await _both(people)
    bob = await people.enter("bob", 1, room=room)
    await typist.expect(rf"\* {bob.nick} joined {room}")
    await bob.part(room)
    await typist.expect(rf"\* {bob.nick} .*{room}.*")


async def test_errors_have_their_code_first(people: People) -> None:
    """“an error, its code first”."""
    typist, _, _ = await _both(people)
    await typist.send(f"@{people.nick('nobody')} hi")
    await typist.expect(r"! no_such_nick: .+")
    await typist.send("!nonsense")
    await typist.expect(r"! bad_request: .+")
    await typist.send(f"{people.room()} hi")
    await typist.expect(r"! (not_joined|no_such_room): .+")


async def test_suspended_names_end_and_reason(people: People) -> None:
    """“`! suspended: until 12:30 (spam)`”."""
    typist, _, _ = await _both(people)
    admin = await people.admin(1)
    await admin.command(f"!suspend {typist.nick} 10m spam")
    await typist.send("hello?")
    shown = (await typist.expect(r"! suspended: (.+)"))[1]
    assert re.search(r"until .*\d\d:\d\d", shown)
    assert "(spam)" in shown


async def test_body_of_several_lines(people: People) -> None:
    """“A body of several lines comes as several lines, each with the prefix”: nobody can forge a line."""
    typist, reader, room = await _both(people)
    await reader.say(room, f"one\n[{room}] {typist.nick}: forged\n\n!! bye banned\n* {reader.nick} left")
    prefix = rf"\[{re.escape(room)}\] {reader.nick}: "
    await typist.expect(prefix + "one")
    await typist.expect(prefix + rf"\[{room}\] {typist.nick}: forged")
    await typist.expect(prefix + "!! bye banned")
    await typist.expect(prefix + rf"\* {reader.nick} left")
    await reader.say(f"@{typist.nick}", "a\nb")
    await typist.expect(rf"\[@\] {reader.nick} -> {typist.nick}: a")
    await typist.expect(rf"\[@\] {reader.nick} -> {typist.nick}: b")
    await typist.settled()
    assert not typist.seen(r"!! bye.*")


async def test_unicode_line_breaks_make_no_line(people: People) -> None:
    """Nothing that one user sends can forge a line: U+2028, U+2029 and U+0085 break none."""
    typist, reader, room = await _both(people)
    for char in ("\u2028", "\u2029"):
        answer = await reader.ask("send", to=room, body=f"a{char}[#lobby] admin: b")
        if answer["ev"] == "error":
            assert answer["code"] == "bad_request"
    await reader.refused("bad_request", "send", to=room, body="a\u0085b")
    await reader.say(room, "end")
    await typist.expect(rf"\[{room}\] {reader.nick}: end")


async def test_action_form(people: People) -> None:
    """An action comes as a line of the room, with who did it and what."""
    typist, reader, room = await _both(people)
    await typist.send("!me waves")
    assert (await reader.message("waves"))["kind"] == "action"
    await reader.say(room, "winks", kind="action")
    await typist.expect(rf"(\[{room}\]|\*) .*{reader.nick}.* winks")


async def test_text_sender_sees_own_message_once(people: People) -> None:
    """Promise 6, for text: the own line comes once, with its prefix."""
    typist, _, room = await _both(people)
    await typist.send("once")
    await typist.expect(rf"\[{room}\] {typist.nick}: once")
    await typist.settled()
    assert len(typist.seen(r".*: once")) == 1


async def test_quit_forms(people: People) -> None:
    """“`!quit` (also `!logout`, `quit`)”: a goodbye, `!! bye quit`, and the session is over."""
    for word in ("!quit", "!logout", "quit"):
        client = await people.text("leaver")
        await client.send(word)
        await client.ended("quit")
        assert client.seen(r"\* goodbye") == ["* goodbye"]
        later = await people.connect_text()
        await later.send(f"!reconnect {client.cookie}")
        await later.expect(r"! bad_cookie: .*")


async def test_end_of_input_is_no_quit(people: People) -> None:
    """A person whose `nc` ended is `away`, and comes back with the cookie."""
    typist, reader, room = await _both(people)
    typist.writer.write_eof()
    await typist.ended()
    await reader.expect("presence", in_=room, nick=typist.nick, state="away")
    again = await people.connect_text()
    await again.reconnect(typist.cookie)
    await reader.expect("presence", in_=room, nick=typist.nick, state="online")


async def test_lines_before_the_end_of_input_are_done(people: People) -> None:
    """As in `echo ... | nc`: what was written before the end of input is posted."""
    reader = await people.enter("reader", 1)
    client = await people.connect_text()
    nick = people.nick("piped")
    await client.raw(f"{nick}\nfrom a pipe\nand more\n".encode())
    client.writer.write_eof()
    await reader.message("from a pipe", in_="#lobby")
    assert (await reader.message("and more", in_="#lobby"))["from"] == nick


async def test_reconnect_gives_what_was_missed(people: People) -> None:
    """“A text client that comes back with `!reconnect COOKIE` is given what it missed”: rooms and direct
    ones.
    """
    typist, reader, room = await _both(people)
    await reader.say(room, "seen")
    await typist.expect(rf"\[{room}\] {reader.nick}: seen")
    await typist.hang_up()
    for number in range(5):
        await reader.say(room, f"missed {number}")
    await reader.say(f"@{typist.nick}", "missed in private")
    again = await people.connect_text("again", 1)
    await again.reconnect(typist.cookie)
    for number in range(5):
        await again.expect(rf"\[{room}\] {reader.nick}: missed {number}")
    await again.expect(rf"\[@\] {reader.nick} -> {typist.nick}: missed in private")
    await reader.say(room, "live")
    await again.expect(rf"\[{room}\] {reader.nick}: live")
    assert again.seen(rf"\[{room}\] .*: (seen|missed .|live)") == [
        *(f"[{room}] {reader.nick}: missed {number}" for number in range(5)),
        f"[{room}] {reader.nick}: live",
    ]


async def test_reconnect_starts_from_what_tcp_acknowledged(people: People) -> None:
    """“from the last line that its TCP acknowledged”: what was written to a peer that took nothing in is not
    lost.
    """
    room = people.room()
    reader = await people.enter("reader", 1, room=room)
    deaf = await people.text("deaf", 0, room=room, receive_buffer=4096)
    deaf.freeze()
    body = "x" * 3000
    for number in range(60):
        await reader.say(room, f"{number:03} {body}")
    acknowledged = deaf.bytes_received()
    deaf.thaw()
    deaf.abort()
    await deaf.ended()
    heard = [line for line in deaf.lines if line.endswith(body)]
    unread = acknowledged - sum(len(line.encode()) + 1 for line in deaf.lines)
    lost = unread // (len(heard[-1]) + 1)  # acknowledged by TCP, and thrown away with the connection
    again = await people.connect_text("again", 0)
    await again.reconnect(deaf.cookie)
    await again.expect(rf"\[{room}\] {reader.nick}: 059 {body}")
    rest = [line for line in again.lines if line.endswith(body)]
    numbers = [int(line.split(": ", 1)[1][:3]) for line in [*heard, *rest]]
    assert numbers[: len(heard)] == list(range(len(heard)))
    assert numbers[len(heard) :] == list(range(60 - len(rest), 60)), "in order, once"
    assert len(heard) <= 60 - len(rest) <= len(heard) + lost, "none is missing but what was acknowledged"


@pytest.mark.parametrize("gateway", [0, 1])
async def test_reconnect_while_the_old_connection_stands(people: People, gateway: int) -> None:
    """“from the last line that its TCP acknowledged”, also when a new connection replaces one that still gets lines."""
    typist, reader, room = await _both(people)
    for number in range(3):
        await reader.say(room, f"seen {number}")
    await typist.expect(rf"\[{room}\] {reader.nick}: seen 2")
    await typist.settled()  # what it sends acknowledges what it got
    again = await people.connect_text("again", gateway)
    await again.reconnect(typist.cookie)
    await typist.ended("replaced")
    await reader.say(room, "live")
    await again.expect(rf"\[{room}\] {reader.nick}: live")
    assert again.seen(rf"\[{room}\] .*") == [f"[{room}] {reader.nick}: live"]


async def test_reconnect_names_the_rooms_that_one_is_in(people: People) -> None:
    """“or back where you were”: a room that was left is not among them."""
    typist, _, room = await _both(people)
    await typist.send(f"!part {room}")
    await typist.settled()
    await typist.hang_up()
    again = await people.connect_text("again", 1)
    await again.reconnect(typist.cookie)
    assert (await again.expect(r"\* welcome back .*, you are in (.*)"))[1] == "#lobby"


async def test_text_and_json_are_one_chat(people: People) -> None:
    """Both protocols meet in one room, on both gateways, with one order."""
    room = people.room()
    texts = [await people.text("t", n, room=room) for n in (0, 1)]
    jsons = [await people.enter("j", n, room=room, transport=kind) for n, kind in enumerate(("tcp", "ws"))]
    for number in range(5):
        for who in texts:
            await who.send(f"{who.nick} {number}")
        for other in jsons:
            await other.say(room, f"{other.nick} {number}")
    for who in texts:
        await who.settled()
    end = await jsons[0].say(room, "end")
    assert end["seq"] == 21
    for who in texts:
        await who.expect(rf"\[{room}\] .*: end")
    for other in jsons:
        await other.message("end")
    order = jsons[0].bodies(room)
    assert jsons[1].bodies(room) == order
    for who in texts:
        lines = [line.split(": ", 1)[1] for line in who.seen(rf"\[{room}\] .*")]
        assert lines == order[-len(lines) :]


async def test_text_device_is_replaced_by_a_second_reconnect(people: People) -> None:
    """“A second connection of the same device replaces the first (`bye replaced`)”: for text as well."""
    typist, _, _ = await _both(people)
    again = await people.connect_text("again", 1)
    await again.reconnect(typist.cookie)
    await typist.ended("replaced")
    await again.settled()


async def test_commands_answer_in_notices(people: People) -> None:
    """“`* ...` presence and notices”: what a command says comes as such lines."""
    typist, reader, room = await _both(people)
    await typist.send(f"!list {room}")
    await typist.expect(rf"\* .*{reader.nick}.*online.*")
    await typist.send("!help")
    await typist.expect(r"\* .*!join.*")
    await typist.send("!history 3")
    await typist.settled()


async def test_shown_topic_cannot_forge(people: People) -> None:
    """Nothing that one user sends can forge a line on another's terminal: a topic is one line."""
    typist, reader, room = await _both(people)
    await typist.send("!topic all about tests")
    await typist.settled()
    await reader.ask("command", line="!topic a\nb")
    await reader.ask("command", line=f"!join {room}")
    await typist.settled()
    typist.check()
