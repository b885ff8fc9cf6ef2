"""docs/protocol.md, promise 1, where it costs something: gateways, workers and the store die in the middle of
talk.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support import Chat, JsonClient, People, Store, eventually
from tests.support.chat import SHORT_HEARTBEATS
from tests.support.crowd import Crowd
from tests.support.rest import room_path

RETRY = {"unavailable", "rate_limited"}


@pytest.fixture
def own_store() -> Iterator[Store]:
    """A store as promise 1 wants it: AOF, `appendfsync always`."""
    with Store(durable=True) as started:
        yield started


@pytest.fixture
async def people(own_store: Store) -> AsyncIterator[People]:
    """Two gateways, a worker, and a store, all of which may be killed."""
    with Chat(own_store, gateways=2, workers=1) as chat:
        async with People(chat) as opened:
            yield opened


class Talker:
    """A client as the contract wants it: it repeats what was not answered, comes back, and keeps its
    position.
    """

    def __init__(self, people: People, client: JsonClient, room: str, gateways: list[int]) -> None:
        self.people = people
        self.client = client
        self.room = room
        self.gateways = gateways
        self.acked: dict[str, int] = {}
        self.heard: list[tuple[int, str]] = []

    async def say(self, number: int, body: str) -> None:
        """Send until it is acknowledged."""
        for _ in range(400):
            if self.client.closed:
                await self.come_back()
            try:
                answer = await self.client.ask("send", id=number, to=self.room, body=body)
            except (AssertionError, OSError):
                assert self.client.closed, "no answer on a connection that lives"
                continue
            if answer["ev"] == "ack":
                self.acked[body] = answer["seq"]
                return
            assert answer["code"] in RETRY, answer
            await asyncio.sleep(0.05)
        raise AssertionError(f"never acknowledged: {body}")

    async def come_back(self) -> None:
        """Reconnect through any gateway that lives, and resume."""
        self.collect()
        for attempt in range(400):
            gateway = self.people.chat.gateways[self.gateways[attempt % len(self.gateways)]]
            try:
                fresh = await self.people.connect(self.client.name, gateway)
                resume = {self.room: self.client.position(self.room)}
                answer = await fresh.ask("hello", cookie=self.client.cookie, resume=resume)
            except (AssertionError, OSError):
                await asyncio.sleep(0.05)
                continue
            if answer["ev"] == "error":
                assert answer["code"] in RETRY, answer
                await asyncio.sleep(0.05)
                continue
            fresh.entered(answer)
            assert answer["rooms"][self.room]["recovered"] is True, answer
            self.client = fresh
            return
        raise AssertionError("no gateway takes it back")

    def collect(self) -> None:
        self.heard += [(e["seq"], e["body"]) for e in self.client.seen("message", in_=self.room)]


async def _talkers(people: People, gateways: tuple[int, ...], room: str) -> list[Talker]:
    order = list(range(len(people.chat.gateways)))
    return [
        Talker(
            people,
            await people.enter("talker", gateway, room=room),
            room,
            [*order[gateway:], *order[:gateway]],
        )
        for gateway in gateways
    ]


async def _talk_through(talkers: list[Talker], lines: int, midway: asyncio.Event) -> None:
    """Everybody says `lines` lines; `midway` is set when a third is through."""

    async def talk(index: int, talker: Talker) -> None:
        base = talker.client.next_ids(lines)[0]
        for number in range(lines):
            await talker.say(base + number, f"{index}/{number}")
            if number == lines // 3:
                midway.set()

    await asyncio.gather(*(talk(index, talker) for index, talker in enumerate(talkers)))


async def _check(talkers: list[Talker], lines: int) -> None:
    """What all must have heard: every acknowledged line once, under its number, in each sender's order."""
    room = talkers[0].room
    end = 10**6
    await talkers[0].say(2**52, "the end")
    for talker in talkers:
        if talker.client.closed:
            await talker.come_back()
        if not any(body == "the end" for _, body in talker.heard):
            await talker.client.message("the end", in_=room)
        talker.collect()
        seqs = [seq for seq, _ in talker.heard]
        assert seqs == list(range(1, len(seqs) + 1)), "in order, without gaps, each once"
        said = {body: seq for seq, body in talker.heard}
        assert len(said) == len(talker.heard), "each line once"
        for other in talkers:
            for body, seq in other.acked.items():
                assert said[body] == seq, f"acknowledged as {seq}, heard as {said.get(body)}: {body}"
        end = min(end, len(seqs))
    assert end == lines * len(talkers) + 1
    order = [body for _, body in talkers[0].heard]
    for index in range(len(talkers)):
        own = [body for body in order if body.startswith(f"{index}/")]
        assert own == [f"{index}/{number}" for number in range(lines)]


