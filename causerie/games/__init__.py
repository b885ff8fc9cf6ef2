"""Games. One file a game: a pure function (state, event) -> (state, effects); docs/games.md shows how to write one."""

import importlib
import pkgutil

from causerie.games.game import (
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
    find,
    read_options,
)

__all__ = [
    "GAMES",
    "Die",
    "Effect",
    "End",
    "Event",
    "Game",
    "Left",
    "Player",
    "Renamed",
    "Said",
    "Score",
    "Secret",
    "Stopped",
    "Tell",
    "Whisper",
    "find",
    "read_options",
]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
