"""Direct messages: one op, one mid, a copy in every inbox, acknowledged when all are in.

The message enters the sender's inbox together with a `pending` note; the copies follow, always all that are
pending and in the order of the sender's seqs, so a recipient's inbox needs to remember only the last one of
each sender. Whoever finds something pending (the next message, the resend, the next heartbeat, a worker) goes
on where a dead gateway stopped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from causerie.errors import Refused
from causerie.model import Origin, Outcome, Position, Post, new_epoch
from causerie.names import INBOX
from causerie.store.keys import Keys
from causerie.store.logs import ID_WINDOW, Logs, digest, middle, outcome, prefix, refusal, tail, text
from causerie.store.scripts import Scripts
from causerie.store.sessions import Sessions

MAX_SENDERS = 4096
"""Senders whose last copy an inbox remembers."""
KEYED_S = 86_400
"""How long a message with a key is remembered."""

_PREFIX = prefix(INBOX)


class Direct:
    """Sends and finishes direct messages."""

    def __init__(
        self,
        scripts: Scripts,
        executor: Any,
        keys: Keys,
        logs: Logs,
        sessions: Sessions,
        plays: Callable[[str, Sequence[str]], Awaitable[bool]],
    ) -> None:
        self._plays = plays
        self.on_copy: Callable[[str, Position], None] = lambda _log, _copy: None
        """Is told each copy that was put into an inbox."""
        self._run, self._executor, self._keys, self._logs, self._sessions = (
            scripts,
            executor,
            keys,
            logs,
            sessions,
        )

    async def send(
        self,
        origin: Origin,
        nick: str,
        id_: int | None,
        kind: str,
        body: str,
        mid: str,
        to: Sequence[str],
        extra: bytes = b"",
    ) -> Outcome:
        """One message from a session to nicks (in stored form, at most 20); returns when every copy is in.

        An unknown nick fails all of it, and so does one who plays on where the sender is dead. Raises
        `Unavailable`: sent again under the same id, it goes on where it stopped.
        """
        nicks = list(dict.fromkeys(to))
        sids = await self._sessions.lookup_many(nicks)
        known = "" if id_ is None else digest(kind, "\0".join((*nicks, body)), extra)
        return await self._send(Post(origin, nick, id_, kind, body, mid, extra), nicks, sids, known)

    async def send_keyed(self, post: Post, sids: Sequence[str]) -> Outcome:
        """One message to sessions, whatever they are called now; its `key` makes it repeatable for a day.

        One that is over fails all of it (`no_such_nick`). Raises `Unavailable`.
        """
        infos = await self._sessions.describe_many(sids)
        nicks = [info.nick if info else "one of them" for info in infos]
        there = [sid if info else None for sid, info in zip(sids, infos, strict=True)]
        return await self._send(post, nicks, there, digest(post.kind, post.body, post.extra))

    async def _send(self, post: Post, nicks: list[str], sids: Sequence[str | None], known: str | int) -> Outcome:
        origin = post.origin
        assert origin is not None
        unknown = next((nick_ for nick_, sid in zip(nicks, sids, strict=True) if sid is None), None)
        others = [sid for sid in sids if sid and sid != origin.sid]
        base = self._keys.session(origin.sid)
        ids, keep = (f"sent:!{post.key}", KEYED_S) if post.key else (f"sent:{origin.device}", "")
        keys = [f"{base}:{name}" for name in ("rec", "devices", "meta", "log", ids, "pending")]
        args = (
            base, new_epoch(), self._logs.limit, self._logs.max_bytes, ID_WINDOW, origin.device, origin.gen,
            "" if post.id is None else post.id, known, post.mid, _PREFIX,
            middle(post.nick, post.body, post.mid, nicks), tail(post.kind, post.extra),
            f"!{unknown}" if unknown else " ".join(others), keep,
        )  # fmt: skip
        row = await self._run("dm_begin", keys, *args)
        if row[0] == 0 and text(row[1]) == "dead":
            for room in text(row[3]).split():
                if await self._plays(room, others):
                    return Outcome(0, False, Refused("dead", f"the dead do not speak to those who play on in {room}"))
            row = await self._run("dm_begin", keys, *args, 1)
        if row[0] == 0:
            return Outcome(0, False, refusal(row))
        await self._deliver(origin.sid, row[2])
        return outcome(row[:2])

    async def finish(self, sid: str) -> None:
        """Deliver whatever is still pending of a session."""
        values = await self._executor.execute("HVALS", f"{self._keys.session(sid)}:pending")
        await self._deliver(sid, sorted(values, key=lambda value: int(value.partition(b" ")[0])))

    async def _deliver(self, sender: str, pending: Sequence[bytes]) -> None:
        for note in pending:
            header, middle_, tail_ = note.split(b"\n")
            seq, mid, ts, *recipients = text(header).split(" ")
            calls = []
            for sid in recipients:
                base = self._keys.session(sid)
                keys = [f"{base}:{name}" for name in ("rec", "meta", "log", "from")]
                args = (
                    base, new_epoch(), self._logs.limit, self._logs.max_bytes, sender, seq, mid, ts,
                    _PREFIX, middle_, tail_, MAX_SENDERS,
                )  # fmt: skip
                calls.append((keys, args))
            for sid, row in zip(recipients, await self._run.many("dm_deliver", calls), strict=True):
                if isinstance(row, list):
                    self.on_copy(f"@{sid}", Position(text(row[0]), int(row[1]), mid))
            await self._executor.execute("HDEL", f"{self._keys.session(sender)}:pending", mid)
