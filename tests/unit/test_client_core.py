"""The client's core against a model of the server: whatever breaks, nothing is lost, doubled or passed over.

Clauses of docs/protocol.md are named by their number among the promises.
"""

import itertools
import json
from collections import deque
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from causerie.client.core import Core
from causerie.client.lanes import REMEMBERED
from causerie.client.results import Closed, Event, OutcomeUnknown
from causerie.errors import Refused

ROOMS: dict[str, Any] = {"#lobby": {"epoch": "e", "seq": 0}, "@": {"epoch": "i", "seq": 0}}
WELCOME: dict[str, Any] = {
    "ev": "welcome",
    "nick": "ann",
    "session": "s1",
    "gateway": "g1",
    "heartbeat": 10,
    "resumed": False,
    "rooms": ROOMS,
}


def frame(**event: Any) -> bytes:
    return msgspec.json.encode(event)


def message(seq: int, body: str = "hi", *, log: str = "#lobby", mid: str | None = None) -> bytes:
    return frame(ev="message", **{"in": log, "from": "bob"}, seq=seq, body=body, mid=mid or f"m{seq}", ts=1.0)


def greeted(core: Core, **changes: Any) -> dict[str, Any]:
    """Connect and be welcomed; returns the hello."""
    hello: dict[str, Any] = json.loads(core.connected())
    core.receive(frame(**{**WELCOME, "re": hello["id"], "cookie": hello["cookie"], **changes}), 0.0)
    return hello


def sent(core: Core, now: float = 0.0) -> list[dict[str, Any]]:
    return [json.loads(each) for each in core.output(now)]


@pytest.fixture
def core() -> Core:
    return Core("ann", first_id=1000, random=lambda: 0.5)


class TestQuietCommands:
    def test_the_answer_is_for_the_asker_alone(self, core: Core) -> None:
        """What holds a secret (the token of a file) is no event that a user prints."""
        greeted(core)
        core.take_events()
        asked = core.command("!get x", quiet=True)
        assert [op["id"] for op in sent(core)] == [asked]
        core.receive(frame(ev="result", re=asked, text=["secret"], data={"token": "secret"}), 0.0)
        assert core.take_events() == []
        (answer,) = core.take_answers()
        assert (answer.id, answer.event and answer.event["data"]) == (asked, {"token": "secret"})

    def test_it_can_be_asked_again_under_its_id(self, core: Core) -> None:
        """So the server knows that it is the same file, whatever became of it since."""
        greeted(core)
        asked = core.command("!send_file x", quiet=True)
        sent(core)
        core.receive(frame(ev="result", re=asked, text=[], data={}), 0.0)
        other = core.command("!list")
        again = core.command("!send_file x", quiet=True, again=asked)
        assert (again, other > asked) == (asked, True)
        assert [op["id"] for op in sent(core)] == [other, asked]
        core.receive(frame(ev="result", re=asked, text=[], data={"sent": True}), 0.0)
        assert core.take_answers()[-1].id == asked
        assert core.send("#lobby", "hi") == other + 1


