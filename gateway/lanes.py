"""The members of a large room, sorted by how they are written to.

Who has nothing special about them is in a lane: all of a lane get the same bytes in one step, which costs Python
nothing for each. Sorted once, and kept until somebody comes or goes, or a transport fills up or is empty again.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable
from operator import attrgetter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.connection import Connection

WORTH: Final = 64
"""Members from whom on sorting pays."""
BUSY: Final = 8
"""Connections that may have something else to write: more of them are not looked for in lanes."""


def is_plain(member: Connection) -> bool:
    """Whether a connection is in a lane: nothing is noted of what it gets, and its transport is empty."""
    return member.direct and member.sent is None


class Lane:
    """Connections of one dialect that may be written to past their transports, in the order of their sockets."""

    __slots__ = ("dialect", "fds", "members")

    def __init__(self, dialect: int, members: list[Connection]) -> None:
        self.dialect = dialect
        self.members = sorted(members, key=attrgetter("fd"))
        self.fds = array("i", [member.fd for member in self.members])

    def split(self, busy: Collection[Connection]) -> tuple[Iterable[Connection], array[int], list[Connection]]:
        """Those who are not busy (to be iterated over once), their sockets, and those who are."""
        late = [member for member in busy if member.dialect == self.dialect and is_plain(member)]
        if not late:
            return self.members, self.fds, late
        fds = self.fds[:]
        for member in late:
            place = bisect_left(fds, member.fd)
            if fds[place] != member.fd:
                raise LookupError("a member is not where it was sorted")  # rather than leave out somebody else
            del fds[place]
        # the others are looked for only when somebody asks: as a rule nobody does
        return (member for member in self.members if member not in late), fds, late


class Lanes:
    """All members of a room: in lanes, or among the `others`."""

    __slots__ = ("lanes", "others")

    def __init__(self, members: Collection[Connection]) -> None:
        by_dialect: dict[int, list[Connection]] = {}
        self.others: list[Connection] = []
        for member in members:
            (by_dialect.setdefault(member.dialect, []) if is_plain(member) else self.others).append(member)
        self.lanes = [Lane(dialect, these) for dialect, these in by_dialect.items()]
