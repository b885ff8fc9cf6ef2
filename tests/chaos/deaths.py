"""Who was announced as `crashed`, and whether that can be true: nobody dies of an outage of the store, or while
connected.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tests.chaos.history import AnyRecord, Fault, Hello, Lost, Presence, Settings, TextBack, Welcome

SLACK_S = 0.5
"""What a busy machine may shift an observation."""


class Span(NamedTuple):
    """A time during which a device was surely, or possibly, without a connection."""

    begin: float
    end: float


def undeserved(records: Sequence[AnyRecord], faults: Sequence[Fault]) -> list[str]:
    """A sentence for each `crashed` of somebody who was not away for a heartbeat TTL with the store there."""
    settings = next((record for record in records if isinstance(record, Settings)), Settings(0, ""))
    least = settings.heartbeat_ttl - settings.heartbeat_interval - SLACK_S  # the last word came an interval before
    absences = _absences(records, faults)
    noticed = (settings.heartbeat_ttl - settings.heartbeat_interval) / 2  # as in worker/outage.py
    outages = [
        span
        for fault in faults
        if fault.outage
        for span in [Span(fault.t, fault.back or fault.until)]
        if fault.name != "SIGSTOP" or span.end - span.begin > noticed  # else it is slow, and keys go on expiring
    ]
    findings: dict[str, str] = {}
    for record in records:
        if isinstance(record, Presence) and record.state == "crashed":
            devices = [who for who in absences if who.split("/")[0] == record.nick]
            if not all(_may_be_dead(absences[who], outages, record.t, least) for who in devices):
                findings.setdefault(
                    f"{record.nick} {record.t:.0f}",
                    f"{record.t} {record.nick} was announced as crashed to {record.who}",
                )
    return list(findings.values())


def _absences(records: Iterable[AnyRecord], faults: Iterable[Fault]) -> dict[str, list[Span]]:
    absences: dict[str, list[Span]] = {}
    since: dict[str, float] = {}
    for record in records:
        match record:
            case Hello():
                since.setdefault(record.who, record.t)
                absences.setdefault(record.who, [])
            case Lost():
                since.setdefault(record.who, record.t)
            case Welcome() | TextBack():
                absences.setdefault(record.who, []).append(Span(since.pop(record.who, record.t), record.t))
    for who, begin in since.items():
        absences.setdefault(who, []).append(Span(begin, float("inf")))
    for fault in faults:
        for who in absences if "*" in fault.blinds else [name for name in fault.blinds if name in absences]:
            absences[who].append(Span(fault.t, fault.until))
    return {who: _joined(spans) for who, spans in absences.items()}


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Spans that touch, give or take the slack, as one."""
    whole: list[Span] = []
    for span in sorted(spans):
        if whole and span.begin <= whole[-1].end + SLACK_S:
            whole[-1] = Span(whole[-1].begin, max(whole[-1].end, span.end))
        else:
            whole.append(span)
    return whole


def _may_be_dead(absences: Iterable[Span], outages: Sequence[Span], t: float, least: float) -> bool:
    """Whether some absence before `t` holds a time of `least` seconds in which the store was there."""
    return any(_present_part(span, outages, t) >= least for span in absences if span.begin < t)


def _present_part(span: Span, outages: Iterable[Span], t: float) -> float:
    """How long the longest part of the span up to `t` without an outage is."""
    longest, begin, end = 0.0, span.begin, min(span.end, t)
    for outage in sorted(outages):
        if outage.end <= begin or outage.begin >= end:
            continue
        longest, begin = max(longest, outage.begin - begin), max(begin, outage.end)
    return max(longest, end - begin)
