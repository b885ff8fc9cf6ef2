"""What leaves in a round: all of it arrives or is left over, whichever way it is written and however much it is."""

import contextlib
import ctypes
import errno
import os
import platform
import socket
import sys
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import uring
from gateway.uring import Ring
from gateway.writer import FEW, OneByOne, Together, Writer, writer


class Peer:
    """A connection and its other end."""

    def __init__(self) -> None:
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.far.setblocking(False)
        self.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.fd = self.near.fileno()
        self.rest = b""
        self.aborted = False

    def left(self, data: bytes) -> None:
        assert not self.rest
        self.rest = data

    def abort(self) -> None:
        self.aborted = True

    def received(self) -> bytes:
        parts = []
        while True:
            try:
                part = self.far.recv(1 << 20)
            except BlockingIOError:
                break
            if not part:
                break
            parts.append(part)
        return b"".join(parts)

    def close(self) -> None:
        self.near.close()
        self.far.close()


def ring(entries: int = 64, size: int = 1 << 16) -> Ring:
    try:
        return Ring(entries, size)
    except OSError as error:
        pytest.skip(f"no io_uring here: {error}")


@pytest.fixture
def peers() -> Iterator[Callable[[int], list[Peer]]]:
    made: list[Peer] = []

    def make(count: int) -> list[Peer]:
        made.extend(Peer() for _ in range(count))
        return made[-count:]

    yield make
    for peer in made:
        peer.close()


def together() -> Writer:
    return Together(ring())


@pytest.fixture(params=[OneByOne, together])
def out(request: pytest.FixtureRequest) -> Iterator[Writer]:
    made: Writer = request.param()
    yield made
    made.close()


def fds(peers: list[Peer]) -> "array[int]":
    return array("i", [peer.fd for peer in peers])


Peers = Callable[[int], list[Peer]]


@pytest.mark.parametrize("count", [1, FEW - 1, FEW, 63, 64, 65, 200])
def test_each_gets_its_own_however_many_rounds(out: Writer, peers: Peers, count: int) -> None:
    some = peers(count)
    for turn in range(5):
        for i, peer in enumerate(some):
            out.each(peer, b"%d of %d" % (i, turn))
        out.done()
        assert [peer.received() for peer in some] == [b"%d of %d" % (i, turn) for i in range(count)]
    assert not any(peer.rest for peer in some)


def test_all_and_each_in_one_round(out: Writer, peers: Peers) -> None:
    some = peers(150)
    for _ in range(3):
        out.all(some[:100], fds(some[:100]), b"to all")
        for peer in some[100:]:
            out.each(peer, b"to one")
        out.done()
        assert [peer.received() for peer in some] == [b"to all"] * 100 + [b"to one"] * 50


@pytest.mark.parametrize("before", [0, FEW])
def test_who_gets_the_same_as_nobody_gets_that(out: Writer, peers: Peers, before: int) -> None:
    """All of a lane can have something else to write; the next to be written to may want its very bytes."""
    some = peers(FEW + 1)
    news = b"news"
    out.all(some[:before], fds(some[:before]), b"other")
    out.all([], array("i"), news)
    for peer in some[before:]:
        out.each(peer, news)
    out.done()
    assert [peer.received() for peer in some] == [b"other"] * before + [news] * (FEW + 1 - before)


def test_what_a_full_or_broken_socket_does_not_take_is_left(out: Writer, peers: Peers) -> None:
    some = peers(FEW + 10)
    full, broken, *others = some
    broken.far.close()
    text = os.urandom(3000)
    sent = 0
    while not full.rest:
        for peer in some:
            peer.rest = b""
            out.each(peer, text)
        out.done()
        sent += 1
        assert broken.rest == text
        assert all(peer.received() == text and not peer.rest for peer in others)
    assert full.received() + full.rest == text * sent


def test_a_bug_with_one_rest_costs_nobody_else_theirs(out: Writer, peers: Peers) -> None:
    some = peers(FEW + 2)
    for peer in some:
        peer.far.close()
    buggy = some[3]
    buggy.left = lambda data: 1 / 0  # type: ignore[method-assign, assignment]
    for peer in some:
        out.each(peer, b"text")
    out.done()
    assert [peer.aborted for peer in some] == [peer is buggy for peer in some]
    assert [peer.rest for peer in some if peer is not buggy] == [b"text"] * (FEW + 1)


@pytest.mark.parametrize("size", [1 << 15, (1 << 16) - 1, 1 << 16, 1 << 17])
def test_more_than_the_buffer_holds_is_no_less_whole(out: Writer, peers: Peers, size: int) -> None:
    some = peers(FEW + 5)
    texts = [os.urandom(size) for _ in some]
    for peer, text in zip(some, texts, strict=True):
        out.each(peer, text)
    out.done()
    assert [peer.received() + peer.rest for peer in some] == texts


class Script:
    """What a peer was sent; after something was left over it gets nothing more from us."""

    def __init__(self) -> None:
        self.peer = Peer()
        self.sent = self.got = b""

    def write(self, out: Writer, size: int) -> None:
        if not self.peer.rest:
            data = os.urandom(size)
            self.sent += data
            out.each(self.peer, data)

    def read(self) -> None:
        self.got += self.peer.received()

    @property
    def whole(self) -> bool:
        self.read()
        return self.got + self.peer.rest == self.sent


