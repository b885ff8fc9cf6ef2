"""What a room's moderators may do in that room, and admins everywhere."""

from __future__ import annotations

from causerie.commands.arguments import DURATION, PEOPLE, REASON, ROOM, SUBJECTS
from causerie.commands.table import Context, Reply, Role, command
from causerie.commands.text import sanction_line
from causerie.model import Sanction

_IN_ROOM = ROOM.maybe()


@command("kick", _IN_ROOM, PEOPLE, REASON, role=Role.MODERATOR)
async def kick(ctx: Context) -> Reply:
    """Put somebody out of the room; by an admin, out of the chat: the session ends and its cookie is void."""
    people: list[str] = ctx.args["people"]
    room = await ctx.service.kick(ctx.actor, people, ctx.args["reason"], ctx.args["room"])
    return Reply([f"{one} is out of {room or 'the chat'}" for one in people], {"people": people, "room": room})


@command("op", _IN_ROOM, PEOPLE, role=Role.MODERATOR)
async def op(ctx: Context) -> Reply:
    """Make somebody a moderator of the room."""
    return await _moderators(ctx, to=True)


@command("deop", _IN_ROOM, PEOPLE, role=Role.MODERATOR)
async def deop(ctx: Context) -> Reply:
    """Take a moderator's rights away."""
    return await _moderators(ctx, to=False)


async def _moderators(ctx: Context, *, to: bool) -> Reply:
    people: list[str] = ctx.args["people"]
    room = await ctx.service.set_moderator(ctx.actor, people, ctx.args["room"], to=to)
    now = "now a moderator" if to else "no moderator any more"
    return Reply([f"{one} is {now} of {room}" for one in people], {"people": people, "room": room})


@command("suspend", _IN_ROOM, PEOPLE, DURATION, REASON, role=Role.MODERATOR)
async def suspend(ctx: Context) -> Reply:
    """Silence somebody for a time (90s, 10m, 2h, 7d) or until forgiven: still there and reading."""
    args = ctx.args
    done = await ctx.service.suspend(ctx.actor, args["people"], args["duration"], args["reason"], args["room"])
    return _sanctioned(*done, "suspended")


@command("ban", _IN_ROOM, SUBJECTS, DURATION, REASON, role=Role.MODERATOR)
async def ban(ctx: Context) -> Reply:
    """Shut somebody out for a time (90s, 10m, 2h, 7d) or until forgiven; by admins also a network."""
    args = ctx.args
    done = await ctx.service.ban(ctx.actor, args["people"], args["duration"], args["reason"], args["room"])
    return _sanctioned(*done, "banned")


def _sanctioned(room: str | None, made: list[Sanction], what: str) -> Reply:
    return Reply([sanction_line(one, what, room) for one in made], {"sanctions": made, "room": room})


@command("forgive", _IN_ROOM, SUBJECTS, role=Role.MODERATOR)
async def forgive(ctx: Context) -> Reply:
    """Lift suspension and ban."""
    lifted = await ctx.service.forgive(ctx.actor, ctx.args["people"], ctx.args["room"])
    text = [
        f"{one} is forgiven" if kinds else f"{one} was neither suspended nor banned" for one, kinds in lifted.items()
    ]
    return Reply(text, {"forgiven": lifted})
