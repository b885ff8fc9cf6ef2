"""Rooms: who is there, coming, going, what it is about, what was said."""

from __future__ import annotations

from causerie.commands.arguments import COUNT, ROOM, TEXT
from causerie.commands.table import Context, Reply, command
from causerie.commands.text import member_line, message_lines, room_line


@command("list", ROOM.maybe(), suspended=True)
async def list_people(ctx: Context) -> Reply:
    """List the people of the whole chat, or of one room: nick, state (online, away, crashed), flags."""
    people, more = await ctx.service.people(ctx.args["room"])
    text = [member_line(person) for person in people] or ["nobody"]
    if more:
        text.append(f"and more than these {len(people)}")
    return Reply(text, {"sessions": people})


@command("rooms", suspended=True)
async def rooms(ctx: Context) -> Reply:
    """List the rooms with their number of members and topic."""
    found, _ = await ctx.service.rooms(None, 1000)
    return Reply([room_line(info) for info in found] or ["no rooms"], {"rooms": found})


@command("join", ROOM)
async def join(ctx: Context) -> Reply:
    """Join a room and make it your current one. Who joins a new room first becomes its moderator."""
    reply = await ctx.service.join(ctx.actor, ctx.args["room"])
    await ctx.service.make_current(ctx.actor, ctx.args["room"])
    reply.current = ctx.args["room"]
    return reply


@command("part", ROOM.maybe())
async def part(ctx: Context) -> Reply:
    """Leave a room: the one named, or the current one."""
    room = ctx.args["room"] or ctx.actor.current
    reply = await ctx.service.part(ctx.actor, room)
    if room == ctx.actor.current:
        reply.current = await ctx.service.make_current(ctx.actor, None)
    return reply


@command("topic", TEXT.maybe(""), suspended=True, cost=1)
async def topic(ctx: Context) -> Reply:
    """Show what the current room is about, or set it."""
    if ctx.args["text"]:
        await ctx.service.set_topic(ctx.actor, ctx.actor.current, ctx.args["text"], ctx.id)
        return Reply([f"the topic of {ctx.actor.current} is now: {ctx.args['text']}"], {"topic": ctx.args["text"]})
    info = await ctx.service.room(ctx.actor.current)
    return Reply([f"{info.room}: {info.topic or 'no topic'}"], {"topic": info.topic})


@command("history", COUNT.maybe(20), suspended=True)
async def history(ctx: Context) -> Reply:
    """Show the newest messages of the current room, 20 if you do not say how many."""
    reply = await ctx.service.history(ctx.actor, ctx.actor.current, None, ctx.args["n"])
    reply.text = message_lines(reply.data["messages"]) or ["nothing was said yet"]
    return reply
