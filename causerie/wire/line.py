"""The text protocol: lines for people with `nc` or `telnet`, and the words (`!!`) for programs among them.

Whatever another person wrote passes through `names.printable`, so no control character reaches a terminal, and
every line of a body gets the prefix of its message, so nobody can forge a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final, NamedTuple

from causerie import names
from causerie.errors import Goodbye, Refused, Violation
from causerie.units import format_size
from causerie.wire import jsonmsg

_SEPARATORS: Final = re.compile("[\u2028\u2029]")
_UNSAFE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


class Nick(NamedTuple):
    """First line: a new session with this nick."""

    nick: str


class Reconnect(NamedTuple):
    """First line: back to the session of this cookie."""

    cookie: str


class Leave(NamedTuple):
    """First line: no session at all."""


def decode(line: bytes) -> str:
    """The text of a line without its end. Raises `Violation` (`bad_request`)."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise Violation("the line is not UTF-8") from None


def decode_first(line: bytes) -> Nick | Reconnect | Leave:
    """What the first line asks for. Raises `Violation`."""
    text = decode(line).strip()
    word, _, rest = text.partition(" ")
    if word.casefold() == "!reconnect":
        if not rest.strip():
            raise Violation("type !reconnect COOKIE")
        return Reconnect(rest.strip())
    if text == "quit" or text.casefold() in {"!quit", "!logout"}:
        return Leave()
    if not text:
        raise Violation("type a nick")
    if text.startswith("!"):
        raise Violation("the first line is a nick, or !reconnect COOKIE")
    return Nick(text)


def pong_of(line: bytes) -> bool:
    """Whether a line is the answer to a ping."""
    return line[:5].lower() == b"!pong" and line[5:6] in {b"", b" "}


def shown(text: str) -> str:
    """The text as it may reach a terminal."""
    if not _UNSAFE.search(text):
        return text
    return _SEPARATORS.sub("?", "\t".join(map(names.printable, text.split("\t"))))


def message(event: jsonmsg.Message) -> str:
    """The lines of a message, each ended."""
    sender = shown(event.sender)
    if event.log == names.INBOX:
        prefix = f"[@] {sender} -> {', '.join(map(shown, event.to or []))}: "
        prefix += f"* {sender} " if event.kind == "action" else ""
    elif event.kind == "action":
        prefix = f"[{event.log}] * {sender} "
    else:
        prefix = f"[{event.log}] {sender}: "
    if event.file is not None:
        about = f"{event.file.name} ({format_size(event.file.size)}), to be had by !get {event.file.id}"
        return f"{prefix}{shown(about)}\n"
    return "".join([f"{prefix}{shown(part)}\n" for part in event.body.split("\n")])


def presence(event: jsonmsg.Presence) -> str:
    """The line of a presence."""
    if not isinstance(event.nick, str):
        return notice([f"{event.count} people are in {event.room}"])
    what = {
        "online": f"joined {event.room}",
        "away": f"is away ({event.room})",
        "crashed": f"crashed ({event.room})",
        "gone": f"left {event.room}",
        "renamed": f"is now called {event.to} ({event.room})",
    }.get(str(event.state), f"is {event.state} ({event.room})")
    return notice([f"{event.nick} {what}"])


def notice(lines: Iterable[str]) -> str:
    """Each line as a notice."""
    return "".join([f"* {shown(part)}\n" for line in lines for part in line.split("\n")])


def error(refused: Refused, now: datetime | None = None) -> str:
    """The line of a refusal: its code first."""
    text = shown(refused.text.replace("\n", " "))
    if refused.code in {"suspended", "banned"}:
        text = f"until {until(refused.until, now)} ({text})"
    elif refused.retry_after is not None:
        text = f"{text} (again in {refused.retry_after:.1f} s)"
    return f"! {refused.code}: {text}\n"


def until(end: float | None, now: datetime | None = None) -> str:
    """The end of a sanction in local time: `12:30`, with the date when it is not today's."""
    if end is None:
        return "forgiven"
    moment = datetime.fromtimestamp(end).astimezone()
    today = (now or datetime.now().astimezone()).date()
    return moment.strftime("%H:%M" if moment.date() == today else "%Y-%m-%d %H:%M")


def cookie(token: str) -> str:
    """The word that names the cookie."""
    return f"!! cookie {token}\n"


def ping(n: int) -> str:
    """The word that asks for `!pong n`."""
    return f"!! ping {n}\n"


def bye(goodbye: Goodbye) -> str:
    """The last line, after a notice for people."""
    after = f" {goodbye.retry_after:.1f}" if goodbye.retry_after is not None else ""
    return notice([goodbye.text] if goodbye.text else []) + f"!! bye {goodbye.code}{after}\n"


def reset(room: str) -> str:
    """What people are told when a numbering broke."""
    return notice([f"some messages in {room} may have been lost"])
