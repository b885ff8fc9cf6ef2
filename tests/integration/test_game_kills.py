"""docs/games.md: what a game tells is told once, whatever dies at the very moment at which somebody is killed.

Real processes and a store that writes everything; the players talk through our own client, which comes back by
itself. When a process dies is drawn from a seed: somewhere between the killing line and the end of what follows.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from causerie.client import Client, Event, Refused, Result
from tests.support import Chat, Store, eventually
from tests.support.processes import Gateway, Worker
from tests.support.timing import PATIENCE
from tests.support.words import new_room

WORDS = ("anchor", "biscuit", "cactus", "dolphin", "eclipse", "feather")
MOMENT_S = 0.03
"""A line that kills is answered within this time when nothing dies."""
LONG = 4 * PATIENCE


@pytest.fixture
def doomed() -> Iterator[Chat]:
    """Two gateways and two workers on a store as promise 1 wants it, all of which may be killed."""
    with Store(durable=True) as store, Chat(store, gateways=2, workers=2) as chat:
        yield chat


class Player:
    """One who plays, and all that it was told."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.told: list[Event] = []
        self._news = asyncio.Condition()
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for event in self.client.events():
            assert event["ev"] not in {"lost", "gap", "reset", "skipped", "session_lost", "left"}, event
            async with self._news:
                self.told.append(event)
                self._news.notify_all()

    def games(self, *kinds: str) -> list[dict[str, Any]]:
        """What the game told it."""
        return [event["game"] for event in self.told if "game" in event and event["game"]["event"] in kinds]

    async def until(self, kind: str, count: int) -> list[dict[str, Any]]:
        """Wait until the game told so many things of a kind."""
        async with asyncio.timeout(LONG), self._news:
            await self._news.wait_for(lambda: self.reading.done() or len(self.games(kind)) >= count)
        if self.reading.done():
            self.reading.result()
        return self.games(kind)

    async def say(self, room: str, body: str) -> int:
        """Post until it is acknowledged; its seq, or 0 if the dead may not."""
        try:
            return (await self.client.send(room, body)).seq
        except Refused as refused:
            if refused.code != "dead":
                raise
            return 0


class Table:
    """A game, and what must have been told of it."""

    def __init__(self, chat: Chat, room: str, players: dict[str, Player]) -> None:
        self.chat, self.room, self.players = chat, room, players
        self.missions = dict.fromkeys(players, 0)
        self.lines: dict[str, int] = {}
        """Who was killed, and by the line with which number."""

    async def start(self) -> None:
        first = next(iter(self.players.values()))
        await first.client.command(f"!start {self.room} killer words={','.join(WORDS)}")
        for nick in self.players:
            await self.dealt(nick)

    async def dealt(self, nick: str) -> None:
        """Wait for the next mission of a player."""
        self.missions[nick] += 1
        await self.players[nick].until("mission", self.missions[nick])

    def hunter_of(self, victim: str) -> tuple[str, str]:
        """Who hunts it, by which word."""
        living = [nick for nick in self.players if nick not in self.lines]
        held = {nick: self.players[nick].games("mission")[-1] for nick in living}
        return next((nick, one["word"]) for nick, one in held.items() if one["target"] == victim)

    async def kill(self, victim: str, meanwhile: "Deaths", moment: float) -> None:
        """Let a player write the word that kills it, twice, while something dies."""
        hunter, word = self.hunter_of(victim)
        living = [nick for nick in self.players if nick not in self.lines]
        player = self.players[victim]
        await meanwhile.aim(self.room)
        lines = [asyncio.create_task(player.say(self.room, f"{word.upper()}, {i}")) for i in range(2)]
        await asyncio.sleep(moment)
        await meanwhile.strike()
        self.lines[victim] = (await asyncio.gather(*lines))[0]
        for nick in living:
            await self.players[nick].until("death", len(self.lines))
        if len(living) > 2:
            await self.dealt(hunter)

    async def check(self) -> None:
        """Every kill was told once, after its line, to all; nobody was dealt anything twice."""
        (winner,) = self.players.keys() - self.lines.keys()
        for player in self.players.values():
            assert await player.until("won", 1) == [{"game": "killer", "event": "won", "who": winner}]
            deaths = [event for event in player.told if event.get("game", {}).get("event") == "death"]
            assert [event["game"]["who"] for event in deaths] == list(self.lines)
            for event in deaths:
                assert event["seq"] > self.lines[event["game"]["who"]] > 0
        assert {nick: len(player.games("mission")) for nick, player in self.players.items()} == self.missions
        answer = await self.players[winner].client.command(f"!score {self.room}")
        assert isinstance(answer, Result)
        scores = answer.data["scores"]
        assert sum(one["kills"] for one in scores) == len(self.lines)
        assert [one["nick"] for one in scores if one["wins"]] == [winner]
        assert {one["nick"] for one in scores if one["deaths"] == 1} == set(self.lines)
        for player in self.players.values():
            assert await player.say(self.room, "all can speak again")


