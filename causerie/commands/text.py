"""How answers look to people: one line a thing. Names and reasons in them hold no control characters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from causerie import names
from causerie.model import AuditEntry, Member, RoomInfo, Sanction
from causerie.units import format_size
from causerie.wire.jsonmsg import File


class _Message(msgspec.Struct):
    """What is shown of a kept message."""

    ts: float
    body: str
    sender: str = msgspec.field(name="from")
    kind: str = "message"
    file: File | None = None


_decoder = msgspec.json.Decoder(_Message)


def member_line(person: Member) -> str:
    """`bob away suspended`."""
    return " ".join([person.nick, person.state, *person.flags])


def room_line(info: RoomInfo) -> str:
    """`#dev 3 members: topic`."""
    topic = f": {names.printable(info.topic)}" if info.topic else ""
    return f"{info.room} {info.members} member{'' if info.members == 1 else 's'}{topic}"


def whois_lines(about: dict[str, Any]) -> list[str]:
    """What is known about somebody, a line each."""
    lines = [" ".join([about["nick"], "is", about["state"], *about["flags"]])]
    lines.append(f"in {' '.join(about['rooms']) or 'no room'}")
    if about.get("address"):
        lines.append(f"from {about['address']}")
    return lines


def sanction_line(sanction: Sanction, what: str, room: str | None = None) -> str:
    """`bob is suspended in #dev until 2026-01-02 12:30:00 UTC by alice (spam)`."""
    where = f" in {room}" if room else ""
    reason = f" ({names.printable(sanction.reason)})" if sanction.reason else ""
    return f"{sanction.subject} is {what}{where} until {until(sanction.until)} by {sanction.by}{reason}"


def audit_line(entry: AuditEntry) -> str:
    """`2026-01-02 12:30:00 UTC alice suspend bob until ... (spam)`."""
    end = f" until {until(entry.until)}" if entry.until is not None else ""
    why = f" ({names.printable(entry.why)})" if entry.why else ""
    where = f" in {entry.room}" if entry.room else ""
    return f"{moment(entry.ts)} {entry.who} {entry.what} {entry.whom}".rstrip() + where + end + why


def file_line(about: dict[str, Any]) -> str:
    """`0123... report.pdf 1.2 MiB from bob in #dev 2026-01-02 12:30:00 UTC`."""
    where = "" if about["in"] == names.INBOX else f" in {about['in']}"
    what = f"{names.printable(about['name'])} {format_size(about['size'])}"
    return f"{about['id']} {what} from {about['from']}{where} {moment(about['ts'])}"


def message_lines(messages: Sequence[bytes]) -> list[str]:
    """Kept messages for reading, a line for each line of a body."""
    lines: list[str] = []
    for raw in messages:
        message = _decoder.decode(raw)
        clock = datetime.fromtimestamp(message.ts, UTC).strftime("%H:%M:%S")
        start = f"{clock} * {message.sender} " if message.kind == "action" else f"{clock} {message.sender}: "
        if message.file is not None:
            lines.append(f"{start}{names.printable(message.file.name)}, to be had by !get {message.file.id}")
            continue
        lines += [start + names.printable(line.replace("\t", "    ")) for line in message.body.split("\n")]
    return lines


def until(end: float | None) -> str:
    """The end of a sanction."""
    return "forgiven" if end is None else moment(end)


def moment(ts: float) -> str:
    """A time of day with its date, in UTC."""
    return datetime.fromtimestamp(ts, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
