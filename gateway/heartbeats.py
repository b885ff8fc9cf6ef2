"""Signs of life, both ways, with one timer for all connections.

A wheel of slots turns once in a heartbeat interval and a bit; each connection sits in one slot and is visited when
that comes round: pinged, or ended. A tick later, when it has answered as a rule, it is renewed in the store for as long
as it is known to live, and its position saved.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from causerie.errors import Goodbye, Refused, Unavailable
from causerie.store.sessions import Renewal
from causerie.wire import jsonmsg, line
from gateway.batch import Dialect, wrapped
from gateway.tcpinfo import acknowledged, unacknowledged

if TYPE_CHECKING:
    from gateway.intake import Client
    from gateway.node import Node

SLOTS: Final = 64
HELLO_S: Final = 60.0
"""How long a connection may stay without a session after it came or was last refused one."""
BACKLOG: Final = 4096
"""Bytes under way, past which taking some of them is a sign of life: pings alone are never so many."""
AT_ONCE: Final = 500
"""Renewals of one call."""

log = logging.getLogger(__name__)


class Backlog(NamedTuple):
    """What a peer's TCP has not taken: how much, how much it had taken before, and since when (loop time)."""

    unsent: int
    taken: int
    since: float


class Wheel:
    """Visits every connection about once an interval, and when its time is up."""

    def __init__(self, node: Node, *, interval: float, ttl: float, stall: float) -> None:
        self._node = node
        self._interval = interval
        self._ttl = ttl
        self._stall = stall
        self.tick_s = min(interval, ttl, stall) / (SLOTS // 4)
        self._slots: list[set[Client]] = [set() for _ in range(SLOTS)]
        self._at = 0
        self._next = 0.0
        self._pings = 0
        self._pinging: dict[int, bytes] = {}
        """The ping of this round in each dialect that somebody speaks."""
        self._timer: asyncio.TimerHandle | None = None
        self._visited: list[Client] = []
        """In the last tick."""
        self._renewals: list[tuple[Client, Renewal]] = []

    def start(self) -> None:
        """Begin to turn."""
        self._next = self._node.loop.time() + self.tick_s
        self._timer = self._node.loop.call_at(self._next, self._turn)

    def stop(self) -> None:
        """Turn no more."""
        if self._timer is not None:
            self._timer.cancel()

    def add(self, client: Client) -> None:
        """Watch a connection."""
        self._put(client, min(self._interval, self._ttl))

    def remove(self, client: Client) -> None:
        """Watch it no more."""
        if client.slot >= 0:
            self._slots[client.slot].discard(client)
            client.slot = -1

    def everybody(self) -> list[Client]:
        """All connections."""
        return [client for slot in self._slots for client in slot]

    def _put(self, client: Client, delay: float) -> None:
        ticks = max(1, min(SLOTS - 1, round(delay / self.tick_s)))
        client.slot = (self._at + ticks) % SLOTS
        self._slots[client.slot].add(client)

    def _turn(self) -> None:
        now = self._node.loop.time()
        if now - self._next > self._ttl / 4:
            # this process was stopped for a while: what clients said meanwhile is to be read first
            self._next = now + self.tick_s
        while self._next <= now:
            self._next += self.tick_s
            self._at = (self._at + 1) % SLOTS
            self._keep_visited(now)
            slot, self._slots[self._at] = self._slots[self._at], set()
            self._pings += 1
            self._pinging = {}
            for client in slot:
                client.slot = -1
                try:
                    delay = self._visit(client, now)
                except Exception:  # the wheel turns for everybody else too
                    log.exception("a visit failed")
                    client.abort()
                    delay = self._interval
                if not client.gone:
                    self._put(client, delay)
        self._timer = self._node.loop.call_at(self._next, self._turn)
        self.renew_collected()

    def _visit(self, client: Client, now: float) -> float:
        """Look at a connection; in how many seconds to look again."""
        if client.closing:
            return self._interval
        progressed = self._progress(client, now)
        if client.session is None:
            left = client.heard + HELLO_S - now
            if left <= 0 and client.idle:
                client.goodbye(self._goodbye("timeout", "you did not say hello"))
            return min(self._interval, max(left, self.tick_s))
        if progressed:
            client.heard = now
        silent = self._is_silent(client)
        left = self._left(client, now)
        if self._is_stalled(client, now):
            client.give_up()
        elif left <= 0 and not client.paused:
            self._node.counted.timeouts += 1
            client.goodbye(self._goodbye("timeout", "nothing was heard from you"))
        else:
            self._visited.append(client)
            if not client.paused and not silent:
                self._ping(client)
            if client.stalled is not None:
                left = min(left, client.stalled.since + self._stall - now)
        return min(self._interval, max(left, 0)) + self.tick_s / 2

    def _goodbye(self, code: str, text: str) -> Goodbye:
        return Goodbye(code, text, retry_after=self._node.jitter())

    def _progress(self, client: Client, now: float) -> bool:
        """Whether the peer took in a part of a backlog since the last visit; notes since when it took nothing."""
        unsent = client.transport.get_write_buffer_size() + unacknowledged(client.fd)
        had = client.stalled
        if had is None and not unsent:
            return False
        taken = acknowledged(client.transport)
        if had is None or taken > had.taken:
            client.stalled = Backlog(unsent, taken, now) if unsent else None
        return had is not None and had.unsent > BACKLOG and taken > had.taken

    def _is_stalled(self, client: Client, now: float) -> bool:
        return client.stalled is not None and now - client.stalled.since >= self._stall

    def _ping(self, client: Client) -> None:
        data = self._pinging.get(client.dialect)
        if data is None:
            data = self._pinging[client.dialect] = _ping(self._pings, client.dialect)
        client.put(data)

    # -- renewing --------------------------------------------------------------------------------------------------

    @staticmethod
    def _is_silent(client: Client) -> bool:
        """Whether it is never asked for a sign of life."""
        return client.sent is not None and not client.sent.heartbeat

    def _left(self, client: Client, now: float) -> float:
        """For how many seconds it is known to live."""
        return self._ttl if self._is_silent(client) else client.heard + self._ttl - now

    def _keep_visited(self, now: float) -> None:
        visited, self._visited = self._visited, []
        for client in visited:
            if self._collect(client, now) and client.sent is not None and client.sent.moved:
                self._node.spawn(self._save(client))

    def _collect(self, client: Client, now: float) -> bool:
        """Have a connection renewed; False where nothing is to be."""
        left = self._left(client, now)
        if client.session is None or client.closing or left <= 0:
            return False
        self._renewals.append((client, Renewal(client.session.origin, max(1, int(left * 1000)))))
        return True

    async def _save(self, client: Client) -> None:
        """Keep how far a text client has come."""
        session, sent = client.session, client.sent
        if session is None or sent is None:
            return
        positions = client.positions()
        sent.moved = sent.under_way
        try:
            await self._node.store.sessions.save_positions(session.origin, positions)
        except Unavailable:
            sent.moved = True
        except Refused:
            pass  # the renewal says it
        except Goodbye as goodbye:
            client.goodbye(goodbye)

    def renew_everybody(self) -> None:
        """The store was away: say first who lives."""
        now = self._node.loop.time()
        for client in self.everybody():
            self._collect(client, now)
        self.renew_collected()

    def renew_collected(self) -> None:
        """Send the renewals that have gathered."""
        renewals, self._renewals = self._renewals, []
        for i in range(0, len(renewals), AT_ONCE):
            self._node.spawn(self._renew(renewals[i : i + AT_ONCE]))

    async def _renew(self, renewals: list[tuple[Client, Renewal]]) -> None:
        sessions = self._node.store.sessions
        try:
            results = await sessions.renew([renewal for _, renewal in renewals])
        except Unavailable:
            return  # everybody is renewed when the store is back
        for (client, _), result in zip(renewals, results, strict=True):
            if isinstance(result.error, Goodbye):
                client.goodbye(result.error)
            elif result.error is not None:
                client.goodbye(self._goodbye("unavailable", result.error.text))
            elif result.repair:
                self._node.spawn(self._repair(client.sid))

    async def _repair(self, sid: str) -> None:
        """Finish what a gateway that died had begun for a session."""
        try:
            await self._node.store.sessions.tell(sid)
            await self._node.store.direct.finish(sid)
        except Refused:
            pass


def _ping(number: int, dialect: int) -> bytes:
    if dialect == Dialect.TEXT:
        return line.ping(number).encode()
    return wrapped(jsonmsg.encode(jsonmsg.Ping(number)), dialect)
