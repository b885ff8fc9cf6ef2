"""Games in rooms: their state, what follows from each step of it, scores, who runs them.

A step commits all that some messages did to a game, or nothing, and only on top of the revision that was read. So
any number of processes may try; every message counts once. What a game has for single sessions lies as letters in
the room's slot until it is delivered, by whoever comes first, in theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from causerie.model import new_epoch, token
from causerie.names import GAME, INBOX, MAX_BODY
from causerie.store.direct import MAX_SENDERS
from causerie.store.keys import Keys
from causerie.store.logs import Logs, middle, prefix, tail, text
from causerie.store.resp import all_done
from causerie.store.scripts import Scripts

MOST_GAMES = 1000
"""Games that run in the whole chat at once."""
MOST_SCORES = 500
"""People in the score table of a room."""
MOST_READ = 128
READ_BYTES = 256 * 1024
MOST_LETTERS = 256
WORKER_TTL_MS = 2000
"""How long after its last sign a worker counts as dead."""

_PREFIX = prefix(INBOX)
_encode = msgspec.json.Encoder().encode


class Said(NamedTuple):
    """A message of a session; `line` is its JSON event."""

    seq: int
    sid: str
    line: bytes


class Leave(NamedTuple):
    """A session that was there at the start left behind message `seq`, as the `order`-th."""

    seq: int
    order: int
    sid: str
    why: str


class Reading(NamedTuple):
    """A game and what is new to who reads it, up to message `upto` of `head`.

    `state` is None when the reader has it already; `nicks` are those of the members, by sid, if asked for.
    """

    rev: str
    name: str
    id: str
    cursor: int
    head: int
    upto: int
    members: int
    state: bytes | None
    leaves: list[Leave]
    nicks: dict[str, str]
    said: list[Said]
    letters: int


class Whisper(NamedTuple):
    """For one session; `nick` is shown as whom it is to."""

    sid: str
    nick: str
    body: str
    data: Mapping[str, Any]


class Tally(NamedTuple):
    """To be added to a session's score in the room."""

    sid: str
    nick: str
    wins: int
    kills: int
    deaths: int


class Effects(msgspec.Struct):
    """What follows from a step. `posts` are bodies with what programs read of them; `dead` are sids."""

    posts: list[tuple[str, Mapping[str, Any]]] = []
    whispers: list[Whisper] = []
    dead: list[str] = []
    scores: list[Tally] = []
    over: bool = False

    def __bool__(self) -> bool:
        return bool(self.posts or self.whispers or self.dead or self.scores or self.over)


class Standing(msgspec.Struct):
    """One line of a score table."""

    nick: str
    wins: int
    kills: int
    deaths: int


