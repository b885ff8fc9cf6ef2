"""The values that everybody passes around; none of them does anything."""

from __future__ import annotations

import random
import secrets
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from causerie.errors import Goodbye, Refused


class Position(NamedTuple):
    """A place in a log: the message `seq` of the numbering `epoch`; `mid` is "" where it is not known."""

    epoch: str
    seq: int
    mid: str = ""


class Origin(NamedTuple):
    """Who writes: a device of a session, with the generation of its latest attach (the fence)."""

    sid: str
    device: str
    gen: int


class Post(msgspec.Struct, frozen=True):
    """One message for a room. `origin` None is the system (or an operator's bot): no membership, no
    sanctions.

    `extra` holds further JSON members for the event, each with its leading comma. `key` (with any `id`) makes
    the post repeatable for a day, as an Idempotency-Key does; a post without an origin has no other way.
    """

    origin: Origin | None
    nick: str
    id: int | None
    kind: str
    body: str
    mid: str
    extra: bytes = b""
    key: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """What became of one message: its seq, or why it was not posted. `mid` is the first one's where a `key`
    was repeated.
    """

    seq: int
    duplicate: bool = False
    error: Refused | Goodbye | None = None
    mid: str = ""


class Entry(NamedTuple):
    """A kept message; `line` is its JSON event with the newline that ends it."""

    seq: int
    mid: str
    line: bytes


class Chunk(NamedTuple):
    """A piece of a log and where the log stood at that moment; `first` is the lowest kept seq (head + 1:
    none).
    """

    head: Position
    first: int
    entries: list[Entry]


class Member(msgspec.Struct):
    """A person in lists: state `online`, `away` or `crashed`; flags `suspended`, `dead`, `moderator`."""

    nick: str
    state: str
    flags: list[str]


@dataclass(slots=True)
class Session:
    """One device of a session, attached to this gateway."""

    sid: str
    nick: str
    device: str
    gen: int
    version: int
    admin: bool = False
    origin: Origin = field(init=False, repr=False)
    """Who writes, for the store."""

    def __post_init__(self) -> None:
        self.origin = Origin(self.sid, self.device, self.gen)


@dataclass(slots=True)
class Attached:
    """What a device finds when it comes (back). `positions` are those saved for it (text and IRC), `@`
    included.
    """

    session: Session
    inbox: Position
    rooms: list[str]
    positions: dict[str, Position]
    current: str
    suspended: float | None = 0.0
    """End of a suspension of the whole chat (Unix seconds, None endless, 0.0 none)."""
    resumed: bool = True
    new: bool = False
    held: bool = False
    """Whether an older connection of the device may still stand somewhere."""
    told: bool = False
    """Whether every room had heard of its state."""


@dataclass(slots=True)
class Joined:
    """A room just joined; what follows has a seq above `head.seq`."""

    room: str
    head: Position
    created: bool
    already: bool


class Sanction(msgspec.Struct, omit_defaults=False):
    """A ban or suspension; `until` in Unix seconds, None while nobody forgives."""

    subject: str
    until: float | None
    reason: str
    by: str
    ts: float


class AuditEntry(msgspec.Struct):
    """One line of the audit log."""

    id: str
    ts: float
    who: str
    what: str
    whom: str
    why: str
    until: float | None
    room: str = ""
    """Where it holds; "" for the whole chat."""


@dataclass(slots=True)
class SessionInfo:
    """A session as operators see it."""

    sid: str
    nick: str
    state: str
    flags: list[str] = field(default_factory=list)
    since: float = 0.0
    created: float = 0.0
    address: str = ""
    devices: list[str] = field(default_factory=list)
    rooms: list[str] = field(default_factory=list)


class RoomInfo(msgspec.Struct):
    """A room as operators see it."""

    room: str
    members: int
    seq: int
    epoch: str
    topic: str
    created: float


def token() -> str:
    """A secret of 256 bits, base64url."""
    return secrets.token_urlsafe(32)


def new_sid() -> str:
    """The random id of a new session (120 bits)."""
    return secrets.token_urlsafe(15)


def new_epoch() -> str:
    """The random name of a new numbering (72 bits); no secret, and most are made in vain."""
    return f"{random.getrandbits(72):x}"  # Python seeds it anew after a fork


class Mids:
    """Message ids unique in the whole chat: a random prefix for this process and a counter."""

    __slots__ = ("_count", "_prefix")

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(8)
        self._count = 0

    def next(self) -> str:
        """The next id: 17 characters or a few more."""
        self._count += 1
        return f"{self._prefix}{self._count:x}"


JsonDict = dict[str, Any]
