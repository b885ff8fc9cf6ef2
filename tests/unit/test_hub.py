"""The round of writing, counted: one write a member however much gathered, and one encoding a dialect."""

import asyncio
import os
import socket
from typing import Any

import pytest

from causerie.metrics import Metrics
from gateway.batch import Batch, Dialect, encoded
from gateway.channel import Kept, Room
from gateway.hub import Hub


class Member:
    """As much of a connection as the hub touches; `os.write` to its descriptor is counted by `Hub.metrics`."""

    def __init__(self, hub: Hub, dialect: int = Dialect.JSON_LINES) -> None:
        self.hub, self.dialect = hub, dialect
        self.sid, self.sent, self.direct = "", None, True
        self.out: list[bytes] | None = None
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.far.setblocking(False)
        self.fd = self.near.fileno()
        self.left: list[bytes] = []

    def write_out(self) -> None:
        out, self.out = self.out or [], None
        self.left.append(b"".join(out))
        if self.direct:
            os.write(self.fd, self.left[-1])

    def received(self) -> bytes:
        return self.far.recv(1 << 20)

    def close(self) -> None:
        self.near.close()
        self.far.close()


class House:
    """A hub with rooms and members."""

    def __init__(self) -> None:
        self.hub = Hub(Metrics(), asyncio.get_running_loop())
        self.members: list[Member] = []

    def member(self, *rooms: Room, dialect: int = Dialect.JSON_LINES) -> Member:
        member = Member(self.hub, dialect)
        self.members.append(member)
        for room in rooms:
            room.add(member)  # type: ignore[arg-type]
        return member

    @staticmethod
    def room(name: str) -> Room:
        return Room(name, Kept())

    def say(self, room: Room, *texts: str) -> None:
        for text in texts:
            self.hub.deliver(room, Batch(1, ["m"], text.encode() + b"\n"))


@pytest.fixture
async def house() -> Any:
    made = House()
    yield made
    for member in made.members:
        member.close()


async def test_what_gathered_in_a_room_is_one_write_a_member(house: House) -> None:
    room = house.room("#r")
    members = [house.member(room) for _ in range(5)]
    house.say(room, "one", "two")
    house.hub.flush()
    assert [member.received() for member in members] == [b"one\ntwo\n"] * 5
    assert (house.hub.metrics.writes, house.hub.metrics.deliveries) == (5, 10)
    assert not any(member.left for member in members), "nobody had anything else to write"


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
    while not full.left and said < 50:
        said += 1
        house.say(room, text.decode())
        house.hub.flush()
        assert other.received() == text + b"\n"
    assert full.left
    assert not full.direct
    assert b"".join(iter(lambda: _rest(full), b"")) + full.left[0] == (text + b"\n") * said


def _rest(member: Member) -> bytes:
    try:
        return member.received()
    except BlockingIOError:
        return b""
