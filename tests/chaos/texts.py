"""What text clients saw. Their lines have no number, so each message is known by its body: all that was sent after a
client had entered a room must come, in the room's order; nothing twice on one connection.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tests.chaos.history import AnyRecord, Kept, Line, TextBack, TextStart, TextTold
from tests.chaos.views import Told, Views


@dataclass
class Window:
    """One log as one text client saw it."""

    who: str
    log: str
    since: float
    told: list[float] = field(default_factory=list)
    first: dict[str, float] = field(default_factory=dict)
    """Bodies in the order in which they came first."""
    connection: set[str] = field(default_factory=set)
    """Bodies that came on this connection."""


class Texts:
    """Judges the text clients of a run; `posted` says when each body was first sent."""

    def __init__(
        self,
        records: Iterable[AnyRecord],
        kept: Mapping[str, Kept],
        views: Views,
        posted: Mapping[str, float],
    ) -> None:
        self.lost: list[str] = []
        self.duplicated: list[str] = []
        self.reordered: list[str] = []
        self.told: list[Told] = []
        self.repeats = 0
        self._views = views
        self._posted = posted
        self._windows: dict[tuple[str, str], Window] = {}
        for record in records:
            self._read(record)
        for window in self._windows.values():
            log = views.key(window.who, window.log)
            if log in kept:
                self._compare(window, kept[log])

    def _read(self, record: AnyRecord) -> None:
        match record:
            case TextBack(anew=anew):
                self._come(record.who, record.t, anew)
            case TextStart():
                window = self._windows.setdefault((record.who, record.log), Window(record.who, record.log, record.t))
                window.since = record.t
            case TextTold():
                self._tell(record.who, record.log, record.t)
            case Line():
                self._line(record)

    def _mine(self, who: str) -> list[Window]:
        return [window for window in self._windows.values() if window.who == who]

    def _come(self, who: str, t: float, anew: bool) -> None:
        for window in self._mine(who):
            window.connection.clear()
            if anew:
                self._tell(who, window.log, t)

    def _tell(self, who: str, log: str, t: float) -> None:
        self.told.append(Told(t, who, self._views.key(who, log)))
        window = self._windows.get((who, log))
        if window is not None:
            window.told.append(t)

    def _line(self, line: Line) -> None:
        window = self._windows.get((line.who, line.log))
        if window is None:
            return
        if line.body in window.connection and not any(t > window.first[line.body] for t in window.told):
            self.duplicated.append(f"{line.t} {line.who}: {line.body!r} came again in {line.log}")
        self.repeats += line.body in window.first
        window.connection.add(line.body)
        window.first.setdefault(line.body, line.t)

    def _compare(self, window: Window, kept: Kept) -> None:
        """What was sent after the start, and after the last loss that the client was told of, must have come."""
        since = max([window.since, *window.told])
        there = [body for _, _, body in kept.entries if self._posted.get(body, 0.0) > since]
        expected = set(there)
        missing = [body for body in there if body not in window.first]
        if missing:
            self.lost.append(f"{window.who} never got {len(missing)} lines of {window.log}: {missing[:5]}")
        for body, t in window.first.items():
            if t > since and self._posted.get(body, 0.0) > since and body not in expected:
                self.lost.append(
                    f"{window.who} was given {body!r} in {window.log}, which is not there, and was not told"
                )
        wanted = [body for body in there if body in window.first]
        came = [body for body in window.first if body in expected]
        wrong = next((body for body, other in zip(came, wanted, strict=True) if body != other), None)
        if wrong is not None:
            self.reordered.append(f"{window.who} got {wrong!r} in {window.log} out of order")
