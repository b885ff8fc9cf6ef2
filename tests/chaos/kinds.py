"""The kinds of faults. Each is a function in `faults/`, registered under its name; it does something and heals it."""

import random
import re
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tests.chaos.rig import Rig

Deed = Callable[[Rig, random.Random], Awaitable[None]]


class Kind(NamedTuple):
    """One kind of fault."""

    name: str
    weight: float
    """How often it is chosen, against the others."""
    loses: bool
    """It takes acknowledged messages from the store, or breaks a numbering."""
    on: str
    """Only on a `single` store, or on a `pair`; "": on both."""
    alone: bool
    """It has the store for itself: nothing happens while another such fault is under way."""
    deed: Deed


KINDS: dict[str, Kind] = {}


def fault(weight: float, *, loses: bool = False, on: str = "", alone: bool = False) -> Callable[[Deed], Deed]:
    """Register a kind of fault under its function's name."""

    def register(deed: Deed) -> Deed:
        KINDS[deed.__name__] = Kind(deed.__name__, weight, loses, on, alone, deed)
        return deed

    return register


def choose(pattern: str, *, on: str, lossy: bool) -> list[Kind]:
    """The kinds whose names match, without those that lose messages unless they are wanted."""
    return [
        kind
        for name, kind in KINDS.items()
        if re.fullmatch(pattern, name) and kind.on in ("", on) and (lossy or not kind.loses)
    ]