WRITES = st.lists(st.tuples(st.integers(0, 49), st.integers(1, 9000)), unique_by=lambda one: one[0], max_size=50)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(WRITES, st.sets(st.integers(0, 49))), max_size=6))
def test_any_rounds_arrive_as_written(rounds: list[tuple[list[tuple[int, int]], set[int]]]) -> None:
    """Rounds of (who, how much), and who reads after it; the ring is a small one that is often full."""
    for out in (OneByOne(), Together(ring(32, 1 << 14))):
        scripts = [Script() for _ in range(50)]
        for writes, readers in rounds:
            for who, size in writes:
                scripts[who].write(out, size)
            out.done()
            for who in readers:
                scripts[who].read()
        whole = [script.whole for script in scripts]
        for script in scripts:
            script.peer.close()
        out.close()
        assert all(whole)


# -- the ring ----------------------------------------------------------------------------------------------------------


def sent(ring_: Ring, peers: list[Peer], data: bytes) -> list[int]:
    place = ring_.keep(data)
    count = len(peers)
    return ring_.send(fds(peers), array("Q", [place] * count), array("i", [len(data)] * count)).tolist()


@pytest.mark.parametrize(("count", "calls"), [(1, 1), (64, 1), (65, 2), (1000, 16)])
def test_a_table_full_of_sends_is_one_system_call(
    peers: Peers, monkeypatch: pytest.MonkeyPatch, count: int, calls: int
) -> None:
    made: list[int] = []
    real = uring._system_call
    some = peers(count)
    with contextlib.closing(ring()) as one:
        monkeypatch.setattr(uring, "_system_call", lambda *args: made.append(args[0]) or real(*args))
        assert sent(one, some, b"x") == [1] * count
        assert made == [uring.ENTER] * calls


def test_errors_are_told_by_number(peers: Peers) -> None:
    gone, closed, fine = peers(3)
    gone.far.close()
    with contextlib.closing(ring()) as one:
        number = os.dup(closed.fd)
        os.close(number)
        numbers = array("i", [gone.fd, number, fine.fd])
        taken = one.send(numbers, array("Q", [one.keep(b"x")] * 3), array("i", [1] * 3))
        assert taken.tolist() == [-errno.EPIPE, -errno.EBADF, 1]
        assert fine.received() == b"x"


def test_what_the_kernel_does_not_accept_was_not_sent(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may take fewer entries than it is shown, when memory is short; the next call begins where it ended."""
    some = peers(10)
    real = uring._system_call
    with contextlib.closing(ring()) as one:
        for most in (0, 3, 10):
            with monkeypatch.context() as patch:
                patch.setattr(
                    uring, "_system_call", lambda n, fd, count, *rest, m=most: real(n, fd, min(count, m), *rest)
                )
                assert sent(one, some, b"x") == [1] * most + [-errno.EAGAIN] * (10 - most)
            assert [peer.received() for peer in some] == [b"x"] * most + [b""] * (10 - most)
            assert sent(one, some, b"y") == [1] * 10
            assert [peer.received() for peer in some] == [b"y"] * 10


def test_where_the_kernel_does_not_answer_all_are_let_go(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows what was sent. It never happened; it must not hang or be taken for an answer."""
    some = peers(FEW)
    one = ring()
    out = Together(one)
    words = one._words

    def silent(number: int, fd: int, count: int, *_: object) -> int:
        if not count:
            ctypes.set_errno(errno.EBADR)
            return -1
        words[one._asked] = words[one._ask]
        return count

    monkeypatch.setattr(uring, "_system_call", silent)
    out.all(some, fds(some), b"news")
    with pytest.raises(OSError, match=os.strerror(errno.EBADR)):
        out.done()
    assert all(peer.aborted for peer in some)
    out.done()
    out.close()


def test_a_kernel_of_another_kind_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that would have the rings in two mappings, or of other sizes."""
    opened: list[int] = []

    def other(number: int, *args: Any) -> int:
        assert number == uring.SETUP
        opened.append(os.open("/dev/null", os.O_RDONLY))
        return opened[-1]

    monkeypatch.setattr(uring, "_system_call", other)
    assert isinstance(writer(), OneByOne)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(opened[0])


def test_answers_in_another_order_are_put_in_order() -> None:
    one = ring()
    try:
        assert one._in_order(0, []) == []
        one._entry_of_result = memoryview(array("i", [7, 8, 5, 6]))
        one._results = memoryview(array("i", [70, 80, 50, 60]))
        assert one._in_order(0, [70, 80, 50, 60]) == [50, 60, 70, 80]
    finally:
        one.close()


def test_a_ring_that_is_closed_takes_nothing(peers: Peers) -> None:
    one = ring()
    one.close()
    one.close()
    assert sent(one, peers(3), b"x") == [-errno.EAGAIN] * 3


def test_where_it_is_forbidden_writing_goes_one_by_one(monkeypatch: pytest.MonkeyPatch, peers: Peers) -> None:
    def forbidden(*_: object) -> int:
        ctypes.set_errno(errno.EPERM)
        return -1

    monkeypatch.setattr(uring, "_system_call", forbidden)
    out = writer()
    assert isinstance(out, OneByOne)
    some = peers(40)
    out.all(some, fds(some), b"news")
    out.done()
    assert [peer.received() for peer in some] == [b"news"] * 40


@pytest.mark.parametrize("name", ["platform", "machine"])
def test_another_system_is_not_asked(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """There the same number may mean another call."""
    if name == "platform":
        monkeypatch.setattr(sys, "platform", "darwin")
    else:
        monkeypatch.setattr(platform, "machine", lambda: "mips64")
    monkeypatch.setattr(uring, "_system_call", lambda *_: pytest.fail("asked"))
    assert isinstance(writer(), OneByOne)
