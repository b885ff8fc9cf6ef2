"""The end of files: those whose time is over, that nobody can reach any more, or that never became whole.

Safe at any moment and by anybody: what is to go is marked first, and every step may be done again.
"""

from __future__ import annotations

import time

from causerie.errors import Refused
from causerie.files.objects import Objects
from causerie.files.uploads import Uploads
from causerie.store import Store
from causerie.store.files import LEASE_S, FileRecord

UNFINISHED_LOOK_MS = 60_000
"""How often a file that is not sent yet is looked at."""
HOME_LOOK_MS = 3_600_000
"""How often one is looked at that is gone but whose parts serve others."""
STRAY_S = 4 * LEASE_S
"""Age at which an object that counts for no file is a left-over, however slow its writer was."""


class Removal:
    """Takes away what nobody can have, and finishes what dead gateways left whole."""

    def __init__(self, store: Store, objects: Objects, uploads: Uploads) -> None:
        self._store, self._objects, self._uploads = store, objects, uploads

    async def look(self, id_: str, now_ms: int) -> None:
        """Do what a scheduled file needs at `now_ms` of the store's clock. Raises `Unavailable`."""
        files = self._store.files
        record = await files.get(id_)
        if record is None:
            await self._objects.clear(id_)
            await files.charge_all(id_, 0, 0)
            await files.forget(id_)
        elif record.state == "gone":
            await self.remove(record)
        elif record.state == "sent":
            await self._look_at_sent(record, now_ms)
        else:
            await self._look_at_upload(record, now_ms)

    async def _look_at_sent(self, record: FileRecord, now_ms: int) -> None:
        reachable = await self._reachable(record)
        if record.due > now_ms and reachable:
            await self._store.files.look_at(record.id, min(record.due - now_ms, HOME_LOOK_MS))
        elif await self._store.files.turn(record.id, "sent", "gone", if_due=reachable):
            await self.remove(record)

    async def _look_at_upload(self, record: FileRecord, now_ms: int) -> None:
        files = self._store.files
        if record.due <= now_ms:
            if await files.turn(record.id, record.state, "gone", if_due=True):
                await self.remove(record)
            return
        await files.look_at(record.id, UNFINISHED_LOOK_MS)
        if record.offset == record.size and now_ms - record.at >= UNFINISHED_LOOK_MS:
            try:
                await self._uploads.finish(record.id)
            except Refused as refused:
                if refused.code == "unavailable":
                    raise

    async def _reachable(self, record: FileRecord) -> bool:
        """Whether anybody is left who may have it."""
        if record.room:
            return await self._store.rooms.info(record.room) is not None
        return any(await self._store.sessions.describe_many(record.sids))

    async def remove(self, record: FileRecord) -> None:
        """Take away a file that is marked `gone`; its bytes stay while other files need them."""
        files = self._store.files
        await files.delist(record)
        await files.forget_open(record)
        if record.sid:
            await files.charge(record.sid, record.id, 0, 0)
        home, others = await files.leave(record) if record.sha256 else ("", 0)
        if others and home == record.id:
            await files.look_at(record.id, HOME_LOOK_MS)
            return
        await self._objects.clear(record.id)
        await files.charge_all(record.id, 0, 0)
        await files.forget(record.id)
        if home not in {"", record.id} and not others:
            await files.look_at(home, 0)

    async def sweep_strays(self) -> None:
        """Delete objects that count for no file: of writers that were overtaken or killed. Raises `Unavailable`."""
        before = time.time() - STRAY_S
        for id_ in await self._objects.files():
            names = await self._objects.parts(id_)
            old = [name for name, written in names if written < before]
            kept = {f"{id_}/{name}" for name in await self._store.files.parts(id_)} if old else set()
            strays = [name for name in old if name not in kept]
            if not strays:
                continue
            if len(strays) == len(names) and await self._store.files.get(id_) is None:
                await self._objects.clear(id_)
            else:
                await self._objects.delete(strays)
