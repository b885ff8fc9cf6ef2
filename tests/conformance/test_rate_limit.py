"""docs/protocol.md: “`--rate-limit` (10 messages a second a session, each recipient counted, a burst of twice
that)”.
"""

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.support import Chat, JsonClient, People, Store
from tests.support.json_client import Event


@pytest.fixture(scope="module")
def limited_chat(store: Store) -> Iterator[Chat]:
    """Five a second, so a burst of ten."""
    with Chat(store, gateways=2, rate_limit=5) as chat:
        yield chat


@pytest.fixture
def chat(limited_chat: Chat) -> Chat:
    return limited_chat


async def _burst(who: JsonClient, count: int, to: str | list[str]) -> list[Event]:
    ops = who.sends(to, (f"b{n}" for n in range(count)))
    await who.push_all(ops)
    return await who.answers(ops)


async def test_burst_then_rate_limited(people: People) -> None:
    """A burst of twice the rate is taken; then `rate_limited` “(with `retry_after`)”."""
    alice = await people.enter("alice")
    answers = await _burst(alice, 40, to="#lobby")
    taken = [answer for answer in answers if answer["ev"] == "ack"]
    refused = [answer for answer in answers if answer["ev"] == "error"]
    assert all(answer["ev"] == "ack" for answer in answers[:10]), answers[:10]
    assert 10 <= len(taken) <= 20
    assert {answer["code"] for answer in refused} == {"rate_limited"}
    assert all(0 < float(answer["retry_after"]) <= 10 for answer in refused)
    assert not alice.closed


async def test_refused_id_may_be_used_again(people: People) -> None:
    """“A send answered by an error used up no id”: after `retry_after` the same op is taken."""
    alice = await people.enter("alice")
    number = 10**15
    while True:
        number += 1
        answer = await alice.ask("send", id=number, to="#lobby", body=f"b{number}")
        if answer["ev"] == "error":
            break
    for _ in range(5):
        # The server says how long to wait, so this wait is part of the contract.
        await asyncio.sleep(float(answer["retry_after"]))
        answer = await alice.ask("send", id=number, to="#lobby", body="another body")
        if answer["ev"] == "ack":
            break
    assert answer["ev"] == "ack"
    assert not answer.get("duplicate")


async def test_topics_are_messages_too(people: People) -> None:
    """Setting a topic posts a message, so it counts as one: no way round the limit."""
    alice = await people.enter("alice")
    await alice.command(f"!join {people.room()}")
    ops = [{"op": "command", "id": 10**15 + n, "line": f"!topic t{n}"} for n in range(40)]
    await alice.push_all(ops)
    answers = await alice.answers(ops)
    assert {answer["ev"] for answer in answers[:10]} == {"result"}
    refused = [answer for answer in answers if answer["ev"] == "error"]
    assert len(refused) >= 10
    assert {answer["code"] for answer in refused} == {"rate_limited"}


async def test_each_recipient_is_counted(people: People) -> None:
    """“each recipient counted”: two messages to five people are a burst of ten."""
    alice = await people.enter("alice")
    crowd = [f"@{(await people.enter('one')).nick}" for _ in range(5)]
    answers = await _burst(alice, 6, to=crowd)
    assert [answer["ev"] for answer in answers[:2]] == ["ack", "ack"]
    assert answers[3]["ev"] == "error"
    assert answers[3]["code"] == "rate_limited"


@pytest.fixture(scope="module")
def talkative_chat(store: Store) -> Iterator[Chat]:
    """Twenty a second, so that a second burst shows."""
    with Chat(store, gateways=2, rate_limit=20) as chat:
        yield chat


@pytest.mark.parametrize("gateway", [0, 1])
@pytest.mark.parametrize("comes", ["before", "after", "moves"])
async def test_limit_is_the_session_s(talkative_chat: Chat, comes: str, gateway: int) -> None:
    """“a second a session”: two devices have no more together, nor has one that moves, also at another gateway."""
    async with People(talkative_chat) as people:
        phone, friend = await people.enter("alice", 0, device="phone"), await people.enter("bob", 0)

        async def other() -> JsonClient:
            device = "phone" if comes == "moves" else "laptop"
            came = await people.back(phone, gateway, device=device, resume={})
            # Comes by the same way as what the gateways tell each other, and after it.
            await friend.say(f"@{phone.nick}", "hi")
            await came.message("hi")
            return came

        laptop = await other() if comes == "before" else phone
        began = time.monotonic()
        answers = await _burst(phone, 60, to="#lobby")
        if comes == "before":
            last = sum(answer["ev"] == "ack" for answer in answers) - 1
            await laptop.message(f"b{last}")
        else:
            laptop = await other()
        answers += await _burst(laptop, 60, to="#lobby")
        taken = sum(answer["ev"] == "ack" for answer in answers)
        assert 40 <= taken <= 40 + 20 * (time.monotonic() - began) + 1


async def test_others_are_not_limited_by_it(people: People) -> None:
    """The limit of one is no limit of another."""
    alice, bob = await people.enter("alice"), await people.enter("bob")
    await _burst(alice, 40, to="#lobby")
    assert all(answer["ev"] == "ack" for answer in await _burst(bob, 10, to="#lobby"))


async def test_typed_lines_are_counted_too(people: People) -> None:
    """A command that posts is a send; a text client is told `! rate_limited: ...`."""
    typist = await people.text("typist")
    for number in range(40):
        await typist.send(f"line {number}")
    await typist.expect(r"! rate_limited: .*")
