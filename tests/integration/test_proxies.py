"""Behind a balancer (`--trusted-proxies`): addresses are those of people, and nobody can claim another one."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.support import Chat, JsonClient, People, Rest, Store
from tests.support.rest import problem_of

PROXY = "127.0.0.2"
"""Where the balancer of these tests connects from."""


@pytest.fixture(scope="module")
def chat(store: Store) -> Iterator[Chat]:
    with Chat(store, gateways=2, workers=0, trusted_proxies=f"{PROXY}, 192.0.2.0/24") as started:
        yield started


async def by_tcp(people: People, address: str, gateway: int = 0) -> JsonClient:
    """A person at this address, through the balancer."""
    client = await people.connect("proxied", gateway, source=PROXY)
    await client.wire.write_bytes(f"PROXY TCP4 {address} {PROXY} 5000 4040\r\n".encode())
    return client


async def by_websocket(people: People, forwarded: str, *, source: str = PROXY) -> ClientConnection:
    """A WebSocket through the balancer, which adds this header to what it passes on."""
    connection = await connect(
        people.chat.gateways[0].ws,
        proxy=None,
        local_addr=(source, 0),
        additional_headers=[("X-Forwarded-For", "198.51.100.66"), ("X-Forwarded-For", forwarded)],
    )
    await connection.send(json.dumps({"op": "hello", "id": 1, "nick": people.nick()}))
    return connection


async def first(connection: ClientConnection) -> dict[str, Any]:
    """The first event."""
    event: dict[str, Any] = json.loads(await asyncio.wait_for(connection.recv(), 10))
    return event


async def test_a_ban_of_an_address_hits_who_is_behind_the_balancer_and_nobody_else(people: People) -> None:
    bad, good = await by_tcp(people, "203.0.113.7"), await by_tcp(people, "203.0.113.8", 1)
    for client in (bad, good):
        await client.hello(nick=people.nick())
    web_bad, web_good = await by_websocket(people, "203.0.113.7"), await by_websocket(people, "203.0.113.9")
    direct = await people.enter("direct")
    for connection in (web_bad, web_good):
        assert (await first(connection))["ev"] == "welcome"
    await people.rest().post("/bans", {"subject": "203.0.113.7"})
    await bad.ended("banned")
    await asyncio.wait_for(web_bad.wait_closed(), 10)
    assert web_bad.close_reason == "banned"
    for client in (good, direct):
        await client.say("#lobby", "still here")
    await web_good.send(json.dumps({"op": "send", "id": 2, "to": "#lobby", "body": "and here"}))
    await good.message("and here")
    again = await by_tcp(people, "203.0.113.7")
    await again.refused("banned", "hello", nick=people.nick())
    refused = await by_websocket(people, "203.0.113.7")
    assert (await first(refused))["code"] == "banned"
    claimed = await by_websocket(people, "203.0.113.7, 203.0.113.9")
    assert (await first(claimed))["ev"] == "welcome"
    for connection in (web_good, refused, claimed):
        await connection.close()


async def test_only_the_balancer_is_believed(people: People) -> None:
    """A header from anybody else is a line, or nothing."""
    await people.rest().post("/bans", {"subject": "203.0.113.20"})
    text = await people.connect_text()
    await text.send("PROXY TCP4 203.0.113.20 127.0.0.1 5000 4040")
    await text.expect("! bad_nick: .*")
    await text.enter(people.nick())
    web = await by_websocket(people, "203.0.113.20", source="127.0.0.1")
    assert (await first(web))["ev"] == "welcome"
    await web.close()


async def test_a_balancer_that_does_not_say_for_whom_is_not_served(people: People) -> None:
    """Else whoever is behind it could say it instead."""
    silent = await people.connect("silent", source=PROXY)
    await silent.wire.write_bytes(b'{"op":"hello","id":1,"nick":"x"}\n')
    await silent.ended()
    assert silent.received == []
    gateway = people.chat.gateways[0]
    assert f"{PROXY} is a trusted proxy, but: no PROXY header" in gateway.stderr


async def test_a_header_in_pieces_and_one_without_an_address(people: People) -> None:
    nick = people.nick()
    client = await people.connect("pieces", source=PROXY)
    header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([203, 0, 113, 30, 127, 0, 0, 1, 1, 1, 2, 2])
    client.ledger.sent({"id": 1})
    for byte in header + b'{"op":"hello","id":1,"nick":"' + nick.encode() + b'"}\n':
        await client.wire.write_bytes(bytes([byte]))
    assert client.entered(await client.answer(1))["nick"] == nick
    local = await people.connect("local", source=PROXY)
    await local.wire.write_bytes(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0")
    await local.hello(nick=people.nick())


async def test_wrong_tokens_count_for_who_is_behind_the_balancer(people: People) -> None:
    """“Five wrong tokens ... a minute from one address”: not from one balancer."""
    gateway = people.chat.gateways[0]
    async with Rest(gateway, "wrong", source=PROXY) as guesser, Rest(gateway, "wrong", source=PROXY) as other:
        guesser.http.headers["X-Forwarded-For"] = "203.0.113.40"
        other.http.headers["X-Forwarded-For"] = "203.0.113.40, 203.0.113.41"
        for _ in range(5):
            problem_of(await guesser.http.get("/api/v1/bans"), 401)
        problem_of(await guesser.http.get("/api/v1/bans"), 429)
        problem_of(await other.http.get("/api/v1/bans"), 401)
