"""Numbered logs: the rooms' messages and the inboxes. Laws that hold for both:

* seqs rise by one from 1, entry ids are `<seq>-0`; what `append` returned stays, up to trimming;
* a log whose meta and stream disagree goes on above both under a new epoch, and everybody is told;
* every read says where the log stood at that very moment.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from causerie.errors import GOODBYES, Goodbye, Refused
from causerie.model import Chunk, Entry, Origin, Outcome, Position, Post, new_epoch
from causerie.store.cleared import Cleared
from causerie.store.keys import Keys
from causerie.store.resp import resolve
from causerie.store.scripts import Scripts

ID_WINDOW = 256
"""Send ids remembered for each device and target."""
ROOMS = 64
"""Rooms of one call: what the script does in a few milliseconds."""
ASKED_S = 3600
"""How long the epoch of a log that was only asked for is kept."""
READ_BYTES = 256 * 1024
"""Bytes of messages that one read returns at most, give or take a message."""

_json = msgspec.json.Encoder().encode

TEXTS = {
    "not_joined": "you are not in that room",
    "suspended": "you are suspended",
    "banned": "you are banned",
    "dead": "the dead do not speak",
    "nick_taken": "somebody has that nick",
    "locked": "the room is locked",
    "bad_cookie": "the session is over",
    "replaced": "another connection of this device took over",
    "unavailable": "the session was lost by the store",
}


def refusal(row: Sequence[Any]) -> Refused | Goodbye:
    """What a script's `{0, code, until_ms, reason}` means."""
    code = text(row[1])
    ends = text(row[2]) if len(row) > 2 else ""
    reason = text(row[3]) if len(row) > 3 else ""
    if code in ("suspended", "banned"):
        until = int(ends) / 1000 if ends not in ("", "0") else None
        return Refused(code, reason or TEXTS[code], until=until)
    if code == "unavailable":
        return Goodbye("unavailable", TEXTS[code])
    if code in GOODBYES:
        return Goodbye(code, TEXTS.get(code, code))
    if code in ("dropped", "expired", "evicted"):
        return Refused("bad_cookie", TEXTS["bad_cookie"])
    return Refused(code, reason or TEXTS.get(code, code))


def text(value: Any) -> str:
    """A reply as text."""
    return value.decode() if isinstance(value, bytes) else str(value)


def digest(kind: str, body: str, extra: bytes = b"") -> int:
    """What tells two messages under one id apart: whose client errs, not whose client cheats."""
    known = zlib.crc32(body.encode(), _CRC_OF_MESSAGE if kind == "message" else zlib.crc32(kind.encode()))
    return zlib.crc32(extra, known) if extra else known


_CRC_OF_MESSAGE = zlib.crc32(b"message")


def prefix(shown: str) -> bytes:
    """The JSON event up to its seq, for `in` = shown."""
    return b'{"ev":"message","in":' + _json(shown) + b',"seq":'


def middle(nick: str, body: str, mid: str, to: Sequence[str] = ()) -> bytes:
    """The members between `seq` and `ts`."""
    return _json(_Middle(nick, body, mid, list(to)) if to else _Middle(nick, body, mid))[1:-1]


class _Middle(msgspec.Struct, omit_defaults=True, rename={"from_": "from"}):
    from_: str
    body: str
    mid: str
    to: list[str] = []


def tail(kind: str, extra: bytes = b"") -> bytes:
    """The members after `ts`, and the end."""
    return _PLAIN_END if kind == "message" and not extra else b',"kind":' + _json(kind) + extra + b"}"


_SYSTEM = Origin("", "", 0)
_PLAIN_END = b',"kind":"message"}'


Batch = tuple[str, Sequence[Post]]
"""A room, and what is posted to it."""


