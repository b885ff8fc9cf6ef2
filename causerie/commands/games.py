"""Games: begun, ended and looked behind by a room's moderators; the scores are for everybody."""

from __future__ import annotations

from causerie.commands.arguments import ROOM, Argument
from causerie.commands.table import Context, Reply, Role, command

_IN_ROOM = ROOM.maybe()
_GAME = Argument("game", str.casefold, "killer", looks=lambda word: "=" not in word, optional=True, default="killer")
_OPTIONS = Argument("options", str, "words=fr", rest=True, optional=True, default="", label="option=...")

MOST_SCORES = 100
"""Lines of one answer."""


@command("start", _IN_ROOM, _GAME, _OPTIONS, role=Role.MODERATOR)
async def start(ctx: Context) -> Reply:
    """Begin a game (killer unless you say) with everybody who is online in the room: docs/games.md has the rules."""
    game = ctx.args["game"]
    room, players = await ctx.service.playing.start(ctx.actor, ctx.args["room"], game, ctx.args["options"], ctx.id)
    with_ = f" with {len(players)} players" if players else ""
    return Reply([f"a game of {game} begins in {room}{with_}"], {"room": room, "game": game, "players": players})


@command("stop", _IN_ROOM, role=Role.MODERATOR)
async def stop(ctx: Context) -> Reply:
    """End the game in the room; nobody wins."""
    room = await ctx.service.playing.stop(ctx.actor, ctx.args["room"])
    return Reply([f"the game in {room} is over"], {"room": room})


@command("secrets", _IN_ROOM, role=Role.MODERATOR)
async def secrets(ctx: Context) -> Reply:
    """Show what is hidden in the game: who hunts whom by which word. The room is told if you play yourself."""
    room, found = await ctx.service.playing.secrets(ctx.actor, ctx.args["room"], ctx.id)
    text = [secret.text for secret in found] or ["this game has no secrets"]
    return Reply(text, {"room": room, "secrets": [secret.data for secret in found]})


@command("score", _IN_ROOM, suspended=True)
async def score(ctx: Context) -> Reply:
    """Show wins, kills and deaths in the games of a room, or of all your rooms together."""
    found = (await ctx.service.playing.scores(ctx.actor, ctx.args["room"]))[:MOST_SCORES]
    text = [
        f"{one.nick} {_many(one.wins, 'win')} {_many(one.kills, 'kill')} {_many(one.deaths, 'death')}" for one in found
    ]
    return Reply(text or ["no game has ended yet"], {"scores": found})


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
