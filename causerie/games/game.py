"""What a game is: values that happen to it, values that it asks for, and the pure rules between the two.

Nothing here or in a game knows a loop, a store or a clock. `causerie.referee` plays games over rooms.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Final, Generic, NamedTuple, TypeVar

import msgspec

from causerie.errors import Refused

Data = Mapping[str, Any]
"""What programs read of a message of a game; it goes out as the member `game` of its event."""


NO_DATA: Final[Data] = MappingProxyType({})


class Player(NamedTuple):
    """A person of the room, by the id that stays the same whatever the nick."""

    id: str
    nick: str


# -- what happens to a game, in the order of the room


class Said(NamedTuple):
    """Somebody wrote in the room; also people who do not play, and those whom the game has counted out."""

    who: str
    nick: str
    text: str


class Left(NamedTuple):
    """Somebody who was there at the start left the room for good; `why`: left, quit, kicked, banned, expired."""

    who: str
    why: str


class Renamed(NamedTuple):
    """One of `Game.nicks` has another nick now."""

    who: str
    nick: str


class Stopped(NamedTuple):
    """A moderator ended the game; `by` is "" when nobody is left in the room. The game answers with `End`."""

    by: str


Event = Said | Left | Renamed | Stopped


# -- what a game asks for


class Tell(NamedTuple):
    """Tell the room."""

    text: str
    data: Data = NO_DATA


class Whisper(NamedTuple):
    """Tell one person, and nobody else."""

    who: str
    text: str
    data: Data = NO_DATA


class Die(NamedTuple):
    """Mark somebody `dead` until the end of the game: reads, and writes nothing."""

    who: str


class Score(NamedTuple):
    """Add to somebody's score in this room."""

    who: str
    nick: str
    wins: int = 0
    kills: int = 0
    deaths: int = 0


class End(NamedTuple):
    """The game is over; nothing happens to it any more."""


Effect = Tell | Whisper | Die | Score | End


class Secret(NamedTuple):
    """One line for `!secrets`, and the same for programs."""

    text: str
    data: Data


S = TypeVar("S", bound=msgspec.Struct)


class Game(ABC, Generic[S]):
    """The rules of one game. A subclass in a file of this folder is all that a new game takes.

    Every method is pure: the same arguments give the same answer, and no argument is changed. What is not in the
    state is forgotten when the next worker goes on.
    """

    name: ClassVar[str]
    """What follows `!start`: one lower-case word."""
    help: ClassVar[str]
    """One sentence for people."""
    state: ClassVar[type[msgspec.Struct]]
    """The class of the state: it is kept as JSON."""
    options: ClassVar[Mapping[str, str]] = {}
    """The names of the options and what each is for."""
    least: ClassVar[int] = 1
    most: ClassVar[int] = 100
    """How many can play. With 0 as `least` nobody is dealt in: whoever is there takes part, `players` is empty."""
    locks: ClassVar[bool] = False
    """Whether newcomers are kept out of the room."""

    @abstractmethod
    def start(self, players: Sequence[Player], options: Mapping[str, str], seed: int) -> tuple[S, Sequence[Effect]]:
        """The first state. All chance comes from `seed`. Raises `Refused` (`bad_request`) for a wrong option."""

    @abstractmethod
    def apply(self, state: S, event: Event) -> tuple[S, Sequence[Effect]]:
        """The state after an event, and what follows from it."""

    def secrets(self, state: S) -> Sequence[Secret]:  # noqa: ARG002 - for those that have some
        """What `!secrets` shows to moderators."""
        return ()

    def nicks(self, state: S) -> Mapping[str, str]:  # noqa: ARG002
        """By id, the nicks that the state holds; `Renamed` says when one changes."""
        return {}


GAMES: Final[dict[str, Game[Any]]] = {}


def game(rules: type[Game[Any]]) -> type[Game[Any]]:
    """Enter the decorated rules into the list of games."""
    if rules.name in GAMES:
        raise ValueError(f"two games are called {rules.name}")
    GAMES[rules.name] = rules()
    return rules


def find(name: str) -> Game[Any]:
    """The game of that name. Raises `Refused` (`bad_request`)."""
    found = GAMES.get(name.casefold())
    if found is None:
        raise Refused("bad_request", f"there is no such game; there are: {', '.join(sorted(GAMES))}")
    return found


_OPTION: Final = re.compile(r"(?:^|(?<=\s))([a-z]+)=")


def read_options(text: str, allowed: Mapping[str, str]) -> dict[str, str]:
    """`words=a, b max=7` as values by name. Raises `Refused` (`bad_request`)."""
    first, *parts = _OPTION.split(text.strip())
    values = {name: value.strip() for name, value in zip(parts[::2], parts[1::2], strict=True)}
    if first.strip() or values.keys() - allowed.keys():
        known = ", ".join(f"{name}= {what}" for name, what in allowed.items())
        raise Refused("bad_request", f"the options of this game are: {known}" if known else "this game has no options")
    return values


def listed(names: Sequence[str], most: int = 25) -> str:
    """`a, b and c`, or the first of them and how many more."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    *head, last = names
    return f"{', '.join(head)} and {last}" if head else last
