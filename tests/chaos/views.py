"""What each device was shown of each log, cut where it was told of a loss: between two cuts nothing may be missing,
come twice or change places.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.chaos.history import AnyRecord, Hello, Joined, Message, Place, Refused, Reset, Welcome


class Seen(NamedTuple):
    """One message as it came."""

    t: float
    seq: int
    mid: str
    body: str


@dataclass
class Stretch:
    """A piece of a log that a device takes for whole: everything above `after`, in one epoch."""

    who: str
    log: str
    epoch: str
    after: int
    begun: float
    loose: bool = False
    """Another device of the session may have joined earlier, so that this one begins with what comes first."""
    seen: list[Seen] = field(default_factory=list)
    bodies: set[str] = field(default_factory=set)
    told: float | None = None
    """When the device was told that it is not whole after all."""

    @property
    def head(self) -> int:
        return self.seen[-1].seq if self.seen else self.after


class Told(NamedTuple):
    """A device was told that something of a log may be lost."""

    t: float
    who: str
    log: str


class Views:
    """Built from the records of a run; what broke a promise on the way is in `gaps`, `duplicated`, `reordered` and
    `wrong`.
    """

    def __init__(self, records: Iterable[AnyRecord]) -> None:
        self.stretches: dict[tuple[str, str], list[Stretch]] = {}
        """By device and log; the inbox is `@` and the session."""
        self.told: list[Told] = []
        self.sessions: dict[str, list[tuple[float, str]]] = {}
        """The sessions of a device, each with the time from which on it had it."""
        self.gaps: list[str] = []
        self.duplicated: list[str] = []
        self.reordered: list[str] = []
        self.wrong: list[str] = []
        self._asked: dict[str, dict[str, Place]] = {}
        for record in records:
            match record:
                case Hello():
                    self._asked[record.who] = record.resume
                case Welcome():
                    self._welcome(record)
                case Joined():
                    self._join(record)
                case Message():
                    self._message(record)
                case Reset():
                    self._break(record.t, record.who, self.key(record.who, record.log), record.epoch, record.seq)
                case Refused():
                    self._forget(record.t, record.who)

    def key(self, who: str, log: str) -> str:
        """The name of a log for everybody: a room's, or `@` and the session."""
        return log if log != "@" else f"@{self.session(who)}"

    def session(self, who: str, t: float | None = None) -> str:
        """The session of a device at a time (None: the latest); the first one before it was known, "" if none is."""
        had = self.sessions.get(who, [])
        if t is not None:
            had = [(since, sid) for since, sid in had if since <= t] or had[:1]
        return had[-1][1] if had else ""

    def successors(self, log: str) -> list[str]:
        """The log; for an inbox also those of the sessions that its owner had later."""
        for had in self.sessions.values():
            inboxes = [f"@{sid}" for _, sid in had]
            if log in inboxes:
                return inboxes[inboxes.index(log) :]
        return [log]

    def last(self, who: str, log: str) -> Stretch | None:
        """The stretch that is still going on."""
        some = self.stretches.get((who, log))
        return some[-1] if some and some[-1].told is None else None

    # -- reading the records ---------------------------------------------------------------------------------------

    def _begin(self, who: str, log: str, epoch: str, after: int, t: float, *, loose: bool = False) -> None:
        self.stretches.setdefault((who, log), []).append(Stretch(who, log, epoch, after, t, loose))

    def _tell(self, t: float, who: str, log: str) -> None:
        self.told.append(Told(t, who, log))
        current = self.last(who, log)
        if current is not None:
            current.told = t

    def _break(self, t: float, who: str, log: str, epoch: str, after: int) -> None:
        self._tell(t, who, log)
        self._begin(who, log, epoch, after, t)

    def _forget(self, t: float, who: str) -> None:
        """The session is no more, and all that it knew with it."""
        for device, log in list(self.stretches):
            if device == who and self.last(who, log) is not None:
                self._tell(t, who, log)

    def _give_up(self, t: float, who: str, named: set[str]) -> None:
        """What a device did not ask for, it gave up by itself: it starts anew where it joins."""
        for device, log in list(self.stretches):
            current = self.last(who, log) if device == who and log.startswith("#") and log not in named else None
            if current is not None:
                current.told = t

    def _welcome(self, welcome: Welcome) -> None:
        who, t = welcome.who, welcome.t
        asked = self._asked.pop(who, {})
        if welcome.session != self.session(who):
            if self.session(who):
                self._tell(t, who, self.key(who, "@"))  # the rooms are the same, whoever one is now
            self.sessions.setdefault(who, []).append((t, welcome.session))
        self._give_up(t, who, {*asked, *welcome.rooms})
        for name, standing in welcome.rooms.items():
            log = self.key(who, name)
            current = self.last(who, log)
            if standing.error:
                if current is not None:
                    self._tell(t, who, log)
            elif name not in asked:
                self._begin(who, log, standing.epoch, standing.seq, t)
            elif not standing.recovered:
                self._break(t, who, log, standing.epoch, (standing.whole_from or standing.seq + 1) - 1)
            elif current is None or (asked[name].epoch, asked[name].seq) != (current.epoch, current.head):
                self.wrong.append(f"{t} {who} asked for {log} from {asked[name]}, where it was not: {current}")
            elif standing.epoch != current.epoch:
                self.wrong.append(f"{t} {who}: {log} is recovered under another epoch, {standing.epoch}")

    def _join(self, joined: Joined) -> None:
        current = self.last(joined.who, joined.log)
        if current is None:
            self._begin(joined.who, joined.log, joined.epoch, joined.seq, joined.t, loose=self._shares(joined.who))
        elif not current.epoch:
            current.epoch = joined.epoch

    def _shares(self, who: str) -> bool:
        """Whether other devices have the same session."""
        mine = self.session(who)
        return any(other != who and had[-1][1] == mine for other, had in self.sessions.items())

    def _message(self, message: Message) -> None:
        log = self.key(message.who, message.log)
        current = self.last(message.who, log)
        if current is None and self._shares(message.who):  # another device joined there
            self._begin(message.who, log, "", message.seq - 1, message.t)
            current = self.last(message.who, log)
        if current is None:
            self.wrong.append(f"{message.t} {message.who}: {log} {message.seq} came from a log that it is not in")
            return
        if current.loose and not current.seen:
            current.after = min(current.after, message.seq - 1)
        self._compare(current, message)
        current.seen.append(Seen(message.t, message.seq, message.mid, message.body))
        current.bodies.add(message.body)

    def _compare(self, current: Stretch, message: Message) -> None:
        what = f"{message.t} {message.who}: {current.log} {message.seq} {message.body!r}"
        if message.body in current.bodies:
            self.duplicated.append(f"{what} came again")
        elif message.seq > current.head + 1:
            self.gaps.append(f"{what} came after {current.head}")
        elif message.seq <= current.head:
            self.reordered.append(f"{what} came after {current.head}")
