"""How far a transfer is: rate, time left, and the bar that shows it."""

from __future__ import annotations

from collections import deque
from typing import Final

from causerie.units import format_size

WINDOW_S: Final = 5.0
"""Seconds over which the rate is taken."""
BAR: Final = 20
"""Characters of the bar."""


class Meter:
    """Rate and time left of one transfer. Times are seconds of one clock that never goes back."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._first: int | None = None
        self._seen: deque[tuple[float, int]] = deque()
        self.done = 0
        self.total = 0

    def feed(self, done: int, total: int, now: float) -> None:
        """So much is there now. It may be less than before, when a connection broke."""
        if self._first is None or done < self.done:
            self._first = done if self._first is None else min(self._first, done)
            self._seen.clear()
        self.done, self.total = done, total
        self._seen.append((now, done))
        while now - self._seen[0][0] > WINDOW_S and len(self._seen) > 2:
            self._seen.popleft()

    def rate(self, now: float) -> float:
        """Bytes a second lately."""
        if not self._seen:
            return 0.0
        since, had = self._seen[0]
        return (self.done - had) / (now - since) if now > since else 0.0

    def left(self, now: float) -> float | None:
        """Seconds until it is done at this rate; None while that cannot be told."""
        rate = self.rate(now)
        return (self.total - self.done) / rate if rate > 0 else None

    def average(self, now: float) -> float:
        """Bytes a second over the whole transfer."""
        return (self.done - (self._first or 0)) / max(now - self._began, 0.001)


def bar(name: str, meter: Meter, now: float, width: int) -> str:
    """One line of at most `width` columns: `report.pdf [#####-----]  50%  1.2 MiB/s  0:07`."""
    share = meter.done / meter.total if meter.total else 1.0
    filled = int(share * BAR)
    left = meter.left(now)
    numbers = f" [{'#' * filled}{'-' * (BAR - filled)}] {int(share * 100):3d}%  {format_size(int(meter.rate(now)))}/s"
    numbers += f"  {clock(left)}" if left is not None else "  -:--"
    room = max(width - len(numbers) - 1, 0)
    return (name if len(name) <= room else name[: max(room - 1, 0)] + "~" * (room > 0)) + numbers[: max(width - 1, 0)]


def clock(seconds: float) -> str:
    """`0:07`, `12:30`, `1:02:03`; what takes longer than four days takes `days`."""
    whole = int(seconds + 0.5)
    if whole >= 4 * 86400:
        return "days"
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
