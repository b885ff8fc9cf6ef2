"""RFC 6455 frames, judged by another implementation of them: `websockets`."""

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets import frames as theirs
from websockets.streams import StreamReader

from causerie.wire.framing import MAX_LINE, MAX_SKIP, Mark
from causerie.wire.websocket import (
    Control,
    FrameReader,
    Opcode,
    WebSocketError,
    close_code,
    close_frame,
    frame,
    masked,
    text_frames,
)
from tests.unit.pieces import cuts, single_bytes, taken

MASK = b"\x12\x34\x56\x78"


class Small(FrameReader):
    """Small enough that hypothesis meets its limits."""

    __slots__ = ()
    limit = 6
    skip = 16


def bits(first: int, payload: bytes = b"", *, second: int | None = None, mask: bytes | None = MASK) -> bytes:
    """A frame from its first byte, and whatever may be wrong with it."""
    head = bytes([first, (0x80 if mask is not None else 0) | (len(payload) if second is None else second)])
    return head + (mask or b"") + (masked(payload, mask) if mask else payload)


Item = tuple[int, list[bytes]]
"""A message (opcode, fragments), or a control frame (opcode, one payload)."""

words = st.sampled_from([b"", b"a", "é".encode(), b"bcd", b"longer", b"x" * 9])
controls = st.tuples(st.sampled_from([9, 10]), st.lists(words, min_size=1, max_size=1))
messages = st.tuples(st.sampled_from([1, 2]), st.lists(words, min_size=1, max_size=5))
talks = st.lists(st.one_of(messages, controls), max_size=6)


def encoded(talk: list[Item], between: Iterator[Item | None]) -> tuple[bytes, list[Any]]:
    """The bytes of a talk as a client sends it, with control frames between fragments, and what is to be taken."""
    stream, found = b"", []
    for opcode, parts in talk:
        for number, part in enumerate(parts):
            fin = number == len(parts) - 1
            code = theirs.Opcode(opcode if number == 0 else 0)
            stream += theirs.Frame(code, part, fin).serialize(mask=True)
            if not fin and (control := next(between)) is not None:
                stream += theirs.Frame(theirs.Opcode(control[0]), control[1][0]).serialize(mask=True)
                found.append(Control(Opcode(control[0]), control[1][0]))
        found.append(meant(opcode, b"".join(parts)))
    return stream, found


def meant(opcode: int, payload: bytes) -> bytes | Mark | Control:
    """What is to be taken of a whole message."""
    if opcode >= 8:
        return Control(Opcode(opcode), payload)
    if len(payload) > Small.limit:
        return Mark.TOO_LONG
    return Mark.BINARY if opcode == 2 else payload


@given(talks, st.data())
def test_any_cut_gives_the_same_messages(talk: list[Item], data: st.DataObject) -> None:
    talk = [item for item in talk if sum(map(len, item[1])) <= Small.skip]
    between = iter(lambda: data.draw(st.one_of(st.none(), controls)), "never")
    stream, wanted = encoded(talk, between)
    for pieces in ([stream], single_bytes(stream), data.draw(cuts(stream))):
        reader = Small()
        assert taken(reader, pieces) == wanted
        assert reader.consumed == reader.received == len(stream)


@given(talks, st.data())
def test_what_is_kept_is_bounded(talk: list[Item], data: st.DataObject) -> None:
    talk = [item for item in talk if sum(map(len, item[1])) <= Small.skip]
    stream, _ = encoded(talk, iter(lambda: data.draw(st.none()), "never"))
    reader, fed = Small(), 0
    for piece in data.draw(cuts(stream)):
        taken(reader, [piece])
        fed += len(piece)
        assert reader.received == fed
        assert reader.waiting <= 14 + max(Small.limit, 125)


