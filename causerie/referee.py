"""Plays games over rooms: reads what was written, asks the game's pure rules, commits what follows.

Anybody may do it at any time. The store takes a step only on top of the revision that was read, so each message
counts once, in the order of the room, whoever is killed on the way; what a referee remembers between two steps
only spares it some reading.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import msgspec
import structlog

from causerie.games import (
    GAMES,
    Die,
    Effect,
    End,
    Event,
    Game,
    Left,
    Player,
    Renamed,
    Said,
    Score,
    Secret,
    Stopped,
    Tell,
    Whisper,
)
from causerie.store import games as store
from causerie.store.games import Effects, Games, Reading

MOST_AHEAD: Final = 64
"""Messages without any effect after which it is kept that they were read."""
WRITING: Final = frozenset({"message", "action"})

_log = structlog.get_logger()


class Standing(Enum):
    """How it is with a game after a look at it."""

    NONE = "no game runs"
    ON = "it goes on"
    ENDED = "it ended now"


class _Line(msgspec.Struct):
    """What counts of a message."""

    sender: str = msgspec.field(name="from")
    body: str
    kind: str


_decode_line: Final = msgspec.json.Decoder(_Line).decode
_encode: Final = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Seat:
    """What a referee remembers of one room between two steps."""

    rev: str = ""
    seen: int = 0
    state: Any = None
    stale: bool = True
    """Whether somebody's nick may have changed."""
    letters: bool = True
    """Whether letters may be waiting."""

    def forget(self) -> None:
        """Begin with what is kept."""
        self.rev, self.seen, self.state, self.stale, self.letters = "", 0, None, True, True


def in_order(read: Reading) -> Iterator[Event]:
    """What happened, in the order of the room; who left behind a message not read yet is for later."""
    leaves = [leave for leave in read.leaves if leave.seq <= read.upto]
    for seq, sid, line in read.said:
        while leaves and leaves[0].seq < seq:
            leave = leaves.pop(0)
            yield Left(leave.sid, leave.why)
        message = _decode_line(line)
        if message.kind in WRITING:
            yield Said(sid, message.sender, message.body)
    for leave in leaves:
        yield Left(leave.sid, leave.why)


def play(game: Game[Any], state: Any, events: Sequence[Event]) -> tuple[Any, list[Effect]]:
    """The state after events, and all that follows from them up to the end of the game."""
    effects: list[Effect] = []
    for event in events:
        try:
            state, more = game.apply(state, event)
        except Exception as error:  # noqa: BLE001 - whatever is wrong in a game, the room goes on
            more = _broken(game, error)
        effects += more
        if isinstance(event, Stopped) and End() not in more:
            effects.append(End())
        if End() in effects:
            break
    return state, effects


def _broken(game: Game[Any], error: Exception) -> list[Effect]:
    """The end of a game with a bug, told to people and to the log."""
    # The message of the error may hold a secret of the game; the places that it came by hold none.
    frames = "".join(traceback.format_tb(error.__traceback__))
    _log.error("game failed", game=game.name, error=type(error).__name__, trace=frames)
    return [Tell("The game broke off: it has a mistake.", {"event": "broken"}), End()]


def committed(effects: Sequence[Effect], nicks: dict[str, str]) -> Effects:
    """The effects as the store takes them."""
    kept = Effects()
    for effect in effects:
        match effect:
            case Tell(text, data):
                kept.posts.append((text, data))
            case Whisper(who, text, data):
                kept.whispers.append(store.Whisper(who, nicks.get(who, ""), text, data))
            case Die(who):
                kept.dead.append(who)
            case Score():
                kept.scores.append(store.Tally(*effect))
            case End():
                kept.over = True
    return kept


class Referee:
    """Referees on one store. Every call may raise `Unavailable`."""

    def __init__(self, games: Games) -> None:
        self._games = games

    async def begin(
        self, room: str, game: Game[Any], players: Sequence[Player], options: dict[str, str], seed: int, ask: str
    ) -> str:
        """Begin a game: "begun", "running" or "gone", as `Games.begin`. Raises `Refused` for a wrong option."""
        state, effects = game.start(players, options, seed)
        lock = f"a game of {game.name} is played in {room}" if game.locks else ""
        return await self._games.begin(
            room, game.name, _encode(state), [player.id for player in players], committed(effects, dict(players)),
            ask=ask, lock=lock, epitaph=f"you are dead until the game in {room} ends",
        )  # fmt: skip

    async def advance(self, room: str, seat: Seat, last: Event | None = None) -> Standing:
        """Let everything count that has happened, and `last` after it."""
        while True:
            read, letters = await self._games.read(room, seat.rev, seat.seen, nicks=seat.stale or last is not None)
            seat.letters = letters > 0
            if read is None:
                seat.forget()
                return Standing.NONE
            game = GAMES.get(read.name)
            if game is None:  # of a newer Causerie
                return Standing.ON
            complete = read.upto >= read.head
            state, effects = self._course(game, read, seat, last if complete else None)
            kept = committed(effects, {} if state is None else dict(game.nicks(state)))
            if await self._commit(room, read, seat, state, kept):
                if kept.over:
                    seat.forget()
                    return Standing.ENDED
                if complete:
                    seat.stale = False
                    return Standing.ON

    def _course(self, game: Game[Any], read: Reading, seat: Seat, last: Event | None) -> tuple[Any, list[Effect]]:
        """The game after everything that was read."""
        if read.state is not None:
            seat.rev = read.rev
            try:
                seat.state = msgspec.json.decode(read.state, type=game.state)
            except msgspec.MsgspecError as error:  # kept by other rules of that name
                return None, _broken(game, error)
        known = game.nicks(seat.state)
        events: list[Event] = [
            Renamed(sid, read.nicks[sid]) for sid, nick in known.items() if read.nicks.get(sid, nick) != nick
        ]
        events += in_order(read)
        if last is not None:
            events.append(last)
        elif not read.members and read.upto >= read.head:
            events.append(Stopped(""))
        return play(game, seat.state, events)

    async def _commit(self, room: str, read: Reading, seat: Seat, state: Any, effects: Effects) -> bool:
        """Keep a step, if there is anything to keep; False when somebody else was first."""
        left = [leave.sid for leave in read.leaves if leave.seq <= read.upto]
        if effects or left or state != seat.state or read.upto - read.cursor >= MOST_AHEAD:
            rev = await self._games.step(room, read, _encode(state), read.upto, effects, left)
            if rev is None:
                seat.forget()
                return False
            seat.rev, seat.state = rev, state
            seat.letters = seat.letters or bool(effects.whispers or effects.dead or effects.over)
        seat.seen = read.upto
        return True

    async def deliver(self, room: str, seat: Seat) -> None:
        """Bring the letters of a room to their sessions."""
        await self._games.deliver(room)
        seat.letters = False

    async def secrets(self, room: str) -> Sequence[Secret] | None:
        """The secrets of the game as it stands with all that was written; None: no game runs."""
        seat = Seat()
        read, _ = await self._games.read(room, "", 0, nicks=True)
        if read is None or read.name not in GAMES:
            return None
        game = GAMES[read.name]
        state, effects = self._course(game, read, seat, None)
        return None if End() in effects else game.secrets(state)
