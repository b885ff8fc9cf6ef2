"""What goes in and out, for checking and for OpenAPI. Times are Unix seconds."""

# Annotations stay real objects here: pydantic reads them.

from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from causerie import names
from causerie.commands import arguments


def _text(read: Callable[[str], Any]) -> BeforeValidator:
    """Read a text as everybody's is read; what is no text is left for pydantic to refuse."""
    return BeforeValidator(lambda value: read(value) if isinstance(value, str) else value)


_LASTING: dict[str, Any] = {
    "anyOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}],
    "examples": ["10m"],
    "description": "`90s`, `10m`, `2h`, `7d` or seconds; null or left out: until forgiven",
}

Nick = Annotated[str, _text(names.nick), Field(examples=["bob"])]
Subject = Annotated[
    str, _text(arguments.subject), Field(examples=["bob"], description="a nick, an address or a network")
]
Lasting = Annotated[
    float | None,
    BeforeValidator(lambda value: None if value is None else arguments.lasting(value)),
    WithJsonSchema(_LASTING),
]
Grace = Annotated[
    float, BeforeValidator(arguments.grace), WithJsonSchema({"type": "number", "examples": [5], "default": 0})
]
Reason = Annotated[str, _text(names.line), Field(examples=["spam"])]
Body = Annotated[str, _text(names.body), Field(examples=["hi"], description="at most 4 KiB of UTF-8, not blank")]
State = Literal["online", "away", "crashed"]

Cursor = Annotated[str | None, Query(description="`next` of the page before", max_length=200)]
SessionCursor = Annotated[
    str | None, Query(description="`next` of the page before", pattern=r"^[0-9]{1,2}\.[A-Za-z0-9_-]{0,64}$")
]
AuditId = Annotated[
    str | None, Query(description="only lines older than this id", pattern=r"^[0-9]{1,15}(-[0-9]{1,15})?$")
]
Limit = Annotated[int, Query(ge=1, le=1000)]

Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """A part of a list; `next` is the cursor of the rest, null at the end."""

    items: list[Item]
    next: str | None


class SessionItem(BaseModel):
    """A session: one person's presence."""

    session: str = Field(validation_alias="sid")
    nick: str
    state: State
    flags: list[str] = Field(description="`suspended`, `dead`, `admin`")
    since: float = Field(description="when it came into this state")
    created: float
    address: str
    devices: list[str]
    rooms: list[str]


class RoomItem(BaseModel):
    """A room; `seq` and `epoch` are those of its newest message."""

    room: str
    members: int
    topic: str
    epoch: str
    seq: int
    created: float


class MemberItem(BaseModel):
    """A person in a room."""

    nick: str
    state: State
    flags: list[str]


class RoomDetail(RoomItem):
    """A room with its people (the first thousand)."""

    people: list[MemberItem]


class MessageItem(BaseModel):
    """A kept message, as every client gets it."""

    model_config = ConfigDict(extra="allow")

    in_: str = Field(alias="in", examples=["#lobby"])
    seq: int
    from_: str = Field(alias="from", examples=["bob"])
    body: str
    mid: str
    ts: float
    kind: str


class NewMessage(BaseModel):
    """A message of a bot."""

    body: Body
    from_: Nick = Field("bot", alias="from", description="a nick that no session has")


class PostedItem(BaseModel):
    """Where a message is; `duplicate` when this Idempotency-Key had already posted it."""

    room: str
    seq: int
    mid: str
    duplicate: bool


class SanctionItem(BaseModel):
    """A suspension; `until` null: until forgiven."""

    nick: str = Field(validation_alias="subject")
    until: float | None
    reason: str
    by: str
    ts: float


class BanItem(BaseModel):
    """A ban; `until` null: until forgiven."""

    subject: str
    until: float | None
    reason: str
    by: str
    ts: float


class NewBan(BaseModel):
    """Whom to ban, and for how long."""

    subject: Subject
    duration: Lasting = None
    reason: Reason = ""


class NewSuspension(BaseModel):
    """Whom to suspend, and for how long."""

    nick: Nick
    duration: Lasting = None
    reason: Reason = ""


class NewForgiveness(BaseModel):
    """Whom to forgive."""

    nick: Subject


class Forgiven(BaseModel):
    """What was lifted: `ban`, `suspend`, both or nothing."""

    nick: str
    lifted: list[str]


class NewAnnouncement(BaseModel):
    """What to tell everybody."""

    body: Body


class Announced(PostedItem):
    """The announcement in #lobby; `rooms` are all that got it."""

    rooms: list[str]


class NewShutdown(BaseModel):
    """When every gateway that runs now stops, in seconds from now."""

    grace: Grace = 0.0
    reason: Reason = ""


class AuditItem(BaseModel):
    """A line of the audit log."""

    id: str
    ts: float
    who: str
    what: str
    whom: str
    why: str
    until: float | None
    room: str = Field(description='where it holds; "" for the whole chat')
