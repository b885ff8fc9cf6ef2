"""The judge of a history: what was lost, doubled, reordered or left out, and whether everybody concerned was told.

The truth is what the logs hold at the end. Against it are held: every answer that a sender got, every stretch that a
JSON client took for whole, every line of a text client, and the list of faults, which says what may be lost at all.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec

from tests.chaos.deaths import undeserved
from tests.chaos.history import Answer, AnyRecord, Fault, Kept, Lost, Message, Sent, Wrong
from tests.chaos.texts import Texts
from tests.chaos.views import Stretch, Views

TELLING_S = 15.0
"""How long after a fault was healed the news of its losses may still spread among those who are connected."""


class Verdict(msgspec.Struct, omit_defaults=True):
    """What the checker found. Every list holds one sentence a finding; all of them must be empty."""

    sent: int = 0
    acknowledged: int = 0
    delivered: int = 0
    losses_told: int = 0
    """Acknowledged messages that a fault took from the store itself, and everybody concerned was told."""
    told: int = 0
    overtaken: int = 0
    """Pairs where a refused message was overtaken by one sent before its refusal was known: the sender's choice. Where
    the store was in trouble and the connection ended without an answer, the refusal may have been under way.
    """
    lost: list[str] = []
    duplicated: list[str] = []
    reordered: list[str] = []
    gaps: list[str] = []
    unanswered: list[str] = []
    false_alarms: list[str] = []
    wrong_deaths: list[str] = []
    wrong: list[str] = []

    @property
    def findings(self) -> dict[str, list[str]]:
        """All lists by name."""
        return {field: value for field in self.__struct_fields__ if isinstance(value := getattr(self, field), list)}

    @property
    def clean(self) -> bool:
        """Whether every promise was kept."""
        return not any(self.findings.values())


class _Try(NamedTuple):
    t: float
    id: int


class _Post:
    """One message of a sender: its tries and its answers."""

    def __init__(self, first: Sent) -> None:
        self.who, self.lane, self.n, self.body, self.to = first.who, first.lane, first.n, first.body, first.to
        self.tries: list[_Try] = []
        self.acks: list[Answer] = []
        self.refused_at: list[float] = []


class Judge:
    """Holds what several rules need; `verdict` has the findings."""

    def __init__(self, records: Sequence[AnyRecord]) -> None:
        self.records = records
        self.views = Views(records)
        self.faults = sorted((record for record in records if isinstance(record, Fault)), key=lambda fault: fault.t)
        self.kept = {record.log: record for record in records if isinstance(record, Kept)}
        self.places = {log: {body: (seq, mid) for seq, mid, body in kept.entries} for log, kept in self.kept.items()}
        self.posts: dict[str, _Post] = {}
        self.verdict = Verdict()
        self._collect_posts()
        self._suppose_refusals()
        begun = {body: post.tries[0].t for body, post in self.posts.items()}
        self.texts = Texts(records, self.kept, self.views, begun)
        self.told = [*self.views.told, *self.texts.told]

    def _collect_posts(self) -> None:
        for record in self.records:
            if isinstance(record, Sent):
                post = self.posts.setdefault(record.body, _Post(record))
                post.tries.append(_Try(record.t, record.id))
            elif isinstance(record, Answer):
                post = self.posts[record.body]
                if record.code:
                    post.refused_at.append(record.t)
                else:
                    post.acks.append(record)

    def _suppose_refusals(self) -> None:
        """A try without an answer may have been refused, if the store was in trouble before the connection ended."""
        ends: dict[str, list[float]] = defaultdict(list)
        for record in self.records:
            if isinstance(record, Lost):
                ends[record.who].append(record.t)
        troubles = [fault for fault in self.faults if fault.who == "store" or "store" in fault.name]
        for post in self.posts.values():
            answered = [*post.refused_at, *(ack.t for ack in post.acks)]
            for begun, _ in post.tries:
                end = next((t for t in ends[post.who] if t > begun), None)
                if end is None or any(begun <= t <= end for t in answered):
                    continue
                if any(fault.t <= end and begun <= fault.until for fault in troubles):
                    post.refused_at.append(end)

    def judge(self) -> Verdict:
        """Apply every rule."""
        verdict, views = self.verdict, self.views
        verdict.sent = len(self.posts)
        verdict.acknowledged = sum(bool(post.acks) for post in self.posts.values())
        verdict.delivered = sum(isinstance(record, Message) for record in self.records)
        verdict.gaps += views.gaps
        verdict.duplicated += views.duplicated
        verdict.reordered += views.reordered
        verdict.wrong += views.wrong
        verdict.wrong += [
            f"{record.t} {record.who}: {record.text}" for record in self.records if isinstance(record, Wrong)
        ]
        self._check_logs()
        self._check_answers()
        self._check_stretches()
        self._check_order()
        texts = self.texts
        verdict.lost += texts.lost
        verdict.duplicated += texts.duplicated
        verdict.reordered += texts.reordered
        self._check_alarms()
        verdict.wrong_deaths += undeserved(self.records, self.faults)
        return verdict

    # -- the logs at the end ---------------------------------------------------------------------------------------

    def _check_logs(self) -> None:
        """Numbered without a hole, nothing twice, nothing that nobody sent, all copies of a message under one mid."""
        mids: dict[str, set[str]] = defaultdict(set)
        for log, kept in self.kept.items():
            for (before, _, _), (seq, _, body) in pairwise(kept.entries):
                if seq != before + 1:
                    self.verdict.gaps.append(f"the log {log} has {seq} {body!r} after {before}")
            for body, count in Counter(body for _, _, body in kept.entries).items():
                if count > 1:
                    self.verdict.duplicated.append(f"the log {log} has {body!r} {count} times")
                if body not in self.posts:
                    self.verdict.wrong.append(f"the log {log} has {body!r}, which nobody sent")
            for _, mid, body in kept.entries:
                mids[body].add(mid)
        for body, some in mids.items():
            if len(some) > 1:
                self.verdict.wrong.append(f"{body!r} has {len(some)} mids")

    # -- what was acknowledged -------------------------------------------------------------------------------------

    def _check_answers(self) -> None:
        for post in self.posts.values():
            if not post.acks:
                self.verdict.unanswered.append(f"{post.who} never got an ack for {post.body!r}")
                continue
            last = post.acks[-1]
            missing = [log for log in self._logs_of(post, last.t) if not self._has(log, post.body)]
            for log in missing:
                if self._told_of_loss(post, log, last.t):
                    self.verdict.losses_told += 1
                else:
                    self.verdict.lost.append(f"{post.body!r}, acknowledged to {post.who} at {last.t}, is not in {log}")
            if not missing:
                self._check_number(post, last)

    def _has(self, log: str, body: str) -> bool:
        """Whether a message is in a log; an inbox stands also for those of the sessions that its owner had later."""
        return any(body in self.places.get(name, {}) for name in self.views.successors(log))

    def _logs_of(self, post: _Post, t: float) -> list[str]:
        """Where a message must be."""
        if post.lane != "@":
            return [post.lane]
        names = [post.who, *post.to]
        return list(dict.fromkeys(f"@{self.views.session(name, t)}" for name in names))

    def _told_of_loss(self, post: _Post, log: str, acked: float) -> bool:
        """Whether a fault excuses the loss, and who must be was told of it.

        That is the sender, after the ack; for an inbox its owner, once the message was under way. The ack may come long
        after the loss: it waited in a program that slept, or in a network that was silent.
        """
        begun = post.tries[0].t
        excused = any(
            fault.covers(log) and fault.loses is not None and fault.loses <= acked and begun <= fault.until
            for fault in self.faults
        )
        if log.startswith("@"):
            return excused and any(told.log == log and told.t >= begun for told in self.told)
        return excused and any(told.who == post.who and told.log == log and told.t >= acked for told in self.told)

    def _check_number(self, post: _Post, last: Answer) -> None:
        log = self._logs_of(post, last.t)[0]
        seq = next(self.places[name][post.body][0] for name in self.views.successors(log) if self._has(name, post.body))
        if last.seq != seq and not self._undone(log, last.t):
            self.verdict.wrong.append(
                f"{post.body!r} was acknowledged to {post.who} as {last.seq} and is {seq} in {log}"
            )

    def _undone(self, log: str, t: float) -> bool:
        """Whether the numbering of that time may have been broken since."""
        return any(
            fault.covers(log) and fault.undoes is not None and fault.until + TELLING_S >= t for fault in self.faults
        )

    # -- what was delivered ----------------------------------------------------------------------------------------

    def _check_stretches(self) -> None:
        """What nobody was told of must be in the logs, all of it up to the head, under the log's epoch."""
        for stretches in self.views.stretches.values():
            for stretch in stretches:
                self._check_senders(stretch)
            current = stretches[-1]
            if current.told is None and current.log in self.kept and self._was_there_at_the_end(current):
                self._compare_with_log(current, self.kept[current.log])

    def _was_there_at_the_end(self, stretch: Stretch) -> bool:
        return not stretch.log.startswith("@") or stretch.log == f"@{self.views.session(stretch.who)}"

    def _compare_with_log(self, stretch: Stretch, kept: Kept) -> None:
        who, log = stretch.who, stretch.log
        first = kept.entries[0][0] if kept.entries else 1
        there = [entry for entry in kept.entries if entry[0] > stretch.after]
        seen = [(seq, mid, body) for _, seq, mid, body in stretch.seen if seq >= first]
        for entry in sorted(set(seen) - set(there)):
            self.verdict.lost.append(f"{who} was given {entry} in {log}, which is not there, and was not told")
        for entry in sorted(set(there) - set(seen)):
            self.verdict.gaps.append(f"{who} was never given {entry} of {log}, and was not told")
        if stretch.epoch and stretch.epoch != kept.epoch:
            self.verdict.wrong.append(f"{who} was not told that {log} has another epoch")

    def _check_senders(self, stretch: Stretch) -> None:
        for seen in stretch.seen:
            post = self.posts.get(seen.body)
            if post is None:
                self.verdict.wrong.append(f"{seen.t} {stretch.who} was given {seen.body!r}, which nobody sent")
            elif post.tries[0].t > seen.t:
                self.verdict.wrong.append(f"{stretch.who} was given {seen.body!r} before it was sent")

    # -- the order of one sender -----------------------------------------------------------------------------------

    def _check_order(self) -> None:
        for log, kept in self.kept.items():
            self._check_order_of(f"the log {log}", [body for _, _, body in kept.entries])
        for stretches in self.views.stretches.values():
            for stretch in stretches:
                self._check_order_of(f"{stretch.who} in {stretch.log}", [seen.body for seen in stretch.seen])

    def _check_order_of(self, where: str, bodies: Iterable[str]) -> None:
        newest: dict[tuple[str, str], _Post] = {}
        for body in bodies:
            post = self.posts.get(body)
            if post is None:
                continue
            before = newest.get((post.who, post.lane))
            if before is None or post.n > before.n:
                newest[post.who, post.lane] = post
            elif post.n < before.n and _overtook(before, post):
                self.verdict.overtaken += where.startswith("the log")
            elif post.n < before.n:
                self.verdict.reordered.append(f"{where}: {body!r} comes after {before.body!r}")

    # -- alarms ----------------------------------------------------------------------------------------------------

    def _check_alarms(self) -> None:
        """Each device is told at most once of what one fault undid, unless the news were still spreading."""
        before: dict[tuple[str, str], float] = {}
        for t, who, log in sorted(self.told):
            self.verdict.told += 1
            last = before.get((who, log), -1.0)
            if not any(
                fault.undoes is not None
                and (fault.covers(log) or (log.startswith("@") and fault.covers(f"@{who.split('/')[0]}")))
                and fault.t <= t
                and (last < fault.t or t <= fault.until + TELLING_S)
                for fault in self.faults
            ):
                self.verdict.false_alarms.append(f"{t} {who} was told of a loss in {log} that no fault explains")
            before[who, log] = t


def _overtook(later: _Post, earlier: _Post) -> bool:
    """Whether `later` was sent before the sender knew that `earlier` was refused."""
    return any(later.tries[0].t <= refused for refused in earlier.refused_at)


def judge(records: Sequence[AnyRecord]) -> Verdict:
    """What a history says."""
    return Judge(records).judge()
