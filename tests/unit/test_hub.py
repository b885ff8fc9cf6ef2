"""The round of writing, counted: one write a member however much gathered, and one encoding a dialect."""

import asyncio
import socket
from typing import Any

import pytest

from causerie.metrics import Metrics
from causerie.wire.jsonmsg import Presence
from gateway import hub, lanes
from gateway.batch import Batch, Dialect, Notice, encoded
from gateway.channel import Channel, Kept, Room
from gateway.hub import Hub
from gateway.lanes import Lanes
from gateway.writer import OneByOne, Writer, writer
from tests.support.timing import PATIENCE


class Member:
    """As much of a connection as the hub touches; writes past its transport are counted by `Hub.metrics`."""

    def __init__(self, hub: Hub, dialect: int = Dialect.JSON_LINES) -> None:
        self.hub, self.dialect = hub, dialect
        self.sid, self.direct = "", True
        self.sent = object() if dialect == Dialect.TEXT else None
        self.rooms: tuple[Room, ...] = ()
        self.noted: list[tuple[str, int]] = []
        self.transport = b""
        self.out: list[bytes] | None = None
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.far.setblocking(False)
        self.fd = self.near.fileno()

    def put(self, data: bytes) -> None:
        if self.out is None:
            self.out = []
            self.hub.wake(self)  # type: ignore[arg-type]
        self.out.append(data)

    def take_out(self) -> bytes:
        out, self.out = self.out or [], None
        if self.direct:
            return b"".join(out)
        self.transport += b"".join(out)
        return b""

    def left(self, data: bytes) -> None:
        self.direct = False
        self.transport += data
        for room in self.rooms:
            room.lanes = None

    def fail(self) -> None:
        raise AssertionError("nothing is wrong here")

    def abort(self) -> None:
        raise AssertionError("nothing is wrong here")

    def note_sent(self, room: Room, items: list[Batch | Notice]) -> None:
        self.noted.append((room.log, len(items)))

    def received(self) -> bytes:
        return self.far.recv(1 << 20)

    def close(self) -> None:
        self.near.close()
        self.far.close()


class House:
    """A hub with rooms and members."""

    def __init__(self, out: Writer) -> None:
        self.hub = Hub(Metrics(), asyncio.get_running_loop(), out)
        self.members: list[Member] = []

    def member(self, *rooms: Room, dialect: int = Dialect.JSON_LINES) -> Member:
        member = Member(self.hub, dialect)
        self.members.append(member)
        member.rooms = rooms
        for room in rooms:
            room.add(member)  # type: ignore[arg-type]
        return member

    @staticmethod
    def room(name: str) -> Room:
        return Room(name, Kept())

    def say(self, room: Room, *texts: str) -> None:
        for text in texts:
            self.hub.deliver(room, Batch(1, ["m"], text.encode() + b"\n"))


@pytest.fixture(params=[OneByOne, writer])
async def house(request: pytest.FixtureRequest) -> Any:
    """One that writes one by one, and one that does it as well as this machine can."""
    made = House(request.param())
    yield made
    for member in made.members:
        member.close()
    made.hub.close()


async def test_what_gathered_in_a_room_is_one_write_a_member(house: House) -> None:
    room = house.room("#r")
    members = [house.member(room) for _ in range(5)]
    house.say(room, "one", "two")
    house.hub.flush()
    assert [member.received() for member in members] == [b"one\ntwo\n"] * 5
    assert (house.hub.metrics.writes, house.hub.metrics.deliveries) == (5, 10)


async def test_frames_are_encoded_once_for_all(house: House) -> None:
    room = house.room("#r")
    for _ in range(5):
        house.member(room, dialect=Dialect.JSON_FRAMES)
    before = encoded.count
    house.say(room, "one")
    house.hub.flush()
    assert encoded.count - before == 1


async def test_news_of_several_rooms_is_one_write_too(house: House) -> None:
    first, second = house.room("#a"), house.room("#b")
    both, one = house.member(first, second), house.member(second)
    house.say(first, "a")
    house.say(second, "b")
    house.hub.flush()
    assert (both.received(), one.received()) == (b"a\nb\n", b"b\n")
    assert house.hub.metrics.writes == 2


async def test_an_answer_that_waits_goes_out_before_the_news_in_the_same_write(house: House) -> None:
    room = house.room("#r")
    member = house.member(room)
    member.out = [b"ack\n"]
    house.hub.wake(member)  # type: ignore[arg-type]
    house.say(room, "news")
    house.hub.flush()
    assert member.received() == b"ack\nnews\n"
    assert house.hub.metrics.writes == 1


async def test_what_the_kernel_does_not_take_is_left_to_the_transport(house: House) -> None:
    room = house.room("#r")
    full, other = house.member(room), house.member(room)
    text = b"x" * 60_000
    said = 0
    while not full.transport and said < 50:
        said += 1
        house.say(room, text.decode())
        house.hub.flush()
        assert other.received() == text + b"\n"
    assert full.transport
    assert not full.direct
    assert b"".join(iter(lambda: _rest(full), b"")) + full.transport == (text + b"\n") * said


