"""The table of commands: name, spellings, arguments, who may, help and handler of each stand together.

`@command` enters a handler; `check_complete` (run when the package is imported) refuses a table with a gap.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import msgspec

from causerie.commands.arguments import Argument
from causerie.errors import Goodbye
from causerie.model import Position, Session

if TYPE_CHECKING:
    from causerie.service import Service


class Role(Enum):
    """Who may give a command. A moderator's rights hold in that room; an admin's everywhere."""

    EVERYBODY = "everybody"
    MODERATOR = "a room's moderators, in that room"
    ADMIN = "admins"


class Say(msgspec.Struct, frozen=True):
    """A line that posts: `to` is one room, or one or more `@nick`, in their stored forms."""

    to: list[str]
    body: str
    kind: str = "message"


@dataclass(frozen=True, slots=True)
class Call:
    """A command with its arguments read, not yet allowed or done."""

    name: str
    args: dict[str, Any]


@dataclass(slots=True)
class Actor:
    """Who asks. The console and REST are admins without a `session`; `current` is the current room.

    `cookie` is the one that the asking connection came with.
    """

    session: Session | None
    admin: bool
    address: str
    name: str
    current: str
    cookie: str = ""

    @classmethod
    def of(cls, session: Session, current: str, cookie: str = "", address: str = "") -> Actor:
        """The person at a connection."""
        return cls(session, session.admin, address, session.nick, current, cookie)

    @classmethod
    def operator(cls, name: str, address: str = "") -> Actor:
        """An admin without a session: `console` or `rest`, say."""
        return cls(None, True, address, name, "#lobby")


@dataclass(slots=True)
class Reply:
    """The answer to a command, and what the gateway does with it after writing it.

    `joined`/`left` attach and detach the asking connection; `current` is its new current room; `admin` and
    `heartbeat` change it; `cookie` is a new secret to show to it alone; `goodbye` ends it.
    """

    text: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    joined: tuple[str, Position] | None = None
    left: str | None = None
    goodbye: Goodbye | None = None
    current: str | None = None
    admin: bool | None = None
    heartbeat: bool | None = None
    cookie: str | None = None


@dataclass(slots=True)
class Context:
    """What a handler gets: who asks, with which arguments, and the service that decides and does."""

    service: Service
    actor: Actor
    args: dict[str, Any]
    id: int | None = None
    """The id that the actor's device gave the command, if any: what is posted under it is posted once."""


Handler = Callable[[Context], Awaitable[Reply]]
Posting = Callable[[dict[str, Any], str], Say]


@dataclass(frozen=True, slots=True)
class Command:
    """One line of the table."""

    name: str
    arguments: tuple[Argument, ...]
    help: str
    handler: Handler | None
    posting: Posting | None = None
    """For a command that posts: what it says, given its arguments and the current room (no handler then)."""
    role: Role = Role.EVERYBODY
    aliases: tuple[str, ...] = ()
    suspended: bool = False
    """Whether a suspended person may use it: only where nobody else sees anything of it."""
    cost: int = 0
    """As how many messages it counts for the rate limit."""
    hint: str = ""
    """What to say beside the usage to somebody who did not get it right."""

    @property
    def usage(self) -> str:
        """The command as one would type it, optional arguments in brackets."""
        return " ".join([f"!{self.name}", *(argument.usage for argument in self.arguments)])

    @property
    def reminder(self) -> str:
        """The usage for somebody who did not get it right."""
        return f"{self.usage} ({self.hint})" if self.hint else self.usage


COMMANDS: Final[dict[str, Command]] = {}
SPELLINGS: Final[dict[str, Command]] = {}


def enter(entry: Command) -> None:
    """Put a command into the table. A spelling taken twice is a mistake of the program."""
    for spelling in (entry.name, *entry.aliases):
        if spelling in SPELLINGS:
            raise ValueError(f"two commands are called !{spelling}")
        SPELLINGS[spelling] = entry
    COMMANDS[entry.name] = entry


def command(
    name: str,
    *arguments: Argument,
    role: Role = Role.EVERYBODY,
    aliases: tuple[str, ...] = (),
    suspended: bool = False,
    cost: int = 0,
    hint: str = "",
) -> Callable[[Handler], Handler]:
    """Enter the decorated handler; its docstring is the help that people read."""

    def decorate(handler: Handler) -> Handler:
        enter(Command(name, arguments, _help(handler), handler, None, role, aliases, suspended, cost, hint))
        return handler

    return decorate


def posts(name: str, *arguments: Argument) -> Callable[[Posting], Posting]:
    """Enter a command that only posts: the decorated pure function says what; it goes the way of a `send`."""

    def decorate(posting: Posting) -> Posting:
        enter(Command(name, arguments, _help(posting), None, posting))
        return posting

    return decorate


def check_complete() -> None:
    """Refuse a table in which a command lacks its help or its arguments cannot be told apart."""
    for entry in COMMANDS.values():
        if not entry.help:
            raise RuntimeError(f"!{entry.name} has no help: write the docstring of its handler")
        if any(argument.rest for argument in entry.arguments[:-1]):
            raise RuntimeError(f"!{entry.name}: only the last argument can take the rest of the line")


def _help(function: Callable[..., object]) -> str:
    return " ".join((function.__doc__ or "").split())
