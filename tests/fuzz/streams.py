"""What a hostile or broken client might send: noise, and sessions that were valid until something bit them."""

import json
from typing import Any, Final

from hypothesis import strategies as st

from causerie.commands import COMMANDS
from causerie.wire.websocket import frame

HANDSHAKE: Final = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
MASK: Final = b"\x37\xfa\x21\x3d"
NICK: Final = "~nick~"
"""Stands for a nick that nobody has yet."""
DRASTIC: Final = {"shutdown", "admin"}
"""Not typed: a token guessed here would count against everybody at this address."""

# fmt: off
TOKENS: Final = [
    b"\n", b"\r\n", b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b'"', b"\\ud800", b"{", b"}", b"[", b"9" * 40, b"null",
    b"1e999", b"-1", b'"id":1,', b"#lobby", b"@", b"!", b"!list", b"!pong ", b"\x1b[2J", b"\x81\x80", b"\x88\x80",
    b"\x89\xfe", b"\x80\xff", b"x" * 20_000, b"\r\n\r\n", b"GET / HTTP/1.1\r\n",
]
# fmt: on
words = st.sampled_from(
    ["#lobby", "@", "#x", "#y", "@nobody", "@witness-a", "hi", "é", "a b", "\u202e", "1s"]
) | st.text(max_size=12)
names = st.just(NICK) | words
numbers = st.integers(1, 2**50) | st.integers(1, 40) | st.integers(-(2**64), 2**64)
positions = st.fixed_dictionaries({"epoch": words, "seq": numbers}, optional={"mid": words})


def op(name: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An op with or without its id and fields."""
    return st.fixed_dictionaries({"op": st.just(name)}, optional={"id": numbers, **fields})


lines = st.one_of(
    st.builds(
        lambda command, rest: f"!{command}" + (f" {rest}" if rest else ""),
        st.sampled_from(sorted(set(COMMANDS) - DRASTIC)),
        st.lists(words, max_size=3).map(" ".join),
    ),
    st.builds(lambda to, body: f"{to} {body}", words, words),
    words,
)
hello = st.just({"op": "hello", "id": 1, "nick": NICK})
odd_hello = op(
    "hello",
    nick=names,
    cookie=words,
    device=words,
    resume=st.dictionaries(st.sampled_from(["#lobby", "@"]) | words, positions, max_size=2),
)
ids = st.integers(2, 60)
rooms = st.sampled_from(["#lobby", "#x", "#y"])
sane_ops = st.one_of(
    st.builds(lambda id_, room: {"op": "join", "id": id_, "room": room}, ids, rooms),
    st.builds(lambda id_, to, body: {"op": "send", "id": id_, "to": to, "body": body}, ids, rooms, words),
    st.builds(lambda id_, body: {"op": "send", "id": id_, "to": ["@witness-a", f"@{NICK}"], "body": body}, ids, words),
    st.builds(lambda id_, of: {"op": "history", "id": id_, "of": of, "limit": 5}, ids, rooms | st.just("@")),
    st.builds(lambda id_, line: {"op": "command", "id": id_, "line": line}, ids, lines),
)
ops = st.one_of(
    op("join", room=words),
    op("part", room=words),
    op("send", to=words | st.lists(words, max_size=3), body=words, kind=words),
    op("history", of=words, before=numbers, limit=numbers),
    op("command", line=lines),
    op("pong", n=numbers),
    op("quit"),
    op("hello", nick=names),
)


def encoded(value: Any) -> bytes:
    """JSON, surrogates and all."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


json_messages = st.tuples(
    st.sampled_from([hello, hello, hello, odd_hello]).flatmap(lambda greeting: greeting),
    st.lists(st.sampled_from([sane_ops, sane_ops, ops]).flatmap(lambda each: each), max_size=8),
).map(lambda talk: [*map(encoded, [talk[0], *talk[1]])])
json_sessions = json_messages.map(lambda talk: b"\n".join([*talk, b""]))
text_sessions = st.tuples(
    st.sampled_from([NICK, NICK, NICK, "!reconnect x", "\u00e9"]), st.lists(lines, max_size=6)
).map(lambda talk: "\n".join([talk[0], *talk[1], ""]).encode("utf-8", "surrogatepass"))


@st.composite
def framed(draw: st.DrawFn) -> bytes:
    """The frames of a session, some in fragments, with control frames and others between."""
    stream = b""
    for message in draw(json_messages):
        half = draw(st.integers(0, len(message)))
        if draw(st.integers(0, 3)) == 0:
            first = frame(1, message[:half], MASK)
            stream += bytes([first[0] & 0x7F]) + first[1:]
            message, opcode = message[half:], 0
        else:
            opcode = 1
        if draw(st.integers(0, 3)) == 0:
            stream += frame(draw(st.sampled_from([8, 9, 10, 2, 1])), draw(st.binary(max_size=20)), MASK)
        stream += frame(opcode, message, MASK)
    return stream


@st.composite
def bitten(draw: st.DrawFn, sessions: st.SearchStrategy[bytes]) -> bytes:
    """A session after a few bites."""
    stream = draw(sessions)
    for _ in range(draw(st.sampled_from([0, 0, 1, 2, 4]))):
        start = draw(st.integers(0, len(stream)))
        end = min(len(stream), start + draw(st.integers(0, 40)))
        piece = draw(
            st.one_of(
                st.just(b""),
                st.binary(max_size=8),
                st.sampled_from(TOKENS),
                st.just(stream[start:end] * 2),
                st.just(bytes(byte ^ 0x80 for byte in stream[start:end])),
            )
        )
        stream = stream[:start] + piece + stream[end:]
    return stream


noise = st.binary(max_size=200)
tcp_streams = st.sampled_from(
    [bitten(json_sessions), bitten(json_sessions), bitten(text_sessions), bitten(text_sessions), noise]
).flatmap(lambda streams: streams)
frame_streams = st.sampled_from([bitten(framed()), bitten(framed()), noise]).flatmap(lambda streams: streams)
web_streams = bitten(
    st.sampled_from(
        [
            HANDSHAKE,
            b"GET /healthz HTTP/1.1\r\n\r\n",
            b"POST /api/v1/bans HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
            b"GET /api/v1/rooms/%23lobby HTTP/1.1\r\nAuthorization: Basic eDp5\r\n\r\n",
            b"GET /openapi.json HTTP/1.1\r\nConnection: close\r\n\r\n" + HANDSHAKE,
        ]
    )
)
