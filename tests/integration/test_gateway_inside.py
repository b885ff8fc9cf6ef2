"""What only shows when one thing happens between two others: a gateway in the test's own loop, on real sockets and a
real store, with a few of its steps held up or broken.
"""

import asyncio
import contextlib
import json
import secrets
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from causerie.errors import Goodbye, Unavailable
from causerie.model import Position
from causerie.settings import Settings
from causerie.store import Store as ChatStore
from causerie.store.sessions import Renewal, Renewed
from gateway import hello, ops
from gateway.batch import Batch, Dialect
from gateway.heartbeats import Wheel
from gateway.intake import Client
from gateway.listeners import Listeners
from gateway.node import Node
from gateway.relay import LINGER_S
from gateway.replay import Replay
from tests.support import PATIENCE, Store
from tests.support.json_client import JsonClient, TcpWire
from tests.support.processes import address
from tests.support.text_client import TextClient
from tests.support.timing import eventually


class Inside:
    """A gateway, for those who connect to it (`tcp`) and for those who look into it (`node`)."""

    def __init__(self, node: Node, listeners: Listeners) -> None:
        self.node = node
        self.listeners = listeners
        self._open: list[JsonClient | TextClient] = []

    @property
    def tcp(self) -> tuple[str, int]:
        return address(self.listeners.tcp_at)

    async def connect(self) -> JsonClient:
        client = await JsonClient.open(self)  # type: ignore[arg-type]  # as far as a client can tell
        self._open.append(client)
        return client

    async def enter(self, nick: str, **hello: Any) -> JsonClient:
        client = await self.connect()
        await client.hello(**({} if "cookie" in hello else {"nick": nick}), **hello)
        return client

    async def text(self, nick: str) -> TextClient:
        client = await TextClient.open(self)  # type: ignore[arg-type]
        self._open.append(client)
        await client.enter(nick)
        return client

    def client(self, nick: str, device: str = "") -> Client:
        """The connection of somebody, seen from inside."""
        everybody = [client for client in self.node.wheel.everybody() if client.session is not None]
        return next(c for c in everybody if c.session and (c.session.nick, c.session.device) == (nick, device))

    async def close(self) -> None:
        for client in self._open:
            client.abort()
            await client.dispose()
        self.listeners.stop_accepting()
        await self.node.say_goodbye(0.1)
        await self.listeners.close()
        await self.node.close()


@pytest_asyncio.fixture
async def inside(store: Store) -> AsyncIterator[Inside]:
    settings = Settings(
        redis_url=store.url,
        namespace=f"t{secrets.token_hex(5)}",
        http_port=0,
        tcp_port="auto",
        rate_limit=0,
        heartbeat_interval=0.2,
        heartbeat_ttl=5,
    )
    node = Node(settings, await ChatStore.open(settings))
    gateway = Inside(node, Listeners(node))
    await gateway.listeners.open()
    await node.reach_store()
    try:
        yield gateway
    finally:
        await gateway.close()


def held(function: Callable[..., Any], until: asyncio.Event, *, after: bool = False) -> Callable[..., Any]:
    """The same function, whose work (or, `after` it, whose answer) waits for an event."""

    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not after:
            await asyncio.wait_for(until.wait(), PATIENCE)
        answer = await function(*args, **kwargs)
        if after:
            await asyncio.wait_for(until.wait(), PATIENCE)
        return answer

    return wrapped


def failing(function: Callable[..., Any], error: Exception, times: int = 1) -> Callable[..., Any]:
    """The same coroutine function, which fails the first few times."""
    left = times

    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        if left:
            left -= 1
            raise error
        return await function(*args, **kwargs)

    return wrapped


async def _noticed(monkeypatch: pytest.MonkeyPatch, nick: str) -> asyncio.Event:
    """Set when the gateway has dealt with the note that somebody is out of a room."""
    dealt_with, leave = asyncio.Event(), ops.leave

    def watched(client: Client, room: str) -> None:
        leave(client, room)
        if client.session is not None and client.session.nick == nick:
            dealt_with.set()

    monkeypatch.setattr(ops, "leave", watched)
    return dealt_with