class TestHello:
    def test_first_hello_carries_nick_and_a_cookie_of_its_own_and_can_be_repeated(self, core: Core) -> None:
        """hello: "With a client-made cookie beside `nick`, a `hello` that got no answer can be repeated"."""
        first = json.loads(core.connected())
        core.disconnected()
        second = json.loads(core.connected())
        assert first["nick"] == second["nick"] == "ann"
        assert first["cookie"] == second["cookie"]
        assert len(first["cookie"]) * 6 >= 128
        assert second["id"] > first["id"]

    def test_after_the_welcome_only_the_cookie_and_the_positions_are_named(self, core: Core) -> None:
        greeted(core)
        core.receive(message(1), 0.0)
        core.disconnected()
        hello = json.loads(core.connected())
        assert "nick" not in hello
        assert hello["resume"] == {
            "#lobby": {"epoch": "e", "seq": 1, "mid": "m1"},
            "@": {"epoch": "i", "seq": 0},
        }

    def test_mail_that_came_before_a_lost_welcome_is_fetched(self, core: Core) -> None:
        core.connected()
        core.disconnected()
        greeted(core, resumed=True, rooms={**ROOMS, "@": {"epoch": "i", "seq": 2}})
        assert core.hangup is not None
        assert core.hangup.final is None
        core.disconnected()
        hello = json.loads(core.connected())
        assert "nick" not in hello
        assert hello["resume"] == {"@": {"epoch": "i", "seq": 0}}

    def test_saved_positions_are_resumed(self, core: Core) -> None:
        greeted(core)
        core.receive(message(1), 0.0)
        saved = core.positions.resume()
        other = Core(cookie=core.cookie, positions=saved)
        assert json.loads(other.connected())["resume"] == saved

    def test_device_password_and_token_go_with_every_hello(self) -> None:
        core = Core("ann", device="phone", password="p", admin_token="t")
        for _ in range(2):
            hello = greeted(core)
            assert (hello["device"], hello["password"], hello["admin_token"]) == ("phone", "p", "t")
            core.disconnected()

    def test_nothing_is_sent_before_the_welcome(self, core: Core) -> None:
        core.send("#lobby", "early")
        core.connected()
        assert core.output(0.0) == []

    @pytest.mark.parametrize("code", ["nick_taken", "bad_nick", "banned", "denied"])
    def test_a_refused_hello_is_final(self, core: Core, code: str) -> None:
        hello = json.loads(core.connected())
        core.receive(frame(ev="error", re=hello["id"], code=code, text="no"), 0.0)
        assert core.hangup is not None
        assert isinstance(core.hangup.final, Refused)
        assert core.hangup.final.code == code

    def test_an_unavailable_store_is_not(self, core: Core) -> None:
        hello = json.loads(core.connected())
        core.receive(frame(ev="error", re=hello["id"], code="unavailable", text="x", retry_after=2), 0.0)
        assert core.hangup is not None
        assert core.hangup.final is None
        assert core.hangup.retry_after == 2

    def test_a_session_that_is_no_more_is_made_anew_and_its_rooms_joined_again(self, core: Core) -> None:
        old = greeted(core, rooms={**ROOMS, "#dev": {"epoch": "d", "seq": 5}})
        core.take_events()
        transmitted = core.send("#lobby", "on its way")
        assert len(sent(core)) == 1
        waiting = core.send("#lobby", "not yet")
        core.disconnected()
        hello = json.loads(core.connected())
        core.receive(frame(ev="error", re=hello["id"], code="bad_cookie", text="expired"), 0.0)
        assert core.hangup is not None
        assert core.hangup.final is None
        assert [event["ev"] for event in core.take_events()] == ["session_lost"]
        answers = core.take_answers()
        assert [answer.id for answer in answers] == [transmitted]
        assert isinstance(answers[0].error, OutcomeUnknown)

        core.disconnected()
        again = greeted(core, session="s2")
        assert again["nick"] == "ann"
        assert again["cookie"] != old["cookie"]
        assert "resume" not in again
        (join,) = sent(core)
        assert (join["op"], join["room"]) == ("join", "#dev")
        data = {"room": "#dev", "epoch": "d2", "seq": 0, "members": []}
        core.receive(frame(ev="result", re=join["id"], text=[], data=data), 0.0)
        assert [op["id"] for op in sent(core)] == [waiting]
        assert core.positions["#dev"].epoch == "d2"

    def test_a_given_cookie_that_is_unknown_and_no_nick_is_the_end(self) -> None:
        core = Core(cookie="c" * 43)
        hello = json.loads(core.connected())
        core.receive(frame(ev="error", re=hello["id"], code="bad_cookie", text="no"), 0.0)
        assert core.hangup is not None
        assert isinstance(core.hangup.final, Refused)