class Games:
    """All operations on games. Every call may raise `Unavailable`."""

    def __init__(self, scripts: Scripts, executor: Any, keys: Keys, logs: Logs) -> None:
        self._run, self._executor, self._keys, self._logs = scripts, executor, keys, logs

    def _names(self, room: str) -> list[str]:
        return self._keys.named(room, "meta", "log", "members", "access", "game", "letters", "score")

    def _common(self, room: str) -> tuple[Any, ...]:
        return self._keys.of(room), new_epoch(), self._logs.limit, self._logs.max_bytes, prefix(room)

    @staticmethod
    def _posts(rev: str, name: str, posts: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Any]:
        args: list[Any] = [len(posts)]
        for i, (body, data) in enumerate(posts):
            mid = f"{rev}.{i}"
            args += (mid, middle(GAME, clip(body), mid), tail("game", _extra(name, data)))
        return args

    @staticmethod
    def _letters(rev: str, name: str, room: str, whispers: Sequence[Whisper]) -> list[Any]:
        args: list[Any] = [len(whispers)]
        for i, (sid, nick, body, data) in enumerate(whispers):
            mid = f"{rev}.w{i}"
            extra = _extra(name, {**data, "room": room})
            args += (sid, mid, middle(GAME, clip(body), mid, [nick]), tail("game", extra))
        return args

    # --- playing

    async def exists(self, room: str) -> bool:
        """Whether a game runs in a room."""
        return bool(await self._executor.execute("EXISTS", f"{self._keys.of(room)}:game"))

    async def begin(
        self, room: str, name: str, state: bytes, players: Sequence[str], effects: Effects, *,
        ask: str = "", lock: str = "", epitaph: str = "",
    ) -> str:  # fmt: skip
        """Begin a game: "begun", "running" (one runs already) or "gone" (a player is no member any more).

        `ask` names who asked under which id: the same asking again is "begun". `lock` is what newcomers are told, ""
        lets them in; `epitaph` what the dead are.
        """
        rev = _rev()
        row = await self._run(
            "game_begin", self._names(room), *self._common(room), rev, name, token(), state, ask, lock, epitaph,
            len(players), *players, *self._posts(rev, name, effects.posts),
            *self._letters(rev, name, room, effects.whispers),
        )  # fmt: skip
        return text(row[1]) if row[0] == 0 else "begun"

    async def read(self, room: str, rev: str, after: int, *, nicks: bool) -> tuple[Reading | None, int]:
        """What a reader that has revision `rev` ("" none) and has seen up to `after` needs; None: no game runs.

        Also the number of letters that wait.
        """
        row = await self._run(
            "game_read",
            self._names(room),
            self._keys.of(room),
            new_epoch(),
            rev,
            after,
            MOST_READ,
            READ_BYTES,
            int(nicks),
        )
        if len(row) == 1:
            return None, row[0]
        leaves = [_leave(text(sid), text(value)) for sid, value in zip(row[9][::2], row[9][1::2], strict=True)]
        members = zip(row[10][::2], row[10][1::2], strict=True)
        said = [Said(int(seq), text(sid), bytes(line)) for seq, sid, line in row[11]]
        reading = Reading(
            text(row[1]), text(row[2]), text(row[3]), int(row[4]), int(row[5]), int(row[6]), int(row[7]),
            bytes(row[8]) or None, sorted(leaves),
            {text(sid): text(value).split(" ", 2)[2] for sid, value in members}, said, row[0],
        )  # fmt: skip
        return reading, row[0]

    async def step(
        self, room: str, read: Reading, state: bytes, cursor: int, effects: Effects, left: Sequence[str]
    ) -> str | None:
        """Commit a step on top of what was read; the new revision, or None when somebody else was first.

        Raises `Unavailable` when it is not known whether it was committed: what is read next says so.
        """
        rev = _rev()
        scores = [value for score in effects.scores for value in score]
        done = await self._run(
            "game_step", self._names(room), *self._common(room),
            read.rev, rev, state, cursor, int(effects.over), MOST_SCORES,
            len(left), *left, len(effects.dead), *effects.dead, *self._posts(rev, read.name, effects.posts),
            *self._letters(rev, read.name, room, effects.whispers), len(effects.scores), *scores,
        )  # fmt: skip
        return rev if done else None

    async def deliver(self, room: str) -> None:
        """Bring all letters that wait to their sessions. Safe to repeat, by anybody."""
        key = f"{self._keys.of(room)}:letters"
        while letters := await self._executor.execute("LRANGE", key, 0, MOST_LETTERS - 1):
            await self._run.many("dm_letter", [self._letter(room, bytes(letter)) for letter in letters])
            await self._executor.execute_many([("LREM", key, 1, letter) for letter in letters])

    def _letter(self, room: str, letter: bytes) -> tuple[list[str], list[Any]]:
        header, middle_, tail_ = letter.split(b"\n")
        number, game, sid, change, mid, ts = text(header).split(" ")
        base = self._keys.session(sid)
        args = [
            base, new_epoch(), self._logs.limit, self._logs.max_bytes, game, number, mid, ts,
            _PREFIX, middle_, tail_, MAX_SENDERS, room, change,
        ]  # fmt: skip
        return [f"{base}:{name}" for name in ("rec", "meta", "log", "from")], args

    async def plays(self, room: str, sids: Sequence[str]) -> bool:
        """Whether one of these sessions is alive in a game there."""
        if not sids:
            return False
        fields = [f"{kind}:{sid}" for sid in sids for kind in ("p", "d")]
        values = await self._executor.execute("HMGET", f"{self._keys.of(room)}:access", *fields)
        return any(values[i] == b"plays" and values[i + 1] is None for i in range(0, len(values), 2))

    async def scores(self, room: str) -> dict[str, Standing]:
        """The score table of a room, by sid."""
        fields = await self._executor.execute("HGETALL", f"{self._keys.of(room)}:score")
        found = {}
        for sid, value in zip(fields[::2], fields[1::2], strict=True):
            _, wins, kills, deaths, nick = text(value).split(" ", 4)
            found[text(sid)] = Standing(nick, int(wins), int(kills), int(deaths))
        return found

    # --- who runs what

    async def offer(self, room: str, *, only_new: bool = False) -> None:
        """A game of this room wants a runner; whoever had it has it no longer (but with `only_new` goes on)."""
        await self._executor.execute("HSETNX" if only_new else "HSET", self._keys.games, room, "")

    async def count(self) -> int:
        """How many rooms have a game."""
        return int(await self._executor.execute("HLEN", self._keys.games))

    async def running(self) -> dict[str, str]:
        """The worker of each room that has a game, "" for none."""
        fields = await self._executor.execute("HGETALL", self._keys.games)
        return {text(room): text(owner) for room, owner in zip(fields[::2], fields[1::2], strict=True)}

    async def unlisted(self, rooms: Sequence[str]) -> list[str]:
        """Those of the rooms that have a game or undelivered letters, and are not listed as having one."""
        listed, found = await self.running(), []
        for start in range(0, len(rooms), 500):
            some = [room for room in rooms[start : start + 500] if room not in listed]
            names = [self._names(room)[4:6] for room in some]
            games = await self._executor.execute_many([("EXISTS", *pair) for pair in names])
            found += [room for room, game in zip(some, games, strict=True) if game]
        return found

    async def claim(self, room: str, old: str, new: str | None) -> bool:
        """Hand a room from one worker to another ("" nobody; None: it has no game); False when `old` has it not."""
        return bool(await self._run("runner_claim", [self._keys.games], room, old, *(() if new is None else (new,))))

    async def check_in(self, worker: str) -> set[str]:
        """This worker lives. Returns all that do."""
        seconds, micros = await self._executor.execute("TIME")
        now = int(seconds) * 1000 + int(micros) // 1000
        key = self._keys.workers
        replies = await self._executor.execute_many(
            [
                ("ZADD", key, now + WORKER_TTL_MS, worker),
                ("ZRANGEBYSCORE", key, now, "+inf"),
                ("ZREMRANGEBYSCORE", key, "-inf", now - 60_000),
            ]
        )
        _, alive, _ = all_done(replies)
        return {text(one) for one in alive}

    async def check_out(self, worker: str) -> None:
        """This worker stops."""
        await self._executor.execute("ZREM", self._keys.workers, worker)


def _rev() -> str:
    """A revision that was never there before, also not before a failover; posts are named after it."""
    return token()[:22]


def clip(body: str) -> str:
    """A body within its bound."""
    data = body.encode()
    return body if len(data) <= MAX_BODY else data[: MAX_BODY - 3].decode(errors="ignore") + "…"


def _extra(name: str, data: Mapping[str, Any]) -> bytes:
    return b',"game":' + _encode({"game": name, **data})


def _leave(sid: str, value: str) -> Leave:
    seq, order, why = value.split(" ")
    return Leave(int(seq), int(order), sid, why)
