"""Durations and sizes, docs/protocol.md "Programs": `90s`, `10m`, `2h`, `7d`; sizes in bytes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causerie.units import duration, format_duration, format_size, size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("2h", 7200),
        ("7d", 604_800),
        ("0", 0),
        ("1.5", 1.5),
        (" 5 s ", 5),
        (0.25, 0.25),
    ],
)
def test_duration(text: str | float, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "10 minutes",
        "-1",
        "-1s",
        "1h30m",
        "10M",
        "1e3",
        "٣s",
        "nan",
        "inf",
        "9" * 400,
        math.nan,
        math.inf,
        -0.1,
        True,
        "36501d",
        "1_0",
    ],
)
def test_no_duration(text: str | float) -> None:
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z"):
        duration(text)


@given(st.integers(0, 100 * 365 * 86400))
def test_a_formatted_duration_reads_back(seconds: int) -> None:
    assert duration(format_duration(seconds)) == seconds


def test_format_is_short() -> None:
    assert [format_duration(s) for s in (0, 61, 600, 86400, 5400, 1.5)] == [
        "0s",
        "61s",
        "10m",
        "1d",
        "90m",
        "1.5s",
    ]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1MiB", 2**20),
        ("16 KiB", 16384),
        ("1M", 2**20),
        (5, 5),
        ("7", 7),
        ("0.5K", 512),
        ("2G", 2**31),
        ("8B", 8),
    ],
)
def test_size(text: str | int, number: int) -> None:
    assert size(text) == number


@pytest.mark.parametrize("text", ["", "MiB", "1MB", "1.5", "-1", "0.3K", math.inf, False, "1 mib"])
def test_no_size(text: str | float) -> None:
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z"):
        size(text)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (2**30, "1 GiB"), (2**52, "4096 TiB")],
)
def test_sizes_for_people(number: int, text: str) -> None:
    assert format_size(number) == text
