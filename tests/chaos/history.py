"""What happened in a run, as values: written by the clients and the nemesis, judged by the checker.

`who` is a device (`p3`, `p3/b`), `log` a room (`#r1`) or `@`, the inbox of that device's session. Times are seconds
since the run began. Every body is unique, so a body names a message whatever number or mid it was given.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec


class Place(NamedTuple):
    """A position as a client keeps it."""

    epoch: str
    seq: int
    mid: str = ""


class Standing(msgspec.Struct, omit_defaults=True):
    """What `welcome` says of one log."""

    epoch: str = ""
    seq: int = 0
    recovered: bool | None = None
    whole_from: int | None = None
    error: str = ""


class Record(msgspec.Struct, tag_field="is", kw_only=True, omit_defaults=True):
    """Something that happened to somebody at some time."""

    t: float
    who: str


class Hello(Record, tag="hello"):
    resume: dict[str, Place]
    gate: str = ""


class Welcome(Record, tag="welcome"):
    session: str
    resumed: bool
    rooms: dict[str, Standing]


class Refused(Record, tag="refused"):
    """A hello was refused for good (`bad_cookie`)."""

    code: str


class Lost(Record, tag="lost"):
    """The connection ended; `why` is the code of a `bye`, or what the client saw."""

    why: str


class Joined(Record, tag="joined"):
    log: str
    epoch: str
    seq: int


class Message(Record, tag="message"):
    log: str
    seq: int
    mid: str
    body: str
    sender: str = ""


class Reset(Record, tag="reset"):
    log: str
    epoch: str
    seq: int


class Presence(Record, tag="presence"):
    log: str
    nick: str
    state: str


class Sent(Record, tag="sent"):
    """One try to send. `lane` is the target as the order is promised for it: a room, or `@`; `n` its ordinal there."""

    id: int
    lane: str
    n: int
    body: str
    to: list[str] = []
    """The nicks of a direct message."""
    alone: bool = True
    """Nothing else of this lane was under way."""


class Answer(Record, tag="answer"):
    """An `ack` (code "") or an error for a send."""

    id: int
    lane: str
    body: str
    code: str = ""
    seq: int = 0
    duplicate: bool = False


class Line(Record, tag="line"):
    """A message as a text client sees it, without number."""

    log: str
    body: str


class TextStart(Record, tag="text_start"):
    """A text client is in a room from now on; everything sent later must come."""

    log: str


class TextBack(Record, tag="text_back"):
    """A text client is connected (again); `anew` when its cookie led nowhere."""

    anew: bool = False


class TextTold(Record, tag="text_told"):
    """A text client was told of a loss in a room (`@` for the inbox)."""

    log: str


class Kept(Record, tag="kept"):
    """At the end: a log as `history` gives it to this device; `session` tells inboxes apart."""

    log: str
    session: str
    entries: list[tuple[int, str, str]]
    """(seq, mid, body), rising."""


class Fault(Record, tag="fault"):
    """The nemesis begins something; `until` is when it was healed."""

    name: str
    until: float
    detail: str = ""
    lossy: bool = False
    """Acknowledged messages may be lost, and what one device saw may be undone."""
    outage: bool = False
    """The store itself was away."""
    blinds: list[str] = []
    """Devices (or `*`) whose connection may have been dead meanwhile."""


class Wrong(Record, tag="wrong"):
    """Somebody saw at once that a promise was broken (a shape, an answer given twice, a wrong exit status)."""

    text: str


class End(Record, tag="end"):
    """The calm after the last fault begins."""


AnyRecord = (
    Hello
    | Welcome
    | Refused
    | Lost
    | Joined
    | Message
    | Reset
    | Presence
    | Sent
    | Answer
    | Line
    | TextStart
    | TextBack
    | TextTold
    | Kept
    | Fault
    | Wrong
    | End
)

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AnyRecord)


def save(records: Iterable[Record], path: Path) -> None:
    """Write a history, one record a line."""
    with path.open("wb") as file:
        for record in records:
            file.write(_encoder.encode(record) + b"\n")


def load(path: Path) -> list[AnyRecord]:
    """Read a history."""
    with path.open("rb") as file:
        return [_decoder.decode(line) for line in file]
