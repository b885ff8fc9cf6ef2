"""Ranges of downloads, against RFC 9110, section 14."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rest.ranges import Span, Unsatisfiable, wanted


@pytest.mark.parametrize(
    ("header", "span"),
    [
        (None, None),
        ("", None),
        ("bytes=0-0", Span(0, 1)),
        ("bytes=0-", Span(0, 10)),
        ("bytes=3-5", Span(3, 6)),
        ("bytes=3-99999999999999999", Span(3, 10)),
        ("bytes=-3", Span(7, 10)),
        ("bytes=-30", Span(0, 10)),
        ("Bytes= 3-5 ", Span(3, 6)),
        ("bytes=5-3", None),
        ("bytes=1-2,4-5", None),
        ("bytes=-", None),
        ("bytes=+1-2", None),
        ("bytes=١-٢", None),
        ("lines=1-2", None),
        ("bytes=" + "9" * 30 + "-", None),
    ],
)
def test_of_ten_bytes(header: str | None, span: Span | None) -> None:
    assert wanted(header, 10) == span


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-0", 0), ("bytes=-1", 0)])
def test_behind_the_end(header: str, size: int) -> None:
    with pytest.raises(Unsatisfiable):
        wanted(header, size)


@given(st.integers(0, 2**40), st.integers(0, 2**40), st.integers(1, 2**40))
def test_a_range_lies_within(first: int, last: int, size: int) -> None:
    try:
        span = wanted(f"bytes={first}-{last}", size)
    except Unsatisfiable:
        assert first >= size
        return
    if span is None:
        assert last < first
    else:
        assert 0 <= span.start == first < span.end == min(last + 1, size) <= size


@given(st.text(max_size=30) | st.text("bytes=-0123456789, ", max_size=20), st.integers(0, 100))
def test_nothing_else_comes_out(header: str, size: int) -> None:
    try:
        span = wanted(header, size)
    except Unsatisfiable:
        return
    assert span is None or 0 <= span.start < span.end <= size
