"""docs/protocol.md: “A bad line gets an error and the connection stays; only `banned`, protocol abuse and flooding
end it.”
"""

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import connect

from tests.support import JsonClient, People, TextClient
from tests.support.json_client import WebSocketWire

BOTH = pytest.mark.parametrize("transport", ["tcp", "ws"])

JUNK = [
    "{",
    "}",
    "{}",
    "[]",
    "[1,2",
    "null",
    "7",
    '"hello"',
    '{"op"}',
    '{"op":}',
    '{"op":7}',
    '{"op":null}',
    '{"op":["send"]}',
    '{"to":"#lobby"}',
    '{"op":"send","id":1',
    '{"op":"send","to":"#lobby","body":"a"} trailing',
    '{"op":"send","to":"#lobby","body":"a"}{"op":"quit"}',
    '{"op":"send","to":"#lobby","body":NaN}',
    "{'op':'send'}",
    '{"op":"send","to":"#lobby","body":"\\ud800"}',
    '{"op":"send","to":"#lobby","body":"\\x41"}',
    "GET / HTTP/1.1",
    "!list",
    "#lobby hi",
]
BOMBS = [
    "[" * 15_000,
    '{"a":' * 3_000,
    '{"op":"send","id":1,"to":' + "[" * 7_000 + "]" * 7_000 + ',"body":"x"}',
    '{"op":"pong","n":' + "9" * 16_000 + "}",
    '{"op":"pong","n":1e999999}',
    '{"op":"hello","id":1,"nick":"' + "\\u0000" * 2_000 + '"}',
    "{" + ",".join(f'"k{n}":1' for n in range(1500)) + "}",
]


@BOTH
@pytest.mark.parametrize("junk", JUNK)
async def test_junk_gets_an_error_and_the_connection_stays(people: People, junk: str) -> None:
    """“A bad line gets an error and the connection stays”: `bad_request`, and nothing is done."""
    alice = await people.enter("alice")
    await alice.raw(junk)
    error = await alice.expect("error")
    assert error["code"] == "bad_request", error
    await alice.say("#lobby", "still here")
    assert not alice.seen("error", code="unavailable")


@BOTH
@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
async def test_json_bombs(people: People, bomb: str) -> None:
    """Deep nesting, endless numbers and thousands of fields cost an error at most, and only their sender."""
    alice = await people.enter("alice")
    bob = await people.enter("bob")
    alice.ledger.sent({"id": 1})
    await alice.raw(bomb)
    await alice.settled()
    assert not alice.closed
    await bob.say("#lobby", "nobody else notices")
    assert not alice.seen("ack")


async def test_junk_before_hello(people: People) -> None:
    """Also before `hello` a bad line is answered and the connection stays."""
    client = await people.connect()
    for junk in ('{"op":"fly"}', "{nonsense}", "", "hello?"):
        await client.raw(junk)
    await client.hello(nick=people.nick())
    assert client.seen("error", code="bad_request")


@BOTH
async def test_error_of_a_bad_line_bears_its_id_where_it_has_one(people: People) -> None:
    """“every op that carries one is answered by exactly one ... `error` with `re` = that id”."""
    alice = await people.enter("alice")
    bad: list[dict[str, Any]] = [
        {"op": "send"},
        {"op": "send", "to": "#lobby"},
        {"op": "send", "body": "x"},
        {"op": "join"},
        {"op": "join", "room": 7},
        {"op": "part"},
        {"op": "history"},
        {"op": "command"},
        {"op": "command", "line": 7},
        {"op": "nonsense"},
        {"op": 7},
        {},
    ]
    for number, op in enumerate(bad, 1):
        await alice.push({**op, "id": number})
        answer = await alice.answer(number)
        assert (answer["ev"], answer["code"]) == ("error", "bad_request"), (op, answer)


