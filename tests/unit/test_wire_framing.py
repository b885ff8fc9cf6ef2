"""Lines of a stream: the same however it is cut, and never more of it in memory than one line."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from causerie.wire.framing import MAX_LINE, MAX_SKIP, LineFramer, Mark
from tests.unit.pieces import cuts, single_bytes, taken


class Small(LineFramer):
    """Small enough that hypothesis meets its limits."""

    __slots__ = ()
    limit = 4
    skip = 9


streams = st.lists(st.sampled_from([b"\n", b"\r", b"a", b"bb", b"ccc", b"\xff", b"x" * 7])).map(b"".join)


def lines_of(stream: bytes, limit: int, skip: int) -> tuple[list[bytes | Mark], bool]:
    """What is to be taken of a stream, and whether a line of it went past `skip`: the definition, not the way."""
    *whole, rest = stream.split(b"\n")
    found: list[bytes | Mark] = []
    for line in whole:
        text = line.removesuffix(b"\r")
        found.append(text if len(text) <= limit else Mark.TOO_LONG)
    if len(rest) > limit + rest.endswith(b"\r") or len(rest) > limit + 1:
        found.append(Mark.TOO_LONG)
    long = [line for line in whole if len(line.removesuffix(b"\r")) > limit]
    return found, any(len(line) > skip for line in [*long, rest])


def taken_whole(framer: LineFramer, pieces: list[bytes]) -> list[bytes | Mark]:
    """As a gateway takes them: in one step where a piece is a line and nothing else."""
    found: list[bytes | Mark] = []
    for piece in pieces:
        line = framer.whole(piece)
        found += [line] if line is not None else taken(framer, [piece])
    return found


@given(streams, st.data())
@example(b"abcd\r\n", None)
@example(b"abcd\r\r\n", None)
@example(b"abcde\n", None)
@example(b"abcdefghi\nok\n", None)
@example(b"abcdefghij\nok\n", None)
def test_any_cut_gives_the_same_lines(stream: bytes, data: st.DataObject | None) -> None:
    wanted = lines_of(stream, Small.limit, Small.skip)
    pieces = [[stream], single_bytes(stream)]
    pieces += [data.draw(cuts(stream))] if data is not None else []
    for each in pieces:
        framer = Small()
        assert (taken(framer, each), framer.endless) == wanted
        framer = Small()
        assert (taken_whole(framer, each), framer.endless) == wanted
        assert framer.received == len(stream)


@given(streams, st.data())
def test_lines_left_for_later_are_the_same(stream: bytes, data: st.DataObject) -> None:
    framer = Small()
    for piece in data.draw(cuts(stream)):
        framer.feed(piece)
    assert taken(framer, [b""]) == lines_of(stream, Small.limit, Small.skip)[0]


@given(streams, st.data())
def test_what_is_kept_is_bounded_and_the_stream_is_accounted_for(stream: bytes, data: st.DataObject) -> None:
    framer = Small()
    fed = 0
    for piece in data.draw(cuts(stream)):
        taken(framer, [piece])
        fed += len(piece)
        assert framer.waiting <= Small.limit + 1
        assert framer.received == fed
        assert framer.consumed == fed - framer.waiting


def test_a_line_alone_is_taken_in_one_step() -> None:
    framer = LineFramer()
    assert [framer.whole(piece) for piece in (b"", b"a", b"a\nb\n", b"\n", b"a\r\n")] == [None, None, None, b"", b"a"]
    assert framer.consumed == 4
    framer.feed(b"be")
    assert framer.whole(b"gun\n") is None
    assert taken(framer, [b"gun\n"]) == [b"begun"]


def test_consumed_is_the_end_of_the_last_line_taken() -> None:
    framer = LineFramer()
    framer.feed(b"one\r\ntwo\nthree")
    places = []
    while framer.take() is not None:
        places.append(framer.consumed)
    assert places == [5, 9]
    assert framer.received == 14


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_limit_is_16_kib_without_the_end(end: bytes) -> None:
    framer = LineFramer()
    line = b"x" * (16 * 1024)
    assert taken(framer, [line + end]) == [line]
    assert taken(framer, [line + b"x" + end, b"next" + end]) == [Mark.TOO_LONG, b"next"]
    assert not framer.endless


def test_a_line_past_1_mib_is_said_at_once_and_never_kept() -> None:
    framer = LineFramer()
    marks = []
    for _ in range(MAX_SKIP // 4096):
        marks += taken(framer, [b"x" * 4096])
        assert framer.waiting <= MAX_LINE
    assert marks == [Mark.TOO_LONG]
    assert not framer.endless
    assert taken(framer, [b"x"]) == []
    assert framer.endless
    assert taken(framer, [b"\nnext\n"]) == [b"next"]
