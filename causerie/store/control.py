"""Notes to all gateways, the register of gateways, the audit log, and limits that hold over all gateways.

A note is an entry of a stream; the publish beside it is only a nudge, so a lost one costs a second, not the
note.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from causerie.model import AuditEntry
from causerie.store.keys import Keys
from causerie.store.logs import text

GATEWAY_TTL_S = 15
KEPT_NOTES = 1000
KEPT_AUDIT = 100_000
WRONG_TOKENS = 5
WRONG_TOKENS_S = 60

_encode = msgspec.json.Encoder().encode
_audit = msgspec.json.Decoder(AuditEntry)


class ControlNote(NamedTuple):
    """`kind` is `shutdown` (data: grace, reason) or `addresses` (the banned addresses changed)."""

    id: str
    kind: str
    data: dict[str, Any]


class Control:
    """What concerns all gateways."""

    def __init__(self, executor: Any, keys: Keys) -> None:
        self._executor, self._keys = executor, keys

    async def publish(self, kind: str, data: dict[str, Any]) -> str:
        """Tell every gateway that runs now; the note's id."""
        args = (
            "XADD",
            self._keys.control,
            "MAXLEN",
            "~",
            KEPT_NOTES,
            "*",
            "kind",
            kind,
            "data",
            _encode(data),
        )
        id_ = text(await self._executor.execute(*args))
        await self._executor.execute("PUBLISH", self._keys.control, id_)
        return id_

    async def last_id(self) -> str:
        """Where a gateway that starts now begins to follow."""
        rows = await self._executor.execute("XREVRANGE", self._keys.control, "+", "-", "COUNT", 1)
        return text(rows[0][0]) if rows else "0-0"

    async def follow(self, after: str) -> list[ControlNote]:
        """The notes since the id `after`."""
        rows = await self._executor.execute("XRANGE", self._keys.control, f"({after}", "+")
        return [ControlNote(text(id_), text(f[1]), msgspec.json.decode(f[3])) for id_, f in rows]

    async def register(self, gateway: str, applied: str) -> None:
        """A gateway lives, and has applied all notes up to that id. To be repeated within `GATEWAY_TTL_S`
        seconds.
        """
        seconds, _ = await self._executor.execute("TIME")
        await self._executor.execute_many(
            [
                ("ZADD", self._keys.gateways, (int(seconds) + GATEWAY_TTL_S) * 1000, gateway),
                ("HSET", self._keys.applied, gateway, applied),
            ]
        )

    async def unregister(self, gateway: str) -> None:
        """A gateway stops."""
        await self._executor.execute_many(
            [("ZREM", self._keys.gateways, gateway), ("HDEL", self._keys.applied, gateway)]
        )

    async def gateways(self) -> list[str]:
        """The gateways that live."""
        seconds, _ = await self._executor.execute("TIME")
        return [
            text(g)
            for g in await self._executor.execute("ZRANGEBYSCORE", self._keys.gateways, int(seconds) * 1000, "+inf")
        ]

    async def applied_everywhere(self, id_: str) -> bool:
        """Whether every living gateway has applied the note `id_`."""
        gateways = await self.gateways()
        if not gateways:
            return True
        applied = await self._executor.execute("HMGET", self._keys.applied, *gateways)
        return all(value is not None and _order(text(value)) >= _order(id_) for value in applied)

    async def forget_dead(self) -> None:
        """For workers: drop gateways that have not registered for a while."""
        seconds, _ = await self._executor.execute("TIME")
        dead = await self._executor.execute("ZRANGEBYSCORE", self._keys.gateways, "-inf", (int(seconds) - 60) * 1000)
        for gateway in dead:
            await self.unregister(text(gateway))

    # --- audit

    async def audit(
        self,
        who: str,
        what: str,
        whom: str = "",
        why: str = "",
        until: float | None = None,
        room: str = "",
    ) -> None:
        """Write one line to the audit log."""
        entry = {"who": who, "what": what, "whom": whom, "why": why, "until": until, "room": room}
        await self._executor.execute("XADD", self._keys.audit, "MAXLEN", "~", KEPT_AUDIT, "*", "e", _encode(entry))

    async def audit_log(self, before: str | None = None, limit: int = 50) -> tuple[list[AuditEntry], str | None]:
        """The newest lines before the id `before`, newest first, and the cursor of older ones (None: no
        more).
        """
        top = f"({before}" if before else "+"
        rows = await self._executor.execute("XREVRANGE", self._keys.audit, top, "-", "COUNT", limit + 1)
        found = [
            AuditEntry(id=text(id_), ts=int(id_.partition(b"-")[0]) / 1000, **msgspec.json.decode(f[1]))
            for id_, f in rows
        ]
        return found[:limit], found[limit - 1].id if len(found) > limit else None

    # --- limits

    async def locked_out(self, address: str) -> float | None:
        """Seconds until an address may try a token again, or None when it may now."""
        key = self._keys.tries(address)
        count, ttl = await self._executor.execute_many([("GET", key), ("PTTL", key)])
        return max(1.0, ttl / 1000) if count is not None and int(count) >= WRONG_TOKENS else None

    async def wrong_token(self, address: str) -> float | None:
        """Count a wrong token or password against an address; as `locked_out` where it was one too many."""
        key = self._keys.tries(address)
        calls = [("SET", key, 0, "EX", WRONG_TOKENS_S, "NX"), ("INCR", key), ("PTTL", key)]
        _, count, ttl = await self._executor.execute_many(calls)
        return max(1.0, ttl / 1000) if int(count) > WRONG_TOKENS else None


def _order(id_: str) -> tuple[int, int]:
    ms, _, n = id_.partition("-")
    return int(ms), int(n or 0)