class TestBye:
    @pytest.mark.parametrize("code", ["replaced", "kicked", "banned", "quit"])
    def test_does_not_come_back(self, core: Core, code: str) -> None:
        greeted(core)
        core.receive(frame(ev="bye", code=code, text="why"), 0.0)
        assert core.hangup is not None
        assert isinstance(core.hangup.final, Closed)
        assert core.hangup.final.code == code

    @pytest.mark.parametrize("code", ["shutdown", "timeout", "slow_consumer", "flood", "unavailable", "new"])
    def test_comes_back_after_retry_after(self, core: Core, code: str) -> None:
        greeted(core)
        core.receive(frame(ev="bye", code=code, text="why", retry_after=1.7), 0.0)
        assert core.hangup is not None
        assert core.hangup.final is None
        assert core.hangup.retry_after == 1.7

    def test_a_goodbye_whose_answer_was_lost_has_been_said(self, core: Core) -> None:
        greeted(core)
        core.quit()
        sent(core)
        core.disconnected()
        hello = json.loads(core.connected())
        core.receive(frame(ev="error", re=hello["id"], code="bad_cookie", text="gone"), 0.0)
        assert core.hangup is not None
        assert isinstance(core.hangup.final, Closed)
        assert core.hangup.final.code == "quit"


class TestPositions:
    def test_welcome_with_recovered_keeps_what_was_received(self, core: Core) -> None:
        greeted(core)
        core.receive(message(1), 0.0)
        core.disconnected()
        greeted(core, rooms={**ROOMS, "#lobby": {"epoch": "e", "seq": 3, "recovered": True}})
        assert core.positions["#lobby"].seq == 1
        core.take_events()
        for seq in (2, 3):
            core.receive(message(seq), 0.0)
        assert [event["seq"] for event in core.take_events()] == [2, 3]
        assert core.hangup is None

    def test_what_is_left_of_a_trimmed_log_is_taken_and_the_loss_told(self, core: Core) -> None:
        """Promise 4 and hello: "`whole_from` is the first seq from which on it is, and the replay starts
        there".
        """
        greeted(core)
        core.disconnected()
        lobby = {"epoch": "e", "seq": 9, "recovered": False, "whole_from": 8}
        greeted(core, rooms={"#lobby": lobby, "@": {"epoch": "i", "seq": 0, "recovered": True}})
        for seq in (8, 9, 10):
            core.receive(message(seq), 0.0)
        events = core.take_events()[2:]
        assert events[0] == {"ev": "lost", "in": "#lobby", "epoch": "e", "whole_from": 8, "reset": False}
        assert [event["seq"] for event in events[1:]] == [8, 9, 10]

    def test_nothing_left_means_the_head(self, core: Core) -> None:
        greeted(core)
        core.disconnected()
        lobby = {"epoch": "f", "seq": 9, "recovered": False, "whole_from": 10}
        greeted(core, rooms={"#lobby": lobby, "@": {"epoch": "i", "seq": 0, "recovered": True}})
        assert core.positions["#lobby"] == ("f", 9, "")

    def test_a_repeat_is_dropped(self, core: Core) -> None:
        greeted(core)
        core.take_events()
        for seq in (1, 2, 1, 2, 3):
            core.receive(message(seq), 0.0)
        assert [event["seq"] for event in core.take_events()] == [1, 2, 3]

    def test_a_gap_ends_the_connection_and_one_that_stays_is_told(self, core: Core) -> None:
        """Promise 3 seen from the client: a hole is never passed over in silence."""
        greeted(core)
        core.receive(message(1), 0.0)
        core.receive(message(3), 0.0)
        assert core.hangup is not None
        core.receive(message(2), 0.0)
        assert [event.get("seq") for event in core.take_events()] == [None, 1]
        core.disconnected()
        greeted(core, rooms={**ROOMS, "#lobby": {"epoch": "e", "seq": 3, "recovered": True}})
        core.take_events()
        core.receive(message(3), 0.0)
        assert [event["ev"] for event in core.take_events()] == ["gap", "message"]
        assert core.hangup is None

    def test_another_message_at_the_own_position_is_a_hole_too(self, core: Core) -> None:
        greeted(core)
        core.receive(message(1, mid="a"), 0.0)
        core.receive(message(1, mid="b"), 0.0)
        assert core.hangup is not None

    def test_reset_moves_the_position(self, core: Core) -> None:
        greeted(core)
        core.receive(message(1), 0.0)
        core.receive(frame(ev="reset", **{"in": "#lobby"}, epoch="f", seq=7), 0.0)
        core.receive(message(8), 0.0)
        assert core.hangup is None
        assert core.positions["#lobby"] == ("f", 8, "m8")

    def test_a_room_one_was_taken_out_of_is_told_and_not_joined_again(self, core: Core) -> None:
        greeted(core, rooms={**ROOMS, "#dev": {"epoch": "d", "seq": 5}})
        core.disconnected()
        greeted(
            core,
            rooms={
                "#lobby": {"epoch": "e", "seq": 0, "recovered": True},
                "@": {"epoch": "i", "seq": 0, "recovered": True},
                "#dev": {"error": "not_joined"},
            },
        )
        assert core.take_events()[-1] == {"ev": "left", "in": "#dev", "code": "not_joined"}
        assert sent(core) == []

    def test_a_room_that_a_broken_store_forgot_is_joined_again(self, core: Core) -> None:
        greeted(core, rooms={**ROOMS, "#dev": {"epoch": "d", "seq": 5}})
        core.disconnected()
        greeted(
            core,
            rooms={
                "#lobby": {"epoch": "new", "seq": 0, "recovered": False, "whole_from": 1},
                "@": {"epoch": "i", "seq": 0, "recovered": True},
                "#dev": {"error": "not_joined"},
            },
        )
        assert [(op["op"], op["room"]) for op in sent(core)] == [("join", "#dev")]

    def test_the_current_room_is_current_again_in_a_new_session(self, core: Core) -> None:
        """Promise 7: "Its current room is the last one joined by `!join`"."""
        greeted(core)
        join = core.command("!join #dev")
        sent(core)
        data = {"room": "#dev", "epoch": "d", "seq": 0, "members": []}
        core.receive(frame(ev="result", re=join, text=[], data=data), 0.0)
        core.disconnected()
        hello = json.loads(core.connected())
        core.receive(frame(ev="error", re=hello["id"], code="bad_cookie", text="expired"), 0.0)
        core.disconnected()
        topic = core.command("!topic new")
        greeted(core)
        (first,) = sent(core)
        assert first["line"] == "!join #dev"
        core.receive(frame(ev="result", re=first["id"], text=[], data=data), 0.0)
        assert [op["id"] for op in sent(core)] == [topic]

    def test_a_room_that_another_device_joined_is_followed_from_there(self, core: Core) -> None:
        """device: "Every device sees everything"."""
        greeted(core)
        core.receive(frame(ev="presence", **{"in": "#dev"}, nick="ann", state="online"), 0.0)
        (join,) = sent(core)
        data = {"room": "#dev", "epoch": "d", "seq": 4, "members": []}
        core.receive(frame(ev="result", re=join["id"], text=[], data=data), 0.0)
        core.disconnected()
        assert json.loads(core.connected())["resume"]["#dev"] == {"epoch": "d", "seq": 4}

    def test_own_renaming_and_leaving(self, core: Core) -> None:
        greeted(core)
        core.receive(frame(ev="presence", **{"in": "#lobby"}, nick="ann", state="renamed", to="eve"), 0.0)
        assert core.nick == "eve"
        core.receive(frame(ev="presence", **{"in": "#lobby"}, nick="eve", state="gone"), 0.0)
        assert "#lobby" not in core.positions


