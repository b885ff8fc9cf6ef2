"""Files: what is known of each, who may have it, how much is kept. The bytes lie in the object store.

A file begins as an upload and goes through four states, each turned by one script:

    open   its bytes are coming, in parts; any gateway may go on, the last one that began has the right
    whole  all bytes are in and are what was announced; its message is about to be posted
    sent   posted: those it was sent to may have it until `due`
    gone   a worker takes it away

The same bytes are kept once: all files that have them (`blob`) are served from the parts of the first, their home.
Laws: a part counts only by `commit`, so a writer that was overtaken or slept changes nothing; whatever is begun is on
the schedule first, so a worker finds it; every step repeats safely.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from causerie.store.keys import Keys
from causerie.store.logs import refusal, text
from causerie.store.scripts import Scripts

LEASE_S = 900
"""How long a writer may take for a part; past it the part does not count."""
SMALLEST_CHARGE = 64 * 1024
"""Bytes that even the smallest file counts for, so that their number is bounded too."""
MOST_LISTED = 1000
"""Files that a room or an inbox lists."""
MOST_OPEN = 16
"""Uploads of one session that are not finished."""


class FileRecord(msgspec.Struct):
    """A file. `to` is `#room` or the sids it is for, with spaces; the sender is no sid for an operator's bot.

    `created`, `due` and `at` (the last write) are in ms of the store's clock; `sha256` may be "" until the bytes
    are in.
    """

    id: str
    state: str
    sid: str
    device: str
    nick: str
    to: str
    name: str
    type: str
    size: int
    sha256: str
    part: int
    offset: int
    created: int
    due: int
    what: str
    home: str = ""
    seq: int = 0
    at: int = 0

    @property
    def room(self) -> str | None:
        """The room it was sent to, None for people."""
        return self.to if self.to.startswith("#") else None

    @property
    def sids(self) -> list[str]:
        """The people who may have it where it was sent to people: these and the sender."""
        return [] if self.room else list(dict.fromkeys(filter(None, [self.sid, *self.to.split(" ")])))

    @property
    def places(self) -> list[str]:
        """Where it is listed: the room, or inboxes (`@sid`)."""
        return [self.room] if self.room else ["@" + sid for sid in self.sids]

    def shown(self) -> dict[str, object]:
        """What those who may have it see of it in lists."""
        return {
            "id": self.id,
            "name": self.name,
            "size": self.size,
            "type": self.type,
            "sha256": self.sha256,
            "from": self.nick,
            "in": self.room or "@",
            "ts": self.created / 1000,
            "until": self.due / 1000,
        }

    @property
    def charge(self) -> int:
        """Bytes that it counts for."""
        return max(self.size, SMALLEST_CHARGE)


class Grant(NamedTuple):
    """What a bearer of a token may do: `put` or `get` one file, in the name of a session."""

    what: str
    file: str
    sid: str


class Taken(NamedTuple):
    """The right to write, under this fence; `last` is the name of the last part."""

    fence: int
    last: str


class Elsewhere(Exception):
    """An upload is not open, or does not stand where the writer thought; `offset` is where it stands."""

    def __init__(self, state: str, offset: int) -> None:
        super().__init__(f"the upload is {state or 'gone'} and stands at {offset}")
        self.state = state
        self.offset = offset


class Files:
    """All operations on what is known of files."""

    def __init__(self, scripts: Scripts, executor: Any, keys: Keys) -> None:
        self._run, self._executor, self._keys = scripts, executor, keys

    # -- one file --

    async def open(self, record: FileRecord, keep_ms: int) -> int:
        """Open an upload: 1 opened, 2 it is there already, 0 the id is taken by another file."""
        await self.look_at(record.id, 60_000)
        fields = {name: getattr(record, name) for name in record.__struct_fields__}
        for decided in ("id", "state", "offset", "created", "due", "what", "home", "seq", "at"):
            del fields[decided]
        pairs = [value for pair in fields.items() for value in pair]
        return int(await self._run("file_open", [self._keys.file(record.id)], record.what, keep_ms, *pairs))

    async def get(self, id_: str) -> FileRecord | None:
        """What is known of a file."""
        return (await self.get_many([id_]))[0]

    async def get_many(self, ids: Sequence[str]) -> list[FileRecord | None]:
        """What is known of several."""
        names = FileRecord.__struct_fields__[1:]
        rows = await self._executor.execute_many([("HMGET", self._keys.file(id_), *names) for id_ in ids])
        found: list[FileRecord | None] = []
        for id_, row in zip(ids, rows, strict=True):
            fields = {name: text(value) for name, value in zip(names, row, strict=True) if value is not None}
            whole = {"state", "what", "name"} <= fields.keys()
            found.append(msgspec.convert({"id": id_, **fields}, FileRecord, strict=False) if whole else None)
        return found

    async def parts(self, id_: str) -> list[str]:
        """The names of a file's own parts, in order."""
        return [text(name) for name in await self._executor.execute("LRANGE", self._keys.parts(id_), 0, -1)]

    async def take(self, id_: str, offset: int, keep_ms: int) -> Taken:
        """Begin to write at `offset`; whoever wrote before is fenced off. Raises `Elsewhere`."""
        row = await self._run("file_take", [self._keys.file(id_), self._keys.parts(id_)], offset, keep_ms)
        if row[0] == 0:
            raise Elsewhere(text(row[1]), int(row[2]))
        return Taken(int(row[1]), text(row[2]))

    async def commit(
        self, id_: str, fence: int, span: tuple[int, int], index: int, name: str, keep_ms: int
    ) -> str | None:
        """Let a part count: the upload goes from one offset to the other.

        Returns the name of the shorter part that it replaces ("" none), or None when this writer was overtaken.
        """
        keys = [self._keys.file(id_), self._keys.parts(id_)]
        row = await self._run("file_commit", keys, fence, *span, index, name, LEASE_S * 1000, keep_ms)
        return text(row[1]) if row[0] == 1 else None

    async def turn(
        self, id_: str, old: str, new: str, keep_ms: int | None = None, *, if_due: bool = False, **fields: Any
    ) -> bool:
        """Bring a file to another state; False when it was in none of the old one (or is not due)."""
        pairs = [value for pair in fields.items() for value in pair]
        keep: str | int = "" if keep_ms is None else keep_ms
        return bool(await self._run("file_turn", [self._keys.file(id_)], old, new, keep, int(if_due), *pairs))

    async def forget(self, id_: str) -> None:
        """Delete all that is known of a file."""
        await self._executor.execute("DEL", self._keys.parts(id_), self._keys.file(id_))
        await self._executor.execute("ZREM", self._keys.files, id_)

    async def drop_parts(self, id_: str) -> None:
        """Forget a file's own parts, where it is served from another home."""
        await self._executor.execute("DEL", self._keys.parts(id_))

    # -- the same bytes --

    async def join(self, record: FileRecord, sha256: str, *, own: bool) -> str:
        """Note that a file has these bytes; `own` if it has parts of its own. The home, "" if there is none."""
        return text(await self._run("blob_join", [self._keys.blob(sha256)], record.id, int(own)))

    async def leave(self, record: FileRecord) -> tuple[str, int]:
        """Note that a file needs its bytes no longer: their home ("" none), and how many still need them."""
        row = await self._run("blob_leave", [self._keys.blob(record.sha256)], record.id)
        return text(row[0]), int(row[1])

    async def having(self, sha256: str) -> list[str]:
        """Files that have these bytes."""
        fields = await self._executor.execute("HKEYS", self._keys.blob(sha256))
        return [text(field)[2:] for field in fields if field[:2] == b"f:"]

    # -- lists --

    async def enlist(self, record: FileRecord) -> None:
        """List a file wherever it was sent."""
        for place in record.places:
            key = self._keys.files_of(place)
            await self._executor.execute_many(
                [("ZADD", key, record.created, record.id), ("ZREMRANGEBYRANK", key, 0, -MOST_LISTED - 1)]
            )

    async def delist(self, record: FileRecord) -> None:
        """Take it off these lists."""
        await self._executor.execute_many([("ZREM", self._keys.files_of(p), record.id) for p in record.places])

    async def listed(self, place: str, limit: int) -> list[str]:
        """The newest files of a room or an inbox (`@sid`)."""
        rows = await self._executor.execute("ZREVRANGE", self._keys.files_of(place), 0, limit - 1)
        return [text(row) for row in rows]

    # -- how much --

    async def charge(self, sid: str, id_: str, size: int, limit: int) -> bool:
        """Let a file count for so many bytes of its sender's; False if that is beyond the limit."""
        return bool(await self._run("quota_set", [f"{self._keys.session(sid)}:stored"], id_, size, limit))

    async def charge_all(self, id_: str, size: int, limit: int) -> bool:
        """Let a file count for so many of all bytes; False if that is beyond the limit."""
        return bool(await self._run("quota_set", [self._keys.stored], id_, size, limit))

    async def usage(self, sid: str | None = None) -> int:
        """Bytes that the files of a session, or all files, count for."""
        key = self._keys.stored if sid is None else f"{self._keys.session(sid)}:stored"
        return int(await self._executor.execute("HGET", key, "total") or 0)

    async def remember_open(self, record: FileRecord) -> bool:
        """Note an open upload with its sender, so that asking again goes on with it; False if it has too many."""
        key = f"{self._keys.session(record.sid)}:uploads"
        _, count = await self._executor.execute_many([("HSET", key, record.what, record.id), ("HLEN", key)])
        if count > MOST_OPEN:
            await self._executor.execute("HDEL", key, record.what)
        return bool(count <= MOST_OPEN)

    async def opened(self, sid: str, what: str) -> str | None:
        """The open upload of a session that was asked for with the same `what`."""
        id_ = await self._executor.execute("HGET", f"{self._keys.session(sid)}:uploads", what)
        return None if id_ is None else text(id_)

    async def forget_open(self, record: FileRecord) -> None:
        """The upload is not open any more."""
        if record.sid and await self.opened(record.sid, record.what) == record.id:
            await self._executor.execute("HDEL", f"{self._keys.session(record.sid)}:uploads", record.what)

    # -- tokens --

    async def grant(self, digest: str, grant: Grant, seconds: float) -> None:
        """Keep what the bearer of a token may do, under the digest of the token."""
        await self._executor.execute("SET", self._keys.grant(digest), " ".join(grant), "PX", int(seconds * 1000))

    async def granted(self, digest: str, renew: float) -> Grant | None:
        """What the bearer may do. A right to put is kept for `renew` seconds more."""
        key = self._keys.grant(digest)
        value = await self._executor.execute("GET", key)
        if value is None:
            return None
        grant = Grant(*text(value).split(" "))
        if grant.what == "put":
            await self._executor.execute("PEXPIRE", key, int(renew * 1000))
        return grant

    # -- the schedule --

    async def look_at(self, id_: str, in_ms: int) -> None:
        """Let a worker look at a file in so many ms, and not before."""
        seconds, micros = await self._executor.execute("TIME")
        at = int(seconds) * 1000 + int(micros) // 1000 + in_ms
        await self._executor.execute("ZADD", self._keys.files, at, id_)

    async def due(self, limit: int) -> tuple[list[str], int]:
        """Files to look at now, and the store's clock in ms."""
        seconds, micros = await self._executor.execute("TIME")
        now = int(seconds) * 1000 + int(micros) // 1000
        rows = await self._executor.execute("ZRANGEBYSCORE", self._keys.files, "-inf", now, "LIMIT", 0, limit)
        return [text(row) for row in rows], now

    # -- who --

    async def silenced(self, room: str, sid: str) -> Exception | None:
        """Why a session may not speak in a room now, None if it may."""
        row = await self._run("room_voice", self._keys.named(room, "access"), sid)
        return None if row[0] == 1 else refusal(row)