async def test_gateway_is_killed(people: People) -> None:
    """“After `ack` the message survives the death of any gateway ... at any moment”; nobody is announced as
    gone.
    """
    room = people.room()
    watcher = await people.enter("watcher", 1, room=room)
    talkers = await _talkers(people, (0, 0, 1), room)
    midway = asyncio.Event()
    talking = asyncio.create_task(_talk_through(talkers, 60, midway))
    await midway.wait()
    people.chat.gateways[0].kill()
    await talking
    await _check(talkers, 60)
    await watcher.message("the end")
    assert {event["state"] for event in watcher.seen("presence", in_=room)} <= {"online", "away"}


async def test_all_people_of_a_killed_gateway_come_back_at_once(people: People) -> None:
    """“Acknowledged is kept”, “each once”, for everybody; and those who stood at one place cost a few reads of the log,
    not one each.
    """
    first, second = people.chat.gateways
    talker = await people.enter("talker", 1, room=(room := people.room()))
    crowd = Crowd(room)
    try:
        await crowd.enter(first, 300, people.nick("c"))
        await talker.say(room, "seen")
        await crowd.have(1)
        await talker.part(room)  # so that the other gateway holds nothing of the room in memory
        first.kill()
        rest = people.rest(1)
        for number in range(2, 202):
            await rest.post(f"{room_path(room)}/messages", {"body": f"{number}"})
        before = await rest.counter("log_reads")
        again = await crowd.back(second)
        try:
            await again.have(201)
            assert {member.got for member in again.members} == {200}
            assert await rest.counter("log_reads") - before <= 8
        finally:
            again.close()
    finally:
        crowd.close()


async def test_both_gateways_are_killed_one_after_the_other(people: People) -> None:
    """“A gateway (kill -9): its clients reconnect elsewhere ... and resume without loss”: again and again."""
    room = people.room()
    talkers = await _talkers(people, (0, 1), room)
    midway = asyncio.Event()
    talking = asyncio.create_task(_talk_through(talkers, 120, midway))
    await midway.wait()
    people.chat.gateways[0].kill()
    people.chat.gateways[0] = await people.chat.gateway()
    people.chat.gateways.pop()
    people.chat.gateways[1].kill()
    await talking
    await _check(talkers, 120)


async def test_store_is_killed(people: People, own_store: Store) -> None:
    """“and of Redis within what its persistence promises (with `appendfsync always`: all of it)”; gateways
    keep their sockets and answer `unavailable`.
    """
    room = people.room()
    text = await people.text("text", 1, room=room)
    talkers = await _talkers(people, (0, 1), room)
    originals = [talker.client for talker in talkers]
    midway = asyncio.Event()
    talking = asyncio.create_task(_talk_through(talkers, 60, midway))
    await midway.wait()
    own_store.kill()

    async def refused() -> bool:
        return bool(talkers[0].client.seen("error", code="unavailable"))

    await eventually(refused, "an answer without the store", 30)
    await own_store.restart()
    await talking
    await _check(talkers, 60)
    assert [talker.client for talker in talkers] == originals, "gateways keep their sockets"
    await text.expect(rf"\[{room}\] .*: the end")
    lines = [line for line in text.lines if line.startswith(f"[{room}]")]
    assert len(lines) == len(set(lines)) == 121
    assert not [client for client in originals if client.seen("reset")]


