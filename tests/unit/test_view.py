"""What a client knows: snapshot + events == the next snapshot."""

import random
from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causerie.view import KEPT, Log, Member, View

Event = dict[str, Any]


def welcome(session: str = "s", nick: str = "ann", **rooms: int) -> Event:
    logs = {f"#{name}": {"epoch": "e", "seq": seq} for name, seq in rooms.items()}
    logs["@"] = {"epoch": "i", "seq": 0}
    return {"ev": "welcome", "nick": nick, "session": session, "rooms": logs}


def message(seq: int, log: str = "#lobby") -> Event:
    return {"ev": "message", "in": log, "seq": seq, "from": "bob", "body": str(seq), "mid": f"m{seq}"}


def presence(nick: str, state: str, log: str = "#lobby", **more: Any) -> Event:
    return {"ev": "presence", "in": log, "nick": nick, "state": state, **more}


def joined(room: str, *members: Member, seq: int = 0) -> Event:
    people = [{"nick": each.nick, "state": each.state, "flags": list(each.flags)} for each in members]
    return {
        "ev": "result",
        "re": 1,
        "text": [],
        "data": {"room": room, "epoch": "e", "seq": seq, "members": people},
    }


def after(*events: Event) -> View:
    return reduce(View.apply, events, View())


class ModelRoom:
    """What a server knows of a room; every action returns the event that members are told."""

    def __init__(self) -> None:
        self.people: dict[str, Member] = {"ann": Member("ann")}
        self.seq = 0
        self.epoch = "e"

    def act(self, action: str, nick: str) -> Event | None:
        present = nick in self.people
        match action:
            case "say":
                self.seq += 1
                return message(self.seq)
            case "online" | "away" | "crashed" if present or action == "online":
                flags = self.people[nick].flags if present else ()
                self.people[nick] = Member(nick, action, flags)
                return presence(nick, action)
            case "gone" if present:
                del self.people[nick]
                return presence(nick, "gone")
            case "renamed" if present and f"{nick}2" not in self.people:
                old = self.people.pop(nick)
                self.people[f"{nick}2"] = Member(f"{nick}2", old.state, old.flags)
                return presence(nick, "renamed", to=f"{nick}2")
            case "reset":
                self.epoch += "e"
                return {"ev": "reset", "in": "#lobby", "epoch": self.epoch, "seq": self.seq}
        return None

    def snapshot(self) -> tuple[str, int, dict[str, Member]]:
        return self.epoch, self.seq, dict(self.people)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["say", "online", "away", "crashed", "gone", "renamed", "reset"]),
            st.sampled_from(["bob", "carol", "dave"]),
        )
    )
)
def test_snapshot_and_events_are_the_next_snapshot(actions: list[tuple[str, str]]) -> None:
    room = ModelRoom()
    view = after(welcome(lobby=0), joined("#lobby", Member("ann")))
    for action, nick in actions:
        event = room.act(action, nick)
        if event is not None:
            view = view.apply(event)
    log = view.rooms["#lobby"]
    assert (log.epoch, log.seq, log.members) == room.snapshot()
    assert log.count == len(room.people)


def test_the_old_view_stays_as_it_was() -> None:
    before = after(welcome(lobby=0), joined("#lobby", Member("ann"), Member("bob")))
    kept = repr(before)
    for event in (message(1), presence("bob", "gone"), {"ev": "disconnected"}, welcome("other")):
        before.apply(event)
    assert repr(before) == kept


def test_only_the_last_messages_are_kept() -> None:
    view = after(welcome(lobby=0), *[message(seq) for seq in range(1, KEPT + 11)])
    seqs = [event["seq"] for event in view.rooms["#lobby"].messages]
    assert seqs == list(range(11, KEPT + 11))


def test_direct_messages_are_in_the_inbox() -> None:
    view = after(welcome(lobby=0), message(1, "@"))
    assert [event["seq"] for event in view.inbox.messages] == [1]
    assert view.rooms["#lobby"].messages == ()


def test_coming_back_keeps_messages_and_forgets_who_is_there() -> None:
    view = after(welcome(lobby=0), joined("#lobby", Member("ann")), message(1), {"ev": "disconnected"})
    assert not view.online
    view = view.apply(welcome(lobby=5))
    log = view.rooms["#lobby"]
    assert view.online
    assert (log.seq, log.members) == (1, None)
    assert [event["seq"] for event in view.apply(message(2)).rooms["#lobby"].messages] == [1, 2]


def test_a_new_session_inherits_nothing() -> None:
    view = after(welcome(lobby=0), message(1), message(1, "@"), welcome("another", lobby=7))
    assert view.rooms["#lobby"] == Log(epoch="e", seq=7)
    assert view.inbox == Log(epoch="i", seq=0)


@pytest.mark.parametrize(
    ("event", "seq"),
    [
        ({"ev": "reset", "in": "#lobby", "epoch": "f", "seq": 9}, 9),
        ({"ev": "lost", "in": "#lobby", "epoch": "f", "whole_from": 8, "reset": True}, 7),
    ],
)
def test_a_broken_numbering_is_forgotten(event: Event, seq: int) -> None:
    log = after(welcome(lobby=0), message(1), event).rooms["#lobby"]
    assert log == Log(epoch="f", seq=seq)


def test_big_rooms_have_a_count_only() -> None:
    count = {"ev": "presence", "in": "#lobby", "count": 5000}
    log = after(welcome(lobby=0), joined("#lobby", Member("ann")), count).rooms["#lobby"]
    assert (log.members, log.count) == (None, 5000)


def test_leaving_and_renaming_oneself() -> None:
    view = after(welcome(lobby=0, dev=3), joined("#dev", Member("ann"), seq=3))
    assert after(welcome(lobby=0, dev=3), presence("ann", "gone", "#dev")).rooms.keys() == {"#lobby"}
    assert view.apply({"ev": "left", "in": "#dev", "code": "not_joined"}).rooms.keys() == {"#lobby"}
    renamed = view.apply(presence("ann", "renamed", "#dev", to="eve"))
    assert renamed.nick == "eve"
    assert renamed.rooms["#dev"].members == {"eve": Member("eve")}


def test_a_room_joined_is_known_with_its_members() -> None:
    flagged = Member("bob", "away", ("suspended",))
    log = after(welcome(lobby=0), joined("#dev", Member("ann"), flagged, seq=4)).rooms["#dev"]
    assert (log.seq, log.members) == (4, {"ann": Member("ann"), "bob": flagged})


def test_what_means_nothing_changes_nothing() -> None:
    view = after(welcome(lobby=0))
    others: list[Event] = [
        {"ev": "ack", "re": 1, "in": "#lobby", "seq": 1},
        {"ev": "result", "re": 1, "text": ["x"], "data": {"sessions": []}},
        {"ev": "error", "code": "bad_request", "text": ""},
        {"ev": "weather"},
    ]
    random.Random(1).shuffle(others)
    assert reduce(View.apply, others, view) == view