class TestSends:
    def test_ids_start_at_the_clock_and_rise(self) -> None:
        core = Core("ann")
        ids = [core.send("#lobby", "x") for _ in range(3)]
        assert ids[0] > 1_700_000_000_000_000
        assert ids == sorted(set(ids))
        assert ids[-1] < 2**53

    def test_unanswered_sends_go_again_in_order_under_their_ids(self, core: Core) -> None:
        greeted(core)
        ids = [core.send("#lobby", str(n)) for n in range(5)]
        assert [op["id"] for op in sent(core)] == ids
        core.receive(frame(ev="ack", re=ids[1], **{"in": "#lobby"}, seq=1), 0.0)
        core.disconnected()
        greeted(core)
        assert [op["id"] for op in sent(core)] == [ids[0], *ids[2:]]

    def test_unavailable_takes_keptbehind_it_again_after_a_while(self, core: Core) -> None:
        """Promise 2: "`unavailable` takes with it everything of that device and target ..."."""
        greeted(core)
        ids = [core.send("#lobby", str(n)) for n in range(4)]
        sent(core)
        core.receive(frame(ev="ack", re=ids[0], **{"in": "#lobby"}, seq=1), 0.0)
        for each in ids[1:3]:
            core.receive(frame(ev="error", re=each, code="unavailable", text="x", retry_after=1.0), 0.0)
        assert sent(core, 5.0) == [], "the answer to the last one is still out"
        core.receive(frame(ev="error", re=ids[3], code="unavailable", text="x", retry_after=1.0), 5.0)
        assert sent(core, 5.5) == []
        assert core.deadline() == 6.0
        assert [op["id"] for op in sent(core, 6.0)] == ids[1:]

    def test_rate_limited_waits_as_told_and_then_goes_one_by_one(self, core: Core) -> None:
        greeted(core)
        ids = [core.send("#lobby", str(n)) for n in range(3)]
        sent(core)
        for each in ids:
            core.receive(frame(ev="error", re=each, code="rate_limited", text="x", retry_after=0.5), 0.0)
        assert sent(core, 0.4) == []
        assert [op["id"] for op in sent(core, 0.5)] == ids[:1]
        core.receive(frame(ev="ack", re=ids[0], **{"in": "#lobby"}, seq=1), 0.51)
        assert sent(core, 0.51) == [], "it paces itself"
        assert [op["id"] for op in sent(core, 1.1)] == ids[1:2]

    def test_what_was_refused_goes_before_what_never_went(self) -> None:
        core = Core("ann", first_id=1, window=1)
        greeted(core)
        ids = [core.send("#lobby", str(n)) for n in range(3)]
        assert [op["id"] for op in sent(core)] == ids[:1]
        core.receive(frame(ev="error", re=ids[0], code="unavailable", text="x", retry_after=1.0), 0.0)
        for seq, each in enumerate(ids, 1):
            assert [op["id"] for op in sent(core, 1.0)] == [each]
            core.receive(frame(ev="ack", re=each, **{"in": "#lobby"}, seq=seq), 1.0)

    def test_another_lane_does_not_wait(self, core: Core) -> None:
        greeted(core)
        held = core.send("#lobby", "x")
        sent(core)
        core.receive(frame(ev="error", re=held, code="unavailable", text="x", retry_after=9), 0.0)
        free = core.send("@bob", "psst")
        assert [op["id"] for op in sent(core)] == [free]

    def test_keptdirect_messages_are_one_lane(self, core: Core) -> None:
        """Promise 2: "All direct messages of a device are one target"."""
        assert core.send("@bob", "1") < core.send(["@carol", "@bob"], "2")
        assert len(core.lane("@")) == 2

    def test_a_refusal_ends_the_send(self, core: Core) -> None:
        greeted(core)
        asked = core.send("#lobby", "x")
        sent(core)
        core.receive(frame(ev="error", re=asked, code="suspended", text="spam", until=5.0), 0.0)
        (answer,) = core.take_answers()
        assert isinstance(answer.error, Refused)
        assert (answer.error.code, answer.error.until) == ("suspended", 5.0)
        assert core.unanswered == 0

    def test_no_more_unanswered_than_the_server_remembers(self, core: Core) -> None:
        greeted(core)
        ids = [core.send("#lobby", "x") for _ in range(REMEMBERED + 50)]
        under_way: list[int] = []
        for seq in itertools.count(1):
            under_way += [op["id"] for op in sent(core)]
            assert len(under_way) <= REMEMBERED
            if len(under_way) == REMEMBERED or not under_way:
                break
            # Acknowledge all but the first, so that the window grows while the oldest stays open.
            for each in under_way[1:]:
                core.receive(frame(ev="ack", re=each, **{"in": "#lobby"}, seq=seq), 0.0)
            if len(under_way) == 1:
                break
            del under_way[1:]
        answered = REMEMBERED + 50 - core.unanswered
        assert answered == REMEMBERED - 1, "nothing goes that could push the open one out of what is remembered"
        assert under_way == ids[:1]

    def test_what_no_server_reads_is_refused_here(self, core: Core) -> None:
        """JSON protocol: a line over 16 KiB "is skipped and answered `too_long` without `re`"."""
        with pytest.raises(Refused, match="bytes"):
            core.send("#lobby", "x" * 17_000)
        with pytest.raises(Refused, match="half"):
            core.send("#lobby", "\ud800")
        assert core.unanswered == 0

    def test_what_must_not_be_done_twice_is_not_asked_again(self, core: Core) -> None:
        greeted(core)
        lines = ["!shutdown", "!cookie new", "@bob !kick", "!list", "@bob say kick"]
        ids = [core.command(line) for line in lines]
        sent(core)
        core.disconnected()
        assert [answer.id for answer in core.take_answers()] == ids[:3]
        greeted(core)
        assert [op["line"] for op in sent(core)] == lines[3:]

    def test_the_new_cookie_is_used_from_then_on(self, core: Core) -> None:
        greeted(core)
        asked = core.command("!cookie new")
        sent(core)
        core.receive(frame(ev="result", re=asked, text=["..."], data={"cookie": "n" * 43}), 0.0)
        core.disconnected()
        assert json.loads(core.connected())["cookie"] == "n" * 43

    def test_a_server_that_answers_nothing_is_left(self, core: Core) -> None:
        greeted(core)
        core.send("#lobby", "x")
        assert len(sent(core, 1.0)) == 1
        assert core.deadline() == 61.0
        sent(core, 61.0)
        assert core.hangup is not None


