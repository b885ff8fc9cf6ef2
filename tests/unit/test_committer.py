"""How sends are gathered: what leaves together, how much is away, who goes first, and who hears of a failure."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causerie.errors import Unavailable
from causerie.metrics import Metrics
from causerie.model import Origin, Outcome, Post
from gateway.committer import MOST_CALLS, MOST_POSTS, Committer, Waiting

Call = list[tuple[str, list[int | None]]]
"""Rooms with the ids of what is posted to them."""


class Sender:
    """A connection, as much of it as the committer touches."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.settled_: list[tuple[str, int | None, Outcome]] = []
        self.poisoned: list[str] = []

    def settled(self, re: int | None, target: str, outcome: Outcome) -> None:
        self.settled_.append((target, re, outcome))

    def poison(self, target: str) -> None:
        self.poisoned.append(target)


class Slow:
    """A store whose answers the test gives."""

    def __init__(self, rooms_a_call: int) -> None:
        self.rooms_a_call = rooms_a_call
        self.calls: list[Call] = []
        self.away: dict[int, Callable[[list[Outcome] | Exception], None]] = {}
        self.called = asyncio.Event()

    def begin_append(
        self, batches: Sequence[tuple[str, Sequence[Post]]], done: Callable[[list[Outcome] | Exception], None]
    ) -> None:
        number = len(self.calls)
        self.calls.append([(room, [post.id for post in posts]) for room, posts in batches])
        self.away[number] = done
        self.called.set()

    def answer(self, number: int, error: Exception | None) -> None:
        done = self.away.pop(number)
        done(error or [Outcome(1) for _, ids in self.calls[number] for _ in ids])


class Bench:
    """A committer between senders and a slow store."""

    def __init__(self, rooms_a_call: int = 64) -> None:
        self.logs = Slow(rooms_a_call)
        self.held = 0
        hub = SimpleNamespace(hold=lambda: self._hold(1), release=lambda _: self._hold(-1))
        store: Any = SimpleNamespace(logs=self.logs)
        self.committer = Committer(store, hub, Metrics())  # type: ignore[arg-type]
        self.senders: dict[str, Sender] = {}
        self.next = 0

    def _hold(self, by: int) -> None:
        self.held += by

    def say(self, room: str, name: str = "ann") -> int:
        self.next += 1
        sender = self.senders.setdefault(name, Sender(name))
        post = Post(Origin(name, "d", 1), name, self.next, "message", "x", f"m{self.next}")
        self.committer.post(room, Waiting(sender, self.next, post, []))  # type: ignore[arg-type]
        return self.next

    async def calls(self, count: int) -> list[Call]:
        """So many calls, once they have been made."""
        async with asyncio.timeout(10):
            while len(self.logs.calls) < count:
                self.logs.called.clear()
                await self.logs.called.wait()
        return self.logs.calls

    async def answer(self, number: int, error: Exception | None = None) -> None:
        self.logs.answer(number, error)
        for _ in range(4):
            await asyncio.sleep(0)

    async def answer_all(self) -> None:
        while self.logs.away:
            await self.answer(min(self.logs.away))
            await asyncio.sleep(0)

    def told(self) -> list[tuple[str, int | None]]:
        return [(room, re) for sender in self.senders.values() for room, re, _ in sender.settled_]


def size(call: Call) -> int:
    return sum(len(ids) for _, ids in call)


async def test_what_is_read_in_one_turn_leaves_together_and_at_once() -> None:
    bench = Bench()
    ids = [bench.say(room) for room in ("#a", "#b", "#a")]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert bench.logs.calls == [[("#a", [ids[0], ids[2]]), ("#b", [ids[1]])]]
    await bench.answer_all()
    assert sorted(bench.told()) == [("#a", ids[0]), ("#a", ids[2]), ("#b", ids[1])]
    assert bench.held == 0


async def test_a_room_waits_for_its_own_batch_and_others_need_not() -> None:
    bench = Bench()
    bench.say("#a")
    await bench.calls(1)
    later = [bench.say("#a"), bench.say("#a")]
    other = bench.say("#b")
    assert (await bench.calls(2))[1] == [("#b", [other])], "after a moment"
    await bench.answer(0)
    assert (await bench.calls(3))[2] == [("#a", later)]
    await bench.answer_all()


async def test_no_more_calls_are_away_than_are_useful_and_who_waits_longest_goes_first() -> None:
    bench = Bench()
    bench.say("#first")
    await bench.calls(1)
    rooms = [f"#r{i}" for i in range(3 * MOST_POSTS)]
    for room in rooms:
        bench.say(room)
    assert size((await bench.calls(2))[1]) == MOST_POSTS
    assert bench.committer._start is None, "nothing is to happen, however long one waits"
    assert len(bench.logs.away) == MOST_CALLS
    bench.say("#last")
    await bench.answer(0)
    await bench.answer(1)
    await bench.calls(4)
    assert len(bench.logs.away) == MOST_CALLS
    await bench.answer_all()
    assert [room for call in bench.logs.calls for room, _ in call] == ["#first", *rooms, "#last"]


