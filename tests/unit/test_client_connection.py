"""The client over real sockets against a scripted server: coming back, sending again, giving up, ending."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence

import pytest

from causerie.client import Ack, Client, Closed, Event, OutcomeUnknown, Refused, Result, Unreachable
from tests.unit.fake_server import FakeServer, Peer, fake_server


@pytest.fixture(params=["tcp", "ws"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def url_of(server: FakeServer, scheme: str) -> str:
    return server.tcp if scheme == "tcp" else server.ws


def nobody() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


async def polite(peer: Peer) -> None:
    await peer.welcome()
    await peer.serve()


async def until(events: AsyncIterator[Event], kind: str) -> Event:
    async for event in events:
        if event["ev"] == kind:
            return event
    raise AssertionError(f"no {kind}")


async def test_send_command_join_part_history_quit(scheme: str) -> None:
    said = {"ev": "message", "in": "#lobby", "seq": 1, "from": "x", "body": "b", "mid": "m", "ts": 1.0}

    async def script(peer: Peer) -> None:
        await peer.welcome()
        op = await peer.read()
        assert (op["op"], op["to"], op["body"]) == ("send", "#lobby", "hi")
        await peer.ack(op, 1)
        op = await peer.read()
        assert (op["op"], op["of"], op["limit"], op["before"]) == ("history", "#lobby", 5, 9)
        await peer.write(ev="result", re=op["id"], text=[], data={"messages": [said]})
        await peer.serve(seq=1)

    async with fake_server(script) as server:
        async with Client(url_of(server, scheme), nick="ann") as client:
            assert await client.send("#lobby", "hi") == Ack("#lobby", 1)
            (message,) = await client.history("#lobby", before=9, limit=5)
            assert (message.sender, message.body, message.reply_to) == ("x", "b", "#lobby")
            assert await client.join("#dev") == Result(["did join"], {})
            assert await client.part("#dev") == Result(["did part"], {})
            assert await client.command("!list") == Result(["did !list"], {})
        assert isinstance(client.closed, Closed)
        assert client.closed.code == "quit"


async def test_what_was_not_acknowledged_goes_again_through_another_gateway(scheme: str) -> None:
    first_ids: list[int] = []

    async def dies(peer: Peer) -> None:
        await peer.welcome()
        await peer.message(1, "before")
        await peer.ack(await peer.read(), 2)
        first_ids.extend([(await peer.read())["id"], (await peer.read())["id"]])

    async def takes_over(peer: Peer) -> None:
        await peer.welcome()
        assert peer.hello["resume"]["#lobby"] == {"epoch": "e", "seq": 1, "mid": "#lobby1"}
        ops = [await peer.read(), await peer.read()]
        assert [op["id"] for op in ops] == first_ids
        for seq, op in enumerate(ops, 3):
            await peer.ack(op, seq)
        await peer.serve()

    async with fake_server(dies) as one, fake_server(takes_over) as other:
        async with Client([url_of(one, scheme), url_of(other, scheme)], nick="ann") as client:
            await until(client.events(), "message")
            acks = await asyncio.gather(*[client.send("#lobby", body) for body in "abc"])
            assert [ack.seq for ack in acks] == [2, 3, 4]
        assert (one.visits, other.visits) == (1, 1)


async def test_a_hello_without_an_answer_is_repeated_as_it_was() -> None:
    hellos = []

    async def silent(peer: Peer) -> None:
        hellos.append(await peer.read())

    async def script(peer: Peer) -> None:
        await peer.welcome()
        hellos.append(peer.hello)
        await peer.serve()

    async with fake_server(silent, script) as server, Client(server.tcp, nick="ann"):
        first, second = hellos
        assert (first["nick"], first["cookie"]) == (second["nick"], second["cookie"])


@pytest.mark.parametrize("code", ["nick_taken", "bad_nick", "banned"])
async def test_a_refused_hello_is_raised(scheme: str, code: str) -> None:
    async def script(peer: Peer) -> None:
        hello = await peer.read()
        await peer.write(ev="error", re=hello["id"], code=code, text="no")

    async with fake_server(script) as server:
        with pytest.raises(Refused) as caught:
            async with Client(url_of(server, scheme), nick="ann"):
                pass
        assert caught.value.code == code
        assert server.visits == 1


async def test_kicked_is_the_end_for_readers_and_senders(scheme: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.read()
        await peer.write(ev="bye", code="kicked", text="spam")

    async with fake_server(script) as server, Client(url_of(server, scheme), nick="ann") as client:
        with pytest.raises(Closed, match="kicked: spam"):
            await client.send("#lobby", "x")
        with pytest.raises(Closed):
            await until(client.events(), "never")
        with pytest.raises(Closed):
            await client.send("#lobby", "y")
        assert server.visits == 1


async def test_it_comes_back_after_a_shutdown_and_reads_on() -> None:
    async def stops(peer: Peer) -> None:
        await peer.welcome()
        await peer.message(1, "one")
        await peer.write(ev="bye", code="shutdown", text="restart", retry_after=0.01)

    async def goes_on(peer: Peer) -> None:
        await peer.welcome()
        await peer.message(2, "two")
        await peer.message(2, "two")
        await peer.message(3, "three")
        await peer.serve()

    async with fake_server(stops, goes_on) as server, Client(server.tcp, nick="ann") as client:
        bodies = []
        async for message in client.messages():
            bodies.append(message.body)
            if message.seq == 3:
                break
        assert bodies == ["one", "two", "three"]


async def test_a_session_lost_is_told_and_lives_on() -> None:
    async def dies(peer: Peer) -> None:
        await peer.welcome()
        await peer.read()

    async def forgot(peer: Peer) -> None:
        hello = await peer.read()
        await peer.write(ev="error", re=hello["id"], code="bad_cookie", text="unknown")

    async with fake_server(dies, forgot, polite) as server, Client(server.tcp, nick="ann") as client:
        cookie = client.cookie
        with pytest.raises(OutcomeUnknown):
            await client.send("#lobby", "x")
        await until(client.events(), "session_lost")
        assert await client.send("#lobby", "y") == Ack("#lobby", 1)
        assert client.cookie != cookie


async def test_nobody_there_is_unreachable_after_the_patience() -> None:
    with pytest.raises(Unreachable):
        async with Client([nobody(), nobody()], nick="ann", patience=0.3):
            pass


async def test_the_next_url_is_tried_when_the_first_is_dead(scheme: str) -> None:
    async with fake_server(polite) as server:
        async with Client([nobody(), url_of(server, scheme)], nick="ann") as client:
            assert (await client.send("#lobby", "x")).seq == 1


async def test_junk_costs_the_connection_only() -> None:
    async def junk(peer: Peer) -> None:
        await peer.welcome()
        await peer.write(ev="message", nonsense=True)
        await peer.read()

    async with fake_server(junk, polite) as server, Client(server.tcp, nick="ann") as client:
        assert (await client.send("#lobby", "x")).seq == 1
        assert server.visits == 2


async def test_sends_wait_at_256_unanswered() -> None:
    """Promise 2: "so many may be unanswered at once"."""
    go = asyncio.Event()

    async def holds(peer: Peer) -> None:
        await peer.welcome()
        await go.wait()
        await peer.serve()

    async with fake_server(holds) as server, Client(server.tcp, nick="ann") as client:
        acks = [await client.submit("#lobby", str(n)) for n in range(256)]
        one_more = asyncio.create_task(client.submit("#lobby", "256"))
        await asyncio.sleep(0)
        other = await client.submit("@bob", "another target")
        assert not one_more.done()
        go.set()
        acks.append(await one_more)
        assert [(await ack).in_ for ack in acks] == ["#lobby"] * 257
        await other
        assert client.unanswered == 0


async def test_a_reader_that_lags_is_told_what_it_missed() -> None:
    async def floods(peer: Peer) -> None:
        await peer.welcome()
        for seq in range(1, 31):
            await peer.message(seq, str(seq))
        await peer.serve()

    async with fake_server(floods) as server, Client(server.tcp, nick="ann", backlog=10) as client:
        await client.send("#lobby", "barrier")
        events = client.events()
        assert (await anext(events))["ev"] == "skipped"
        assert [(await anext(events))["ev"] for _ in range(10)] == ["message"] * 9 + ["ack"]


async def test_leaving_without_goodbye_keeps_the_session() -> None:
    ops = []

    async def script(peer: Peer) -> None:
        await peer.welcome()
        while True:
            ops.append(await peer.read())

    async with fake_server(script) as server:
        async with Client(server.tcp, nick="ann") as client:
            cookie = client.cookie
            await client.close()
        async with Client(server.tcp, cookie=cookie) as client:
            assert client.nick == "ann"
            await client.close()
        assert ops == []


class Deaf:
    """A transport that takes the first cancellation for something else."""

    def __init__(self) -> None:
        self.awaited = asyncio.Event()

    async def send(self, frames: Sequence[bytes]) -> None:
        """Into nothing."""

    async def receive(self) -> list[bytes]:
        self.awaited.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()
        return []

    async def close(self) -> None:
        """It is none."""

    def abort(self) -> None:
        """It is none."""


async def test_leaving_ends_although_a_cancellation_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = Deaf()

    async def opened(url: str, limit: float) -> Deaf:
        return deaf

    monkeypatch.setattr("causerie.client.client.open_transport", opened)
    client = Client(nobody(), nick="bob")
    client.start()
    await deaf.awaited.wait()
    await client.close()
    assert isinstance(client.closed, Closed)


@pytest.mark.parametrize("url", ["http://x/ws", "tcp://x", "ws://", "x", ""])
def test_a_wrong_url_is_said_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="address"):
        Client(url, nick="ann")


def test_neither_nick_nor_cookie() -> None:
    with pytest.raises(ValueError, match="nick"):
        Client("tcp://127.0.0.1:1")
