"""Where a client stands in each log, what it asks for after a break, and what is a repeat or a hole. No I/O.

The rules are those of docs/protocol.md under "hello": a client keeps, as its position, what it *received*,
and takes the server's head only for rooms that are new to it, or where the server says that not everything is
there.
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from causerie.client.results import Event
from causerie.model import Position

INBOX = "@"


class Verdict(enum.Enum):
    """What a numbered message is, seen from the position before it."""

    NEXT = enum.auto()
    REPEAT = enum.auto()
    HOLE = enum.auto()
    """Something between is missing, or another message stood at this number: the numbering cannot be
    trusted."""


class Positions:
    """The positions of one session, `"@"` among them."""

    def __init__(self, saved: dict[str, dict[str, Any]] | None = None) -> None:
        self._at = {log: msgspec.convert(claim, _Claim).position for log, claim in (saved or {}).items()}

    def __getitem__(self, log: str) -> Position:
        return self._at[log]

    def __contains__(self, log: object) -> bool:
        return log in self._at

    def rooms(self) -> list[str]:
        """The rooms that the session is in, as far as this client knows."""
        return [log for log in self._at if log != INBOX]

    def resume(self) -> dict[str, dict[str, Any]]:
        """The `resume` of a `hello`, which is also what to save."""
        return {log: _claim(position) for log, position in self._at.items()}

    def joined(self, room: str, epoch: str, seq: int) -> None:
        """A join was answered with the head; a room already followed keeps its position."""
        self._at.setdefault(room, Position(epoch, seq))

    def left(self, room: str) -> bool:
        """The session is in `room` no longer; whether it was news."""
        return self._at.pop(room, None) is not None

    def forget(self) -> list[str]:
        """Start anew with a new session; returns the rooms that the old one was in."""
        rooms = self.rooms()
        self._at.clear()
        return rooms

    def reset(self, log: str, epoch: str, seq: int) -> None:
        """The numbering broke, and goes on after `seq` in `epoch`."""
        self._at[log] = Position(epoch, seq)

    def judge(self, log: str, seq: int, mid: str) -> Verdict:
        """What the message `seq` of `log` is. A room never heard of starts with it: another device joined
        there.
        """
        here = self._at.get(log)
        if here is None or seq == here.seq + 1:
            return Verdict.NEXT
        if seq > here.seq + 1:
            return Verdict.HOLE
        forked = seq == here.seq and bool(mid and here.mid) and mid != here.mid
        return Verdict.HOLE if forked else Verdict.REPEAT

    def received(self, log: str, seq: int, mid: str) -> None:
        """The message was taken; the position moves to it."""
        here = self._at.get(log)
        self._at[log] = Position(here.epoch if here else "", seq, mid)

    def welcome(self, answers: dict[str, dict[str, Any]], asked: dict[str, Any]) -> list[Event]:
        """Apply the `rooms` of a `welcome` to a `hello` whose `resume` was `asked`; returns what the user
        must know.

        `lost`: not everything is there; what is, starts at `whole_from`; `reset` if the numbering is another
        one. `left`: the session is not in that room any more.
        """
        news: list[Event] = []
        for log, answer in answers.items():
            if "error" not in answer:
                news += self._arrive(log, answer, asked)
        for log in [log for log in self._at if "error" in answers.get(log, {"error": "not_joined"})]:
            del self._at[log]
            news.append({"ev": "left", "in": log, "code": "not_joined"})
        return news

    def _arrive(self, log: str, answer: dict[str, Any], asked: dict[str, Any]) -> list[Event]:
        epoch, head = str(answer["epoch"]), int(answer["seq"])
        here = self._at.get(log)
        if here is None or log not in asked:
            self._at[log] = Position(epoch, head)
            return []
        if answer.get("recovered") and here.epoch == epoch:
            self._at[log] = here._replace(epoch=epoch)
            return []
        first = int(answer.get("whole_from") or head + 1)
        if not here.epoch and first <= here.seq + 1:
            # Another device joined it, so its epoch was never told: it is our claim that is unknown.
            self._at[log] = here._replace(epoch=epoch)
            return []
        self._at[log] = Position(epoch, first - 1)
        return [{"ev": "lost", "in": log, "epoch": epoch, "whole_from": first, "reset": epoch != here.epoch}]


class _Claim(msgspec.Struct):
    epoch: str
    seq: int
    mid: str = ""

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.seq, self.mid)


def _claim(position: Position) -> dict[str, Any]:
    claim: dict[str, Any] = {"epoch": position.epoch, "seq": position.seq}
    if position.mid:
        claim["mid"] = position.mid
    return claim