async def test_put_out_while_joining(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is kicked before the answer to the join has come gets nothing of the room."""
    alice, bob = await inside.enter("alice"), await inside.enter("bob")
    await alice.join("#dev")
    out = await _noticed(monkeypatch, "bob")
    sessions = inside.node.store.sessions
    monkeypatch.setattr(sessions, "join", held(sessions.join, out, after=True))
    joining = asyncio.create_task(bob.join("#dev"))
    await alice.expect("presence", in_="#dev", nick="bob", state="online")
    await alice.command("!kick #dev bob")
    await joining
    await bob.expect("presence", in_="#dev", nick="bob", state="gone")
    await alice.say("#dev", "not for bob")
    await bob.refused("not_joined", "send", to="#dev", body="x")
    assert not bob.bodies("#dev")


async def test_put_out_while_another_device_joins(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other devices of a session follow its joins and parts in the end, in whatever order they hear of them."""
    phone = await inside.enter("bob", device="phone")
    laptop = await inside.enter("bob", cookie=phone.cookie, device="laptop")
    out, start = await _noticed(monkeypatch, "bob"), ops._start

    async def late(client: Client, room: str, head: Position) -> Any:
        if client.session is not None and client.session.device == "laptop":
            await asyncio.wait_for(out.wait(), PATIENCE)
        return await start(client, room, head)

    monkeypatch.setattr(ops, "_start", late)
    await phone.join("#dev")
    await phone.part("#dev")
    await laptop.expect("presence", in_="#dev", nick="bob", state="gone")
    alice = await inside.enter("alice")
    await alice.join("#dev")
    await alice.say("#dev", "not for bob")
    await laptop.settled()
    assert not laptop.bodies("#dev")


async def test_another_device_joins_before_the_welcome(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """“What is missing follows the `welcome`, before anything newer”: nothing of a room comes before it."""
    phone = await inside.enter("bob", device="phone")
    go_on = asyncio.Event()
    monkeypatch.setattr(hello, "_welcome", held(hello._welcome, go_on))
    laptop = await inside.connect()
    coming = asyncio.create_task(laptop.hello(cookie=phone.cookie, device="laptop"))
    await eventually(lambda: _is_here(inside, "bob", "laptop"), "a laptop that is about to be welcomed")
    await phone.join("#dev")
    await phone.say("#dev", "news")
    await phone.message("news")
    await phone.settled()
    go_on.set()
    await coming
    await laptop.message("news", in_="#dev")


async def test_a_numbering_breaks_while_a_text_client_is_let_go(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever could not be told on the old connection is told on the next."""
    alice, text = await inside.enter("alice"), await inside.text("bob")
    await alice.say("#lobby", "seen")
    await text.expect(r"\[#lobby\] alice: seen")
    relay, bob = inside.node.relay, inside.client("bob")
    restart = relay._restart

    def let_go(*args: Any, **kwargs: Any) -> None:
        bob.goodbye(Goodbye("unavailable", "for a test", retry_after=0.1))
        restart(*args, **kwargs)

    monkeypatch.setattr(relay, "_restart", let_go)
    await inside.node.store.logs.new_epoch("#lobby", relay.channel("#lobby").epoch)
    await alice.expect("reset", in_="#lobby")
    await text.ended()
    await alice.expect("presence", nick="bob", state="away")
    again = await TextClient.open(inside)  # type: ignore[arg-type]
    await again.reconnect(text.cookie)
    await again.expect(r"\* some messages of #lobby are no longer kept")
    again.abort()
    await again.dispose()


async def _is_here(inside: Inside, nick: str, device: str) -> bool:
    with contextlib.suppress(StopIteration):
        return bool(inside.client(nick, device))
    return False


async def test_gone_before_the_hello_is_done(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept of a connection that ended during its hello."""
    lost, relay = asyncio.Event(), inside.node.relay
    monkeypatch.setattr(relay, "listen", held(relay.listen, lost))
    client = await inside.connect()
    await client.op("hello", nick="bob")
    (connection,) = inside.node.wheel.everybody()
    await eventually(_async(lambda: not connection.idle), "the hello")
    assert isinstance(client.wire, TcpWire)
    client.wire.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.abort()
    await eventually(_async(lambda: connection.gone), "the end of the connection")
    lost.set()
    await eventually(_async(lambda: connection.idle), "the end of the hello")
    assert all(channel.idle for channel in inside.node.hub.channels.values())


async def test_channel_closed_meanwhile(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is left on a channel that nothing feeds any more."""
    bob, sessions = await inside.text("bob"), inside.node.store.sessions
    save = sessions.save_positions

    async def slow(*args: Any, **kwargs: Any) -> None:
        await save(*args, **kwargs)
        channel = inside.node.hub.channels.get("#dev")
        if channel is not None and channel.idle:
            inside.node.relay._empty[channel] -= LINGER_S + 1
            inside.node.relay.close_empty()

    monkeypatch.setattr(sessions, "save_positions", slow)
    await bob.send("!join #dev")
    await bob.ended("unavailable")


async def test_channel_asked_for_again(inside: Inside) -> None:
    """Who asks for a channel that was about to be closed has time to join."""
    relay = inside.node.relay
    channel = await relay.open("#dev")
    relay._empty[channel] -= LINGER_S + 1
    assert await relay.open("#dev") is channel
    relay.close_empty()
    assert relay.holds(channel)


async def test_first_message_during_an_outage(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """“`unavailable` takes with it everything of that device and target that the gateway had already read”."""
    sessions = inside.node.store.sessions
    bob = await inside.connect()
    await bob.hello(nick="bob")
    monkeypatch.setattr(sessions, "heard", failing(sessions.heard, Unavailable()))
    sends = bob.sends("#lobby", ["one", "two", "three"])
    await bob.push_all(sends)
    assert [answer.get("code") for answer in await bob.answers(sends)] == ["unavailable"] * 3
    await bob.push_all(sends)
    assert [answer["ev"] for answer in await bob.answers(sends)] == ["ack"] * 3


async def test_command_that_posts_during_an_outage(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for a command."""
    bob, logs = await inside.enter("bob"), inside.node.store.logs
    await bob.say("#lobby", "here")
    monkeypatch.setattr(logs, "append_all", failing(logs.append_all, Unavailable()))
    topic, send = bob.next_ids(2)
    ops_ = [
        {"op": "command", "id": topic, "line": "!topic x"},
        {"op": "send", "id": send, "to": "#lobby", "body": "two"},
    ]
    await bob.push_all(ops_)
    assert [answer.get("code") for answer in await bob.answers(ops_)] == ["unavailable"] * 2


async def test_outages_leave_nothing_behind(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the store is away, one comparison of all channels follows, not one for each second."""
    relay, logs, calls = inside.node.relay, inside.node.store.logs, 0
    await inside.enter("bob")
    heads = logs.heads

    async def away(_: object) -> Any:
        raise Unavailable

    async def counted(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        return await heads(*args)

    monkeypatch.setattr(logs, "heads", away)
    for _ in range(20):
        relay.compare_some(20)
        relay.on_back()
        await asyncio.sleep(0.01)
    assert len(relay._tasks) <= 2
    monkeypatch.setattr(logs, "heads", counted)
    await eventually(_async(lambda: not relay._tasks), "the comparison")
    assert 1 <= calls <= 2


async def test_orders_come_through_after_a_mishap(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong with one note, those after it are obeyed."""
    control = inside.node.store.control
    monkeypatch.setattr(control, "register", failing(control.register, ZeroDivisionError()))
    await control.publish("addresses", {})
    await control.publish("shutdown", {"grace": 3600, "reason": "tea"})
    await eventually(_async(inside.node.stopping.is_set), "the order to stop")
    inside.node.stop("now")
    await asyncio.wait_for(inside.node.leaving.wait(), PATIENCE)
    assert inside.node.stop_reason == "now"


async def test_a_heartbeat_is_renewed_when_its_ping_is_answered(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not an interval later: whose gateway dies has a TTL less an interval to come back, not less two."""
    renewed: list[int] = []
    sessions = inside.node.store.sessions
    renew = sessions.renew

    async def watched(renewals: list[Renewal]) -> list[Renewed]:
        renewed.extend(renewal.ttl_ms for renewal in renewals)
        return await renew(renewals)

    monkeypatch.setattr(sessions, "renew", watched)
    await inside.enter("alice")
    settings = inside.node.settings
    nearly_all = int(1000 * (settings.heartbeat_ttl - settings.heartbeat_interval / 2))

    async def fresh() -> bool:
        return any(ttl_ms > nearly_all for ttl_ms in renewed)

    await eventually(fresh, "a renewal right after a pong")


async def test_heartbeats_go_on_after_a_mishap(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """A visit that fails ends that one connection; the others are pinged as ever."""
    bob, carol, visit = await inside.enter("bob"), await inside.enter("carol"), Wheel._visit
    broken = inside.client("bob")

    def visited(wheel: Wheel, client: Client, now: float) -> float:
        if client is broken:
            raise ZeroDivisionError
        return visit(wheel, client, now)

    monkeypatch.setattr(Wheel, "_visit", visited)
    await bob.ended()
    for _ in range(3):
        await carol.expect("ping")


async def test_who_cannot_be_served_comes_back(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that is being brought to the head, and cannot be, is told so."""
    bob = await inside.enter("bob")
    position = {"epoch": bob.welcome["rooms"]["#lobby"]["epoch"], "seq": 0}
    await bob.say("#lobby", "one")
    await bob.hang_up()

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Replay, "_fetch", broken)
    monkeypatch.setattr(type(inside.node.hub.channels["#lobby"]), "kept_after", lambda *_: None)
    back = await inside.enter("bob", cookie=bob.cookie, resume={"#lobby": position})
    await back.ended("unavailable")


async def test_news_that_cannot_be_given(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """The room's members come back for it; the other rooms go on."""
    bob, carol = await inside.enter("bob"), await inside.enter("carol")
    await bob.join("#dev")
    form = Batch.form

    def broken(batch: Batch, dialect: int) -> bytes:
        if b"poison" in batch.lines:
            raise ZeroDivisionError
        return form(batch, dialect)

    monkeypatch.setattr(Batch, "form", broken)
    await bob.op("send", to="#dev", body="poison")
    await bob.ended("unavailable")
    await carol.say("#lobby", "still here")
    await carol.message("still here")


def test_message_that_cannot_be_shown() -> None:
    """A text client is told of it, and the messages around it stand where they belong."""
    good = {"ev": "message", "in": "#a", "seq": 1, "from": "b", "body": "hi", "mid": "m", "ts": 1.0, "kind": "message"}
    lines = b"".join(json.dumps(each).encode() + b"\n" for each in (good, {**good, "body": 5}, good))
    batch = Batch(1, ["m", "n", "o"], lines)
    first, notice, last = batch.form(Dialect.TEXT).splitlines()
    assert first == last == b"[#a] b: hi"
    assert notice.startswith(b"* ")
    assert len(batch.ends()) == 3


def _async(probe: Callable[[], bool]) -> Any:
    async def asked() -> bool:
        return probe()

    return asked


async def test_what_is_accepted_has_the_socket_options_of_the_listener(inside: Inside) -> None:
    await inside.enter("alice")
    sock = inside.client("alice").transport.get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == round(inside.node.dead_after * 1000)
