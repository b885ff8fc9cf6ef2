"""The checker must be able to fail: histories with one thing wrong, and the finding that each must bring."""

from pathlib import Path
from typing import Any

import pytest

from tests.chaos.checker import Verdict, judge
from tests.chaos.history import (
    Answer,
    AnyRecord,
    Fault,
    Hello,
    Joined,
    Kept,
    Line,
    Lost,
    Message,
    Place,
    Presence,
    Reset,
    Sent,
    Settings,
    Standing,
    TextBack,
    TextStart,
    TextTold,
    Welcome,
    load,
    save,
)

ROOM = "#r"
COUNT = 6


class Story:
    """A history told line by line, a second apart. `p` sends, `c` listens, both are in `#r` from 0 on."""

    def __init__(self) -> None:
        self.records: list[AnyRecord] = [Settings(0.0, "run", heartbeat_interval=1, heartbeat_ttl=4)]
        self.t = 0.0

    def add(self, kind: type[Any], who: str, *args: Any, **fields: Any) -> "Story":
        self.t += 1
        self.records.append(kind(self.t, who, *args, **fields))
        return self

    def welcome(self, who: str, session: str = "", **resume: Standing) -> "Story":
        asked = {"#r" if log == "room" else "@": Place("e", 0) for log in resume}
        self.add(Hello, who, asked)
        rooms = {"#r" if log == "room" else "@": standing for log, standing in resume.items()}
        return self.add(
            Welcome, who, session or who, bool(resume), rooms or {ROOM: Standing("e", 0), "@": Standing("i", 0)}
        )

    def back(self, who: str, place: Place, standing: Standing) -> "Story":
        self.add(Lost, who, "cut").add(Hello, who, {ROOM: place})
        return self.add(Welcome, who, who, True, {ROOM: standing, "@": Standing("i", 0)})

    def say(self, n: int, seq: int | None = None, to: tuple[str, ...] = ("p", "c")) -> "Story":
        """`p` sends `b<n>`, which is posted, given to all and acknowledged."""
        self.sent(n)
        for who in to:
            self.message(who, n, seq)
        return self.ack(n, seq)

    def sent(self, n: int) -> "Story":
        return self.add(Sent, "p", n, ROOM, n, f"b{n}")

    def ack(self, n: int, seq: int | None = None, **fields: Any) -> "Story":
        return self.add(Answer, "p", n, ROOM, f"b{n}", seq=n if seq is None else seq, **fields)

    def message(self, who: str, n: int, seq: int | None = None, mid: str = "") -> "Story":
        return self.add(Message, who, ROOM, n if seq is None else seq, mid or f"m{n}", f"b{n}")

    def kept(self, *ns: int, epoch: str = "e", first: int = 1) -> "Story":
        return self.add(Kept, "end", ROOM, epoch, [(first + i, f"m{n}", f"b{n}") for i, n in enumerate(ns)])

    def lossy(self, since: float = 0.0) -> "Story":
        """A fault that may take what was acknowledged since then; over at once."""
        self.t += 1
        self.records.append(Fault(self.t, "store", "failover", self.t, loses=since, undoes=since))
        return self

    def judge(self) -> Verdict:
        return judge(self.records)


def begin() -> Story:
    return Story().welcome("p").welcome("c")


def clean() -> Story:
    story = begin()
    for n in range(1, COUNT + 1):
        story.say(n)
    return story.kept(*range(1, COUNT + 1))


def found(verdict: Verdict) -> set[str]:
    return {name for name, sentences in verdict.findings.items() if sentences}


def test_a_good_run_is_clean() -> None:
    verdict = clean().judge()
    assert found(verdict) == set()
    assert (verdict.sent, verdict.acknowledged, verdict.delivered) == (COUNT, COUNT, 2 * COUNT)


def test_a_lost_message() -> None:
    """Acknowledged, given to nobody, and not in the log."""
    assert found(begin().say(1).sent(2).ack(2).kept(1).judge()) == {"lost"}


def test_a_delivered_message_that_vanished() -> None:
    assert found(begin().say(1).say(2).kept(1).judge()) == {"lost"}


