"""Who is there: sessions as operators and other people see them. Reads only; `sessions` changes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from causerie.model import Origin, SessionInfo
from causerie.store.keys import SHARDS, Keys, shard_of
from causerie.store.logs import text


class Directory:
    """Looks sessions up by nick and sid, and lists them."""

    def __init__(self, executor: Any, keys: Keys) -> None:
        self._executor, self._keys = executor, keys

    def _k(self, sid: str, *names: str) -> list[str]:
        base = self._keys.session(sid)
        return [f"{base}:{name}" for name in names]

    async def lookup(self, nick: str) -> str | None:
        """Who has a nick now: the sid, or None."""
        sid = await self._executor.execute("GET", f"{self._keys.nick(nick)}:lease")
        return None if sid is None else text(sid)

    async def lookup_many(self, nicks: Sequence[str]) -> list[str | None]:
        """Who has these nicks."""
        sids = await self._executor.execute_many([("GET", f"{self._keys.nick(nick)}:lease") for nick in nicks])
        return [None if sid is None else text(sid) for sid in sids]

    async def describe(self, sid: str) -> SessionInfo | None:
        """A session, or None when it is over."""
        return (await self.describe_many([sid]))[0]

    async def describe_many(self, sids: Sequence[str]) -> list[SessionInfo | None]:
        """Sessions by sid."""
        commands: list[tuple[str, ...]] = []
        for sid in sids:
            rec, devices, rooms = self._k(sid, "rec", "devices", "rooms")
            commands += [
                ("HMGET", rec, "nick", "state", "ended", "since", "created", "address", "mute", "admin", "dead"),
                ("HGETALL", devices),
                ("HKEYS", rooms),
            ]
        replies = await self._executor.execute_many([*commands, ("TIME",)])
        now = seconds_of(replies[-1])
        return [info_of(sid, replies[3 * i : 3 * i + 3], now) for i, sid in enumerate(sids)]

    async def origin(self, sid: str, device: str) -> Origin | None:
        """What a session may write as now, in the name of a device that it has or had; None when it is over."""
        rec, devices = self._k(sid, "rec", "devices")
        (nick, ended), fields = await self._executor.execute_many(
            [("HMGET", rec, "nick", "ended"), ("HGETALL", devices)]
        )
        gens = {text(f)[2:]: int(gen) for f, gen in zip(fields[::2], fields[1::2], strict=True) if f[:2] == b"g:"}
        if nick is None or ended is not None or not gens:
            return None
        name = device if device in gens else max(gens, key=lambda one: gens[one])
        return Origin(sid, name, gens[name])

    async def page(
        self,
        *,
        state: str | None = None,
        nick: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> tuple[list[SessionInfo], str | None]:
        """Some sessions (of a state, or that one nick) and the cursor of the next ones (None: no more)."""
        if nick is not None:
            sid = await self.lookup(nick)
            info = None if sid is None else await self.describe(sid)
            return [info] if info is not None and state in (None, info.state) else [], None
        start, _, after = (cursor or "0.").partition(".")
        found: list[SessionInfo] = []
        for shard in range(int(start), SHARDS):
            kept = await self._executor.execute("ZRANGE", self._keys.due(shard), 0, -1)
            sids = sorted(sid for sid in map(text, kept) if sid > after)
            for i in range(0, len(sids), 200):
                for info in await self.describe_many(sids[i : i + 200]):
                    if info is None or state not in (None, info.state):
                        continue
                    if len(found) == limit:
                        return found, f"{shard_of(found[-1].sid)}.{found[-1].sid}"
                    found.append(info)
            after = ""
        return found, None


def seconds_of(time: Sequence[Any]) -> float:
    """The store's answer to TIME as Unix time."""
    return int(time[0]) + int(time[1]) / 1e6


def mute_end(value: str) -> float | None:
    """End of a kept suspension in Unix seconds: None endless, 0.0 none."""
    if not value:
        return 0.0
    ends = value.split(" ", 2)[1]
    return None if ends == "0" else int(ends) / 1000


def suspended(value: str, now: float) -> bool:
    """Whether a kept suspension is in force."""
    end = mute_end(value)
    return end is None or end > now


def info_of(sid: str, replies: Sequence[Any], now: float) -> SessionInfo | None:
    """A session from its record, devices and rooms; None when there is none or it is over."""
    (nick, state, ended, since, created, address, mute, admin, dead), devices, rooms = replies
    if nick is None or ended is not None:
        return None
    flags = ["suspended"] if suspended(text(mute or b""), now) else []
    if dead:
        flags.append("dead")
    if admin:
        flags.append("admin")
    return SessionInfo(
        sid,
        text(nick),
        text(state),
        flags,
        since=int(since) / 1000,
        created=int(created) / 1000,
        address=text(address or b""),
        devices=[text(f)[2:] for f in devices[::2] if f[:2] == b"g:"],
        rooms=sorted(text(room) for room in rooms),
    )
