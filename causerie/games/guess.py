"""Guess the number: whoever is in the room and writes it first wins."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random
from typing import ClassVar

import msgspec

from causerie.errors import Refused
from causerie.games.game import Effect, End, Event, Game, Player, Said, Score, Secret, Stopped, Tell, game

_NUMBER = re.compile(r"\s*([0-9]{1,9})\s*[.!?]*\s*")


class Riddle(msgspec.Struct, frozen=True):
    """The number, and how often somebody was wrong."""

    number: int
    most: int
    tries: int = 0


Step = tuple[Riddle, Sequence[Effect]]


@game
class Guess(Game[Riddle]):
    """The rules."""

    name = "guess"
    help = "Guess the number: write one, and be told whether it is too high or too low."
    state = Riddle
    least = 0
    options: ClassVar[Mapping[str, str]] = {"max": "the highest number that it can be (100 unless you say)"}

    def start(self, players: Sequence[Player], options: Mapping[str, str], seed: int) -> Step:  # noqa: ARG002
        """Think of a number."""
        found = _NUMBER.fullmatch(options.get("max", "100"))
        most = int(found[1]) if found else 0
        if most < 2:
            raise Refused("bad_request", "max= is a number from 2 to 999999999")
        text = f"I think of a number from 1 to {most}. Which one?"
        riddle = Riddle(Random(seed).randint(1, most), most)
        return riddle, [Tell(text, {"event": "started", "max": riddle.most})]

    def apply(self, state: Riddle, event: Event) -> Step:
        """Answer a number, and nothing else."""
        match event:
            case Said(who, nick, text) if found := _NUMBER.fullmatch(text):
                return _answer(state, who, nick, int(found[1]))
            case Stopped():
                return state, [Tell(f"The game is over: it was {state.number}.", {"event": "stopped"}), End()]
        return state, ()

    def secrets(self, state: Riddle) -> Sequence[Secret]:
        """The number."""
        return [Secret(f"the number is {state.number}", {"number": state.number})]


def _answer(riddle: Riddle, who: str, nick: str, guessed: int) -> Step:
    tries = riddle.tries + 1
    data = {"who": nick, "guessed": guessed, "tries": tries}
    if guessed != riddle.number:
        where = "low" if guessed < riddle.number else "high"
        told = Tell(f"{nick}: {guessed} is too {where}.", {"event": where, **data})
        return msgspec.structs.replace(riddle, tries=tries), [told]
    told = Tell(f"{nick} has found it: {guessed}, at try {tries}.", {"event": "won", **data})
    return riddle, [told, Score(who, nick, wins=1), End()]
