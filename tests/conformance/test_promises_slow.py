"""docs/protocol.md, promise 5: “Nobody waits for a slow reader”, and nobody makes memory grow without bound."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from tests.support import Chat, JsonClient, People, Store, eventually
from tests.support.crowd import Crowd, Member
from tests.support.processes import Gateway

BODY = "x" * 4000


@pytest.fixture(scope="module")
def tight_chat(store: Store) -> Iterator[Chat]:
    """Little may be queued to one client; one that reads nothing for two seconds is let go."""
    with Chat(store, gateways=1, max_outbox=65_536, stall_timeout=2) as chat:
        yield chat


@pytest.fixture(scope="module")
def patient_chat(store: Store) -> Iterator[Chat]:
    """Little may be queued to one client, but it may take its time."""
    with Chat(store, gateways=1, max_outbox=65_536, stall_timeout=60) as chat:
        yield chat


async def _flood(who: JsonClient, room: str, count: int) -> None:
    for start in range(1, count + 1, 100):
        ops = who.sends(room, (f"{n} {BODY}" for n in range(start, min(start + 100, count + 1))))
        await who.push_all(ops)
        assert {answer["ev"] for answer in await who.answers(ops)} == {"ack"}


def _resident(gateway: Gateway) -> int:
    """Bytes of memory that the gateway's process holds."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{gateway.pid}/status").read_text().splitlines() if ":" in line
    )
    return int(fields["VmRSS"].split()[0]) * 1024


async def test_slow_reader_is_served_from_the_log(patient_chat: Chat) -> None:
    """“past it that client is served from the log at its own pace”: late, but all of it, in order, once."""
    async with People(patient_chat) as people:
        room = people.room()
        slow = await people.enter("slow", receive_buffer=4096, room=room)
        quick = await people.enter("quick", room=room)
        talker = await people.enter("talker", room=room)
        slow.freeze()
        await _flood(talker, room, 300)
        before = _resident(patient_chat.gateways[0])
        await _flood(talker, room, 2000)
        await quick.message(f"2000 {BODY}")
        grown = _resident(patient_chat.gateways[0]) - before
        assert grown < 30 * 2**20, f"8 MB to a client that does not read made the gateway grow by {grown >> 20} MiB"
        assert not slow.closed
        slow.thaw()
        await slow.message(f"2000 {BODY}", patience=40)
        assert [event["seq"] for event in slow.seen("message", in_=room)] == list(range(1, 2301))
        await talker.say(room, "live again")
        await slow.message("live again")


async def test_nobody_waits_for_a_slow_reader(patient_chat: Chat) -> None:
    """“Nobody waits for a slow reader”: others get each message and each ack while one does not read."""
    async with People(patient_chat) as people:
        room = people.room()
        slow = await people.enter("slow", receive_buffer=4096, room=room)
        slow.freeze()
        quick, talker = await people.enter("quick", room=room), await people.enter("talker", room=room)
        for number in range(100):
            await talker.say(room, f"{number} {BODY}")
            await quick.message(f"{number} {BODY}")


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_fifty_of_a_thousand_that_read_a_byte_at_a_time(patient_chat: Chat) -> None:
    """“Nobody waits for a slow reader”: the other 950 get everything, and the fifty cost no more than their outbox."""
    gateway = patient_chat.gateways[0]
    async with People(patient_chat) as people:
        talker, crowd = await people.enter("talker", room=(room := people.room())), Crowd(room)
        try:
            slow = await crowd.enter(gateway, 50, people.nick("s"), receive_buffer=2048)
            for member in slow:
                member.transport.pause_reading()
            before = _resident(gateway)
            await _flood(talker, room, 1000)
            assert await people.rest().counter("lagging") >= 50
            assert _resident(gateway) - before < 50 * 2 * 65_536 + 30 * 2**20
            quick = await crowd.enter(gateway, 950, people.nick("q"))
            for number in range(1001, 1051):
                await asyncio.gather(*map(_sip, slow))
                await talker.say(room, f"{number}")
                await crowd.have(number, quick)
            assert not any(member.closed for member in slow)
        finally:
            crowd.close()


