"""How much a session may send: a token bucket each, kept for a while so that reconnecting refills nothing."""

from __future__ import annotations

from collections.abc import Callable


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
        tokens, when = self._buckets.get(sid, (self.burst, now))
        tokens = min(self.burst, tokens + (now - when) * self.rate)
        needed = min(float(cost), self.burst)
        if tokens < needed:
            self._buckets[sid] = (tokens, now)
            return (needed - tokens) / self.rate
        self._buckets[sid] = (tokens - cost, now)
        return None

    def forget_full(self) -> None:
        """Drop the buckets that have filled up again: they say nothing any more."""
        now = self._clock()
        self._buckets = {
            sid: (tokens, when)
            for sid, (tokens, when) in self._buckets.items()
            if tokens + (now - when) * self.rate < self.burst
        }
