"""The one range of bytes that a download asks for (RFC 9110, section 14)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_ONE: Final = re.compile(r"bytes=[ \t]*(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))[ \t]*", re.IGNORECASE)


class Span(NamedTuple):
    """The bytes from `start` to before `end`."""

    start: int
    end: int


class Unsatisfiable(Exception):
    """The range lies wholly behind the end."""


def wanted(header: str | None, size: int) -> Span | None:
    """What a `Range` header asks for of `size` bytes; None for all of it.

    So it is too for what is no range of bytes or several at once: a server may ignore that (RFC 9110, 14.2).
    Raises `Unsatisfiable`.
    """
    match = _ONE.fullmatch(header or "")
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        if int(suffix) == 0 or size == 0:
            raise Unsatisfiable
        return Span(max(0, size - int(suffix)), size)
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise Unsatisfiable
    return Span(start, min(size, int(last) + 1) if last else size)
