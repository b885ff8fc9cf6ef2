"""How files go out: who may have which, the lists of them, the bytes of a range."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from causerie.commands import Actor
from causerie.errors import Refused
from causerie.files.objects import ID, Objects
from causerie.rights import session_of
from causerie.store import Store
from causerie.store.files import FileRecord

MOST_LISTED = 100
"""Files of one room or inbox in an answer."""


class Content(NamedTuple):
    """Where the bytes of a file lie."""

    record: FileRecord
    home: str
    part: int
    names: list[str]


class Downloads:
    """All that is done about files that go out."""

    def __init__(self, store: Store, objects: Objects) -> None:
        self._store, self._objects = store, objects

    async def find(self, id_: str, sid: str | None) -> FileRecord:
        """A file that a session may have now. Raises `Refused`: `denied` for what is not there, too.

        Whoever is in the room now may have what was sent there; what was sent to people, they and the sender.
        None is an operator, who may have what rooms have.
        """
        record = await self._store.files.get(id_) if ID.fullmatch(id_) else None
        if record is None or record.state == "gone" or not await self._may_have(record, sid):
            raise Refused("denied", "there is no such file, or it was not sent to you")
        if record.state != "sent":
            raise Refused("unavailable", "this file is not there yet; ask again")
        return record

    async def _may_have(self, record: FileRecord, sid: str | None) -> bool:
        if record.room is None:
            return sid in record.sids
        return sid is None or await self._store.rooms.is_member(record.room, sid)

    async def listed(self, actor: Actor, room: str | None) -> list[FileRecord]:
        """The files that the actor may have, the newest first: those of a room, or all."""
        session = session_of(actor)
        if room is None:
            info = await self._store.sessions.describe(session.sid)
            places = ["@" + session.sid, *(info.rooms if info else [])]
        elif await self._store.rooms.is_member(room, session.sid):
            places = [room]
        else:
            raise Refused("not_joined", f"you are not in {room}")
        ids = [id_ for place in places for id_ in await self._store.files.listed(place, MOST_LISTED)]
        records = [one for one in await self._store.files.get_many(ids) if one is not None and one.state == "sent"]
        return sorted(records, key=lambda one: -one.created)

    async def content(self, record: FileRecord) -> Content:
        """Where the bytes of a file lie, for `read`. Raises `Refused` when they are lost."""
        files = self._store.files
        home = await files.get(record.home) if record.home != record.id else record
        names = await files.parts(record.home) if home else []
        if home is None or len(names) * home.part < record.size:
            raise Refused("denied", "the bytes of this file are lost")
        return Content(record, home.id, home.part, names)

    async def read(self, content: Content, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` to before `end`, in pieces. Raises `FileNotFoundError`, `Unavailable`."""
        while start < end:
            index, skipped = divmod(start, content.part)
            stop = min(end - index * content.part, content.part)
            async for piece in self._objects.read(f"{content.home}/{content.names[index]}", skipped, stop):
                start += len(piece)
                yield piece
            if start != min(end, index * content.part + stop):
                raise FileNotFoundError(f"part {index} of {content.home} is too short")