async def _sip(member: Member) -> None:
    """Read one byte past the transport, which is paused."""
    number = member.transport.get_extra_info("socket").fileno()
    with socket.fromfd(number, socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_recv(sock, 1)


async def test_one_that_reads_nothing_is_let_go_and_can_resume(tight_chat: Chat) -> None:
    """“`--stall-timeout` (30 s without reading anything: `bye slow_consumer`)”; after it a
    client comes back.
    """
    async with People(tight_chat) as people:
        room = people.room()
        slow = await people.enter("slow", receive_buffer=4096, room=room)
        watcher, talker = await people.enter("watcher", room=room), await people.enter("talker", room=room)
        slow.freeze()
        await _flood(talker, room, 1500)
        await watcher.expect("presence", in_=room, nick=slow.nick, state="away")
        slow.thaw()
        await slow.ended()
        assert [bye["code"] for bye in slow.seen("bye")] in ([], ["slow_consumer"])
        heard = [event["seq"] for event in slow.seen("message", in_=room)]
        again = await people.back(slow, resume={room: slow.position(room)})
        assert again.welcome["rooms"][room]["recovered"] is True
        await again.message(f"1500 {BODY}")
        heard += [event["seq"] for event in again.seen("message", in_=room)]
        assert heard == list(range(1, 1501))


async def test_one_that_reads_slowly_but_reads_is_kept(tight_chat: Chat) -> None:
    """A stall is “without reading anything”: one that reads a little every now and then stays connected."""
    async with People(tight_chat) as people:
        room = people.room()
        slow = await people.enter("slow", receive_buffer=4096, room=room)
        talker = await people.enter("talker", room=room)
        slow.freeze()
        await _flood(talker, room, 1500)
        for _ in range(8):
            # Real time must pass here: longer in all than the stall timeout, with reading in between.
            await asyncio.sleep(0.6)
            slow.thaw()
            await slow.expect("message", in_=room)
            slow.freeze()
        slow.thaw()
        await slow.message(f"1500 {BODY}")
        assert not slow.closed


async def test_connection_that_says_nothing_is_bounded(tight_chat: Chat) -> None:
    """“nothing a client does or fails to do makes a gateway's memory ... grow without bound”: a
    line without end.
    """
    async with People(tight_chat) as people:
        gateway = tight_chat.gateways[0]
        client = await people.enter("endless")
        before = _resident(gateway)
        client.ledger.violations.clear()
        with contextlib.suppress(OSError):
            for _ in range(48):
                await client.wire.write_bytes(b"x" * 2**20)
        grown = _resident(gateway) - before
        assert grown < 24 * 2**20, f"48 MiB without a line's end made the gateway grow by {grown >> 20} MiB"
        other = await people.enter("other")
        await other.say("#lobby", "nobody else notices")


async def test_compressed_frame_that_swells(tight_chat: Chat) -> None:
    """“a bad frame”: 64 MB of nothing in a small compressed frame make no memory grow (RFC 7692 8)."""
    async with People(tight_chat) as people:
        gateway = tight_chat.gateways[0]
        client = await people.enter("bomber", transport="ws")
        other = await people.enter("other", transport="ws")
        before = _resident(gateway)
        with contextlib.suppress(OSError, ConnectionClosed):
            await client.raw("x" * 64_000_000)
        await other.say("#lobby", "nobody else notices")
        await other.settled()
        grown = _resident(gateway) - before
        assert grown < 24 * 2**20, f"one frame made the gateway grow by {grown >> 20} MiB"


async def test_requests_without_reading_the_answers(tight_chat: Chat) -> None:
    """“nothing a client does”: asking for much and reading nothing costs no memory beyond its outbox."""
    async with People(tight_chat) as people:
        gateway, room = tight_chat.gateways[0], people.room()
        greedy = await people.enter("greedy", receive_buffer=4096, room=room)
        talker = await people.enter("talker", room=room)
        await _flood(talker, room, 200)
        await greedy.message(f"200 {BODY}")
        greedy.freeze()
        before = _resident(gateway)

        async def ask_for_all() -> None:
            for number in greedy.next_ids(3000):
                await greedy.push({"op": "history", "id": number, "of": room, "limit": 200})

        asking = asyncio.create_task(ask_for_all())
        try:
            peak = 0

            async def let_go_or_bounded() -> bool:
                nonlocal peak
                peak = max(peak, _resident(gateway) - before)
                assert peak < 60 * 2**20, f"answers that nobody reads made the gateway grow by {peak >> 20} MiB"
                return bool(await _state(talker, greedy.nick) != "online")

            await eventually(let_go_or_bounded, "`bye slow_consumer` to one that reads no answers", 20)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)


async def _state(who: JsonClient, nick: str) -> str:
    listed = (await who.command("!list"))["data"]["sessions"]
    return next((str(entry["state"]) for entry in listed if entry["nick"] == nick), "gone")
