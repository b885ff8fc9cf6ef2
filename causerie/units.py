"""Durations and sizes as people write them."""

import math
import re

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"": 1, "B": 1, "K": 2**10, "KiB": 2**10, "M": 2**20, "MiB": 2**20, "G": 2**30, "GiB": 2**30}
_NUMBER_AND_UNIT = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)")

LONGEST_DURATION = 100 * 365 * 86400.0
"""Seconds. What adds a duration to a time of day stays far from the end of every calendar."""


def duration(value: str | float) -> float:
    """Return a duration in seconds: a number of seconds, or `90s`, `10m`, `2h`, `7d`.

    Raise ValueError, in one line fit for a user, for anything else, below zero or beyond a hundred years.
    """
    seconds = _scaled(value, _SECONDS, f"not a duration (seconds or 90s, 10m, 2h, 7d): {value!r}")
    if seconds > LONGEST_DURATION:
        raise ValueError(f"longer than a hundred years: {value!r}")
    return seconds


def format_duration(seconds: float) -> str:
    """Return the shortest exact spelling that `duration` reads back: 600 is `10m`, 61 is `61s`."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % length == 0:
            return f"{int(seconds // length)}{unit}"
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


def size(value: str | float) -> int:
    """Return a size in bytes: a whole number of bytes, or `16 KiB`, `1M`, `2 GiB` (powers of 1024).

    Raise ValueError, in one line fit for a user, for anything else or below zero.
    """
    problem = f"not a size (bytes or 16 KiB, 1M, 2 GiB): {value!r}"
    number = _scaled(value, _BYTES, problem)
    if number != int(number):
        raise ValueError(problem)
    return int(number)


def format_size(number: int) -> str:
    """Return a size for people, in powers of 1024: `512 B`, `1.2 MiB`, `16 KiB`."""
    value, unit = float(number), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"


def _scaled(value: str | float, factors: dict[str, int], problem: str) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(problem)
    if isinstance(value, str):
        match = _NUMBER_AND_UNIT.fullmatch(value.strip())
        if match is None or match[2] not in factors:
            raise ValueError(problem)
        number = float(match[1]) * factors[match[2]]
    else:
        number = float(value)
    if not math.isfinite(number) or number < 0:
        raise ValueError(problem)
    return number