def _rest(member: Member) -> bytes:
    try:
        return member.received()
    except BlockingIOError:
        return b""


# -- large rooms -------------------------------------------------------------------------------------------------------


async def test_all_of_a_large_room_get_what_is_said_in_their_dialect(house: House) -> None:
    room = house.room("#r")
    lines = [house.member(room) for _ in range(lanes.WORTH)]
    frames = [house.member(room, dialect=Dialect.JSON_FRAMES) for _ in range(50)]
    text = house.member(room, dialect=Dialect.TEXT)
    for said in range(3):
        house.say(room, str(said))
        house.hub.flush()
        assert {member.received() for member in lines} == {b"%d\n" % said}
        assert {member.received() for member in frames} == {b"\x81\x01%d" % said}
        assert text.received()
    assert text.noted == [("#r", 1)] * 3
    assert house.hub.metrics.writes == 3 * (lanes.WORTH + 51)


@pytest.mark.parametrize("busy", [1, lanes.BUSY, lanes.BUSY + 1, lanes.WORTH])
async def test_who_has_something_else_to_write_gets_both_in_one(house: House, busy: int) -> None:
    room, elsewhere = house.room("#r"), house.room("#s")
    members = [house.member(room) for _ in range(lanes.WORTH)]
    stranger = house.member(elsewhere)
    for turn in range(2):
        for member in (*members[-busy:], stranger):
            member.out = [b"ack\n"]
            house.hub.wake(member)  # type: ignore[arg-type]
        house.say(room, "news")
        house.hub.flush()
        got = [member.received() for member in members]
        assert got == [b"news\n"] * (lanes.WORTH - busy) + [b"ack\nnews\n"] * busy, turn
        assert stranger.received() == b"ack\n"