async def test_store_is_killed_twice_with_everything_else(people: People, own_store: Store) -> None:
    """All at once: the store, a gateway and the worker die, and come back."""
    room = people.room()
    talkers = await _talkers(people, (0, 1), room)
    midway = asyncio.Event()
    talking = asyncio.create_task(_talk_through(talkers, 60, midway))
    await midway.wait()
    own_store.kill()
    people.chat.gateways[0].kill()
    people.chat.workers[0].kill()
    await own_store.restart()
    people.chat.gateways[0] = await people.chat.gateway()
    people.chat.gateways.pop()
    await people.chat.worker()
    own_store.kill()
    await own_store.restart()
    await talking
    await _check(talkers, 60)


async def test_unavailable_takes_with_it_all_that_was_read(people: People, own_store: Store) -> None:
    """“`unavailable` takes with it everything of that device and target that the gateway had already read, so
    sending it all again keeps the order”.
    """
    room = people.room()
    watcher = await people.enter("watcher", 1, room=room)
    alice = await people.enter("alice", 0, room=room)
    ops = alice.sends(room, map(str, range(250)))
    own_store.kill()
    await alice.push_all(ops[:100])
    answers = await alice.answers(ops[:100], 30)
    assert {answer["ev"] for answer in answers} == {"error"}
    assert {answer["code"] for answer in answers} == {"unavailable"}
    await own_store.restart()

    async def until_taken() -> bool:
        await alice.push_all(ops)
        got = await alice.answers(ops, 30)
        taken = [answer["ev"] == "ack" for answer in got]
        assert taken == sorted(taken, reverse=True), "after the first `unavailable` nothing of that pipeline is taken"
        return all(taken)

    await eventually(until_taken, "the whole pipeline", 30)
    await watcher.message("249", in_=room)
    assert watcher.bodies(room) == [str(n) for n in range(250)]


async def test_direct_messages_while_the_sender_s_gateway_dies(people: People) -> None:
    """Promise 8 over a death: repeated on another gateway, a direct message reaches each of
    its people once.
    """
    crowd = [await people.enter("one", 1) for _ in range(5)]
    to = [f"@{who.nick}" for who in crowd]
    alice = await people.enter("alice", 0)
    ops = alice.sends(to, (f"d{n}" for n in range(60)))
    await alice.push_all(ops)
    await alice.answer(ops[5]["id"])
    people.chat.gateways[0].kill()
    await alice.ended()
    again = await people.back(alice, 1, resume={})
    await again.push_all(ops)
    assert {answer["ev"] for answer in await again.answers(ops)} == {"ack"}
    for who in crowd:
        await who.message("d59")
        assert who.bodies("@") == [f"d{n}" for n in range(60)]
    data = (await again.ask("history", of="@", limit=100, want="result"))["data"]
    assert [message["body"] for message in data["messages"]] == [f"d{n}" for n in range(60)]


async def test_text_client_after_a_gateway_s_crash(people: People) -> None:
    """“after a gateway's crash some lines may repeat, none is missing”."""
    room = people.room()
    reader = await people.enter("reader", 1, room=room)
    text = await people.text("text", 0, room=room)
    for number in range(30):
        await reader.say(room, f"line {number}")
    await text.expect(rf"\[{room}\] .*: line 10")
    people.chat.gateways[0].kill()
    await text.ended()
    for number in range(30, 40):
        await reader.say(room, f"line {number}")
    again = await people.connect_text("again", 1)
    await again.reconnect(text.cookie)
    await again.expect(rf"\[{room}\] .*: line 39")
    shown = [line.split(": line ")[1] for line in text.lines + again.lines if ": line " in line]
    assert {int(number) for number in shown} == set(range(40))


