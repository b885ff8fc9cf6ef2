"""Files straight on the store and a place, without a gateway."""

import hashlib
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

from causerie.commands import Actor
from causerie.files.service import FileService
from causerie.model import Session
from causerie.rights import Rights
from causerie.settings import Settings
from causerie.store import Store
from causerie.store.files import FileRecord


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def stream(pieces: Iterable[bytes | Exception]) -> AsyncIterator[bytes]:
    """The pieces as they come from a socket; an exception breaks it."""
    for piece in pieces:
        if isinstance(piece, Exception):
            raise piece
        yield piece


class Exchange:
    """The file service as commands, gateways and workers use it."""

    def __init__(self, store: Store, url: str, **options: Any) -> None:
        self.store = store
        self.settings = Settings(files_url=url, **options)
        self.service = FileService(store, self.settings, Rights(store, self.settings))

    async def offer(
        self,
        who: Session,
        to: str | list[str],
        data: bytes,
        name: str = "a.bin",
        *,
        id_: int | None = None,
        **asked: Any,
    ) -> FileRecord:
        wanted = {"size": len(data), "sha256": digest(data), "name": name, **asked}
        to = [to] if isinstance(to, str) else to
        return await self.service.uploads.offer(Actor.of(who, "#lobby"), to, **wanted, id_=id_)

    async def put(self, record: FileRecord, *pieces: bytes | Exception, offset: int = 0) -> FileRecord:
        return await self.service.uploads.receive(record, offset, stream(pieces))

    async def send(self, who: Session, to: str | list[str], data: bytes, name: str = "a.bin") -> FileRecord:
        """All of it at once."""
        record = await self.offer(who, to, data, name)
        return record if record.state == "sent" else await self.put(record, data)

    async def get(self, who: Session | None, id_: str, start: int = 0, end: int | None = None) -> bytes:
        downloads = self.service.downloads
        record = await downloads.find(id_, who and who.sid)
        content = await downloads.content(record)
        return b"".join([piece async for piece in downloads.read(content, start, record.size if end is None else end)])

    async def state(self, id_: str) -> str:
        record = await self.store.files.get(id_)
        return record.state if record else ""

    async def work(self, later_ms: int = 0) -> None:
        """What a worker does, as if it were so much later."""
        removal = self.service.removal
        assert removal is not None
        now = await self.store.sessions.now_ms() + later_ms
        rows = await self.store.executor.execute("ZRANGEBYSCORE", self.store.keys.files, "-inf", now)
        for row in rows:
            await removal.look(row.decode(), now)

    async def expire(self, id_: str) -> None:
        """Let the time of a file be over, by the store's clock."""
        await self.store.executor.execute("HSET", self.store.keys.file(id_), "due", 1)

    async def kept(self) -> list[str]:
        """The objects in the place."""
        removal = self.service.removal
        assert removal is not None
        objects = removal._objects
        return [name for id_ in await objects.files() for name, _ in await objects.parts(id_)]


async def events(store: Store, log: str) -> list[dict[str, Any]]:
    return [json.loads(entry.line) for entry in await store.logs.read_before(log, None, 1000)]