async def test_one_who_cannot_be_written_to_leaves_nobody_mute(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = house.member(), house.member()
    ended = []
    monkeypatch.setattr(bad, "abort", lambda: ended.append(bad))
    monkeypatch.setattr(bad, "take_out", lambda: 1 / 0)
    bad.put(b"bad\n")
    good.put(b"good\n")
    house.hub.flush()
    assert good.received() == b"good\n"
    assert (ended, len(caplog.records)) == ([bad], 1)


async def test_who_was_woken_twice_has_everything_once(house: House) -> None:
    """As one who was brought to the head by a write of its own, and told something more in the same turn."""
    room = house.room("#r")
    first, *others = [house.member(room) for _ in range(lanes.WORTH)]
    first.put(b"one\n")
    first.left(first.take_out())
    first.direct = True
    first.put(b"two\n")
    house.say(room, "news")
    house.hub.flush()
    assert first.received() == b"two\nnews\n"
    assert {member.received() for member in others} == {b"news\n"}


async def test_nobody_is_twice_in_a_round(house: House) -> None:
    """Not even where a room was spread early and has news again: the first of the two stands for it."""
    first, second = house.room("#a"), house.room("#b")
    members = [house.member(first, second) for _ in range(lanes.WORTH)]
    house.say(first, "early")
    house.say(second, "b")
    house.hub.spread(first)
    for member in members:  # as those who joined after that and were written to on the spot
        member.left(member.take_out())
        member.direct = True
    house.say(first, "late")
    house.hub.flush()
    assert {member.received() for member in members} == {b"late\nb\n"}
    assert house.hub.metrics.writes == 2 * lanes.WORTH, "all were woken twice, and nobody was written to in a lane"


async def test_last_words_come_after_what_was_said(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A room that cannot be shown to some is let go; those who were shown it have it before they hear that."""
    room = house.room("#r")
    plain = [house.member(room) for _ in range(lanes.WORTH)]
    house.member(room, dialect=Dialect.TEXT)
    monkeypatch.setattr(Member, "note_sent", _broken)
    heard: list[bytes] = []
    for member in plain:
        member.fail = lambda member=member: heard.append(member.received())  # type: ignore[method-assign]
    house.members[-1].fail = lambda: None  # type: ignore[method-assign]
    house.say(room, "news")
    house.hub.flush()
    assert heard == [b"news\n"] * lanes.WORTH


def _broken(*_: object) -> None:
    raise RuntimeError("a bug")


def test_an_inbox_forgets_who_came_and_went() -> None:
    inbox: Any = Channel("@sid")
    for change in (inbox.add, inbox.remove):
        inbox.lanes = object()
        change(object())
        assert inbox.lanes is None


async def test_who_comes_and_goes_is_heeded_at_once(house: House) -> None:
    room = house.room("#r")
    first, *others = [house.member(room) for _ in range(lanes.WORTH + 1)]
    house.say(room, "one")
    house.hub.flush()
    room.remove(first)  # type: ignore[arg-type]
    late = house.member(room)
    house.say(room, "two")
    house.hub.flush()
    assert (first.received(), late.received()) == (b"one\n", b"two\n")
    assert {member.received() for member in others} == {b"one\ntwo\n"}


async def test_whose_transport_holds_bytes_is_not_written_past_it(house: House) -> None:
    room = house.room("#r")
    full, *others = [house.member(room) for _ in range(lanes.WORTH)]
    text = "x" * 30_000
    said = 0
    while not full.transport and said < 50:
        said += 1
        house.say(room, text)
        house.hub.flush()
        for member in others:
            assert member.received() == text.encode() + b"\n"
    kernel = b"".join(iter(lambda: _rest(full), b""))
    house.say(room, "more")
    house.hub.flush()
    assert kernel + full.transport == (text.encode() + b"\n") * said + b"more\n"
    with pytest.raises(BlockingIOError):
        full.received()


async def test_a_notice_that_skips_its_subject_is_told_to_the_others_of_a_large_room(house: House) -> None:
    room = house.room("#r")
    subject, *others = [house.member(room) for _ in range(lanes.WORTH)]
    subject.sid = "s1"
    house.say(room, "one")
    house.hub.deliver(room, Notice(Presence("#r", "ann", "online"), "s1"))
    house.hub.flush()
    assert subject.received() == b"one\n"
    assert all(b'"presence"' in member.received() for member in others)


async def test_a_large_room_is_sorted_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    sorted_: list[int] = []
    real = Lanes.__init__
    monkeypatch.setattr(Lanes, "__init__", lambda self, members: (sorted_.append(len(members)), real(self, members))[1])
    room = house.room("#r")
    for _ in range(lanes.WORTH):
        house.member(room)
    for said in range(5):
        house.say(room, str(said))
        house.hub.flush()
    assert sorted_ == [lanes.WORTH]


# -- what is waited for ------------------------------------------------------------------------------------------------


def post(room: Room, house: House, seq: int) -> None:
    """The feed tells of a message."""
    batch = Batch(seq, [f"m{seq}"], b"news\n")
    room.append(batch)
    house.hub.deliver(room, batch)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def acknowledge(house: House, member: Member, room: Room, seq: int) -> None:
    """The store has answered."""
    member.put(b"ack\n")
    house.hub.release({room.log: seq})


@pytest.fixture
async def open_room(house: House) -> Room:
    room = house.room("#r")
    house.hub.channels["#r"] = room
    return room


@pytest.mark.parametrize("news_first", [True, False])
async def test_an_answer_and_its_news_are_one_write_whatever_comes_first(
    house: House, open_room: Room, monkeypatch: pytest.MonkeyPatch, news_first: bool
) -> None:
    monkeypatch.setattr(hub, "GATHER_S", 60)
    sender, other = house.member(open_room), house.member(open_room)
    house.hub.hold()
    if news_first:
        post(open_room, house, 1)
        await turns(3)
        acknowledge(house, sender, open_room, 1)
    else:
        acknowledge(house, sender, open_room, 1)
        await turns(3)
        assert house.hub.metrics.writes == 0, "the news is on its way"
        post(open_room, house, 1)
    await turns(3)
    assert sorted(sender.received().split()) == [b"ack", b"news"]
    assert other.received() == b"news\n"
    assert house.hub.metrics.writes == 2


async def test_answers_in_a_row_are_rounds_no_closer_than_ever(
    house: House, open_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "GATHER_S", 60)
    member = house.member(open_room)
    house.hub._last = asyncio.get_running_loop().time()  # something was written just now
    for seq in (1, 2, 3):
        house.hub.hold()
        post(open_room, house, seq)
        acknowledge(house, member, open_room, seq)
        await turns(3)
    assert house.hub.metrics.writes == 0


async def test_an_answer_does_not_wait_for_long(house: House, open_room: Room) -> None:
    """Where the feed is away, say."""
    sender = house.member(open_room)
    house.hub.hold()
    acknowledge(house, sender, open_room, 1)
    async with asyncio.timeout(PATIENCE):
        while not house.hub.metrics.writes:
            await asyncio.sleep(0.001)
    assert sender.received() == b"ack\n"
    sender.put(b"more\n")
    async with asyncio.timeout(PATIENCE):
        while house.hub.metrics.writes < 2:
            await asyncio.sleep(0.001)
    assert not house.hub._awaited


@pytest.mark.parametrize("members", [0, 1])
async def test_what_is_here_or_nobody_hears_is_not_waited_for(
    house: House, open_room: Room, monkeypatch: pytest.MonkeyPatch, members: int
) -> None:
    monkeypatch.setattr(hub, "GATHER_S", 60)
    sender = house.member()
    for _ in range(members):
        house.member(open_room)
        open_room.append(Batch(1, ["m1"], b"news\n"))
    house.hub.hold()
    acknowledge(house, sender, open_room, 1)
    await turns(3)
    assert sender.received() == b"ack\n"