def test_an_unanswered_message() -> None:
    assert found(begin().sent(1).kept().judge()) == {"unanswered"}


def test_a_message_posted_twice() -> None:
    story = begin().say(1)
    for who in ("p", "c"):
        story.message(who, 1, 2, "m1x")
    assert "duplicated" in found(story.kept(1, 1).judge())


def test_a_message_delivered_twice() -> None:
    assert found(clean().message("c", COUNT).judge()) == {"duplicated"}


def test_a_gap_in_the_flow() -> None:
    verdict = begin().say(1).say(2, to=("p",)).say(3).kept(1, 2, 3).judge()
    assert found(verdict) == {"gaps"}


def test_a_gap_at_the_end() -> None:
    assert found(begin().say(1).say(2, to=("p",)).kept(1, 2).judge()) == {"gaps"}


def test_a_gap_in_the_log() -> None:
    story = begin().say(1).say(2)
    story.add(Kept, "end", ROOM, "e", [(1, "m1", "b1"), (3, "m2", "b2")])
    assert "gaps" in found(story.judge())


def test_a_gap_behind_a_resume() -> None:
    story = begin().say(1).say(2, to=("p",)).say(3, to=("p",))
    story.back("c", Place("e", 1), Standing("e", 3, recovered=True)).message("c", 3)
    assert found(story.kept(1, 2, 3).judge()) == {"gaps"}


def test_what_a_device_did_not_ask_for_is_no_gap() -> None:
    """Its session was lost, and it came back without a word of that room, which it joined anew."""
    story = begin().say(1).say(2).lossy(100.0).add(Lost, "c", "cut").say(3, to=("p",))
    story.add(Hello, "c", {}).add(Welcome, "c", "c2", False, {"@": Standing("j", 0)})
    story.add(Joined, "c", ROOM, "e", 3).say(4)
    assert found(story.kept(1, 2, 3, 4).judge()) == set()


def test_an_honest_resume() -> None:
    story = begin().say(1).say(2, to=("p",)).say(3, to=("p",))
    story.back("c", Place("e", 1), Standing("e", 3, recovered=True)).message("c", 2).message("c", 3)
    assert found(story.kept(1, 2, 3).judge()) == set()


def test_an_older_message_after_a_newer() -> None:
    story = begin().say(1, to=("p",)).say(2)
    story.message("c", 1)
    assert {"reordered", "gaps"} <= found(story.kept(1, 2).judge())


def test_one_senders_messages_out_of_order() -> None:
    story = begin().sent(1).sent(2)
    for who in ("p", "c"):
        story.message(who, 2, 1).message(who, 1, 2)
    assert found(story.ack(1, 2).ack(2, 1).kept(2, 1).judge()) == {"reordered"}


def test_a_refused_message_may_be_overtaken_by_what_was_already_under_way() -> None:
    story = begin().sent(1).sent(2).add(Answer, "p", 1, ROOM, "b1", code="unavailable").sent(1)
    for who in ("p", "c"):
        story.message(who, 2, 1).message(who, 1, 2)
    verdict = story.ack(2, 1).ack(1, 2).kept(2, 1).judge()
    assert found(verdict) == set()
    assert verdict.overtaken == 1


def test_a_refused_message_may_not_be_overtaken_by_what_was_sent_later() -> None:
    story = begin().sent(1).add(Answer, "p", 1, ROOM, "b1", code="unavailable").sent(2)
    for who in ("p", "c"):
        story.message(who, 2, 1).message(who, 1, 2)
    assert found(story.ack(2, 1).ack(1, 2).kept(2, 1).judge()) == {"reordered"}


@pytest.mark.parametrize("trouble", [True, False])
def test_a_refusal_that_never_came_needs_a_reason(trouble: bool) -> None:
    story = begin().sent(1).sent(2)
    if trouble:
        story.records.append(Fault(story.t - 1, "store", "SIGSTOP", story.t, outage=True))
    story.add(Lost, "p", "silence").sent(1).sent(2)
    for who in ("p", "c"):
        story.message(who, 2, 1).message(who, 1, 2)
    story.ack(1, 2).add(Answer, "p", 2, ROOM, "b2", seq=1, duplicate=True)
    assert ("reordered" in found(story.kept(2, 1).judge())) is not trouble