@given(st.sampled_from([1, 2, 9, 10]), st.binary(max_size=300), st.booleans())
@example(1, b"x" * 125, True)
@example(1, b"x" * 126, True)
@example(2, b"x" * 65535, False)
@example(2, b"x" * 65536, True)
def test_what_we_write_another_implementation_reads(opcode: int, payload: bytes, is_client: bool) -> None:
    if opcode >= 8:
        payload = payload[:125]
    stream = StreamReader()
    stream.feed_data(frame(opcode, payload, MASK if is_client else None))
    stream.feed_eof()
    parser = theirs.Frame.parse(stream.read_exact, mask=is_client, max_size=None)
    with pytest.raises(StopIteration) as parsed:
        next(parser)
    assert parsed.value.value == theirs.Frame(theirs.Opcode(opcode), payload)
    assert stream.at_eof


@given(st.binary(max_size=400), st.binary(min_size=4, max_size=4))
def test_masking_is_its_own_inverse(payload: bytes, mask: bytes) -> None:
    once = masked(payload, mask)
    assert masked(once, mask) == payload
    assert once == bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def test_lines_become_frames() -> None:
    assert text_frames(b'{"a":1}\n{}\n') == b'\x81\x07{"a":1}\x81\x02{}'
    assert text_frames(b"") == b""


def test_a_client_reads_unmasked_frames() -> None:
    reader = FrameReader(server=False)
    stream = b"\x01\x02he\x89\x01!\x80\x03llo"
    assert taken(reader, single_bytes(stream)) == [Control(Opcode.PING, b"!"), b"hello"]


# What is refused.

BAD: dict[str, tuple[bytes, int]] = {
    "RSV1": (bits(0xC1), 1002),
    "RSV2": (bits(0xA1), 1002),
    "RSV3": (bits(0x91), 1002),
    "RSV1 on a control frame": (bits(0xC9), 1002),
    "opcode 3": (bits(0x83), 1002),
    "opcode 7": (bits(0x87), 1002),
    "opcode 11": (bits(0x8B), 1002),
    "opcode 15": (bits(0x8F), 1002),
    "no mask": (bits(0x81, b"hi", mask=None), 1002),
    "ping in fragments": (bits(0x09), 1002),
    "close in fragments": (bits(0x08), 1002),
    "ping of 126 bytes": (bits(0x89, second=126), 1002),
    "close of 127-form length": (bits(0x88, second=127), 1002),
    "continuation of nothing": (bits(0x80, b"hi"), 1002),
    "unfinished continuation of nothing": (bits(0x00, b"hi"), 1002),
    "text within a text": (bits(0x01, b"a") + bits(0x81, b"b"), 1002),
    "binary within a text": (bits(0x01, b"a") + bits(0x02, b"b"), 1002),
    "text within a ping within a text": (bits(0x01, b"a") + bits(0x89) + bits(0x81, b"b"), 1002),
    "not UTF-8": (bits(0x81, b"\xff"), 1007),
    "a surrogate": (bits(0x81, b"\xed\xa0\x80"), 1007),
    "a character without its end": (bits(0x81, b"\xc3"), 1007),
    "a character across messages": (bits(0x81, b"\xc3") + bits(0x81, b"\xa9"), 1007),
    "not UTF-8 in fragments": (bits(0x01, b"\xc3") + bits(0x80, b"("), 1007),
    "over 1 MiB": (b"\x81\xff" + struct.pack("!Q", MAX_SKIP + 1) + MASK, 1009),
    "the largest length": (b"\x82\xff" + struct.pack("!Q", 2**64 - 1) + MASK, 1009),
    "over 1 MiB with its fragments": (bits(0x01, b"a") + b"\x80\xff" + struct.pack("!Q", MAX_SKIP) + MASK, 1009),
}


def outcome(pieces: list[bytes]) -> tuple[list[Any], int | None]:
    """What is taken, and the code of the error that ends it."""
    reader, found = FrameReader(), []
    try:
        for piece in pieces:
            reader.feed(piece)
            while (item := reader.take()) is not None:
                found.append(item)
    except WebSocketError as error:
        return found, error.code
    return found, None


@pytest.mark.parametrize("name", BAD)
def test_broken_framing_is_an_error_after_what_came_before(name: str) -> None:
    stream, code = BAD[name]
    stream = bits(0x81, b"before") + stream
    found, error = outcome([stream])
    assert error == code
    assert found[0] == b"before"
    assert len(found) <= 2
    assert outcome(single_bytes(stream)) == (found, error)


