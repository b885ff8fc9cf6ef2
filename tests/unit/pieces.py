"""Streams of bytes cut into pieces, for whatever reads them."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from hypothesis import strategies as st


class Framer(Protocol):
    """What takes items out of a stream."""

    def feed(self, data: bytes) -> None: ...
    def take(self) -> Any: ...


def cuts(stream: bytes, most: int = 12) -> st.SearchStrategy[list[bytes]]:
    """The stream in pieces, in any of its many ways."""
    places = st.lists(st.integers(0, len(stream)), max_size=most, unique=True).map(sorted)
    return places.map(lambda at: [stream[a:b] for a, b in zip([0, *at], [*at, len(stream)], strict=True)])


def single_bytes(stream: bytes) -> list[bytes]:
    """The stream byte by byte."""
    return [stream[i : i + 1] for i in range(len(stream))]


def taken(framer: Framer, pieces: Sequence[bytes]) -> list[Any]:
    """All items, taken as soon as they can be."""
    return [item for piece in pieces for item in taken_after(framer, piece)]


def taken_after(framer: Framer, piece: bytes) -> Iterator[Any]:
    """The items that can be taken after one more piece."""
    framer.feed(piece)
    while (item := framer.take()) is not None:
        yield item