def test_a_false_number_in_an_ack() -> None:
    story = begin().sent(1).message("p", 1).message("c", 1).ack(1, 7)
    assert found(story.kept(1).judge()) == {"wrong"}


def test_a_loss_that_everybody_was_told_of() -> None:
    story = begin().say(1).say(2).lossy()
    story.add(Reset, "p", ROOM, "f", 1).add(Reset, "c", ROOM, "f", 1)
    verdict = story.say(3, 2).kept(1, 3, epoch="f").judge()
    assert found(verdict) == set()
    assert verdict.losses_told == 1


def test_a_loss_that_one_reader_was_not_told_of() -> None:
    story = begin().say(1).say(2).lossy().add(Reset, "p", ROOM, "f", 1)
    assert "lost" in found(story.kept(1, epoch="f").judge())


def test_a_loss_that_the_sender_was_not_told_of() -> None:
    story = begin().say(1).sent(2).ack(2).lossy().add(Reset, "c", ROOM, "f", 1)
    assert "lost" in found(story.kept(1, epoch="f").judge())


def test_an_ack_after_the_news_of_its_loss() -> None:
    story = begin().say(1).sent(2).message("p", 2).message("c", 2).lossy()
    story.add(Reset, "p", ROOM, "f", 1).add(Reset, "c", ROOM, "f", 1).ack(2, duplicate=True)
    assert found(story.kept(1, epoch="f").judge()) == {"lost"}


def test_a_loss_that_no_fault_explains() -> None:
    story = begin().say(1).say(2).add(Reset, "p", ROOM, "f", 1).add(Reset, "c", ROOM, "f", 1)
    assert found(story.kept(1, epoch="f").judge()) == {"lost", "false_alarms"}


def test_a_loss_from_before_what_the_fault_explains() -> None:
    story = begin().say(1).say(2)
    story.lossy(since=story.t + 0.5).add(Reset, "p", ROOM, "f", 1).add(Reset, "c", ROOM, "f", 1)
    assert found(story.kept(1, epoch="f").judge()) == {"lost"}


def test_an_epoch_that_somebody_was_not_told() -> None:
    story = begin().say(1).lossy().add(Reset, "p", ROOM, "f", 1)
    assert found(story.kept(1, epoch="f").judge()) == {"wrong"}


def test_recovered_under_another_epoch() -> None:
    story = begin().say(1).back("c", Place("e", 1), Standing("f", 1, recovered=True))
    assert "wrong" in found(story.kept(1).judge())


def test_a_false_alarm() -> None:
    story = begin().say(1).back("c", Place("e", 1), Standing("e", 1, recovered=False, whole_from=1)).message("c", 1)
    assert found(story.kept(1).judge()) == {"false_alarms"}


def test_a_second_alarm_for_one_fault() -> None:
    story = begin().say(1).lossy()
    for who in ("p", "c"):
        story.add(Reset, who, ROOM, "f", 1)
    story.t += 60
    story.add(Reset, "c", ROOM, "f", 1)
    assert found(story.kept(1, epoch="f").judge()) == {"false_alarms"}


def test_something_that_nobody_sent() -> None:
    story = begin()
    for who in ("p", "c"):
        story.message(who, 9, 1)
    assert found(story.kept(9).judge()) == {"wrong"}


def test_what_came_before_the_join_is_no_gap() -> None:
    story = begin().say(1, to=("p",))
    story.records = [record for record in story.records if record.who != "c"]
    story.add(Hello, "c", {}).add(Welcome, "c", "c", False, {"@": Standing("i", 0)}).add(Joined, "c", ROOM, "e", 1)
    assert found(story.say(2).kept(1, 2).judge()) == set()


# Direct messages.