class TestOther:
    def test_pings_are_answered_and_not_shown(self, core: Core) -> None:
        greeted(core)
        core.take_events()
        core.receive(frame(ev="ping", n=9), 0.0)
        assert sent(core) == [{"op": "pong", "n": 9}]
        assert core.take_events() == []

    @pytest.mark.parametrize("junk", [b"", b"{", b"[]", b"1", b'{"ev":1}', b'{"ev":"message"}', b"\xff\xfe"])
    def test_junk_from_the_server_ends_the_connection_and_nothing_else(self, core: Core, junk: bytes) -> None:
        greeted(core)
        core.receive(junk, 0.0)
        assert core.hangup is None or core.hangup.final is None

    def test_unknown_events_are_passed_on(self, core: Core) -> None:
        greeted(core)
        core.take_events()
        core.receive(frame(ev="weather", sun=True), 0.0)
        assert core.take_events() == [{"ev": "weather", "sun": True}]


class ModelServer:
    """What docs/protocol.md promises of a server, for one client: dedupes by id, numbers, replays."""

    def __init__(self) -> None:
        self.logs: dict[str, list[tuple[str, str]]] = {"#lobby": [], "#dev": [], "@": []}
        self.remembered: dict[str, dict[int, tuple[str, int]]] = {"#lobby": {}, "#dev": {}, "@": {}}
        self.epochs = dict.fromkeys(self.logs, "e0")
        self.cookie: str | None = None
        self.up: deque[dict[str, Any]] = deque()
        self.down: deque[Event] = deque()
        self.doomed: set[int] = set()

    def post(self, log: str, body: str) -> int:
        self.logs[log].append((body, f"{log}{len(self.logs[log])}{body}"))
        self.down.append(self.event(log, len(self.logs[log])))
        return len(self.logs[log])

    def event(self, log: str, seq: int) -> Event:
        body, mid = self.logs[log][seq - 1]
        return {"ev": "message", "in": log, "seq": seq, "from": "x", "body": body, "mid": mid, "ts": 1.0}

    def cut(self) -> None:
        self.up.clear()
        self.down.clear()

    def take(self, refuse: str | None) -> None:
        op = self.up.popleft()
        if op["op"] != "send":
            return
        log = op["to"] if op["to"] in self.logs else "@"
        known = self.remembered[log].get(op["id"])
        if refuse == "unavailable":
            self.doomed |= {later["id"] for later in self.up if later.get("to") == op["to"]}
        if known is not None:
            assert known[0] == op["body"]
            self.down.append({"ev": "ack", "re": op["id"], "in": log, "seq": known[1], "duplicate": True})
        elif refuse or op["id"] in self.doomed:
            self.doomed.discard(op["id"])
            code = refuse or "unavailable"
            self.down.append({"ev": "error", "re": op["id"], "code": code, "text": "", "retry_after": 0.2})
        else:
            if len(self.remembered[log]) >= REMEMBERED:
                assert op["id"] >= min(self.remembered[log]), "below the lowest remembered"
                del self.remembered[log][min(self.remembered[log])]
            seq = self.post(log, op["body"])
            self.remembered[log][op["id"]] = (op["body"], seq)
            self.down.append({"ev": "ack", "re": op["id"], "in": log, "seq": seq})

    def hello(self, hello: dict[str, Any]) -> None:
        resumed = self.cookie is not None
        if self.cookie is None:
            assert hello["nick"] == "ann"
            self.cookie = hello["cookie"]
        assert hello["cookie"] == self.cookie
        asked, rooms, replay = hello.get("resume", {}), {}, []
        for log, entries in self.logs.items():
            rooms[log] = {"epoch": self.epochs[log], "seq": len(entries)}
            if log in asked:
                seq, mid = asked[log]["seq"], asked[log].get("mid")
                whole = asked[log]["epoch"] == self.epochs[log] and seq <= len(entries)
                whole = whole and (not mid or self.logs[log][seq - 1][1] == mid)
                first = seq + 1 if whole else 1
                rooms[log] |= {"recovered": whole} | ({} if whole else {"whole_from": first})
                replay += [self.event(log, each) for each in range(first, len(entries) + 1)]
        welcome = {**WELCOME, "re": hello["id"], "cookie": self.cookie, "resumed": resumed, "rooms": rooms}
        self.down.append(welcome)
        self.down.extend(replay)


