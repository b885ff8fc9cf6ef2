"""How much a session may send: a token bucket each, kept for a while so that reconnecting refills nothing.

Each gateway has its own. Those that a session is connected to at the same time tell one another what it spends, so that
it has no more at several of them together; what one does not know yet becomes a debt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from causerie.store.frames import Note

if TYPE_CHECKING:
    from gateway.node import Node


class Limits:
    """Token buckets by session: `rate` messages a second and a burst of twice that; rate 0 means no limit."""

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self.rate = rate
        self.burst = max(1.0, 2 * rate)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}
        """sid -> (tokens, when)."""

    def take(self, sid: str, cost: int) -> float | None:
        """Take `cost` tokens; None if that is allowed, else in how many seconds it would be.

        What costs more than a whole burst is allowed when the bucket is full, and leaves a debt.
        """
        if not self.rate:
            return None
        now = self._clock()
        tokens = self._left(sid, now)
        needed = min(float(cost), self.burst)
        if tokens < needed:
            self._buckets[sid] = (tokens, now)
            return (needed - tokens) / self.rate
        self._buckets[sid] = (tokens - cost, now)
        return None

    def charge(self, sid: str, cost: float) -> None:
        """Take tokens for what was spent elsewhere, into a debt of a burst at most."""
        now = self._clock()
        self._buckets[sid] = (max(self._left(sid, now) - cost, -self.burst), now)

    def missing(self, sid: str) -> float:
        """How many tokens the bucket lacks."""
        return self.burst - self._left(sid, self._clock())

    def empty_to(self, sid: str, missing: float) -> None:
        """Let the bucket lack no less than this."""
        self.charge(sid, max(0.0, missing - self.missing(sid)))

    def _left(self, sid: str, now: float) -> float:
        tokens, when = self._buckets.get(sid, (self.burst, now))
        return min(self.burst, tokens + (now - when) * self.rate)

    def forget_full(self) -> None:
        """Drop the buckets that have filled up again: they say nothing any more."""
        now = self._clock()
        self._buckets = {
            sid: (tokens, when)
            for sid, (tokens, when) in self._buckets.items()
            if tokens + (now - when) * self.rate < self.burst
        }


class Shares:
    """What this gateway tells the others of a session's spending, and hears of them."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._apart: set[str] = set()
        """Sessions that are, or were, connected elsewhere too."""
        self._untold: Counter[str] = Counter()

    def take(self, sid: str, cost: int) -> float | None:
        """See `Limits.take`."""
        wait = self._node.limits.take(sid, cost)
        if wait is None and sid in self._apart:
            if not self._untold:
                self._node.loop.call_soon(self._tell)
            self._untold[sid] += cost
        return wait

    def hear(self, sid: str, note: Note) -> None:
        """Another gateway has something to say of a session that is known here."""
        limits = self._node.limits
        if not limits.rate or note.gateway in {"", self._node.id} or note.to not in {"", self._node.id}:
            return
        self._apart.add(sid)
        if note.what == "spent":
            limits.charge(sid, float(note.value))
        elif note.what == "missing":
            limits.empty_to(sid, float(note.value))
        else:  # it comes to have a connection there: what it has spent here counts there too
            told = self._node.store.sessions.tell_spent(
                sid, "missing", limits.missing(sid), self._node.id, note.gateway
            )
            self._node.spawn(told)

    def forget(self) -> None:
        """Drop the sessions that are not here any more."""
        self._apart = {sid for sid in self._apart if "@" + sid in self._node.hub.channels}

    def _tell(self) -> None:
        untold, self._untold = self._untold, Counter()
        for sid, cost in untold.items():
            self._node.spawn(self._node.store.sessions.tell_spent(sid, "spent", cost, self._node.id))
