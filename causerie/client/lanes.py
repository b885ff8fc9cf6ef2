"""What was asked of the server and is not answered yet: order, windows and pacing. No I/O and no clock.

A lane is one target of one device: what is sent there must be numbered in the order it was sent, so a send
that is refused for the moment holds up everything behind it, and nothing goes again before all that was under
way has been answered (else an answer to the first try would be taken for one to the second).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

REMEMBERED = 256
"""Ids that a server remembers for each device and target, and the most that may be unanswered at once."""

FIRST_WINDOW = 16
"""Sends under way at first; it grows with every acknowledgement, so that an unknown limit is not overrun by
much."""

LONGEST_PACE = 5.0
"""Seconds: the slowest that a rate limit can make this side send."""


@dataclass(slots=True)
class Request:
    """One op with an id, from its making to its answer."""

    id: int
    op: dict[str, Any]
    frame: bytes
    repeatable: bool = True
    internal: bool = False
    quiet: bool = False
    place: int = 0
    transmitted: bool = False
    sent_at: float = 0.0


class Pacer:
    """Spaces sends once the server has said `rate_limited`: slower at each refusal, a little faster at each
    success.

    The limit is one for the whole session, so one pacer serves all lanes.
    """

    def __init__(self) -> None:
        self._interval = 0.0
        self._silent_until = 0.0
        self.ready_at = 0.0

    @property
    def limited(self) -> bool:
        """Whether a limit was met lately."""
        return self._interval > 0.0

    def refused(self, wait: float, now: float) -> None:
        """The server wants `wait` seconds of silence. Refusals of what went out together slow down once."""
        slower = self._interval * 1.5 if now >= self._silent_until else 0.0
        self._interval = min(max(wait, slower, self._interval, 0.01), LONGEST_PACE)
        self._silent_until = max(self._silent_until, now + wait)
        self.ready_at = max(self.ready_at, self._silent_until)

    def accepted(self) -> None:
        """A send went through."""
        self._interval = self._interval * 0.9 if self._interval > 0.001 else 0.0

    def spent(self, now: float) -> None:
        """A send goes out now."""
        self.ready_at = max(self.ready_at, now + self._interval)


@dataclass(slots=True)
class Lane:
    """The unanswered requests of one target, in the order of their making."""

    most: int = REMEMBERED
    jitter: Callable[[], float] = lambda: 1.0
    _unanswered: dict[int, Request] = field(default_factory=dict)
    _waiting: deque[Request] = field(default_factory=deque)
    _flying: dict[int, Request] = field(default_factory=dict)
    _returned: list[Request] = field(default_factory=list)
    _window: int = FIRST_WINDOW
    _places: int = 0
    _refusals: int = 0
    _ready_at: float = 0.0

    def __len__(self) -> int:
        return len(self._unanswered)

    @property
    def full(self) -> bool:
        """Whether a new request has to wait for an answer to an old one."""
        return len(self._unanswered) >= REMEMBERED

    def add(self, request: Request) -> None:
        """Queue a request behind all others."""
        request.place = self._places
        self._places += 1
        self._unanswered[request.id] = request
        self._waiting.append(request)

    def take(self, now: float, pacer: Pacer) -> list[Request]:
        """The requests to transmit now; they count as under way from here on."""
        taken: list[Request] = []
        if not self._may_go(now, pacer):
            return taken
        self._go_back()
        while self._waiting and now >= pacer.ready_at and self._in_window(pacer):
            request = self._waiting.popleft()
            request.transmitted, request.sent_at = True, now
            self._flying[request.id] = request
            pacer.spent(now)
            taken.append(request)
        return taken

    def ready_at(self, pacer: Pacer) -> float | None:
        """When `take` may give something without an answer coming first; None if only an answer can help."""
        if not (self._waiting or self._returned):
            return None
        if self._flying and (self._returned or not self._in_window(pacer)):
            return None
        return max(self._ready_at, pacer.ready_at)

    def oldest(self) -> float | None:
        """When the oldest request under way was transmitted."""
        return next(iter(self._flying.values())).sent_at if self._flying else None

    def answered(self, request_id: int) -> Request | None:
        """The request is done with, whatever the answer was; None if it was not asked here."""
        self._flying.pop(request_id, None)
        request = self._unanswered.pop(request_id, None)
        if request is not None:
            self._window = min(self._window + 1, self.most)
            self._refusals = 0
        return request

    def refused(self, request_id: int, wait: float | None, now: float) -> None:
        """The server wants this request again later: after `wait` seconds, or when we think best."""
        request = self._flying.pop(request_id, None)
        if request is None:
            return
        self._returned.append(request)
        self._refusals += 1
        if wait is None:
            wait = min(0.1 * 2 ** min(self._refusals, 10), LONGEST_PACE) * (0.5 + self.jitter() / 2)
        self._ready_at = max(self._ready_at, now + wait)

    def disconnected(self) -> list[Request]:
        """The connection is gone: all goes again on the next one, but for what is returned here, which must
        not.
        """
        self._waiting = deque(self._unanswered.values())
        self._flying.clear()
        self._returned.clear()
        self._ready_at = 0.0
        return self._drop(lambda request: request.transmitted and not request.repeatable)

    def abandon_transmitted(self) -> list[Request]:
        """Give up what a server that has forgotten our ids may have kept already."""
        return self._drop(lambda request: request.transmitted)

    def abandon(self) -> list[Request]:
        """Give up everything."""
        return self._drop(lambda _: True)

    def _drop(self, doomed: Callable[[Request], bool]) -> list[Request]:
        dropped = [request for request in self._unanswered.values() if doomed(request)]
        for request in dropped:
            del self._unanswered[request.id]
            self._flying.pop(request.id, None)
        self._waiting = deque(request for request in self._waiting if request.id in self._unanswered)
        self._returned = [request for request in self._returned if request.id in self._unanswered]
        return dropped

    def _may_go(self, now: float, pacer: Pacer) -> bool:
        return now >= self._ready_at and now >= pacer.ready_at and not (self._returned and self._flying)

    def _go_back(self) -> None:
        self._waiting.extendleft(sorted(self._returned, key=lambda request: request.id, reverse=True))
        self._returned.clear()

    def _in_window(self, pacer: Pacer) -> bool:
        # An id further ahead could push the oldest unanswered one out of what the server remembers.
        first = next(iter(self._unanswered.values()))
        window = 1 if pacer.limited else min(self._window, self.most)
        return len(self._flying) < window and self._waiting[0].place - first.place < REMEMBERED