class Logs:
    """Reads of all logs, and appends to rooms (`Direct` appends to inboxes)."""

    def __init__(
        self, scripts: Scripts, posting: Scripts, executor: Any, keys: Keys, *, limit: int, max_bytes: int
    ) -> None:
        self._run, self._post, self._executor, self._keys = scripts, posting, executor, keys
        self.limit, self.max_bytes = limit, max_bytes
        self.reads = 0
        self.rooms_a_call = 1 if executor.one_slot else ROOMS
        self._cleared = Cleared()

    def names(self, log: str) -> tuple[str, str, str]:
        """(meta key, log key, channel)."""
        base = self._keys.of(log)
        return f"{base}:meta", f"{base}:log", base

    async def append(self, room: str, posts: Sequence[Post]) -> list[Outcome]:
        """Post to a room, all in one step and in order; one outcome each.

        Raises `Unavailable` when it is not known whether they were posted.
        """
        return await self.append_all([(room, posts)])

    async def append_all(self, batches: Sequence[Batch]) -> list[Outcome]:
        """Post to different rooms in one step, of which a Cluster takes one (`rooms_a_call`); see `append`.

        Posts of one device to one room must not be under way in two calls (`cleared.py`).
        """
        future: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self.begin_append(batches, partial(resolve, future, raised=Exception))
        return await future

    def begin_append(self, batches: Sequence[Batch], done: Callable[[list[Outcome] | Exception], None]) -> None:
        """As `append_all` without waiting: `done` is called with the outcomes or what it would raise, later."""
        keys: list[str] = []
        args: list[str | bytes | int] = []
        tails = {_PLAIN_END: 1}
        versions = [self._cleared.version(room, posts) for room, posts in batches]
        for (room, posts), version in zip(batches, versions, strict=True):
            meta, log, channel = self.names(room)
            ids: dict[str, int] = {}
            told = [item for post in posts for item in _told(post, channel, tails, ids)]
            keys += (meta, log, f"{channel}:access", *ids)
            args += (channel, prefix(room), version, len(posts), len(ids), *told)
        bounds = (new_epoch(), self.limit, self.max_bytes, ID_WINDOW)
        doubts = self._cleared.doubts

        def answered(rows: Any) -> None:
            found: list[Outcome] | Exception
            try:
                found = rows if isinstance(rows, Exception) else self._learned(batches, versions, doubts, rows)
            except Exception as error:  # noqa: BLE001 - whoever waits has to hear of it
                found = error
            if isinstance(found, Exception):
                self._cleared.doubt()
            done(found)

        self._post.begin(answered, "room_append", keys, *bounds, len(tails), *tails, *args)

    def _learned(
        self, batches: Sequence[Batch], versions: list[bytes], doubts: int, rows: Sequence[Any]
    ) -> list[Outcome]:
        outcomes: list[Outcome] = []
        at = 0
        for (room, posts), version in zip(batches, versions, strict=True):
            own = rows[at + 1 : at + 1 + len(posts)]
            self._cleared.learn(room, version, rows[at], posts, own, doubts)
            outcomes += map(outcome, own)
            at += 1 + len(posts)
        if len(rows) != at:
            raise RuntimeError(f"{len(rows)} answers of room_append instead of {at}")
        return outcomes

    async def head(self, log: str) -> Position:
        """Where a log stands (an unwritten one at seq 0 of a fresh epoch)."""
        return (await self.heads([log]))[0]

    async def heads(self, logs: Sequence[str]) -> list[Position]:
        """Where many logs stand, in one write."""
        named = [self.names(log) for log in logs]
        rows = await self._run.many("log_head", [((m, s), (channel, new_epoch(), ASKED_S)) for m, s, channel in named])
        return [position(row) for row in rows]

    async def read(self, log: str, after: int, limit: int) -> Chunk:
        """Up to `limit` messages with seq > `after` (fewer when they are large), oldest first."""
        meta, stream, channel = self.names(log)
        self.reads += 1
        row = await self._run("log_read", (meta, stream), channel, new_epoch(), after, limit, READ_BYTES)
        return Chunk(position(row), int(row[3]), [entry(item) for item in row[4:]])

    async def read_before(self, log: str, before: int | None, limit: int) -> list[Entry]:
        """The newest `limit` messages with seq < `before` (None: from the head), rising."""
        top = "+" if before is None else f"{max(0, before - 1)}-0"
        if before is not None and before <= 1:
            return []
        rows = await self._executor.execute("XREVRANGE", self.names(log)[1], top, "-", "COUNT", limit)
        return [entry(row) for row in reversed(rows)]

    async def confirm(self, written: Sequence[tuple[str, Position]]) -> int:
        """Have a new epoch where a message that was written is not on its log, whose epoch is still the same; how many
        times that was so.
        """
        named = [(self.names(log), seen) for log, seen in written]
        calls = [((meta, stream), (channel, new_epoch(), *seen)) for (meta, stream, channel), seen in named]
        return sum(await self._run.many("log_confirm", calls))

    async def new_epoch(self, log: str, old: str) -> Position:
        """Leave the epoch `old` (if it still is the log's) for a new one; the head as it is then."""
        meta, stream, channel = self.names(log)
        return position(await self._run("log_epoch", (meta, stream), channel, new_epoch(), old))


def position(row: Sequence[Any]) -> Position:
    """`{epoch, seq, mid, ...}` of a script."""
    return Position(text(row[0]), int(row[1]), text(row[2]))


def entry(item: Sequence[Any]) -> Entry:
    """`{id, {m, mid, j, line}}` of a stream."""
    fields = item[1]
    return Entry(int(bytes(item[0]).partition(b"-")[0]), text(fields[1]), bytes(fields[3]) + b"\n")


def outcome(row: int | Sequence[Any]) -> Outcome:
    """A row of room_append. Raises nothing: errors are in the outcome."""
    if isinstance(row, int):
        return Outcome(row)
    if row[0] == 0:
        return Outcome(0, False, refusal(row))
    return Outcome(int(row[1]), row[0] == 2, None, text(row[2]) if len(row) > 2 else "")


def _told(post: Post, channel: str, tails: dict[bytes, int], ids: dict[str, int]) -> tuple[str, bytes]:
    """What room_append is told of a post; new tails and keys of remembered ids are added to those that there are."""
    kind, body, mid = post.kind, post.body, post.mid
    sid, device, gen = post.origin or _SYSTEM
    end = 1 if kind == "message" and not post.extra else tails.setdefault(tail(kind, post.extra), len(tails) + 1)
    text_ = middle(post.nick, body, mid)
    if post.id is None:
        return f"  {mid} {end} 0 {sid} {gen} {device}", text_
    writer = f"!{post.key}" if post.key or not sid else f"{sid}/{device}"
    place = ids.setdefault(f"{channel}:sent:{writer}", len(ids) + 1)
    known = digest(kind, body, post.extra if sid else post.nick.encode() + post.extra)
    return f"{post.id} {known} {mid} {end} {place} {sid} {gen} {device}", text_