def direct(*copies: tuple[str, str]) -> Verdict:
    """`p` writes to `c`; the copies that the inboxes have at the end, as (session, mid)."""
    story = begin().add(Sent, "p", 1, "@", 1, "psst", ["c"])
    for who in ("p", "c"):
        story.add(Message, who, "@", 1, "m", "psst")
    story.add(Answer, "p", 1, "@", "psst", seq=1)
    kept = {"@p": [], "@c": []} | {f"@{session}": [(1, mid, "psst")] for session, mid in copies}
    for log, entries in kept.items():
        story.add(Kept, "end", log, "i", entries)
    return story.judge()


def test_a_direct_message() -> None:
    assert found(direct(("p", "m"), ("c", "m"))) == set()


def test_a_direct_message_that_one_lacks() -> None:
    assert found(direct(("p", "m"))) == {"lost"}


def test_a_direct_message_with_two_mids() -> None:
    assert "wrong" in found(direct(("p", "m"), ("c", "other")))


# Text clients.


def text() -> Story:
    story = begin().add(TextBack, "t").add(TextStart, "t", ROOM)
    for n in (1, 2, 3):
        story.say(n)
    return story.kept(1, 2, 3)


def lines(story: Story, *ns: int) -> Story:
    for n in ns:
        story.add(Line, "t", ROOM, f"b{n}")
    return story


def test_a_text_client() -> None:
    assert found(lines(text(), 1, 2, 3).judge()) == set()


@pytest.mark.parametrize(
    ("seen", "finding"), [((1, 3), "lost"), ((1, 3, 2), "reordered"), ((1, 2, 2, 3), "duplicated")], ids=str
)
def test_a_text_client_that_was_wronged(seen: tuple[int, ...], finding: str) -> None:
    assert found(lines(text(), *seen).judge()) == {finding}


def test_a_text_client_may_see_a_line_again_after_a_break() -> None:
    story = lines(text(), 1, 2).add(Lost, "t", "reset").add(TextBack, "t")
    assert found(lines(story, 2, 3).judge()) == set()


def test_a_text_client_that_was_told() -> None:
    story = begin().add(TextBack, "t").add(TextStart, "t", ROOM).say(1).lossy().add(TextTold, "t", ROOM)
    for who in ("p", "c"):
        story.add(Reset, who, ROOM, "f", 1)
    assert found(lines(story.say(2).kept(1, 2, epoch="f"), 2).judge()) == set()


# Deaths.


def death(away: float, outage: tuple[float, float] | None = None, how: str = "away") -> Verdict:
    """`p` is away for so long, `c` hears that it crashed, and it comes back."""
    story = begin()
    left = story.t
    story.add(Lost, "p", "cut")
    if outage is not None:
        begun, ended = (left + at for at in outage)
        story.records.append(Fault(begun, "store", how, ended, outage=True))
    story.t = left + away
    story.add(Presence, "c", ROOM, "p", "crashed").welcome("p")
    return story.kept().judge()


def test_a_death() -> None:
    assert found(death(6)) == set()


def test_a_death_that_came_too_early() -> None:
    assert found(death(1)) == {"wrong_deaths"}


def test_a_death_by_an_outage() -> None:
    assert found(death(10, outage=(1, 9))) == {"wrong_deaths"}


def test_a_store_that_only_slept_for_a_moment_is_no_excuse_for_being_away() -> None:
    assert found(death(2.7, outage=(1, 1.5), how="SIGSTOP")) == set()
    assert found(death(4.2, outage=(1, 3), how="SIGSTOP")) == {"wrong_deaths"}
    assert found(death(2.7, outage=(1, 1.5), how="kill -9")) == {"wrong_deaths"}


def test_a_death_of_somebody_connected() -> None:
    assert found(begin().add(Presence, "c", ROOM, "p", "crashed").kept().judge()) == {"wrong_deaths"}


def test_a_history_survives_the_disk(tmp_path: Path) -> None:
    story = lines(text(), 1, 2, 3)
    save(story.records, tmp_path / "history.jsonl")
    assert load(tmp_path / "history.jsonl") == story.records