@BOTH
async def test_line_over_16_kib(people: People) -> None:
    """“A line over 16 KiB is skipped and answered `too_long` without `re`”; what follows is read."""
    alice = await people.enter("alice")
    for size in (16_385, 20_000, 100_000, 900_000):
        op = {"op": "send", "id": 1, "to": "#lobby", "body": "hi", "pad": ""}
        op["pad"] = "x" * (size - len(json.dumps(op)))
        alice.ledger.sent({"id": 1})
        await alice.raw(json.dumps(op))
        error = await alice.expect("error")
        assert error["code"] == "too_long"
        assert "re" not in error
    await alice.say("#lobby", "still here")
    assert alice.bodies("#lobby").count("hi") == 0


@BOTH
async def test_line_of_just_16_kib(people: People) -> None:
    """“At most 16 KiB each”: 16,384 bytes are not too long."""
    alice = await people.enter("alice")
    op = {"op": "send", "id": 1, "to": "#lobby", "body": "fits", "pad": ""}
    op["pad"] = "x" * (16_384 - len(json.dumps(op)))
    assert len(json.dumps(op)) == 16_384
    await alice.push(op)
    assert (await alice.answer(1))["ev"] == "ack"


async def test_line_past_1_mib_may_end_the_connection_of_its_sender_only(people: People) -> None:
    """“(past 1 MiB the connection may end)”: nobody else notices."""
    alice, bob = await people.enter("alice"), await people.enter("bob")
    try:
        for _ in range(20):
            await alice.wire.write_bytes(b"x" * 100_000)
        await alice.wire.write_bytes(b"\n")
    except OSError:
        pass
    await bob.say("#lobby", "unmoved")
    if not alice.closed:
        await alice.expect("error", code="too_long")


@BOTH
async def test_too_long_is_answered_before_hello(people: People) -> None:
    """Also the first line may be too long."""
    client = await people.connect()
    await client.raw('{"op":"hello","nick":"' + "x" * 20_000 + '"}')
    await client.expect("error", code="too_long")
    await client.hello(nick=people.nick())


