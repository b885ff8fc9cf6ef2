"""Who needs no second look: senders that a room's access let through, and that did nothing about it changed since.

A room's access has a version, which is another after each change (`change_access` in `lua/_log.lua`). Who was let
through at one version is let through at the same again, without asking for fence, membership and sanctions; and since
the fence stands, nobody else has posted for that device, so an id above its newest is new. This is only ever a guess:
the store compares the versions, and looks at everything when they differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from causerie.model import Origin, Post

MOST: Final = 10_000
"""Senders, and rooms, remembered by a process."""
NO_ID: Final = 1 << 62
"""For the newest id of a sender that was let through without one: no id is above it."""


class Room(NamedTuple):
    """The version of a room's access, and the newest id of each sender that was let through at it."""

    version: bytes
    newest: dict[Origin, int]


class Cleared:
    """What this process knows of the senders of its posts."""

    def __init__(self) -> None:
        self._rooms: dict[str, Room] = {}
        self._count = 0
        self.doubts = 0
        """How often everything was forgotten: what was asked before says nothing any more."""

    def version(self, room: str, posts: Sequence[Post]) -> bytes:
        """The version at which all who post were let through, with ids that are new then; or b""."""
        known = self._rooms.get(room)
        if known is None:
            return b""
        newest = known.newest
        for post in posts:
            origin, id_ = post.origin, post.id
            if origin is None or post.key:
                if id_ is not None:
                    return b""
            elif origin not in newest or (id_ is not None and id_ <= newest[origin]):
                return b""
            elif id_ is not None:
                newest[origin] = id_  # should it not be posted, this is too high, which costs a look and no more
        return known.version

    def learn(
        self, room: str, asked: bytes, version: bytes, posts: Sequence[Post], rows: Sequence[object], doubts: int
    ) -> None:
        """What a call of room_append says that gave the version `asked`, when there were so many `doubts`."""
        if doubts != self.doubts or not version or version == asked:
            return
        known = self._rooms.get(room)
        if known is None or known.version != version:
            if known is not None:
                self._count -= len(known.newest)
            known = self._rooms[room] = Room(version, {})
        newest, before = known.newest, len(known.newest)
        for post, row in zip(posts, rows, strict=True):
            origin, id_ = post.origin, post.id
            if origin is not None and not post.key and isinstance(row, int):
                if id_ is None:
                    newest.setdefault(origin, NO_ID)
                elif not id_ <= newest.get(origin, -1) < NO_ID:  # replies need not come in order
                    newest[origin] = id_
        self._count += len(newest) - before
        # rooms count too: of one where only the system speaks no senders are known
        if max(self._count, len(self._rooms)) > MOST:
            self.doubt()

    def doubt(self) -> None:
        """It is not known what became of a call, so ids may be taken that this does not know of."""
        self._rooms.clear()
        self._count = 0
        self.doubts += 1
