"""Games as people ask for them: who may begin, end and look behind one, and with whom."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from causerie import games, names
from causerie.commands import Actor
from causerie.errors import Refused
from causerie.games import Game, Player, Secret, Stopped, read_options
from causerie.model import Mids, Post
from causerie.referee import Referee, Seat, Standing
from causerie.rights import Rights, digest
from causerie.store import Store
from causerie.store.games import MOST_GAMES
from causerie.store.games import Standing as Score

if TYPE_CHECKING:
    from typing import Any

_WITHOUT: Final = {"without": "people who are in the room and do not play"}
_NO_GAME: Final = "no game is played in {}"
_TRIES: Final = 5


class Playing:
    """Games on one store. Every call may raise `Refused` and `Unavailable`."""

    def __init__(self, store: Store, rights: Rights) -> None:
        self._store, self._rights = store, rights
        self._referee = Referee(store.games)
        self._mids = Mids()

    async def _moderated(self, actor: Actor, room: str | None) -> str:
        room = room or actor.current
        await self._rights.demand_moderator(actor, room)
        return room

    async def start(
        self, actor: Actor, room: str | None, name: str, text: str, id_: int | None = None
    ) -> tuple[str, list[str]]:
        """Begin a game in a room (None: the current one); returns the room and who plays.

        Everybody plays who is there, online and not suspended, but those whom `without=` names.
        """
        room = await self._moderated(actor, room)
        game = games.find(name)
        options = read_options(text, {**game.options, **_WITHOUT})
        without = {names.nick(nick.removeprefix("@")) for nick in options.pop("without", "").replace(",", " ").split()}
        running = await self._store.games.exists(room)
        if not running:
            if await self._store.games.count() >= MOST_GAMES:
                raise Refused("denied", "too many games are played now")
            await self._store.games.offer(room)
        players = await self._begin(actor, room, game, options, without, id_)
        await self._store.games.offer(room, only_new=True)
        await self._store.control.publish("games", {})
        if not running:
            await self._store.control.audit(actor.name, "start", "", game.name, None, room)
        return room, players

    async def _begin(
        self, actor: Actor, room: str, game: Game[Any], options: dict[str, str], without: set[str], id_: int | None
    ) -> list[str]:
        session = actor.session
        ask = "" if session is None or id_ is None else f"{session.sid}/{session.device} {id_}"
        for _ in range(_TRIES):
            players = await self._players(room, game, without)
            match await self._referee.begin(room, game, players, options, secrets.randbits(64), ask):
                case "begun":
                    return sorted(player.nick for player in players)
                case "running":
                    raise Refused("bad_request", f"a game is played in {room} already; !stop ends it")
        raise Refused("unavailable", f"people come and go in {room} too fast; try again")

    async def _players(self, room: str, game: Game[Any], without: set[str]) -> list[Player]:
        people = await self._store.rooms.people(room)
        if not people:
            raise Refused("no_such_room", f"nobody is in {room}")
        if not game.least:
            return []
        able = [
            Player(sid, one.nick)
            for sid, one in people.items()
            if one.state == "online" and "suspended" not in one.flags and one.nick not in without
        ]
        if not game.least <= len(able) <= game.most:
            needed = f"{game.least} to {game.most} people who are online"
            raise Refused("bad_request", f"{game.name} is for {needed}; here are {len(able)}")
        return able

    async def stop(self, actor: Actor, room: str | None) -> str:
        """End the game of a room, with all that was written before; returns the room."""
        room = await self._moderated(actor, room)
        ended = await self._referee.advance(room, Seat(), Stopped(actor.name))
        if ended is not Standing.ENDED:
            raise Refused("bad_request", _NO_GAME.format(room))
        await self._store.control.audit(actor.name, "stop", "", "", None, room)
        return room

    async def secrets(self, actor: Actor, room: str | None, id_: int | None = None) -> tuple[str, Sequence[Secret]]:
        """What is hidden in the game of a room. The room is told when somebody looks who plays in it."""
        room = await self._moderated(actor, room)
        found = await self._referee.secrets(room)
        if found is None:
            raise Refused("bad_request", _NO_GAME.format(room))
        session = actor.session
        if session is not None and await self._store.games.plays(room, [session.sid]):
            key = "" if id_ is None else digest(f"secrets {session.sid} {session.device} {id_}")
            body = f"{session.nick}, who plays, looks at the secrets of the game."
            post = Post(None, names.GAME, 1 if key else None, "game", body, self._mids.next(), key=key)
            (outcome,) = await self._store.logs.append(room, [post])
            if outcome.error is not None:
                raise outcome.error
        await self._store.control.audit(actor.name, "secrets", "", "", None, room)
        return room, found

    async def scores(self, actor: Actor, room: str | None) -> list[Score]:
        """The scores of a room, or of all rooms that the actor is in together; the best first."""
        total: dict[str, Score] = {}
        for each in [room] if room else await self._rooms(actor):
            for sid, score in (await self._store.games.scores(each)).items():
                old = total.get(sid, Score(score.nick, 0, 0, 0))
                total[sid] = Score(
                    score.nick, old.wins + score.wins, old.kills + score.kills, old.deaths + score.deaths
                )
        return sorted(total.values(), key=lambda one: (-one.wins, -one.kills, one.deaths, one.nick))

    async def _rooms(self, actor: Actor) -> list[str]:
        if actor.session is None:
            return [actor.current]
        info = await self._store.sessions.describe(actor.session.sid)
        return info.rooms if info is not None else []
