"""A game of Killer as its players see it: each knows what was whispered to it, and nothing else."""

import asyncio
from typing import Any

from tests.support.json_client import JsonClient
from tests.support.people import People

WORDS = ("anchor", "biscuit", "cactus", "dolphin", "eclipse", "feather", "glacier", "hammock")


class Killer:
    """A room, its moderator (who plays too) and the other players, spread over the gateways."""

    def __init__(self, people: People, room: str, players: list[JsonClient]) -> None:
        self.people, self.room = people, room
        self.moderator = players[0]
        self.players = {player.nick: player for player in players}
        self.dead: set[str] = set()

    @classmethod
    async def begin(cls, people: People, count: int = 3, options: str = f"words={','.join(WORDS)}") -> "Killer":
        """Open a room, bring people there, start, and wait until each has its mission."""
        made = await cls.gather(people, count)
        await made.start(options)
        return made

    @classmethod
    async def gather(cls, people: People, count: int = 3) -> "Killer":
        """The same without starting."""
        room = people.room("arena")
        gateways = len(people.chat.gateways)
        players = [await people.enter(f"p{n}x", n % gateways) for n in range(count)]
        for player in players:
            await player.command(f"!join {room}")
        return cls(people, room, players)

    async def start(self, options: str = f"words={','.join(WORDS)}") -> dict[str, Any]:
        answer = await self.moderator.command(f"!start killer {options}")
        await asyncio.gather(*[self.mission(nick) for nick in self.players])
        return answer

    async def mission(self, nick: str, number: int = 1) -> tuple[str, str]:
        """(target, word) of the whisper `number` to this player; waits for it."""
        player = self.players[nick]
        while len(player.seen(is_mission)) < number:
            await player.expect(is_mission)
        event = player.seen(is_mission)[number - 1]
        return event["game"]["target"], event["game"]["word"]

    def missions(self) -> dict[str, tuple[str, str]]:
        """What each of the living was told last."""
        return {
            nick: (event["game"]["target"], event["game"]["word"])
            for nick, player in self.players.items()
            if nick not in self.dead
            for event in player.seen(is_mission)[-1:]
        }

    def hunter_of(self, nick: str) -> str:
        """Who hunts this player."""
        return next(hunter for hunter, (target, _) in self.missions().items() if target == nick)

    async def died(self, nick: str, *, at: JsonClient | None = None) -> dict[str, Any]:
        """Wait for the news of a death."""
        watcher = at or self.moderator
        event = await watcher.expect(
            lambda event: event.get("kind") == "game" and event["game"].get("who") == nick and "left" in event["game"]
        )
        self.dead.add(nick)
        return dict(event)


def is_mission(event: dict[str, Any]) -> bool:
    """Whether an event is the whisper of a target and a word."""
    return event["ev"] == "message" and event["in"] == "@" and event.get("game", {}).get("event") == "mission"


def told(client: JsonClient, room: str, *kinds: str) -> list[dict[str, Any]]:
    """What the game told the room, as programs read it."""
    events = client.seen(lambda event: event["ev"] == "message" and event["in"] == room and event["kind"] == "game")
    return [event["game"] for event in events if "game" in event and (not kinds or event["game"]["event"] in kinds)]