class Conversation(RuleBasedStateMachine):
    """Any interleaving of sends, answers, refusals, repeats, drops, byes and breaks."""

    def __init__(self) -> None:
        super().__init__()
        self.server = ModelServer()
        self.now = 0.0
        self.count = 0
        self.asked: dict[int, tuple[str, str]] = {}
        self.acked: dict[int, int] = {}
        self.seen: dict[str, list[int]] = {log: [] for log in self.server.logs}
        self.orderly = True
        self.dropped = False

    @initialize(window=st.sampled_from([1, 3, REMEMBERED]))
    def begin(self, window: int) -> None:
        self.window = window
        self.core = Core("ann", first_id=1, window=window, random=lambda: 0.5)

    def connect(self) -> None:
        self.server.hello(json.loads(self.core.connected()))

    def collect(self) -> None:
        for event in self.core.take_events():
            if event["ev"] == "message":
                self.seen[event["in"]].append(event["seq"])
            assert event["ev"] in {"message", "welcome", "ack", "bye"}, event
        for answer in self.core.take_answers():
            assert answer.error is None
            assert answer.event is not None
            assert answer.id not in self.acked
            self.acked[answer.id] = answer.event["seq"]

    @property
    def on_line(self) -> bool:
        return self.core.state != "offline"

    @rule(to=st.sampled_from(["#lobby", "#dev", "@bob"]))
    def say(self, to: str) -> None:
        if not self.core.lane(to if to[0] == "#" else "@").full:
            self.count += 1
            self.asked[self.core.send(to, f"mine{self.count}")] = (
                to if to[0] == "#" else "@",
                f"mine{self.count}",
            )

    @rule(log=st.sampled_from(["#lobby", "#dev", "@"]))
    def others_say(self, log: str) -> None:
        if log == "@" and self.server.cookie is None:
            return  # nobody can write to who is not there yet
        self.count += 1
        self.server.post(log, f"other{self.count}")
        if not self.on_line:
            self.server.down.clear()

    @precondition(lambda self: not self.on_line)
    @rule()
    def reconnect(self) -> None:
        self.connect()

    @precondition(lambda self: self.on_line)
    @rule()
    def transmit(self) -> None:
        self.server.up.extend(json.loads(each) for each in self.core.output(self.now))

    @precondition(lambda self: self.server.up)
    @rule(refuse=st.sampled_from([None, None, None, "unavailable", "rate_limited"]))
    def serve(self, refuse: str | None) -> None:
        self.orderly = self.orderly and refuse is None
        self.server.take(refuse)

    @precondition(lambda self: self.server.down)
    @rule(twice=st.booleans())
    def hear(self, twice: bool) -> None:
        event = self.server.down.popleft()
        for _ in range(2 if twice and event["ev"] == "message" else 1):
            self.core.receive(msgspec.json.encode(event), self.now)
        self.follow()

    @precondition(lambda self: not self.dropped)
    @precondition(lambda self: any(event["ev"] == "message" for event in self.server.down))
    @rule()
    def drop_a_message(self) -> None:
        """A server that forgets one, once: a hole that a resume does not fill would rightly be told."""
        self.dropped = True
        at = next(n for n, event in enumerate(self.server.down) if event["ev"] == "message")
        del self.server.down[at]

    @precondition(lambda self: self.on_line)
    @rule()
    def cut(self) -> None:
        self.server.cut()
        self.core.disconnected()
        self.collect()

    @precondition(lambda self: self.core.state == "open")
    @rule(code=st.sampled_from(["shutdown", "timeout", "slow_consumer"]))
    def bye(self, code: str) -> None:
        self.server.down.append({"ev": "bye", "code": code, "text": "", "retry_after": 0.1})

    @rule(seconds=st.sampled_from([0.05, 0.3, 2.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    def follow(self) -> None:
        self.collect()
        if self.core.hangup is not None:
            assert self.core.hangup.final is None
            self.cut()

    @invariant()
    def nothing_twice_and_in_order(self) -> None:
        for log, seqs in self.seen.items():
            assert seqs == list(range(seqs[0], seqs[0] + len(seqs))) if seqs else True, log

    def teardown(self) -> None:
        if not hasattr(self, "core"):
            return
        for _ in range(4000):
            if not self.on_line:
                self.connect()
            self.transmit()
            if self.server.up:
                self.server.take(None)
            elif self.server.down:
                self.hear(twice=False)
            elif self.core.unanswered:
                due = self.core.deadline()
                assert due is not None
                self.now = max(due, self.now + 0.01)
            elif all(self.seen[log][-1:] in ([], [len(entries)]) for log, entries in self.server.logs.items()):
                break
            else:
                self.cut()
        assert self.core.unanswered == 0
        self.judge()

    def judge(self) -> None:
        assert self.acked.keys() == self.asked.keys()
        assert self.seen["@"] == list(range(1, len(self.server.logs["@"]) + 1)), "no mail is passed over"
        for log, entries in self.server.logs.items():
            mine = [body for body, _ in entries if body.startswith("mine")]
            expected = [body for to, body in self.asked.values() if to == log]
            assert sorted(mine) == sorted(expected), "each once"
            if self.orderly or self.window == 1:
                assert mine == expected, "in the order it was sent"
        for each, seq in self.acked.items():
            log, body = self.asked[each]
            assert self.server.logs[log][seq - 1][0] == body, "acknowledged with its own seq"


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=150, stateful_step_count=60, suppress_health_check=list(HealthCheck))