async def test_sanctions_survive_the_restart_of_everything(people: People, own_store: Store) -> None:
    """“survives the restart of everything”."""
    admin = await people.admin(0)
    banned, quiet = people.nick("banned"), await people.enter("quiet", 1)
    await admin.command(f"!ban {banned} 10m spam")
    await admin.command("!ban 127.11.60.0/24 10m")
    await admin.command(f"!suspend {quiet.nick} 10m")
    for process in [*people.chat.gateways, *people.chat.workers]:
        process.kill()
    own_store.kill()
    await own_store.restart()
    people.chat.gateways[:] = []
    await people.chat.gateway()
    await people.chat.worker()
    client = await people.connect()
    await client.refused("banned", "hello", nick=banned)
    again = await people.back(quiet)
    await again.refused("suspended", "send", to="#lobby", body="x")
    subjects = {item["subject"] for item in await people.rest().items("/bans")}
    assert {banned, "127.11.60.0/24"} <= subjects
    assert [item for item in await people.rest().items("/audit") if item["whom"] == banned]


async def test_readyz_tells_of_an_outage(people: People, own_store: Store) -> None:
    """“GET /readyz 200, or 503 when delivery is not proven to work”; `/healthz` says only that the process
    runs.
    """
    rest = people.rest()

    async def answers(status: int) -> bool:
        return (await rest.http.get("/readyz")).status_code == status

    assert await answers(200)
    own_store.kill()
    await eventually(lambda: answers(503), "503 while the store is away", 40)
    assert (await rest.http.get("/healthz")).status_code == 200
    response = await rest.call("GET", "/bans")
    assert response.status_code == 503
    assert response.headers["content-type"].startswith("application/problem+json")
    await own_store.restart()
    await eventually(lambda: answers(200), "200 when it is back", 40)


async def test_hello_while_the_store_is_away(people: People, own_store: Store) -> None:
    """“`unavailable` (the store cannot be reached; send again)”: hello, join, history, commands."""
    alice = await people.enter("alice")
    fresh = await people.connect()
    own_store.kill()
    await fresh.refused("unavailable", "hello", nick=people.nick(), patience=30)
    await alice.refused("unavailable", "send", to="#lobby", body="x", patience=30)
    await alice.refused("unavailable", "send", to=f"@{alice.nick}", body="x", patience=30)
    await alice.refused("unavailable", "join", room=people.room(), patience=30)
    await alice.refused("unavailable", "command", line="!list", patience=30)
    await own_store.restart()

    async def back() -> bool:
        return bool((await fresh.ask("hello", nick=people.nick(), patience=30))["ev"] == "welcome")

    await eventually(back, "a hello that is taken", 30)
    assert not alice.closed


# With short heartbeats.


@pytest.fixture
async def quick_people(own_store: Store) -> AsyncIterator[People]:
    with Chat(own_store, gateways=2, workers=2, **SHORT_HEARTBEATS) as chat:
        async with People(chat) as opened:
            yield opened


async def test_crashed_clients_of_a_killed_gateway(quick_people: People) -> None:
    """A member is `crashed` “like one whose gateway died”: once, with one of two workers killed as well; one
    that came back in time is not.
    """
    people, room = quick_people, quick_people.room()
    watcher = await people.enter("watcher", 1, room=room)
    lost = await people.enter("lost", 0, room=room)
    returns = await people.enter("returns", 0, room=room)
    await lost.say(room, "I was here")
    await returns.say(room, "me too")
    people.chat.gateways[0].kill()
    people.chat.workers[0].kill()
    again = await people.back(returns, 1)
    await watcher.expect("presence", in_=room, nick=lost.nick, state="crashed")
    for _ in range(5):
        await watcher.expect("ping")
    assert len(watcher.seen("presence", in_=room, nick=lost.nick, state="crashed")) == 1
    assert not watcher.seen("presence", in_=room, nick=returns.nick, state="crashed")
    assert not watcher.seen("presence", in_=room, nick=returns.nick, state="gone")
    await again.say(room, "back")


