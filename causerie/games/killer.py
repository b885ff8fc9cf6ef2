"""Killer: make your target write your word, and inherit its target and its word. The last one alive wins.

The living stand in a ring in which each hunts the next. So everybody has one target and one hunter at every moment,
and a death, of whatever cause, only closes the gap: the hunter takes over the target and the word of the dead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import ClassVar

import msgspec

from causerie.games.game import (
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
    game,
    listed,
)
from causerie.games.vocabulary import choose, contains

_RULES = (
    "Everybody has been told, in private, a target and a deadly word. Make your target write that word here and it "
    "is dead; its target and its word are then yours. Who leaves dies. The last one alive wins."
)
_DEPARTURES = {"kicked": "was kicked", "banned": "was banned", "quit": "has quit", "expired": "is gone for good"}


class Circle(msgspec.Struct, frozen=True):
    """A game in progress."""

    ring: tuple[str, ...]
    """The living; each hunts the next, the last the first."""
    words: dict[str, str]
    """The word that each of the living wants to read from its target."""
    names: dict[str, str]
    """Everybody who ever played, by id."""
    kills: dict[str, int] = {}

    def hunter(self, who: str) -> str:
        """Who hunts one of the living."""
        return self.ring[self.ring.index(who) - 1]

    def target(self, who: str) -> str:
        """Whom one of the living hunts."""
        return self.ring[(self.ring.index(who) + 1) % len(self.ring)]

    def without(self, dead: str) -> Circle:
        """The ring closed: the hunter of the dead has its target and its word."""
        words = {**self.words, self.hunter(dead): self.words[dead]}
        del words[dead]
        ring = tuple(who for who in self.ring if who != dead)
        return msgspec.structs.replace(self, ring=ring, words=words)


Step = tuple[Circle, Sequence[Effect]]


@game
class Killer(Game[Circle]):
    """The rules."""

    name = "killer"
    help = "Everybody hunts somebody by a word that the other must be made to write; the last one alive wins."
    state = Circle
    options: ClassVar[Mapping[str, str]] = {
        "words": "en (English, unless you say), fr (French), or your own, with commas between"
    }
    least = 3
    locks = True

    def start(self, players: Sequence[Player], options: Mapping[str, str], seed: int) -> Step:
        """Deal targets and words. With fewer words than players some words are dealt several times."""
        chance = Random(seed)
        words = list(choose(options.get("words", "")))
        chance.shuffle(words)
        ring = [player.id for player in players]
        chance.shuffle(ring)
        dealt = {who: words[i % len(words)] for i, who in enumerate(ring)}
        circle = Circle(tuple(ring), dealt, dict(players))
        nicks = sorted(circle.names.values())
        told = Tell(f"A game of Killer begins: {listed(nicks)}. {_RULES}", {"event": "started", "players": nicks})
        return circle, [told, *(_mission(circle, who) for who in ring)]

    def apply(self, state: Circle, event: Event) -> Step:
        """What an event does; nothing that the dead or strangers do counts."""
        match event:
            case Said(who, _, text) if who in state.ring and contains(text, state.words[state.hunter(who)]):
                return _killed(state, who)
            case Left(who, why) if who in state.ring:
                nick = state.names[who]
                text = f"{nick} {_DEPARTURES.get(why, 'has left')}, and so is dead"
                return _dead(state, who, text, {"event": "left", "who": nick, "why": why})
            case Renamed(who, nick) if who in state.names:
                return msgspec.structs.replace(state, names={**state.names, who: nick}), ()
            case Stopped(by):
                text = f"The game is stopped by {by}." if by else "The game is over: nobody is left."
                return state, [Tell(text, {"event": "stopped", "by": by}), *_scores(state, None), End()]
        return state, ()

    def secrets(self, state: Circle) -> Sequence[Secret]:
        """Who hunts whom by which word."""
        found = []
        for who in state.ring:
            nick, target, word = state.names[who], state.names[state.target(who)], state.words[who]
            found.append(Secret(f"{nick} -> {target}: {word}", {"nick": nick, "target": target, "word": word}))
        return found

    def nicks(self, state: Circle) -> Mapping[str, str]:
        """Everybody who ever played."""
        return state.names


def _killed(circle: Circle, dead: str) -> Step:
    hunter = circle.hunter(dead)
    word, nick = circle.words[hunter], circle.names[dead]
    kills = {**circle.kills, hunter: circle.kills.get(hunter, 0) + 1}
    circle = msgspec.structs.replace(circle, kills=kills)
    return _dead(circle, dead, f"{nick} is dead: the word was {word}", {"event": "death", "who": nick, "word": word})


def _dead(circle: Circle, dead: str, text: str, data: dict[str, str]) -> Step:
    hunter, circle = circle.hunter(dead), circle.without(dead)
    left = len(circle.ring)
    effects: list[Effect] = [Tell(f"{text}. {left} {'is' if left == 1 else 'are'} left.", {**data, "left": left})]
    effects.append(Die(dead))
    if left > 1:
        return circle, [*effects, _mission(circle, hunter)]
    nick = circle.names[hunter]
    won = Tell(f"{nick} is the last one alive and wins!", {"event": "won", "who": nick})
    return circle, [*effects, won, *_scores(circle, hunter), End()]


def _mission(circle: Circle, who: str) -> Whisper:
    target, word = circle.names[circle.target(who)], circle.words[who]
    data = {"event": "mission", "target": target, "word": word}
    return Whisper(who, f"Your target is {target}. Your word is: {word}", data)


def _scores(circle: Circle, winner: str | None) -> list[Score]:
    """Counted at the end: kills told before would say who hunts whom."""
    scores = [
        Score(who, nick, int(who == winner), circle.kills.get(who, 0), int(who not in circle.ring))
        for who, nick in circle.names.items()
    ]
    return [score for score in scores if any(score[2:])]
