"""docs/protocol.md: `--redis-url` with `redis+cluster://` and `redis+sentinel://`, on real servers; and servers that
are away or refuse.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from tests.support import Chat, People, Store, eventually
from tests.support.chat import SHORT_HEARTBEATS
from tests.support.processes import Process, run_program
from tests.support.sentinel import Sentinel
from tests.support.store import free_port
from tests.support.timing import PATIENCE
from tests.support.tls import self_signed, terminated


def form_cluster(*stores: Store) -> None:
    """Let stores that just started own all slots together."""
    share = 16384 // len(stores)
    for i, store in enumerate(stores):
        with store.client() as client:
            client.execute_command(f"CLUSTER ADDSLOTSRANGE {i * share} {(i + 1) * share - 1}")
            if i:
                client.execute_command(f"CLUSTER MEET 127.0.0.1 {stores[0].port} {stores[0].extra['cluster_port']}")
    for store in stores:
        with store.client() as client:
            deadline = time.monotonic() + PATIENCE
            while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                assert time.monotonic() < deadline, "the cluster does not come up"
                time.sleep(0.05)


@pytest.fixture(scope="module")
def cluster_url() -> Iterator[str]:
    """A cluster of one node, which refuses a script that touches two slots as a big one does."""
    with Store(cluster_enabled="yes", cluster_port=free_port()) as store:
        form_cluster(store)
        yield f"redis+cluster://127.0.0.1:{store.port}"


@pytest.fixture(scope="module")
def sentinel_url() -> Iterator[str]:
    """One master and one sentinel that watches it."""
    with Store() as store, Sentinel(store) as sentinel:
        yield sentinel.url


@pytest.fixture(params=["cluster_url", "sentinel_url"])
async def people(request: pytest.FixtureRequest, store: Store) -> AsyncIterator[People]:
    url: str = request.getfixturevalue(request.param)
    with Chat(store, gateways=2, workers=1, redis_url=url, **SHORT_HEARTBEATS) as chat:
        async with People(chat) as opened:
            yield opened
        (worker,) = chat.workers
        worker.terminate()
        assert await worker.exit_code() == 0, worker.describe()


async def test_a_chat_on_it(people: People) -> None:
    """“`redis+sentinel://host:port,host:port/master-name`, `redis+cluster://host:port,...`”: all families of
    operations work, over two gateways.
    """
    rooms = [people.room() for _ in range(3)]
    alice, bob = await people.enter("alice", 0), await people.enter("bob", 1)
    text = await people.text("text", 1, room=rooms[0])
    for room in rooms:
        await alice.command(f"!join {room}")
        await bob.join(room)
        await alice.say(room, f"hi {room}")
        assert (await bob.message(f"hi {room}"))["seq"] == 1
    await text.expect(rf"\[{rooms[0]}\] {alice.nick}: hi {rooms[0]}")
    await alice.say([f"@{bob.nick}", f"@{text.nick}"], "psst")
    await bob.message("psst")
    await text.expect(rf"\[@\] {alice.nick} -> {bob.nick}, {text.nick}: psst")
    new = people.nick("robert")
    await bob.command(f"!nick {new}")
    listed = (await alice.command("!list"))["data"]["sessions"]
    assert {alice.nick, new, text.nick} <= {entry["nick"] for entry in listed}
    resume = bob.positions()
    await bob.hang_up()
    await alice.say(rooms[1], "missed")
    again = await people.back(bob, 0, resume=resume)
    await again.message("missed")
    rest = people.rest(1)
    await rest.post("/suspensions", {"nick": new, "duration": "10m"})
    for room in rooms:
        await again.refused("suspended", "send", to=room, body="x")
    await rest.post("/forgive", {"nick": new})
    await again.say(rooms[2], "free")
    await rest.post("/bans", {"subject": new})
    await again.ended("banned")
    assert [item["subject"] for item in await rest.items("/bans")] == [new]
    assert len(await rest.items("/audit")) == 3
    carol = await people.enter("carol", 1, room=rooms[0])
    await carol.say(rooms[0], "a word")
    carol.abort()
    await alice.expect("presence", in_=rooms[0], nick=carol.nick, state="crashed")


async def _complains(process: Process, what: str) -> None:
    """Wait for one clear line about the store."""

    async def said() -> bool:
        return what in process.stderr

    await eventually(said, f"a line with {what!r}")
    assert "Traceback" not in process.stderr
    assert process.stderr.count(what) == 1, "it says so once, not at every try"


async def test_a_cluster_that_is_away() -> None:
    """“A gateway that cannot reach the store yet listens already (...), refuses a `hello` as `unavailable` ... and is
    `ready` later”; and while it runs: “`unavailable` (the store cannot be reached; send again)”.
    """
    store = Store(durable=True, cluster_enabled="yes", cluster_port=free_port())
    with Chat(store, gateways=0, workers=0, redis_url=f"redis+cluster://127.0.0.1:{store.port}") as chat:
        gateway, worker = chat.launch_gateway(), chat.launch_worker()
        for process in (gateway, worker):
            await _complains(process, "the store is away")
        with store:
            form_cluster(store)
            await gateway.is_ready()
            await worker.is_ready()
            async with People(chat) as people:
                alice = await people.enter("alice")
                await alice.say("#lobby", "before")
                store.kill()
                await alice.refused("unavailable", "send", to="#lobby", body="while it is away")
                await alice.refused("unavailable", "command", line="!list")
                await store.restart()

                async def back() -> bool:
                    return (await alice.ask("send", to="#lobby", body="after"))["ev"] == "ack"

                await eventually(back, "a send after the cluster's return", 40)
                await alice.message("after", patience=30)
            for process in (gateway, worker):
                assert "Traceback" not in process.stderr


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_part_of_a_cluster_that_is_away() -> None:
    """“Redis ... away for longer than any TTL: ... nobody is announced as crashed for it”, also where it is only one
    node of a cluster, and the others answer what needs no slot.
    """
    common: dict[str, object] = {"durable": True, "cluster_enabled": "yes", "cluster_node_timeout": 800}
    with Store(cluster_port=free_port(), **common) as one, Store(cluster_port=free_port(), **common) as other:
        form_cluster(one, other)
        url = f"redis+cluster://127.0.0.1:{one.port},127.0.0.1:{other.port}"
        with Chat(one, gateways=2, workers=1, redis_url=url, **SHORT_HEARTBEATS) as chat:
            async with People(chat) as people:
                members = [await people.enter("member", n % 2) for n in range(8)]
                for member in members:
                    await member.caught_up("#lobby")
                other.kill()
                # Real time must pass: twice the heartbeat's TTL.
                await asyncio.sleep(3)
                await other.restart()

                async def back() -> bool:
                    return (await members[0].ask("send", to="#lobby", body="after"))["ev"] == "ack"

                await eventually(back, "a send after the node's return", 40)
                await members[1].message("after", patience=30)
                for _ in range(8):
                    await members[1].expect("ping")
                for member in members:
                    assert not member.closed
                    states = {event["state"] for event in member.seen("presence", in_="#lobby")}
                    assert states <= {"online"}, states


async def test_a_store_that_refuses() -> None:
    """A password that is missing or wrong is said in one line; once the store takes us, the chat goes on."""
    with Store() as store, Chat(store, gateways=0, workers=0) as chat:
        with store.client() as operator:
            operator.config_set("requirepass", "sesame")
        without, worker = chat.launch_gateway(), chat.launch_worker()
        wrong = chat.launch_gateway(redis_url=f"redis://:open@127.0.0.1:{store.port}")
        for process, what in ((without, "NOAUTH"), (worker, "NOAUTH"), (wrong, "WRONGPASS")):
            await _complains(process, what)
            assert "sesame" not in process.stderr
        with redis.Redis(port=store.port, password="sesame") as operator:
            operator.config_set("requirepass", "")
        await without.is_ready()
        await worker.is_ready()


async def test_a_store_behind_tls(store: Store, tmp_path: Path) -> None:
    """“`rediss://`”: by TLS, and only where the certificate is one to trust."""
    certificate, key = self_signed(tmp_path)
    async with terminated(store.port, certificate, key) as port:
        url = f"rediss://127.0.0.1:{port}/0"
        with Chat(store, gateways=0, workers=0, redis_url=f"{url}?ssl_ca_certs={certificate}") as chat:
            await chat.gateway()
            await chat.worker()
            async with People(chat) as people:
                alice, bob = await people.enter("alice"), await people.enter("bob")
                await alice.say("#lobby", "in private")
                await bob.message("in private")
            await _complains(chat.launch_gateway(redis_url=url), "CERTIFICATE_VERIFY_FAILED")


async def test_what_is_no_store() -> None:
    """Whoever answers there: no traceback, and no flood of lines."""

    async def other(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(other, "127.0.0.1", 0)
    with Chat(
        Store(), gateways=0, workers=0, redis_url=f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    ) as chat:
        await _complains(chat.launch_gateway(), "the store is away")
    server.close()


async def test_a_store_that_does_not_take_what_we_write() -> None:
    """“2 for bad arguments or settings (one clear line on standard error, no traceback)”: a user without rights."""
    with Store() as store:
        with store.client() as operator:
            operator.execute_command("ACL SETUSER guest on nopass +ping +role")
        for program in ("gateway", "worker"):
            ended = await run_program(
                [sys.executable, "-m", program, "--redis-url", f"redis://guest:x@127.0.0.1:{store.port}"],
                env={"CAUSERIE_HTTP_PORT": "auto", "CAUSERIE_TCP_PORT": "auto"},
            )
            assert ended.returncode == 2, ended
            assert "Traceback" not in ended.stderr
            assert "NOPERM" in ended.stderr


@pytest.fixture
def master() -> Iterator[Store]:
    with Store(repl_diskless_sync_delay=0) as started:
        yield started


@pytest.fixture
def replica(master: Store) -> Iterator[Store]:
    with Store(replicaof=f"127.0.0.1 {master.port}") as started:
        yield started


@pytest.fixture
async def sentinel(master: Store, replica: Store) -> AsyncIterator[Sentinel]:
    with Sentinel(master) as started:
        await started.knows_replica()
        yield started


async def test_failover_by_sentinel_loses_nothing_told(master: Store, replica: Store, sentinel: Sentinel) -> None:
    """“redis+sentinel” is for failover: after one, the chat goes on by itself on the replica."""
    with Chat(master, gateways=2, workers=1, redis_url=sentinel.url) as chat:
        async with People(chat) as people:
            room = people.room()
            alice = await people.enter("alice", 0, room=room)
            bob = await people.enter("bob", 1, room=room)
            await alice.say(room, "before")
            await bob.message("before")
            await _caught_up(master, replica)
            master.kill()
            number = alice.next_id()

            async def taken() -> bool:
                answer = await alice.ask("send", id=number, to=room, body="after", patience=30)
                return bool(answer["ev"] == "ack")

            await eventually(taken, "a send after the failover", 40)
            assert (await bob.message("after", patience=30))["seq"] == 2
            assert not alice.seen("reset")
            assert not bob.seen("reset")


async def test_nothing_goes_to_a_master_that_is_one_no_more(master: Store, replica: Store, sentinel: Sentinel) -> None:
    """After a failover by hand the old master takes writes for seconds, until its demotion wipes them out. What is
    acknowledged then must be on the new one.
    """
    with Chat(master, gateways=2, workers=1, redis_url=sentinel.url) as chat:
        async with People(chat) as people:
            room = people.room()
            alice = await people.enter("alice", 0, room=room)
            bob = await people.enter("bob", 1, room=room)
            await alice.say(room, "before")
            await bob.message("before")
            await _caught_up(master, replica)

            async def ordered() -> bool:
                return sentinel.ask("FAILOVER", "talk") is not None

            await eventually(ordered, "a replica good enough", 40)
            with replica.client() as promoted, master.client() as old:

                async def left() -> bool:
                    feeds = [client for client in old.client_list(_type="pubsub") if int(client["sub"]) > 1]
                    return sentinel.master == replica.port and not feeds

                await eventually(left, "the gateways away from the old master")
                assert old.info("replication")["role"] == "master"
                assert await alice.say(room, "after")
                await bob.message("after")
                assert promoted.xlen(f"{chat.namespace}:{{{room}}}:log") == 2


async def _caught_up(master: Store, replica: Store) -> None:
    """Until the replica has all that the master has."""

    async def same() -> bool:
        with master.client() as one, replica.client() as other:
            ours, theirs = one.info("replication"), other.info("replication")
            if theirs["master_link_status"] != "up":
                return False
            return bool(ours["master_repl_offset"] <= theirs["slave_repl_offset"])

    await eventually(same, "the replica's copy")
