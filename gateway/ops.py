"""The ops that a connection waits for: joins, commands, history; and what their replies do to it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from causerie import names
from causerie.commands import COMMANDS, Actor, Call, Reply, Say
from causerie.errors import Goodbye, Refused, Unavailable, Violation
from causerie.model import Position, Session
from causerie.wire import jsonmsg, line
from gateway.batch import Dialect
from gateway.channel import Channel, Room

if TYPE_CHECKING:
    from gateway.intake import Client, Request


RETRY_S: Final = 0.3


def recipients(to: str | list[str]) -> list[str]:
    """The target of a send in its stored form: one room, or one or more `@nick`. Raises `Refused`."""
    if isinstance(to, str) and to.startswith("#"):
        return [names.room(to)]
    targets = [to] if isinstance(to, str) else to
    if not targets or len(targets) > names.MAX_RECIPIENTS:
        raise Violation(f"`to` is a room or 1 to {names.MAX_RECIPIENTS} people")
    if targets[0].startswith("#"):
        if len(targets) > 1:
            raise Violation("a message goes to one room, or to people")
        return [names.room(targets[0])]
    return list(dict.fromkeys(_person(target) for target in targets))


def _person(target: str) -> str:
    if not target.startswith("@"):
        raise Violation("`to` is #room, @nick or a list of @nick")
    try:
        return "@" + names.nick(target[1:])
    except Refused:
        raise Refused("no_such_nick", f"nobody is called {names.printable(target[1:])[:40]}") from None


def target_of(said: Say) -> str:
    """What a message is sent to, as answers name it: all direct messages of a device are one target."""
    return said.to[0] if said.to[0].startswith("#") else names.INBOX


async def hear(client: Client, re: int | None, request: Request) -> None:
    """Do the first request of a new session: that something was received is in the store before the answer."""
    session = _session(client)
    try:
        await client.node.store.sessions.heard(session.origin)
    except Refused as refused:
        if isinstance(request, Say) and isinstance(refused, Unavailable):
            client.poison(target_of(request))
        if re is not None or not isinstance(request, jsonmsg.Pong):
            client.refuse(refused, re)
        return
    except Goodbye as goodbye:
        client.goodbye(goodbye)
        return
    client.fresh = False
    if isinstance(request, Say):
        client.send(re, request)
    elif isinstance(request, Violation):
        client.refuse(request, re)
    elif isinstance(request, jsonmsg.Hello):
        client.refuse(Violation("you said hello already"), re)
    elif isinstance(request, jsonmsg.Pong):
        client.take_pong(re)
    else:
        await do(client, re, request)


async def do(client: Client, re: int | None, request: Request) -> None:
    """Do a request that is not a message, and answer."""
    room: Room | None = None
    seen = 0
    try:
        asked = _room_to_join(request)
        if asked is not None:  # subscribed before the join: no news falls between its answer and the flow
            channel = await client.node.relay.open(asked)
            assert isinstance(channel, Room)
            room, seen = channel, channel.notices_seen
        reply = await _reply(client, re, request)
    except Refused as refused:
        if isinstance(refused, Unavailable) and isinstance(request, Call) and COMMANDS[request.name].cost:
            client.poison(client.current)
        client.refuse(refused, re)
    except Goodbye as goodbye:
        client.refuse(Refused("unavailable", goodbye.text), re)
        client.goodbye(goodbye)
    else:
        await _finish(client, re, reply, room, seen)


def _room_to_join(request: Request) -> str | None:
    if isinstance(request, jsonmsg.Join):
        return request.room
    if isinstance(request, Call) and request.name == "join":
        room: str = request.args["room"]
        return room
    return None


async def _reply(client: Client, re: int | None, request: Request) -> Reply:
    service = client.node.service
    actor = Actor.of(_session(client), client.current, client.cookie, client.address)
    if isinstance(request, jsonmsg.Join):
        return await service.join(actor, request.room)
    if isinstance(request, jsonmsg.History):
        of = request.of if request.of == names.INBOX else names.room(request.of)
        return await service.history(actor, of, request.before, request.limit)
    assert isinstance(request, Call), request
    _count(client, COMMANDS[request.name].cost)
    return await service.execute(actor, request, re)


def _count(client: Client, cost: int) -> None:
    """Count a command that posts as so many messages. Raises `Refused` (`rate_limited`)."""
    wait = client.node.shares.take(client.sid, cost) if cost else None
    if wait is not None:
        raise Refused("rate_limited", "too many messages", retry_after=wait)


async def _finish(client: Client, re: int | None, reply: Reply, room: Room | None, seen: int) -> None:
    """Answer, then let the reply take effect on the connection."""
    start: tuple[Channel, int] | None = None
    if reply.joined is not None:
        start = await _start(client, *reply.joined)
        if start is not None and client.dialect == Dialect.TEXT:
            await _keep_start(client, *reply.joined)
    if client.dialect == Dialect.TEXT:
        if reply.goodbye is None:  # which is said once, with its word for programs
            client.say(line.notice(reply.text))
        if reply.cookie is not None:
            client.say(line.cookie(reply.cookie))
    else:
        client.answer(jsonmsg.Result(reply.text, reply.data, re=jsonmsg.numbered(re)))
    if start is not None:
        client.attach([start])
        client.node.spawn(_make_sure(client, start[0].log))
        if room is not None:
            _tell_missed(client, room, room.notices_seen - seen)
    if reply.left is not None and (channel := client.channel(reply.left)) is not None:
        client.detach(channel)
    _change(client, reply)
    if reply.goodbye is not None:
        client.goodbye(reply.goodbye)


async def _start(client: Client, room: str, head: Position) -> tuple[Channel, int] | None:
    """Where the flow of a room just joined begins; None if the connection has it already."""
    relay = client.node.relay
    channel = await relay.open(room)
    if channel in client.channels:
        return None
    if channel.epoch != head.epoch:
        await relay.mended(channel)
        return channel, min(head.seq, channel.seq)
    return channel, head.seq


async def _keep_start(client: Client, room: str, head: Position) -> None:
    """Keep where a text client begins to receive a room, so that a crash of this gateway loses nothing of it."""
    with contextlib.suppress(Refused, Goodbye):  # the next heartbeat keeps it, or says that the session is over
        await client.node.store.sessions.save_positions(_session(client).origin, {room: head})


def _tell_missed(client: Client, room: Room, count: int) -> None:
    """Presence that came between the look at the members and the flow."""
    for notice in list(room.notices)[-count:] if count > 0 else ():
        if notice.skip != client.sid:
            client.tell(notice.event)


def _change(client: Client, reply: Reply) -> None:
    session = _session(client)
    if reply.current is not None:
        client.current = reply.current
    if reply.cookie is not None:
        client.cookie = reply.cookie
    if reply.admin is not None:
        session.admin = reply.admin
    if reply.heartbeat is not None and client.sent is not None:
        client.sent.heartbeat = reply.heartbeat
        client.heard = client.node.loop.time()


async def enter(client: Client, room: str, head: Position) -> None:
    """Another connection of the session joined a room: this one receives it too."""
    start = await _start(client, room, head)
    session = client.session
    if start is None or session is None or client.closing:
        return
    client.tell(jsonmsg.Presence(room, session.nick, "online"))
    client.attach([start])
    await _make_sure(client, room)


async def _make_sure(client: Client, room: str) -> None:
    """Put a connection out of a room that the session left, or was put out of, while it was on its way in.

    The note that said so found nothing to do here then.
    """
    while not client.closing:
        try:
            if not await client.node.store.sessions.is_in(client.sid, room):
                leave(client, room)
            return
        except Unavailable:
            await asyncio.sleep(RETRY_S)


def leave(client: Client, room: str) -> None:
    """The session left a room by another connection, or was put out of it."""
    channel = client.channel(room)
    session = client.session
    if channel is None or session is None:
        return
    client.detach(channel)
    client.tell(jsonmsg.Presence(room, session.nick, "gone"))
    if client.current == room:
        client.current = names.LOBBY


def _session(client: Client) -> Session:
    assert client.session is not None
    return client.session
