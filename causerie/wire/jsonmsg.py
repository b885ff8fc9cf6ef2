"""The JSON protocol: ops of clients and events of the server, one JSON object each.

Values are msgspec structs told apart by `op` and `ev`; unknown members are ignored. `decode_op` raises nothing
but `Violation`, whose `re` is the op's id where it can be told.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from causerie.errors import Goodbye, Refused, Violation

MAX_ID: Final = 2**53 - 1

Id = Annotated[int, msgspec.Meta(ge=1, le=MAX_ID)]
Seq = Annotated[int, msgspec.Meta(ge=0, le=MAX_ID)]


class Place(msgspec.Struct, omit_defaults=True):
    """A position as a client tells it."""

    epoch: str
    seq: Seq
    mid: str | None = None


class _Op(msgspec.Struct, tag_field="op", omit_defaults=True):
    id: Id | None = None


class Hello(_Op, tag="hello"):
    """Start a session, or come back to one."""

    nick: str | None = None
    cookie: str | None = None
    device: str | None = None
    resume: dict[str, Place] | None = None
    password: str | None = None
    admin_token: str | None = None


class Join(_Op, tag="join", kw_only=True):
    """Enter a room."""

    room: str


class Part(_Op, tag="part", kw_only=True):
    """Leave a room."""

    room: str


class Send(_Op, tag="send", kw_only=True):
    """Post to a room, or to people."""

    to: str | list[str]
    body: str
    kind: str = "message"


class History(_Op, tag="history", kw_only=True):
    """Ask for kept messages."""

    of: str
    before: Seq | None = None
    limit: Seq = 50


class Command(_Op, tag="command", kw_only=True):
    """A line that a person could type."""

    line: str


class Pong(_Op, tag="pong"):
    """The answer to a ping."""

    n: int | None = None


class Quit(_Op, tag="quit"):
    """End the session."""


Op = Hello | Join | Part | Send | History | Command | Pong | Quit

_KINDS: Final = frozenset({"message", "action"})
_op_decoder: Final[msgspec.json.Decoder[Op]] = msgspec.json.Decoder(Op)


class _Probe(msgspec.Struct):
    id: Any = None


_probe_decoder: Final = msgspec.json.Decoder(_Probe)
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_FLAT_ID: Final = re.compile(
    rb"\s*\{\s*(?:" + _STRING + rb"\s*:\s*(?:" + _STRING + rb"|[^\s\"\[\]{},]++)\s*,\s*)*?"
    rb'"id"\s*:\s*([1-9][0-9]{0,15})\s*[,}]'
)
"""An id that only strings and plain values precede: for JSON that is broken after it."""


def decode_op(message: bytes) -> Op:
    """The op in a message. Raises `Violation` (`bad_request`)."""
    try:
        op = _op_decoder.decode(message)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise Violation(_complaint(error), re=id_of(message)) from None
    if isinstance(op, Send) and op.kind not in _KINDS:
        raise Violation("kind is message or action", re=op.id)
    return op


def id_of(message: bytes) -> int | None:
    """The id of an op that cannot be read otherwise, if it can be told."""
    try:
        found = _probe_decoder.decode(message).id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError):
        match = _FLAT_ID.match(message)
        found = int(match[1]) if match else None
    return found if type(found) is int and 1 <= found <= MAX_ID else None


def _complaint(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "the JSON is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "the message is not UTF-8"
    # msgspec's messages quote short pieces of the input, never control characters
    return str(error)[:200].encode("utf-8", "replace").decode()


class _Answer(msgspec.Struct, tag_field="ev", kw_only=True):
    re: int | UnsetType = UNSET
    """The id of the op, if it had one."""


class Welcome(_Answer, tag="welcome"):
    """The answer to a hello; `rooms` tells of each room of the session, each room claimed, and `@`."""

    nick: str
    session: str
    cookie: str
    gateway: str
    heartbeat: int | float
    resumed: bool
    rooms: dict[str, Standing]


class Standing(msgspec.Struct):
    """Where a log stands, and what of a claimed position is kept; or why there is nothing to say."""

    epoch: str | UnsetType = UNSET
    seq: int | UnsetType = UNSET
    recovered: bool | UnsetType = UNSET
    whole_from: int | UnsetType = UNSET
    error: str | UnsetType = UNSET


class File(msgspec.Struct, frozen=True):
    """What a message of kind `file` says of the file; `!get ID` says how to have it."""

    id: str
    name: str
    size: int
    type: str
    sha256: str


class Message(msgspec.Struct, tag_field="ev", tag="message"):
    """A kept message of a room or of the inbox `@`."""

    log: str = msgspec.field(name="in")
    seq: int
    sender: str = msgspec.field(name="from")
    body: str
    mid: str
    ts: float
    kind: str = "message"
    to: list[str] | None = None
    file: File | None = None


class Presence(msgspec.Struct, tag_field="ev", tag="presence"):
    """A member came, changed or went; `count` alone in big rooms."""

    room: str = msgspec.field(name="in")
    nick: str | UnsetType = UNSET
    state: str | UnsetType = UNSET
    to: str | UnsetType = UNSET
    count: int | UnsetType = UNSET


class Ack(msgspec.Struct, tag_field="ev", tag="ack"):
    """A message is in the store."""

    re: int
    log: str = msgspec.field(name="in")
    seq: int
    duplicate: bool | UnsetType = UNSET


class Result(_Answer, tag="result"):
    """The answer to an op that posts nothing."""

    text: list[str]
    data: dict[str, Any]


class Error(_Answer, tag="error"):
    """An op refused. `until` null is endless."""

    code: str
    text: str
    until: float | UnsetType | None = UNSET
    retry_after: float | UnsetType = UNSET


class Reset(msgspec.Struct, tag_field="ev", tag="reset"):
    """The numbering of a log broke: what follows has a seq above `seq`, in the epoch named."""

    log: str = msgspec.field(name="in")
    epoch: str
    seq: int


class Ping(msgspec.Struct, tag_field="ev", tag="ping"):
    """To be answered by a pong."""

    n: int


class Bye(msgspec.Struct, tag_field="ev", tag="bye"):
    """The server closes."""

    code: str
    text: str
    retry_after: float | UnsetType = UNSET


Event = Welcome | Message | Presence | Ack | Result | Error | Reset | Ping | Bye

_encoder: Final = msgspec.json.Encoder()
_event_decoder: Final[msgspec.json.Decoder[Event]] = msgspec.json.Decoder(Event)
_message_decoder: Final = msgspec.json.Decoder(Message)


def encode(value: Event | Op) -> bytes:
    """One JSON object without a newline."""
    return _encoder.encode(value)


def decode_event(message: bytes) -> Event:
    """The event in a message of a server. Raises `Violation` (`bad_request`)."""
    try:
        return _event_decoder.decode(message)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise Violation(_complaint(error)) from None


def decode_message(line: bytes) -> Message:
    """A stored message (for those who do not speak JSON)."""
    return _message_decoder.decode(line)


def numbered(re_: int | None) -> int | UnsetType:
    """The `re` of an answer to an op with this id."""
    return UNSET if re_ is None else re_


def error(refused: Refused, re_: int | None) -> Error:
    """The event that tells of a refusal."""
    event = Error(refused.code, refused.text, re=numbered(re_))
    if refused.code in {"suspended", "banned"} or refused.until is not None:
        event.until = refused.until
    if refused.retry_after is not None:
        event.retry_after = round(refused.retry_after, 3)
    return event


def bye(goodbye: Goodbye) -> Bye:
    """The event that ends a connection."""
    event = Bye(goodbye.code, goodbye.text)
    if goodbye.retry_after is not None:
        event.retry_after = round(goodbye.retry_after, 3)
    return event
