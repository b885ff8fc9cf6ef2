"""What a gateway keeps of a room in memory (gateway/channel.py): whoever stands at one place gets the same bytes."""

import pytest

from causerie.model import Position
from gateway.batch import PART, Batch, Dialect, encoded
from gateway.channel import Kept, Room


def _room(*batches: Batch, messages: int = 512, size: int = 256 * 1024) -> Room:
    room = Room("#r", Kept(messages, size))
    room.stand_at(Position("e", batches[0].first - 1, ""))
    for batch in batches:
        room.append(batch)
    return room


def _batch(first: int, count: int = 1, size: int = 10) -> Batch:
    seqs = range(first, first + count)
    return Batch(first, [f"m{seq}" for seq in seqs], b"".join([b"%0*d\n" % (size, seq) for seq in seqs]))


def _seqs(batch: Batch | None) -> list[int]:
    assert batch is not None
    assert [f"m{int(line)}" for line in batch.lines.split()] == batch.mids
    assert len(batch.mids) == batch.last - batch.first + 1
    return [int(line) for line in batch.lines.split()]


def test_thousands_at_one_place_share_one_batch() -> None:
    room = _room(*map(_batch, range(1, 101)))
    before = encoded.count
    served = {room.kept_after(0) for _ in range(1000)}
    assert [_seqs(batch) for batch in served] == [list(range(1, 101))]
    assert {batch.form(Dialect.JSON_FRAMES) for batch in served if batch} and encoded.count == before + 1


@pytest.mark.parametrize("after", [0, 1, 7, 96, 98, 99])
def test_from_any_place(after: int) -> None:
    room = _room(*(_batch(first, 3) for first in range(1, 100, 3)))
    room.kept_after(4)
    seqs = []
    while len(seqs) < 99 - after:
        seqs += _seqs(room.kept_after(after + len(seqs)))
    assert seqs == list(range(after + 1, 100))
    assert room.kept_after(99) is None


def test_joined_is_bounded() -> None:
    room = _room(*(_batch(seq, size=1000) for seq in range(1, 101)))
    batch = room.kept_after(0)
    assert batch is not None
    assert PART / 2 < len(batch.lines) <= PART


def test_nothing_that_was_cut_or_trimmed_is_served() -> None:
    room = _room(*map(_batch, range(1, 11)), messages=20)
    assert _seqs(room.kept_after(0)) == list(range(1, 11))
    room.cut(Position("f", 5, "m5"))
    assert _seqs(room.kept_after(0)) == list(range(1, 6))
    for seq in range(6, 31):
        room.append(_batch(seq))
    assert room.kept_after(0) is None, "more than the bounds allow"
    assert _seqs(room.kept_after(20)) == list(range(21, 31))
