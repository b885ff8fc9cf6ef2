"""Rooms as a whole: who is in them, who moderates them, their topics, the list of them. Joining is in
`sessions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from causerie.errors import Refused
from causerie.model import Member, RoomInfo
from causerie.store.directory import mute_end, seconds_of, suspended
from causerie.store.keys import Keys
from causerie.store.logs import text
from causerie.store.scripts import Scripts


class Rooms:
    """All operations on rooms but joining and parting."""

    def __init__(self, scripts: Scripts, executor: Any, keys: Keys) -> None:
        self._run, self._executor, self._keys = scripts, executor, keys

    def _k(self, room: str, name: str) -> str:
        return f"{self._keys.of(room)}:{name}"

    async def members(self, room: str) -> list[Member]:
        """Everybody in a room, sorted by nick."""
        return sorted((await self.people(room)).values(), key=lambda member: member.nick)

    async def people(self, room: str) -> dict[str, Member]:
        """Everybody in a room, by sid."""
        members, access, time = await self._executor.execute_many(
            [("HGETALL", self._k(room, "members")), ("HGETALL", self._k(room, "access")), ("TIME",)]
        )
        fields = {text(k): text(v) for k, v in zip(access[::2], access[1::2], strict=True)}
        found = {}
        for sid, value in zip(members[::2], members[1::2], strict=True):
            _, state, nick = text(value).split(" ", 2)
            found[text(sid)] = Member(nick, state, _flags(text(sid), fields, seconds_of(time)))
        return found

    async def sids(self, room: str) -> list[str]:
        """The sessions in a room."""
        return [text(sid) for sid in await self._executor.execute("HKEYS", self._k(room, "members"))]

    async def is_member(self, room: str, sid: str) -> bool:
        """Whether a session is in a room."""
        return bool(await self._executor.execute("HEXISTS", self._k(room, "access"), f"i:{sid}"))

    async def demand_voice(self, room: str, sid: str) -> None:
        """Refuse (`suspended`) who is suspended there, in that room alone or everywhere."""
        fields, time = await self._executor.execute_many(
            [("HMGET", self._k(room, "access"), f"m:{sid}", f"r:{sid}"), ("TIME",)]
        )
        now = seconds_of(time)
        for value in (text(field or b"") for field in fields):
            if suspended(value, now):
                reason = value.split(" ", 2)[2]
                raise Refused("suspended", reason or f"you are suspended in {room}", until=mute_end(value))

    async def info(self, room: str) -> RoomInfo | None:
        """One room, or None when it does not exist."""
        infos = await self._infos([room])
        return infos[0]

    async def page(self, cursor: str | None = None, limit: int = 100) -> tuple[list[RoomInfo], str | None]:
        """Rooms by name, and the cursor of the next ones (None: no more)."""
        start = f"({cursor}" if cursor else "-"
        names = await self._executor.execute("ZRANGEBYLEX", self._keys.rooms, start, "+", "LIMIT", 0, limit + 1)
        rooms = [text(name) for name in names]
        infos = [info for info in await self._infos(rooms[:limit]) if info is not None]
        return infos, rooms[limit - 1] if len(rooms) > limit else None

    async def enlist(self, room: str) -> None:
        """Let the list of rooms hold a room that nobody has joined."""
        await self._executor.execute("ZADD", self._keys.rooms, 0, room)

    async def names(self) -> list[str]:
        """Every room there is."""
        return [text(name) for name in await self._executor.execute("ZRANGE", self._keys.rooms, 0, -1)]

    async def _infos(self, rooms: Sequence[str]) -> list[RoomInfo | None]:
        commands: list[tuple[str, ...]] = []
        for room in rooms:
            commands.append(("HMGET", self._k(room, "meta"), "epoch", "seq", "topic", "created"))
            commands.append(("HLEN", self._k(room, "members")))
        replies = await self._executor.execute_many(commands)
        found: list[RoomInfo | None] = []
        for i, room in enumerate(rooms):
            (epoch, seq, topic, created), members = replies[2 * i], replies[2 * i + 1]
            if epoch is None:
                found.append(None)
            else:
                found.append(
                    RoomInfo(room, members, int(seq), text(epoch), text(topic or b""), int(created or 0) / 1000)
                )
        return found

    async def set_topic(self, room: str, topic: str) -> None:
        """Set a room's topic ("" none)."""
        await self._executor.execute("HSET", self._k(room, "meta"), "topic", topic)

    async def op(self, room: str, sid: str) -> None:
        """Make a session a moderator of a room."""
        await self._executor.execute("HSET", self._k(room, "access"), f"o:{sid}", "1")

    async def deop(self, room: str, sid: str) -> bool:
        """Make it one no longer; False when it was none."""
        return bool(await self._executor.execute("HDEL", self._k(room, "access"), f"o:{sid}"))

    async def is_moderator(self, room: str, sid: str) -> bool:
        """Whether a session moderates a room."""
        return bool(await self._executor.execute("HEXISTS", self._k(room, "access"), f"o:{sid}"))

    async def forget(self, room: str, silent_since_ms: int) -> bool:
        """Delete a room that has been empty and silent since then."""
        keys = self._keys.named(room, "meta", "log", "members", "access", "score", "game", "letters")
        if await self._run("room_forget", keys, silent_since_ms) != 1:
            return False
        await self._executor.execute("DEL", self._keys.files_of(room))
        await self._executor.execute("ZREM", self._keys.rooms, room)
        return True


def _flags(sid: str, access: dict[str, str], now: float) -> list[str]:
    flags = []
    if suspended(access.get(f"m:{sid}", ""), now) or suspended(access.get(f"r:{sid}", ""), now):
        flags.append("suspended")
    if f"d:{sid}" in access:
        flags.append("dead")
    if f"o:{sid}" in access:
        flags.append("moderator")
    return flags
