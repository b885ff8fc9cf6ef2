"""The TCP port: what ends a connection, and what is still done for one that ends itself."""

import asyncio
import json
import re
import sys
from pathlib import Path

import pytest

from tests.support import People, Process, Store

ENDLESS = b"x" * (1024 * 1024 + 1)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
async def test_a_line_without_end_is_a_flood(people: People, busy: bool) -> None:
    """Also when it comes while something else is being done, and nothing after it."""
    client = await people.enter("endless")
    if busy:
        client.ledger.sent({"id": 1})
    await client.wire.write_bytes((b'{"op":"command","id":1,"line":"!list"}\n' if busy else b"") + ENDLESS)
    await client.expect("error", code="too_long")
    bye = await client.ended("flood")
    assert bye["retry_after"] > 0
    assert not busy or len(client.ledger.answers[1]) == 1


async def test_a_line_without_end_on_the_text_protocol(people: People) -> None:
    client = await people.text()
    await client.raw(ENDLESS)
    await client.expect("! too_long: .*")
    assert float(await client.ended("flood")) > 0


async def test_all_that_was_said_before_the_end_is_done_and_answered(people: People) -> None:
    """What `printf ... | nc` does: it ends its half and reads on."""
    room = people.room()
    listener = await people.enter("listener", room=room)
    nick = people.nick("piped")
    reader, writer = await asyncio.open_connection(*people.chat.gateways[0].tcp)
    said = "".join(f"{room} line {number}\r\n" for number in range(300))
    writer.write(f"{nick}\r\n!join {room}\r\n{said}!list {room}\r\ncut".encode())
    writer.write_eof()
    lines = (await asyncio.wait_for(reader.read(), 15)).decode().splitlines()
    writer.close()
    await listener.message("line 299")
    heard = [event["body"] for event in listener.seen("message", in_=room)]
    assert heard == [f"line {number}" for number in range(300)]
    assert [line for line in lines if line.startswith(f"[{room}] {nick}: ")][-1].endswith("line 299")
    assert any(line.startswith("* ") and listener.nick in line for line in lines[-3:]), lines[-5:]


async def test_a_gateway_takes_all_the_open_files_that_it_may_have(store: Store) -> None:
    """Shells begin with a low limit that may be raised: 1024 connections would be few."""
    command = (
        f"ulimit -Sn 300; exec {sys.executable} -m gateway --redis-url {store.url} --tcp-port auto --http-port auto"
    )
    with Process(["bash", "-c", command], name="gateway") as gateway:
        await asyncio.to_thread(gateway.wait_for_line, lambda line: line.startswith("ready "), "a `ready` line")
        limits = Path(f"/proc/{gateway.pid}/limits").read_text()
        _, soft, hard = re.search(r"(Max open files) +(\S+) +(\S+)", limits).groups()  # type: ignore[union-attr]
        assert soft == hard != "300"


async def test_answers_that_wait_for_a_reader_come_after_the_end_too(people: People) -> None:
    """More is asked than fits the outbox before the half is ended; it is answered as the other half is read."""
    room = people.room()
    talker = await people.enter("talker", room=room)
    for number in range(25):
        await talker.say(room, f"{number:04}" + "x" * 4000)
    reader, writer = await asyncio.open_connection(*people.chat.gateways[0].tcp, limit=4096)
    ops = [{"op": "hello", "id": 1, "nick": people.nick("asker")}, {"op": "join", "id": 2, "room": room}]
    ops += [{"op": "history", "id": number, "of": room} for number in range(3, 103)]
    writer.write("".join(json.dumps(op) + "\n" for op in ops).encode())
    writer.write_eof()
    await asyncio.sleep(0.3)  # the gateway meets the end while its outbox is full, 10 MB being far too much for it
    lines = (await asyncio.wait_for(reader.read(), 15)).splitlines()
    writer.close()
    answered = [event["re"] for event in map(json.loads, lines) if "re" in event]
    assert answered == [op["id"] for op in ops]
