"""What happened in a run, as values: written by the clients and the nemesis, judged by the checker.

`who` is a device (`p3`, `p3/b`), `log` a room (`#r1`) or `@`, the inbox of that device's session. Times are seconds
since the run began; a history is in the order in which things were seen to happen. Every body is unique, so a body
names a message whatever number or mid it was given.
"""

import time
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


class Record(msgspec.Struct, tag_field="is", omit_defaults=True):
    """Something that happened to somebody at some time."""

    t: float
    who: str


class Settings(Record, tag="settings"):
    """The first record: what the run was made with."""

    seed: int = 0
    heartbeat_interval: float = 0.0
    heartbeat_ttl: float = 0.0


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
    """At the end: a log as the chat gives it to whoever asks. An inbox is named `@` and its session."""

    log: str
    epoch: str
    entries: list[tuple[int, str, str]]
    """(seq, mid, body), rising."""


class Fault(Record, tag="fault"):
    """Something that the nemesis did, written when it was healed."""

    name: str
    until: float
    detail: str = ""
    logs: list[str] = msgspec.field(default_factory=lambda: ["*"])
    """Where messages may be lost or undone; `*`: anywhere. An inbox by its session and by its owner's nick, as text
    clients do not know what their session is called.
    """
    loses: float | None = None
    """What was acknowledged at this time or later, and not after `until`, may be lost; None: nothing."""
    undoes: float | None = None
    """What was delivered at this time or later may be undone; None: nothing."""
    outage: bool = False
    """The store itself was away."""
    back: float | None = None
    """When it was there again, if before the end."""
    blinds: list[str] = []
    """Devices (or `*`) whose connection may have been dead meanwhile."""

    def covers(self, log: str) -> bool:
        """Whether messages of this log may be concerned."""
        return "*" in self.logs or log in self.logs


class Wrong(Record, tag="wrong"):
    """Somebody saw at once that a promise was broken (a shape, an answer given twice, a wrong exit status)."""

    text: str


class End(Record, tag="end"):
    """The calm after the last fault begins."""


AnyRecord = (
    Settings
    | Hello
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


class Tape:
    """The history of a run while it is made."""

    def __init__(self) -> None:
        self.records: list[AnyRecord] = []
        self._begun = time.monotonic()

    def now(self) -> float:
        """Seconds since the run began."""
        return round(time.monotonic() - self._begun, 4)

    def add(self, record: AnyRecord) -> None:
        """Note something that has just happened."""
        self.records.append(record)


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