class Deaths:
    """Kills one part of a chat after the other, and puts another in its place."""

    def __init__(self, chat: Chat, what: str) -> None:
        self.chat, self.what = chat, what
        self.runner = chat.workers[0]

    async def aim(self, room: str) -> None:
        """Find the worker that runs the game."""

        async def runner() -> Worker | None:
            with self.chat.store.client() as redis:
                owner = redis.hget(f"{self.chat.namespace}:games", room)
            return next((one for one in self.chat.workers if one.ready["worker"] == owner), None)

        found = await eventually(runner, "a worker that runs the game")
        assert found is not None
        self.runner = found

    async def strike(self) -> None:
        """One death, or several at once."""
        store, gateway = self.chat.store, self.chat.gateways[0]
        parts: dict[str, Store | Worker | Gateway] = {"store": store, "worker": self.runner, "gateway": gateway}
        dying = parts if self.what == "all" else {self.what}
        for part in dying:
            parts[part].kill()
        if "store" in dying:
            await store.restart()
        begun: list[Worker | Gateway] = []
        if "worker" in dying:
            self.chat.workers.remove(self.runner)
            begun.append(self.chat.launch_worker())
        if "gateway" in dying:
            self.chat.gateways.remove(gateway)
            begun.append(self.chat.launch_gateway(tcp_port=gateway.tcp[1]))
        await asyncio.gather(*[one.is_ready() for one in begun])


def url(gateway: Gateway) -> str:
    return "tcp://{}:{}".format(*gateway.tcp)


@contextlib.asynccontextmanager
async def seated(chat: Chat, count: int) -> AsyncIterator[Table]:
    """A room with players, spread over the gateways."""
    room, urls = new_room("arena"), [url(gateway) for gateway in chat.gateways]
    async with contextlib.AsyncExitStack() as stack:
        players = {}
        for i in range(count):
            turned = urls[i % len(urls) :] + urls[: i % len(urls)]
            client = await stack.enter_async_context(Client(turned, nick=f"player{i}"))
            players[client.nick] = Player(client)
            await client.join(room)
        table = Table(chat, room, players)
        yield table
        for player in players.values():
            player.reading.cancel()


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(("what", "seed"), [("worker", 1), ("gateway", 2), ("store", 3), ("all", 4)])
async def test_something_dies_at_every_kill(doomed: Chat, what: str, seed: int) -> None:
    """“a takeover, a worker that slept and a store that was killed in the middle double nothing and miss nothing”."""
    chance = random.Random(seed)
    deaths = Deaths(doomed, what)
    async with seated(doomed, 4) as table:
        await table.start()
        for victim in chance.sample(sorted(table.players), 3):
            await table.kill(victim, deaths, chance.uniform(0, MOMENT_S))
        await table.check()


@pytest.mark.slow
async def test_kills_while_no_worker_lives(doomed: Chat) -> None:
    """“What was written later never counts before what was written earlier”: a worker that comes later finds all."""
    async with seated(doomed, 4) as table:
        await table.start()
        for worker in doomed.workers:
            worker.kill()
        doomed.workers.clear()
        first = next(iter(table.players))
        held = {nick: player.games("mission")[-1] for nick, player in table.players.items()}
        heir, second = table.hunter_of(first)[0], held[first]["target"]
        # The heir will kill the second by the word of the first, though nobody knows it yet; and what the first
        # says after its own word is nothing but noise.
        table.lines[first] = await table.players[first].say(table.room, held[heir]["word"])
        await table.players[first].say(table.room, " ".join(WORDS))
        table.lines[second] = await table.players[second].say(table.room, held[first]["word"])
        third = held[second]["target"]
        await doomed.worker()
        await table.dealt(heir)
        await table.dealt(heir)
        assert table.hunter_of(third) == (heir, held[second]["word"])
        table.lines[third] = await table.players[third].say(table.room, held[second]["word"])
        await table.check()
