"""What travels on the feed: one channel a room, one a session, one for notes to all gateways.

The first byte tells the kind; the scripts write them (`lua/_log.lua`, `_room.lua`, `_session.lua`).
"""

from __future__ import annotations

import msgspec

from causerie.model import Position


class Posted(msgspec.Struct, frozen=True):
    """Messages `first`, `first` + 1, ... of a log; `prev` is the mid before the first ("" none known).

    `lines` are their JSON events, each with the newline that ends it.
    """

    epoch: str
    first: int
    prev: str
    mids: list[str]
    lines: bytes


class Reset(msgspec.Struct, frozen=True):
    """A log has a new epoch; its head is `seq`."""

    epoch: str
    seq: int
    mid: str


class Presence(msgspec.Struct):
    """A member of a room came, changed or went; `count` are in it now. `to` is the new nick of `renamed`."""

    sid: str
    version: int
    nick: str
    state: str
    count: int
    to: str = ""


class Note(msgspec.Struct):
    """To the connections of one session; `what` is attach, positions, join, leave, bye, nick, mute, admin, spent or
    missing. `gateway` is where it comes from, where that counts; `to` is the only one that it is for.
    """

    what: str
    device: str = ""
    gen: int = 0
    room: str = ""
    epoch: str = ""
    seq: int = 0
    mid: str = ""
    reason: str = ""
    code: str = ""
    text: str = ""
    nick: str = ""
    version: int = 0
    value: str = ""
    admin: bool = False
    gateway: str = ""
    to: str = ""


def positions_of(note: Note) -> dict[str, Position]:
    """What a `positions` note says of each log."""
    return _positions.decode(note.value)


_positions = msgspec.json.Decoder(dict[str, Position])
_presence = msgspec.json.Decoder(Presence)
_note = msgspec.json.Decoder(Note)

Frame = Posted | Reset | Presence | Note


def parse(data: bytes) -> Frame:
    """One frame. Raises ValueError for bytes that no script of ours wrote."""
    kind = data[:1]
    if kind == b"M":
        header, _, lines = data.partition(b"\n")
        epoch, first, prev, mids = header[1:].decode().split(" ")
        return Posted(epoch, int(first), prev, mids.split(","), lines)
    if kind == b"R":
        epoch, seq, mid = data[1:].decode().split(" ")
        return Reset(epoch, int(seq), mid)
    if kind == b"P":
        return _presence.decode(data[1:])
    if kind == b"S":
        return _note.decode(data[1:])
    raise ValueError(f"unknown frame {data[:20]!r}")