async def test_worker_that_comes_later_finds_what_expired(quick_people: People) -> None:
    """Expiry is noticed although no worker ran when it happened: “nothing forgotten”."""
    people, room = quick_people, quick_people.room()
    watcher = await people.enter("watcher", 1, room=room)
    lost = await people.enter("lost", 0, room=room)
    await lost.say(room, "I was here")
    for worker in people.chat.workers:
        worker.kill()
    lost.abort()
    await lost.ended()
    for _ in range(8):
        await watcher.expect("ping")
    assert not watcher.seen("presence", in_=room, nick=lost.nick, state="crashed")
    await people.chat.worker()
    await watcher.expect("presence", in_=room, nick=lost.nick, state="crashed", patience=30)


@pytest.mark.parametrize("how", ["kill", "pause", "refuse writes"])
async def test_outage_of_the_store_is_no_death_of_its_clients(quick_people: People, own_store: Store, how: str) -> None:
    """“an outage of the store is no death of its clients”: longer than any TTL, and nobody is announced."""
    people, room = quick_people, quick_people.room()
    members = [await people.enter("member", n, room=room) for n in (0, 1)]
    texts = [await people.text("text", n, room=room) for n in (0, 1)]
    for member in members:
        await member.caught_up(room)
    begin, end = {
        "kill": (own_store.kill, own_store.start),
        "pause": (own_store.pause, own_store.wake),
        "refuse writes": (lambda: own_store.limit_memory("1mb"), lambda: own_store.limit_memory("0")),
    }[how]
    begin()
    # Real time must pass: twice the heartbeat's TTL.
    await asyncio.sleep(3)
    end()
    number = members[0].next_id()

    async def taken() -> bool:
        return bool((await members[0].ask("send", id=number, to=room, body="after", patience=30))["ev"] == "ack")

    await eventually(taken, "a send after the outage", 30)
    await members[1].message("after", patience=30)
    for _ in range(8):
        await members[1].expect("ping")
    for member in members:
        assert not member.closed
        states = {event["state"] for event in member.seen("presence", in_=room)}
        assert states <= {"online"}, member.seen("presence", in_=room)
    for text in texts:
        await text.expect(rf"\[{room}\] .*: after")


async def test_gateway_that_sleeps_and_wakes(quick_people: People) -> None:
    """“A gateway that pauses and wakes: its writes are refused, its clients are told `replaced` or resume”;
    it takes back nothing that happened meanwhile.
    """
    people, room = quick_people, quick_people.room()
    watcher = await people.enter("watcher", 1, room=room)
    alice = await people.enter("alice", 0, room=room)
    stays = await people.enter("stays", 0, room=room)
    for who in (alice, stays):
        await who.say(room, f"{who.nick} is here")
    people.chat.gateways[0].pause()
    again = await people.back(alice, 1)
    await watcher.expect("presence", in_=room, nick=stays.nick, state="crashed")
    late = alice.next_id()
    await alice.push({"op": "send", "id": late, "to": room, "body": "from the grave"})
    people.chat.gateways[0].wake()
    await alice.ended()
    assert [bye["code"] for bye in alice.seen("bye")] in ([], ["replaced"])
    assert not alice.seen("ack", re=late), "a write of a replaced connection is refused"
    await again.say(room, "the living")
    await watcher.message("the living")
    for _ in range(4):
        await watcher.expect("ping")
    assert "from the grave" not in watcher.bodies(room)
    listed = {e["nick"]: e["state"] for e in (await watcher.command(f"!list {room}"))["data"]["sessions"]}
    assert listed[again.nick] == "online"
    if stays.closed:
        stays = await people.back(stays, 1)
    await stays.say(room, "here again")
    await watcher.message("here again")

    async def listed_online() -> bool:
        sessions = (await watcher.command(f"!list {room}"))["data"]["sessions"]
        return {e["nick"]: e["state"] for e in sessions}[stays.nick] == "online"

    await eventually(listed_online, "somebody who talks listed as online")
