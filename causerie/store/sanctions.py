"""Bans and suspensions. The record on the nick (or the room) decides and outlives sessions; from there it is
carried to the session and to every room that the session is in, and when a call returns not one more line
gets through.

Every writing carries a rising version, a forgiveness too, so repeats and races settle on the newest.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from causerie.model import Sanction
from causerie.store.control import Control
from causerie.store.directory import mute_end, seconds_of
from causerie.store.keys import Keys
from causerie.store.logs import text
from causerie.store.scripts import Scripts
from causerie.store.sessions import Sessions

FORGIVEN = 1
APPLY_S = 1.0
"""How long a ban of an address waits for every living gateway to say that it is applied."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Sanction).decode


class Sanctions:
    """All sanctions. `seconds` None is until forgiven; `by` and `reason` are for the lists and the audit."""

    def __init__(self, scripts: Scripts, executor: Any, keys: Keys, sessions: Sessions, control: Control) -> None:
        self._run, self._executor, self._keys = scripts, executor, keys
        self._sessions, self._control = sessions, control

    async def _record(self, kind: str, nick: str, until_ms: int, reason: str) -> tuple[str, str, bool]:
        """Write to the nick's record: (value, sid that has the nick or "", whether one was in force)."""
        base = self._keys.nick(nick)
        value, holder, active = await self._run(
            "nick_sanction", [f"{base}:lease", f"{base}:sanctions"], kind, until_ms, reason
        )
        return text(value), text(holder), bool(active)

    async def _sanction(self, subject: str, seconds: float | None, reason: str, by: str) -> tuple[Sanction, int]:
        now = await self._sessions.now_ms()
        until_ms = 0 if seconds is None else now + int(seconds * 1000)
        return Sanction(subject, until_ms / 1000 if until_ms else None, reason, by, now / 1000), until_ms

    # --- the whole chat

    async def suspend(self, nick: str, seconds: float | None, reason: str, by: str) -> Sanction:
        """Nothing of that nick is seen by others any more, from the moment this returns."""
        sanction, until_ms = await self._sanction(nick, seconds, reason, by)
        value, holder, _ = await self._record("suspend", nick, until_ms, reason)
        await self._executor.execute("HSET", self._keys.suspensions, nick, _encode(sanction))
        await self._mute(holder, value)
        return sanction

    async def _mute(self, sid: str, value: str) -> None:
        """Carry a suspension (or its end) to a session and all its rooms."""
        if not sid:
            return
        base = self._keys.session(sid)
        rooms = await self._run("session_mute", [f"{base}:rec", f"{base}:rooms"], self._keys.of("@" + sid), value)
        calls = [(self._keys.named(text(room), "access", "meta"), (value, f"m:{sid}")) for room in rooms]
        await self._run.many("room_sanction", calls)

    async def ban(self, nick: str, seconds: float | None, reason: str, by: str) -> Sanction:
        """The nick's session ends (`bye banned`, cookie void), and nobody gets the nick until then."""
        sanction, until_ms = await self._sanction(nick, seconds, reason, by)
        _, holder, _ = await self._record("ban", nick, until_ms, reason)
        await self._executor.execute("HSET", self._keys.bans, nick, _encode(sanction))
        if holder:
            await self._sessions.end(holder, "banned", reason or "you are banned")
        return sanction

    async def forgive(self, nick: str) -> list[str]:
        """Lift suspension and ban of a nick; which of the two were in force."""
        lifted = []
        for kind, index in (("ban", self._keys.bans), ("suspend", self._keys.suspensions)):
            if (await self._lift(kind, nick))[0]:
                lifted.append(kind)
            await self._executor.execute("HDEL", index, nick)
        return lifted

    async def lift(self, kind: str, nick: str) -> bool:
        """Lift only the `ban` or the `suspend` of a nick; False when none was in force."""
        index = self._keys.bans if kind == "ban" else self._keys.suspensions
        active = (await self._lift(kind, nick))[0]
        await self._executor.execute("HDEL", index, nick)
        return active

    async def _lift(self, kind: str, nick: str) -> tuple[bool, str]:
        value, holder, active = await self._record(kind, nick, FORGIVEN, "")
        if kind == "suspend":
            await self._mute(holder, value)
        return active, value

    async def suspended(self, nick: str) -> Sanction | None:
        """The suspension of a nick that is in force, if any."""
        value = await self._executor.execute("HGET", self._keys.suspensions, nick)
        if value is None:
            return None
        sanction = _decode(value)
        now = await self._sessions.now_ms() / 1000
        return sanction if sanction.until is None or sanction.until > now else None

    # --- one room

    async def _room_write(self, room: str, until_ms: int, reason: str, *fields: str) -> None:
        version = await self._micros()
        keys = self._keys.named(room, "access", "meta")
        await self._run("room_sanction", keys, f"{version} {until_ms} {reason}", *fields)

    async def _micros(self) -> int:
        seconds, micros = await self._executor.execute("TIME")
        return int(seconds) * 1_000_000 + int(micros)

    async def suspend_in(self, room: str, nick: str, seconds: float | None, reason: str, by: str) -> Sanction:
        """As `suspend`, in one room."""
        sanction, until_ms = await self._sanction(nick, seconds, reason, by)
        sid = await self._sessions.lookup(nick)
        await self._room_write(room, until_ms, reason, f"s:{nick}", *((f"r:{sid}",) if sid else ()))
        return sanction

    async def ban_from(self, room: str, nick: str, seconds: float | None, reason: str, by: str) -> Sanction:
        """Out of a room, and not into it again."""
        sanction, until_ms = await self._sanction(nick, seconds, reason, by)
        sid = await self._sessions.lookup(nick)
        await self._room_write(room, until_ms, reason, f"b:{nick}", *((f"b:@{sid}",) if sid else ()))
        if sid:
            await self._sessions.part(sid, room, reason=reason or "banned", why="banned")
        return sanction

    async def forgive_in(self, room: str, nick: str) -> list[str]:
        """Lift what `suspend_in` and `ban_from` did; which of the two were in force."""
        access = f"{self._keys.of(room)}:access"
        sid = await self._sessions.lookup(nick)
        now = await self._sessions.now_ms() / 1000
        fields = [f"b:{nick}", f"s:{nick}", *((f"b:@{sid}", f"r:{sid}") if sid else ())]
        values = await self._executor.execute("HMGET", access, *fields)
        in_force = {
            "ban" if field[0] == "b" else "suspend"
            for field, value in zip(fields, values, strict=True)
            if value is not None and ((end := mute_end(text(value))) is None or end > now)
        }
        await self._room_write(room, FORGIVEN, "", *fields)
        return sorted(in_force)

    # --- addresses

    async def ban_address(self, subject: str, seconds: float | None, reason: str, by: str) -> Sanction:
        """Every gateway ends and refuses connections from there; returns when all living ones do (or after a
        second).
        """
        sanction, _ = await self._sanction(subject, seconds, reason, by)
        await self._executor.execute("HSET", self._keys.addresses, subject, _encode(sanction))
        await self._everywhere()
        return sanction

    async def forgive_address(self, subject: str) -> bool:
        """Lift the ban of an address or network; False when there was none."""
        known = await self._executor.execute("HDEL", self._keys.addresses, subject)
        await self._everywhere()
        return bool(known)

    async def _everywhere(self) -> None:
        id_ = await self._control.publish("addresses", {})
        loop = asyncio.get_running_loop()
        end = loop.time() + APPLY_S
        while not await self._control.applied_everywhere(id_) and loop.time() < end:  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.005)

    async def addresses(self) -> list[Sanction]:
        """The bans of addresses in force."""
        return await self._listed(self._keys.addresses)

    # --- lists

    async def bans(self) -> list[Sanction]:
        """Bans in force, of nicks and addresses, oldest first."""
        found = await self._listed(self._keys.bans) + await self.addresses()
        return sorted(found, key=lambda sanction: (sanction.ts, sanction.subject))

    async def suspensions(self) -> list[Sanction]:
        """Suspensions in force, oldest first."""
        return sorted(await self._listed(self._keys.suspensions), key=lambda sanction: (sanction.ts, sanction.subject))

    async def _listed(self, index: str) -> list[Sanction]:
        values, time = await self._executor.execute_many([("HVALS", index), ("TIME",)])
        now = seconds_of(time)
        return [s for s in map(_decode, values) if s.until is None or s.until > now]

    async def repair(self) -> None:
        """For workers: carry every kept suspension to its session again, and drop what is over from the
        lists.
        """
        now = await self._sessions.now_ms() / 1000
        for index in (self._keys.suspensions, self._keys.bans, self._keys.addresses):
            for sanction in map(_decode, await self._executor.execute("HVALS", index)):
                if sanction.until is not None and sanction.until <= now:
                    await self._executor.execute("HDEL", index, sanction.subject)
                elif index == self._keys.suspensions:
                    await self._carry(sanction.subject)

    async def _carry(self, nick: str) -> None:
        base = self._keys.nick(nick)
        holder, value = await self._executor.execute_many(
            [("GET", f"{base}:lease"), ("HGET", f"{base}:sanctions", "suspend")]
        )
        if holder is not None and value is not None:
            await self._mute(text(holder), text(value))