async def test_broken_utf8_on_tcp(people: People) -> None:
    """Broken UTF-8 is a bad line: `bad_request`, and the connection stays."""
    alice = await people.enter("alice")
    for number, broken in enumerate((b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf5\x80\x80\x80"), 1):
        await alice.wire.write_bytes(b'{"op":"send","to":"#lobby","body":"' + broken + b'"}\n')
        await alice.settled()
        assert len(alice.seen("error", code="bad_request")) == number, broken
    assert alice.bodies("#lobby") == []


async def test_broken_utf8_in_a_text_frame(people: People) -> None:
    """RFC 6455 8.1: an endpoint that gets broken UTF-8 in a text frame fails the connection; others go on."""
    alice, bob = await people.enter("alice", transport="ws"), await people.enter("bob", transport="ws")
    assert isinstance(alice.wire, WebSocketWire)
    await alice.wire.connection.send(b'{"op":"pong","n":\xff}', text=True)
    for _ in range(100):
        if alice.closed or alice.seen("error", code="bad_request"):
            break
        await asyncio.sleep(0.02)
    assert alice.closed or alice.seen("error", code="bad_request")
    await bob.say("#lobby", "unmoved")


@pytest.mark.parametrize("transport", ["ws"])
async def test_binary_frame(people: People) -> None:
    """“a binary frame is `bad_request`”, and the connection stays."""
    alice = await people.enter("alice")
    for frame in (b"", b"\x00\xff", b'{"op":"send","id":1,"to":"#lobby","body":"hi"}'):
        await alice.wire.write_bytes(frame)
        error = await alice.expect("error")
        assert error["code"] == "bad_request"
    await alice.say("#lobby", "still here")
    assert "hi" not in alice.bodies("#lobby")


@pytest.mark.parametrize("transport", ["ws"])
async def test_fragmented_frames_are_one_message(people: People) -> None:
    """RFC 6455 5.4: fragments make one message; their sum counts against 16 KiB."""
    alice = await people.enter("alice")
    assert isinstance(alice.wire, WebSocketWire)
    alice.ledger.sent({"id": 7})
    await alice.wire.connection.send(iter(['{"op":"send","id":7,', '"to":"#lobby",', '"body":"whole"}']))
    assert (await alice.answer(7))["ev"] == "ack"
    await alice.wire.connection.send(iter(["x" * 9_000, "x" * 9_000]))
    await alice.expect("error", code="too_long")
    await alice.settled()


@pytest.mark.parametrize("transport", ["ws"])
async def test_several_ops_in_one_frame(people: People) -> None:
    """“One JSON object a WebSocket text frame”: two are none."""
    alice = await people.enter("alice")
    await alice.raw('{"op":"pong","n":1}\n{"op":"pong","n":2}')
    await alice.expect("error", code="bad_request")
    await alice.settled()


@pytest.mark.parametrize("transport", ["ws"])
async def test_websocket_ping_is_answered(people: People) -> None:
    """RFC 6455 5.5.2: a ping frame is answered by a pong with its data."""
    alice = await people.enter("alice")
    assert isinstance(alice.wire, WebSocketWire)
    await asyncio.wait_for(await alice.wire.connection.ping(b"are you there"), 10)


@pytest.mark.parametrize("transport", ["ws"])
async def test_websocket_close_is_answered(people: People) -> None:
    """RFC 6455 7.1: a close is answered by a close; the session is `away`, not ended."""
    alice = await people.enter("alice")
    assert isinstance(alice.wire, WebSocketWire)
    await alice.wire.connection.close(1000)
    assert alice.wire.connection.close_code == 1000
    again = await people.back(alice, 1)
    assert again.welcome["resumed"] is True


async def test_websocket_elsewhere_is_refused(people: People) -> None:
    """The WebSocket is at `/ws`."""
    url = people.chat.gateways[0].ws.replace("/ws", "/elsewhere")
    with pytest.raises(Exception, match=r"40[34]"):
        async with connect(url, proxy=None):
            raise AssertionError("connected")


async def test_plain_get_of_the_websocket(people: People) -> None:
    """A plain GET of `/ws` is refused with a client error, not a crash."""
    response = await people.rest().http.get("/ws")
    assert 400 <= response.status_code < 500


# First-byte detection.


async def test_first_byte_decides(people: People) -> None:
    """“a connection whose first byte is `{` speaks JSON”; any other speaks text."""
    nick = people.nick("json")
    client = await people.connect()
    await client.wire.write_bytes(b"{")
    await asyncio.sleep(0)
    client.ledger.sent({"id": 1})
    await client.wire.write_bytes(f'"op":"hello","id":1,"nick":"{nick}"}}\n'.encode())
    assert client.entered(await client.answer(1))["nick"] == nick
    text = await people.connect_text()
    await text.raw(people.nick("t").encode())
    await text.raw(b"\n")
    await text.expect(r"!! cookie \S+")


async def test_json_one_byte_at_a_time(people: People) -> None:
    """A line may come in any pieces."""
    client = await people.connect()
    for op in (
        {"op": "hello", "id": 1, "nick": people.nick("é")},
        {"op": "send", "id": 2, "to": "#lobby", "body": "ü"},
    ):
        client.ledger.sent(op)
        for byte in f"{json.dumps(op, ensure_ascii=False)}\n".encode():
            await client.wire.write_bytes(bytes([byte]))
    assert (await client.answer(1))["ev"] == "welcome"
    assert (await client.answer(2))["ev"] == "ack"


async def test_json_lines_may_end_with_crlf_and_be_empty(people: People) -> None:
    """JSON allows white space around a value, so CRLF and empty lines are no reason for a break."""
    alice = await people.enter("alice")
    alice.ledger.sent({"id": 1})
    await alice.wire.write_bytes(b'{"op":"send","id":1,"to":"#lobby","body":"crlf"}\r\n')
    assert (await alice.answer(1))["ev"] == "ack"
    await alice.wire.write_bytes(b"\n\r\n")
    await alice.settled()


async def test_last_line_without_its_end_is_not_done(people: People) -> None:
    """What was cut in the middle of a line was never sent."""
    room = people.room()
    bob = await people.enter("bob", room=room)
    alice = await people.enter("alice", room=room)
    await alice.wire.write_bytes(json.dumps({"op": "send", "id": 1, "to": room, "body": "cut"}).encode())
    await alice.wire.close()
    await bob.expect("presence", in_=room, nick=alice.nick, state="away")
    await bob.caught_up(room)
    assert "cut" not in bob.bodies(room)


async def test_http_on_the_tcp_port(people: People) -> None:
    """A browser on the wrong port harms nobody."""
    client = await people.connect_text()
    client.violations.clear()
    await client.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    other = await people.enter()
    await other.settled()


async def test_zero_bytes_and_telnet_negotiation(people: People) -> None:
    """Junk bytes on a text connection get errors of the known form, and the connection
    stays or ends cleanly.
    """
    for junk in (b"\x00\x00\x00\n", b"\xff\xfb\x1f\xff\xfd\x03\n", b"\x1b[2J\n", b"\xc3\x28\n", b"\n\n\r\n"):
        client = await people.connect_text()
        await client.raw(junk)
        await client.enter(people.nick())


# Text lines.


async def _text(people: People) -> tuple[TextClient, JsonClient, str]:
    room = people.room()
    return await people.text("typist", room=room), await people.enter("reader", room=room), room


async def test_text_line_over_16_kib(people: People) -> None:
    """“A line over 16 KiB is skipped and answered `too_long`”; the connection stays."""
    typist, reader, room = await _text(people)
    await typist.send("x" * 17_000)
    await typist.expect(r"! too_long: .*")
    await typist.send("short")
    await reader.message("short", in_=room)
    assert reader.bodies(room) == ["short"]


async def test_text_body_over_4_kib(people: People) -> None:
    """“a body over 4 KiB is `too_long`”, counted in bytes."""
    typist, reader, room = await _text(people)
    await typist.send("é" * 2049)
    await typist.expect(r"! too_long: .*")
    await typist.send("é" * 2048)
    await reader.message("é" * 2048, in_=room)


@pytest.mark.parametrize("junk", [b"a\x1b[31mb", b"a\x00b", b"a\x07b", b"a\x7fb", b"a\xc2\x9bb", b"a\xff", b"a\rb"])
async def test_text_line_with_control_characters_or_broken_utf8(people: People, junk: bytes) -> None:
    """“newline and tab are the only control characters in it”: `bad_request`; nothing is posted."""
    typist, reader, room = await _text(people)
    await typist.raw(junk + b"\n")
    await typist.expect(r"! bad_request: .*")
    await typist.send("clean")
    await reader.message("clean", in_=room)
    assert reader.bodies(room) == ["clean"]


async def test_no_error_repeats_control_characters(people: People) -> None:
    """“other control characters never reach a terminal”: not in an error about them either."""
    typist, _, _ = await _text(people)
    for junk in (
        "!\x1b[31mred",
        "!list #\x1b[2J",
        "@\x1bx hi",
        "!whois \x1b]0;title\x07",
        "#\x07 x",
        "!join #\u009b31m",
    ):
        await typist.send(junk)
    await typist.settled()
    shown = "".join(typist.lines)
    assert not [char for char in shown if ord(char) < 32 or 0x7F <= ord(char) < 0xA0]
    loud = await people.connect()
    await loud.ask("hello", nick="x\x1b[31m")
    await loud.hello(nick=people.nick())
    await loud.ask("join", room="#\x1b[31m")
    await loud.ask("command", line="!\x1b[31m")
    for error in loud.seen("error"):
        assert "\x1b" not in error["text"]


async def test_empty_text_lines(people: People) -> None:
    """A person who only presses return is told at most; nothing is posted."""
    typist, reader, room = await _text(people)
    await typist.raw(b"\n\n   \n\r\n")
    await typist.send("words")
    await reader.message("words")
    assert reader.bodies(room) == ["words"]


# Flooding.


async def test_flood_of_junk_costs_only_its_sender(people: People) -> None:
    """“only `banned`, protocol abuse and flooding end it”: others talk on undisturbed."""
    flooder, alice = await people.enter("flooder"), await people.enter("alice", 1)
    bob = await people.enter("bob")
    try:
        for _ in range(20):
            await flooder.wire.write_bytes(b'{"op":"nonsense"}\n' * 500)
    except OSError:
        pass
    for number in range(20):
        await alice.say("#lobby", f"quiet talk {number}")
    await bob.message("quiet talk 19")
    assert {bye["code"] for bye in flooder.seen("bye")} <= {"flood"}