async def test_a_call_has_a_bound_and_a_room_with_more_goes_on_with_the_next() -> None:
    bench = Bench()
    ids = [bench.say("#a") for _ in range(2 * MOST_POSTS + 3)]
    await bench.calls(1)
    while bench.logs.away:
        await bench.answer_all()
    assert [size(call) for call in bench.logs.calls] == [MOST_POSTS, MOST_POSTS, 3]
    assert [id_ for call in bench.logs.calls for _, some in call for id_ in some] == ids


async def test_where_a_call_takes_one_room_many_are_away() -> None:
    bench = Bench(rooms_a_call=1)
    for i in range(20):
        bench.say(f"#r{i}")
    assert [len(call) for call in await bench.calls(20)] == [1] * 20
    assert len(bench.logs.away) == 20
    await bench.answer_all()


async def test_what_may_be_posted_or_not_fails_with_all_that_the_device_said_after_it() -> None:
    bench = Bench()
    bench.say("#a", "ann")
    await bench.calls(1)
    bench.say("#a", "ann")
    fine = bench.say("#a", "bob")
    await bench.answer(0, Unavailable())
    await bench.calls(2)
    await bench.answer_all()
    ann, bob = bench.senders["ann"], bench.senders["bob"]
    assert [isinstance(outcome.error, Unavailable) for _, _, outcome in ann.settled_] == [True, True]
    assert [(re, outcome.error) for _, re, outcome in bob.settled_] == [(fine, None)]
    assert set(ann.poisoned) == {"#a"}
    assert not bob.poisoned
    assert bench.held == 0


async def test_a_bug_on_the_way_to_the_store_is_an_answer_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()

    def buggy(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(bench.logs, "begin_append", buggy)
        ids = [bench.say("#a"), bench.say("#b")]
        for _ in range(6):
            await asyncio.sleep(0)
    assert bench.told() == [("#a", ids[0]), ("#b", ids[1])]
    assert [type(outcome.error) for _, _, outcome in bench.senders["ann"].settled_] == [Unavailable] * 2
    assert bench.held == 0
    assert [record.message for record in caplog.records] == ["committer failed"]
    bench.say("#a")
    await bench.calls(1)
    await bench.answer_all()


@pytest.mark.parametrize("mishap", ["too few answers", "a connection's bug"])
async def test_after_a_mishap_with_answers_the_room_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, mishap: str
) -> None:
    bench = Bench()
    bench.say("#a")
    await bench.calls(1)
    if mishap == "too few answers":
        bench.logs.away.pop(0)([])
    else:
        monkeypatch.setattr(Sender, "poison", lambda *_: 1 / 0)
        await bench.answer(0, Unavailable())
    for _ in range(4):
        await asyncio.sleep(0)
    assert [record.message for record in caplog.records] == ["answers failed"]
    assert bench.held == 0
    after = bench.say("#a", "bob")
    await bench.calls(2)
    await bench.answer_all()
    assert [re for _, re, _ in bench.senders["bob"].settled_] == [after]


async def test_answers_are_taken_in_after_what_was_read_with_them() -> None:
    """The news of what was posted comes from the store together with the answer, on another connection."""
    bench = Bench()
    bench.say("#a")
    await bench.calls(1)
    bench.logs.answer(0, None)
    assert bench.told() == [], "not yet"
    await asyncio.sleep(0)
    assert bench.told()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.integers(0, 99), st.integers(1, 40)),
        st.tuples(st.just("answer"), st.integers(0, MOST_CALLS), st.just(0)),
        st.tuples(st.just("turn"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.sampled_from([1, 64]))
def test_whatever_happens_each_is_settled_once_and_in_order(
    steps: Iterable[tuple[str, int, int]], rooms_a_call: int
) -> None:
    async def walk() -> None:
        bench = Bench(rooms_a_call)
        said: dict[str, list[int]] = {}
        for what, which, count in steps:
            if what == "say":
                for _ in range(count):
                    said.setdefault(f"#r{which}", []).append(bench.say(f"#r{which}"))
            elif what == "answer" and bench.logs.away:
                await bench.answer(sorted(bench.logs.away)[which % len(bench.logs.away)])
            await asyncio.sleep(0)
            away = [room for number in bench.logs.away for room, _ in bench.logs.calls[number]]
            assert len(away) == len(set(away)), "one batch of a room at a time"
        async with asyncio.timeout(10):
            while len(bench.told()) < sum(map(len, said.values())):
                await bench.answer_all()
                await asyncio.sleep(0)
        assert max(Counter(bench.told()).values(), default=1) == 1
        for room, ids in said.items():
            assert [re for told, re in bench.told() if told == room] == ids
        assert all(size(call) <= MOST_POSTS and len(call) <= rooms_a_call for call in bench.logs.calls)
        assert bench.held == 0

    asyncio.run(walk())


@pytest.mark.parametrize("rooms_a_call", [1, 64])
async def test_nothing_is_remembered_when_all_is_settled(rooms_a_call: int) -> None:
    bench = Bench(rooms_a_call)
    for i in range(300):
        bench.say(f"#r{i % 70}")
    while len(bench.told()) < 300:
        await bench.answer_all()
        await asyncio.sleep(0)
    assert not bench.committer._queues
    assert not bench.committer._gathering
