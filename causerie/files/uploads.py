"""How files come in: asked for, taken in parts by any gateway, checked, posted.

A part lies in the object store before it counts in the store, so what a client was told is there is there. When
all bytes are in they are checked against what was announced, and the message is posted: each of these steps may
be done again by anybody, so the death of a gateway between two of them loses and doubles nothing.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec

from causerie.commands import Actor
from causerie.errors import Goodbye, Refused, Unavailable
from causerie.files.naming import file_name, media_type
from causerie.files.objects import ID, Objects
from causerie.files.receiver import Receiver
from causerie.model import Mids, Origin, Outcome, Post
from causerie.rights import Rights, session_of
from causerie.settings import Settings
from causerie.store import Store
from causerie.store.files import MOST_OPEN, SMALLEST_CHARGE, Elsewhere, FileRecord
from causerie.units import format_size

KEEP_MS: Final = 86_400_000
"""How long an upload waits for more."""
PART: Final = 4 * 2**20
"""Bytes of a part: what one upload needs of a gateway's memory."""


class Uploads:
    """All that is done about files that come in."""

    def __init__(self, store: Store, objects: Objects, settings: Settings, rights: Rights) -> None:
        self._store, self._objects, self._settings, self._rights = store, objects, settings, rights
        self._mids = Mids()

    # -- asking ----------------------------------------------------------------------------------------------------

    async def offer(
        self, actor: Actor, to: list[str], size: int, sha256: str, name: str, *, id_: int | None = None
    ) -> FileRecord:
        """The upload of a file that a session wants to send: a new one, or the one that it asked for before.

        Where the session could read the very same bytes here already, nothing needs to be uploaded and the file
        is sent when this returns. Under an `id_` of the device it is sent once.
        """
        session = session_of(actor)
        addressees = await self._addressees(session.sid, to)
        who = {"nick": session.nick, "sid": session.sid, "device": session.device}
        record = self._record(addressees, size, sha256, name, **who)
        if id_ is not None:
            record.id = hashlib.sha256(f"{session.sid}/{session.device}/{id_}".encode()).hexdigest()[:32]
        earlier = await self._earlier(record)
        if earlier is not None:
            return await self._go_on(earlier)
        if not await self._store.files.open(record, KEEP_MS):
            raise Refused("bad_request", "this id was used for another file")
        try:
            return await self._admit(record)
        except Refused as refused:
            if refused.code != "unavailable":
                await self._drop(record)
            raise

    async def offer_as(self, nick: str, room: str, size: int, sha256: str, name: str, type_: str) -> FileRecord:
        """The upload of an operator's bot, to a room; `sha256` and `type_` may be "". Raises `Refused`."""
        record = self._record(room, size, sha256, name, type_, nick=nick)
        if await self._store.rooms.info(room) is None:
            raise Refused("no_such_room", f"there is no room {room}")
        await self._store.files.open(record, KEEP_MS)
        if not await self._store.files.charge_all(record.id, record.charge, self._settings.files_quota):
            await self._drop(record)
            raise _full()
        return record if record.size else await self.finish(record.id)

    def _record(
        self, to: str, size: int, sha256: str, name: str, type_: str = "", *, nick: str, sid: str = "", device: str = ""
    ) -> FileRecord:
        if size > self._settings.max_file:
            raise Refused("too_long", f"a file has at most {format_size(self._settings.max_file)}")
        name = file_name(name)
        type_ = media_type(type_, name)
        what = hashlib.sha256(msgspec.json.encode([sid, to, size, sha256, name, type_])).hexdigest()
        return FileRecord(
            secrets.token_hex(16), "open", sid, device, nick, to, name, type_, size, sha256, PART, 0, 0, 0, what
        )

    async def _addressees(self, sid: str, to: list[str]) -> str:
        if to[0].startswith("#"):
            silenced = await self._store.files.silenced(to[0], sid)
            if silenced is not None:
                raise silenced
            return to[0]
        nicks = [nick.removeprefix("@") for nick in to]
        sids = await self._store.sessions.lookup_many(nicks)
        for nick, found in zip(nicks, sids, strict=True):
            if found is None:
                raise Refused("no_such_nick", f"nobody is called {nick}")
        return " ".join(found for found in sids if found)

    async def _earlier(self, record: FileRecord) -> FileRecord | None:
        """The same file asked for before: under this very id, or another one that is not sent yet."""
        asked = await self._store.files.get(record.id)
        if asked is not None and asked.what == record.what and await self._admitted(asked):
            return asked
        known = await self._store.files.opened(record.sid, record.what)
        other = await self._store.files.get(known) if known else None
        return other if other and other.state in {"open", "whole"} else None

    async def _admitted(self, record: FileRecord) -> bool:
        """Whether it was counted too, before whoever opened it died."""
        return record.state != "open" or await self._store.files.opened(record.sid, record.what) == record.id

    async def _go_on(self, record: FileRecord) -> FileRecord:
        if record.state == "gone":
            raise Refused("bad_request", "this file was taken away")
        return await self.finish(record.id) if record.offset == record.size else record

    async def _admit(self, record: FileRecord) -> FileRecord:
        """Count a new upload against the limits, and note it last: what is noted was counted. Raises `Refused`."""
        files, settings = self._store.files, self._settings
        if not await files.charge(record.sid, record.id, record.charge, settings.session_quota):
            raise Refused("denied", f"your files may take {format_size(settings.session_quota)}, and would take more")
        if await self._reuse(record):
            return await self.finish(record.id)
        if not await files.charge_all(record.id, record.charge, settings.files_quota):
            raise _full()
        if not await files.remember_open(record):
            raise Refused("denied", f"you have {MOST_OPEN} unfinished uploads; go on with one, or wait")
        return record if record.size else await self.finish(record.id)

    # -- the same bytes --------------------------------------------------------------------------------------------

    async def _reuse(self, record: FileRecord) -> bool:
        """Serve a file from bytes that its sender can read here anyway: to know a digest alone gives nothing."""
        files = self._store.files
        if not await self._can_read(record.sid, record.sha256):
            return False
        home = await files.join(record, record.sha256, own=False)
        source = await files.get(home) if home else None
        if source is None:
            return False
        if source.size != record.size:
            await files.leave(record)
            raise Refused("bad_request", "the file with this digest has another size")
        if not await files.charge_all(record.id, SMALLEST_CHARGE, self._settings.files_quota):
            await files.leave(record)
            raise _full()
        return await files.turn(record.id, "open", "whole", home=home, offset=record.size)

    async def _can_read(self, sid: str, sha256: str) -> bool:
        having = await self._store.files.having(sha256)
        for record in await self._store.files.get_many(having):
            if record is None or record.state != "sent":
                continue
            if record.room and await self._store.rooms.is_member(record.room, sid):
                return True
            if sid in record.sids or sid == record.sid:
                return True
        return False

    # -- taking ----------------------------------------------------------------------------------------------------

    async def receive(
        self,
        record: FileRecord,
        offset: int,
        stream: AsyncIterator[bytes],
        stopping: Callable[[], bool] = lambda: False,
    ) -> FileRecord:
        """Take what a stream brings from `offset` on, and finish the file if that was the last of it.

        Raises `Elsewhere` when the upload stands elsewhere or another writer took over, `Refused` for the
        sender's sanctions and wrong bytes; whatever the stream raises is raised when what came is kept.
        """
        await self.check_sender(record)
        receiver = Receiver(self._store, self._objects, record, KEEP_MS, lambda: self.check_sender(record))
        try:
            await receiver.run(offset, stream, stopping)
        except (Refused, Elsewhere):
            raise
        except Exception:
            if not receiver.complete:
                raise  # else it came whole, and only the answer will not arrive
        return await self.finish(record.id, receiver.sha256)

    async def check_sender(self, record: FileRecord) -> None:
        """Raise `Refused` where the sender of a file may not send it now: suspended, gone, out of the room."""
        if not record.sid:
            return
        info = await self._store.sessions.describe(record.sid)
        if info is None:
            raise Refused("denied", "the session that sends this is over")
        sanction = await self._store.sanctions.suspended(info.nick)
        if sanction is not None:
            raise Refused("suspended", sanction.reason or "you are suspended", until=sanction.until)
        if record.room and (silenced := await self._store.files.silenced(record.room, record.sid)) is not None:
            raise silenced

    async def cancel(self, record: FileRecord) -> None:
        """Give an upload up. Raises `Refused` when it is sent already."""
        if not await self._store.files.turn(record.id, "open", "gone"):
            raise Refused("bad_request", "this upload is not open")
        await self._store.files.look_at(record.id, 0)

    async def _drop(self, record: FileRecord) -> None:
        """Give up what cannot be had, at once; a worker takes its bytes away."""
        if await self._store.files.turn(record.id, "open", "gone"):
            await self._store.files.forget_open(record)
            await self._store.files.charge(record.sid, record.id, 0, 0)
            await self._store.files.look_at(record.id, 0)

    # -- finishing -------------------------------------------------------------------------------------------------

    async def finish(self, id_: str, sha256: str | None = None) -> FileRecord:
        """Bring a file whose bytes are all in to its end, `sent`; `sha256` if it was computed as they came.

        Safe to repeat, by anybody. Raises `Refused` where its message is refused, or the bytes are wrong.
        """
        record = await self._known(id_)
        if record.state == "open" and record.offset == record.size:
            await self._settle(record, sha256 or await self._read_back(record))
            record = await self._known(id_)
        if record.state == "whole":
            await self._post(record)
            record = await self._known(id_)
        return record

    async def find(self, id_: str) -> FileRecord | None:
        """A file that is on its way or sent."""
        record = await self._store.files.get(id_) if ID.fullmatch(id_) else None
        return None if record is None or record.state == "gone" else record

    async def _known(self, id_: str) -> FileRecord:
        record = await self.find(id_)
        if record is None:
            raise Refused("bad_request", "there is no such upload")
        return record

    async def _read_back(self, record: FileRecord) -> str:
        """The digest of what lies in the object store."""
        running = hashlib.sha256()
        try:
            for name in await self._store.files.parts(record.id):
                async for piece in self._objects.read(f"{record.id}/{name}"):
                    running.update(piece)
        except FileNotFoundError:
            await self._drop(record)
            raise Refused("bad_request", "a part of the file was lost; send it again") from None
        return running.hexdigest()

    async def _settle(self, record: FileRecord, sha256: str) -> None:
        """The bytes are what was announced, and kept once however many files have them."""
        files = self._store.files
        if record.sha256 not in {"", sha256}:
            await self._drop(record)
            raise Refused("bad_request", "what came is not what was announced: another SHA-256")
        if not record.sha256:
            await files.turn(record.id, "open", "open", sha256=sha256)
        home = await files.join(record, sha256, own=True)
        if await files.turn(record.id, "open", "whole", home=home) and home != record.id:
            await files.charge_all(record.id, SMALLEST_CHARGE, self._settings.files_quota)
            await files.drop_parts(record.id)
            await self._objects.clear(record.id)

    async def _post(self, record: FileRecord) -> None:
        outcome = await self._append(record)
        if outcome.error is not None:
            raise outcome.error
        files, ttl_ms = self._store.files, int(self._settings.file_ttl * 1000)
        await files.enlist(record)
        await files.forget_open(record)
        await files.turn(record.id, "whole", "sent", ttl_ms, seq=outcome.seq)
        await files.look_at(record.id, min(ttl_ms, KEEP_MS))

    async def _append(self, record: FileRecord) -> Outcome:
        """Post the message, once for each file, as the sender is and may now."""
        about = {"id": record.id, "name": record.name, "size": record.size, "type": record.type}
        extra = b',"file":' + msgspec.json.encode(about | {"sha256": record.sha256})
        outcome = Outcome(0)
        for _ in range(3):  # the device may come back between the look and the post
            origin, nick = await self._sender(record)
            post = Post(origin, nick, 1, "file", record.name, self._mids.next(), extra, f"file {record.id}")
            if record.room:
                (outcome,) = await self._store.logs.append(record.room, [post])
            else:
                outcome = await self._store.direct.send_keyed(post, record.to.split(" "))
            if not isinstance(outcome.error, Goodbye):
                return outcome
        return Outcome(0, error=Unavailable("the session changes too fast; send again"))

    async def _sender(self, record: FileRecord) -> tuple[Origin | None, str]:
        if not record.sid:
            return None, record.nick
        origin = await self._store.sessions.origin(record.sid, record.device)
        info = await self._store.sessions.describe(record.sid)
        if origin is None or info is None:
            raise Refused("denied", "the session that sends this is over")
        return origin, info.nick


def _full() -> Refused:
    return Refused("denied", "the chat has no room for more files now")
