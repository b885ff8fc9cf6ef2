"""The kinds of arguments that commands take: how each is recognised, read and shown in a usage line.

Reading is pure and raises `Refused` with the code that the client sees.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from causerie import names
from causerie.errors import Refused
from causerie.units import duration

_LIKE_A_DURATION = re.compile(r"[+-]?[0-9][0-9.]*[A-Za-z]{0,12}")


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument: `name` is its key in `Call.args`.

    `read` turns a word into the value. An optional argument takes a word only if `looks` says that it is one;
    otherwise it gets `default` and the word is left for the next argument.
    """

    name: str
    read: Callable[[str], Any]
    example: str
    looks: Callable[[str], bool] = lambda _word: True
    optional: bool = False
    default: Any = None
    people: bool = False
    """Takes the nicks before the command (`@bob !ban`), else all words with `@`, else one word; a list."""
    rest: bool = False
    """Takes all that is left of the line."""
    label: str = ""

    @property
    def usage(self) -> str:
        """How a usage line shows it."""
        shown = self.label or self.name
        return f"[{shown}]" if self.optional else shown

    def maybe(self, default: Any = None) -> Argument:
        """The same argument where it may be left out."""
        return replace(self, optional=True, default=default)


def _nick(word: str) -> str:
    return names.nick(word.removeprefix("@"))


def subject(word: str) -> str:
    """The stored form of what can be banned: a nick, an address or a network."""
    word = word.removeprefix("@")
    network = names.network(word)
    return names.nick(word) if network is None else names.subject(network)


def grace(value: str | float) -> float:
    """A duration in seconds that may be nothing."""
    try:
        return duration(value)
    except ValueError as error:
        raise Refused("bad_request", str(error)) from None


def lasting(value: str | float) -> float:
    """How long a sanction lasts, in seconds."""
    seconds = grace(value)
    if seconds <= 0:
        raise Refused("bad_request", "a duration of nothing: give none for an endless one, or 90s, 10m, 2h, 7d")
    return seconds


def _count(word: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", word) or int(word) < 1:
        raise Refused("bad_request", f"{names.printable(word)!r:.40} is no number from 1 up")
    return int(word)


def _plain(word: str) -> str:
    return word


FILE_HINT = "`causerie chat` does it for you; programs: docs/files.md"
"""What a person is told who cannot send bytes here."""


def _size(word: str) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", word):
        raise Refused("bad_request", f"bytes do not fit through this line: {FILE_HINT}")
    return int(word)


def _sha256(word: str) -> str:
    if not re.fullmatch(r"[0-9A-Fa-f]{64}", word):
        raise Refused("bad_request", f"not the SHA-256 of a file in hexadecimal: {FILE_HINT}")
    return word.lower()


def choice(name: str, *options: str) -> Argument:
    """An argument that is one of a few words."""

    def read(word: str) -> str:
        if word.casefold() not in options:
            raise Refused("bad_request", f"say one of: {', '.join(options)}")
        return word.casefold()

    return Argument(name, read, options[0], label="|".join(options))


ROOM = Argument("room", names.room, "#dev", looks=lambda word: word.startswith("#"), label="#room")
NICK = Argument("nick", _nick, "bob")
NEW_NICK = Argument("nick", _nick, "robert", label="NEW")
PEOPLE = Argument("people", _nick, "bob", people=True, label="nick")
SUBJECTS = Argument("people", subject, "bob", people=True, label="nick|address|cidr")
DURATION = Argument(
    "duration", lasting, "10m", looks=lambda word: bool(_LIKE_A_DURATION.fullmatch(word)), optional=True
)
GRACE = Argument("seconds", grace, "5", looks=DURATION.looks, optional=True)
COUNT = Argument("n", _count, "20", optional=True)
WORD = Argument("word", _plain, "ban", optional=True, label="cmd")
TEXT = Argument("text", _plain, "any words", rest=True, default="")
FILE = Argument("file", _plain, "0123456789abcdef0123456789abcdef", label="ID")
FILE_SIZE = Argument("size", _size, "1024", label="SIZE")
SHA256 = Argument("sha256", _sha256, "0" * 64, label="SHA256")
FILE_NAME = Argument("name", _plain, "report.pdf", rest=True, label="NAME")
REASON = Argument("reason", _plain, "spam", rest=True, optional=True, default="")


def secret(label: str) -> Argument:
    """A cookie or token: one word that no answer repeats."""
    return Argument("secret", _plain, "0123456789abcdef", label=label)


def read(arguments: Sequence[Argument], usage: str, rest: str, about: Sequence[str]) -> dict[str, Any]:
    """The values of a command's arguments from what follows its name; `about` are the words before it.

    Raises `Refused` with `usage` where something is missing or left over.
    """
    values: dict[str, Any] = {}
    waiting = list(about)
    for argument in arguments:
        taken: list[str]
        if argument.people:
            taken, rest = (waiting, rest) if waiting else _people(rest)
            waiting = []
            if not taken:
                raise Refused("bad_request", f"usage: {usage}")
            values[argument.name] = list(dict.fromkeys(map(argument.read, taken)))
            continue
        word, after = (rest.strip(), "") if argument.rest else split(rest)
        if word and (not argument.optional or argument.looks(word)):
            values[argument.name] = argument.read(word)
            rest = after
        elif argument.optional:
            values[argument.name] = argument.default
        else:
            raise Refused("bad_request", f"usage: {usage}")
    if waiting:
        raise Refused("bad_request", f"this command is not about people; usage: {usage}")
    if rest.strip():
        raise Refused("bad_request", f"too much after the command; usage: {usage}")
    return values


def split(text: str) -> tuple[str, str]:
    """The first word and what follows it; both "" when there is none."""
    words = text.split(None, 1)
    return words[0] if words else "", words[1] if len(words) > 1 else ""


def _people(rest: str) -> tuple[list[str], str]:
    found: list[str] = []
    word, after = split(rest)
    while word.startswith("@"):
        found.append(word)
        rest = after
        word, after = split(rest)
    if not found and word:
        return [word], after
    return found, rest