def test_a_character_may_be_cut_between_fragments() -> None:
    reader = FrameReader()
    stream = bits(0x01, b"\xf0\x9f") + bits(0x00, b"\x98") + bits(0x80, b"\x80")
    assert taken(reader, single_bytes(stream)) == ["😀".encode()]


def test_16_kib_fit_and_one_byte_more_does_not() -> None:
    reader = FrameReader()
    fits = b"x" * MAX_LINE
    assert taken(reader, [frame(1, fits, MASK)]) == [fits]
    assert taken(reader, [frame(1, fits + b"x", MASK), frame(1, b"next", MASK)]) == [Mark.TOO_LONG, b"next"]
    halves = bits(0x01, b"y") + b"\x80\xfe" + struct.pack("!H", MAX_LINE) + MASK + masked(fits, MASK)
    assert taken(reader, [halves, bits(0x81, b"next")]) == [Mark.TOO_LONG, b"next"]


def test_a_message_of_1_mib_is_skipped_without_being_kept() -> None:
    reader = FrameReader()
    head = b"\x01\xff" + struct.pack("!Q", MAX_SKIP) + MASK
    found = taken(reader, [head])
    for _ in range(MAX_SKIP // 65536):
        found += taken(reader, [b"\xff" * 65536])
        assert reader.waiting == 0
    assert found == []
    # a ping still fits between, and an end without content
    assert taken(reader, [bits(0x89, b"x" * 100), bits(0x80)]) == [Control(Opcode.PING, b"x" * 100), Mark.TOO_LONG]


def test_fragments_without_content_are_not_collected() -> None:
    reader = FrameReader()
    taken(reader, [bits(0x01, b"ab")])
    kept = reader._fragments
    taken(reader, [bits(0x00) * 10_000])
    assert reader._fragments is kept
    assert bytes(kept or b"") == b"ab"
    assert taken(reader, [bits(0x80, b"c")]) == [b"abc"]


def test_fragments_without_content_after_one_too_long() -> None:
    reader = FrameReader()
    stream = frame(1, b"x" * (MAX_LINE + 1), MASK)
    stream = bytes([stream[0] & 0x7F]) + stream[1:]
    assert taken(reader, [stream, bits(0x00) * 10_000]) == []
    assert reader._fragments is None
    assert taken(reader, [bits(0x80), bits(0x81, b"next")]) == [Mark.TOO_LONG, b"next"]


@given(st.binary(max_size=120), st.data())
def test_noise_is_read_or_refused_the_same_way_in_any_cut(noise: bytes, data: st.DataObject) -> None:
    assert outcome([noise]) == outcome(single_bytes(noise)) == outcome(data.draw(cuts(noise)))


# Close codes: RFC 6455, 7.4, and the registry of IANA.


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999])
def test_codes_that_may_be_sent(code: int) -> None:
    assert close_code(struct.pack("!H", code) + "adiós".encode()) == code


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_codes_that_may_not_be_sent(code: int) -> None:
    with pytest.raises(WebSocketError) as raised:
        close_code(struct.pack("!H", code))
    assert raised.value.code == 1002


def test_close_frames_without_a_code_half_a_code_and_a_broken_reason() -> None:
    assert close_code(b"") == 1005
    with pytest.raises(WebSocketError) as raised:
        close_code(b"\x03")
    assert raised.value.code == 1002
    with pytest.raises(WebSocketError) as raised:
        close_code(b"\x03\xe8\xff")
    assert raised.value.code == 1007


@given(st.text(max_size=200))
@example("x" * 122 + "é")
def test_a_close_frame_fits_and_its_reason_is_whole_characters(reason: str) -> None:
    reason = reason.encode("utf-8", "ignore").decode()
    [control] = taken(FrameReader(server=False), [close_frame(1001, reason)])
    assert isinstance(control, Control)
    assert len(control.payload) <= 125
    assert close_code(control.payload) == 1001
    assert reason.startswith(control.payload[2:].decode())
    assert close_frame(1005) == b"\x88\x00"
