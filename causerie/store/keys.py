"""Every key of the store: its type, its hash tag, what ends it.

All begin with the namespace. Keys that one script touches share a hash tag, so Cluster works. `#room` and `sid`
stand legibly in them.

| key | type | holds | ends |
| --- | --- | --- | --- |
| `{#room}:log` | stream | messages; entry id is `<seq>-0`, fields `m` (mid) `j` (JSON event) | trimmed; lives with the room |
| `{#room}:meta` | hash | epoch seq mid ts bytes; topic, created; access: another after each change of that | with the room |
| `{#room}:members` | hash | sid -> `version state nick` | field at part, end of session |
| `{#room}:access` | hash | `g:sid/device` fence; `m:sid` chat-wide mute; `s:nick`, `b:nick` room's own sanctions; `o:sid` moderator; `p:sid` plays or watches a game, `d:sid` dead in it | fields likewise |
| `{#room}:sent:sid/device` | string | remembered send ids, a line each | a session TTL after part; with the session |
| `{#room}:sent:!KEY` | string | the remembered post of an idempotency key, or of a file | expires after a day |
| `{#room}:files` | zset | file -> ms of its sending; of the newest | entry with the file; with the room |
| `{#room}:game` | hash | a game: rev name id seq (cursor) state lock; `l:sid` a member who left | with the game |
| `{#room}:letters` | list | what a game has for sessions, not yet delivered | struck off |
| `{#room}:score` | hash | sid -> `ms wins kills deaths nick` | bounded; with the room |
| `{s:sid}:rec` | hash | the session | when cleaned up after its end |
| `{s:sid}:alive` | string | nothing; its TTL is the heartbeat | expires |
| `{s:sid}:devices` | hash | device -> JSON gen, gateway, connected, since, current room | with the session |
| `{s:sid}:rooms` | hash | room -> 1 | with the session |
| `{s:sid}:tell` | hash | room -> version that the room must still hear | struck off |
| `{s:sid}:pos` | hash | `device NUL room` -> `epoch seq mid` | with the session |
| `{s:sid}:log`, `:meta`, `:sent:device` | as above | the inbox | with the session |
| `{s:sid}:pending` | hash | mid -> direct message not yet delivered everywhere | struck off |
| `{s:sid}:from` | hash | sender sid, or `!` and a game's id -> `ts seq` of its last copy here, and when | bounded; with the session |
| `{s:sid}:files` | zset | as of a room: files sent by or to the session directly | entry with the file; with the session |
| `{s:sid}:uploads` | hash | digest of what was asked -> file, while its bytes come | entry struck off; with the session |
| `{s:sid}:stored` | hash | `f:FILE` -> bytes it counts for, `total` | field with the file; with the session |
| `{f:ID}:file`, `:parts` | hash, list | a file; names of its parts in the object store | when a worker has taken it away |
| `{b:SHA256}:blob` | hash | `home` file whose parts hold these bytes; `f:FILE` of each that has them | when the last file leaves it |
| `{g:hash}` | string | what the bearer of a file token may do | expires |
| `files` | zset | file -> ms at which a worker looks at it | entry with the file |
| `stored` | hash | `f:FILE` -> bytes it takes in the object store, `total` | field with the file |
| `{n:nick}:lease` | string | sid | released at the session's end, or taken over |
| `{n:nick}:sanctions` | hash | `ban`, `suspend` -> JSON with version | kept (tombstones) |
| `{c:hash}` | string | sid | with the session, or at `!cookie new` |
| `{d:NN}:due` | zset | sid -> ms at which a worker looks at it | removed after clean-up |
| `{w:address}:tries` | string | wrong tokens in this minute | expires |
| `rooms`, `bans`, `suspensions`, `addresses` | hash, zset | indexes for lists | entries removed |
| `audit`, `control` | stream | audit log; notes to gateways | trimmed |
| `gateways` | zset | gateway -> ms at which it counts as dead | entries removed |
| `applied` | hash | gateway -> last control id applied | with the gateway's entry |
| `games` | hash | room with a game -> worker that runs it, or "" | struck off after the game |
| `workers` | zset | worker -> ms at which it counts as dead | entries removed |
| `round:NAME` | string | who does a sweep this time | expires |
| `format` | string | version of this layout | never |
"""

# ruff: noqa: E501 - a table

from __future__ import annotations

import zlib

FORMAT = 1
SHARDS = 16


class Keys:
    """The names of keys under one namespace."""

    def __init__(self, namespace: str) -> None:
        self.prefix = f"{namespace}:"
        fixed = (
            "rooms",
            "bans",
            "suspensions",
            "addresses",
            "audit",
            "control",
            "gateways",
            "applied",
            "format",
            "files",
            "stored",
            "games",
            "workers",
        )
        (
            self.rooms,
            self.bans,
            self.suspensions,
            self.addresses,
            self.audit,
            self.control,
            self.gateways,
            self.applied,
            self.format,
            self.files,
            self.stored,
            self.games,
            self.workers,
        ) = (self.prefix + name for name in fixed)

    def of(self, log: str) -> str:
        """The common beginning of the keys of a log: `#room`, or `@sid` for an inbox. Also the channel of its
        feed.
        """
        return f"{self.prefix}{{{log}}}" if log[0] == "#" else f"{self.prefix}{{s:{log[1:]}}}"

    def named(self, log: str, *names: str) -> list[str]:
        """Some of the keys of a log, by what stands behind their common beginning."""
        base = self.of(log)
        return [f"{base}:{name}" for name in names]

    def log_of(self, channel: str) -> str:
        """The log key whose channel this is."""
        tag = channel[len(self.prefix) + 1 : -1]
        return tag if tag[0] == "#" else "@" + tag[2:]

    def session(self, sid: str) -> str:
        """The common beginning of a session's keys."""
        return f"{self.prefix}{{s:{sid}}}"

    def nick(self, nick: str) -> str:
        """The common beginning of a nick's keys."""
        return f"{self.prefix}{{n:{nick}}}"

    def cookie(self, digest: str) -> str:
        """Where a cookie leads to."""
        return f"{self.prefix}{{c:{digest}}}"

    def due(self, shard: int) -> str:
        """The deadlines of a shard of the sessions."""
        return f"{self.prefix}{{d:{shard:02d}}}:due"

    def file(self, id_: str) -> str:
        """What is known of a file."""
        return f"{self.prefix}{{f:{id_}}}:file"

    def parts(self, id_: str) -> str:
        """The names of a file's parts in the object store."""
        return f"{self.prefix}{{f:{id_}}}:parts"

    def blob(self, sha256: str) -> str:
        """Who has these bytes."""
        return f"{self.prefix}{{b:{sha256}}}:blob"

    def files_of(self, place: str) -> str:
        """The files of a room, or of an inbox (`@sid`)."""
        return f"{self.of(place)}:files"

    def grant(self, digest: str) -> str:
        """What the bearer of a token may do."""
        return f"{self.prefix}{{g:{digest}}}"

    def tries(self, address: str) -> str:
        """Wrong tokens from an address."""
        return f"{self.prefix}{{w:{address}}}:tries"


def shard_of(sid: str) -> int:
    """Which of the `SHARDS` deadline sets a session is in."""
    return zlib.crc32(sid.encode()) % SHARDS
