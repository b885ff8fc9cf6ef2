"""How a connection gets its session: a new one, or back to one, on whatever protocol it was asked for.

The session's channel is subscribed before the store is asked, so no note and no message is missed; rooms are
subscribed before the store says where they stand. `welcome` is written first, then what was missed, then what is new.
"""

from __future__ import annotations

import asyncio
import re as regex
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import UNSET

from causerie import names
from causerie.commands import Actor
from causerie.errors import Goodbye, Refused, Unavailable, Violation
from causerie.model import Attached, Position, new_sid, token
from causerie.rights import digest
from causerie.store.frames import positions_of
from causerie.wire import jsonmsg, line
from causerie.wire.jsonmsg import Standing
from gateway.batch import Dialect
from gateway.channel import Channel
from gateway.replay import plan
from gateway.sent import Sent

if TYPE_CHECKING:
    from gateway.intake import Client

HANDOVER_S: Final = 0.3
"""How long a text client that comes back waits for the gateway of its older connection, which may be dead."""
_COOKIE: Final = regex.compile(r"[A-Za-z0-9_-]{22,128}")
"""At least 128 bits in base64url."""


class _Wish(NamedTuple):
    """What was asked, checked."""

    re: int | None
    nick: str | None
    cookie: str
    given: bool
    """Whether the cookie is the client's."""
    device: str
    admin_token: str | None
    claims: dict[str, Position] | None
    """What the client says it has; None: ask the store what it was given."""


async def hello(client: Client, request: jsonmsg.Hello | line.Nick | line.Reconnect) -> None:
    """Give the connection its session, or answer why not."""
    re = request.id if isinstance(request, jsonmsg.Hello) else None
    node = client.node
    try:
        wish = _checked(request)
        node.addresses.check(client.address)
        if not node.open:
            raise Unavailable("this gateway is stopping, or has not reached the store")
        async with node.hellos:
            await _enter(client, wish)
    except Refused as refused:
        _abandon(client)
        client.heard = node.loop.time()
        client.refuse(refused, re)
        if refused.code == "banned":
            client.end(Goodbye("banned", refused.text))
    except Goodbye as goodbye:
        _abandon(client)
        client.refuse(Unavailable(goodbye.text), re)
        client.goodbye(goodbye)


def _checked(request: jsonmsg.Hello | line.Nick | line.Reconnect) -> _Wish:
    if isinstance(request, line.Nick):
        return _Wish(None, names.nick(request.nick), token(), False, "", None, None)
    if isinstance(request, line.Reconnect):
        return _Wish(None, None, request.cookie, True, "", None, None)
    device = names.line(request.device or "")
    if len(device) > names.MAX_DEVICE:
        raise Violation(f"a device has at most {names.MAX_DEVICE} characters")
    if request.cookie is None and request.nick is None:
        raise Violation("hello needs a nick or a cookie")
    nick = None if request.nick is None else request.nick
    cookie = token() if request.cookie is None else request.cookie
    claims = {
        _log_name(name): Position(place.epoch, place.seq, place.mid or "")
        for name, place in (request.resume or {}).items()
    }
    return _Wish(request.id, nick, cookie, request.cookie is not None, device, request.admin_token, claims)


def _log_name(name: str) -> str:
    if name == names.INBOX:
        return name
    try:
        return names.room(name)
    except Refused:
        return names.printable(name)


def _abandon(client: Client) -> None:
    """Undo what a hello that failed had begun."""
    client.leave_all()
    client.session = None
    client.sid = ""
    client.early = None


def _listen_as(client: Client, sid: str, channel: Channel) -> None:
    """Be told the notes to a session; they wait until it is known."""
    client.sid = sid
    client.early = []
    if client not in channel.people:
        channel.people = (*channel.people, client)
    client.node.relay.needed(channel)


async def _enter(client: Client, wish: _Wish) -> None:
    node = client.node
    if wish.admin_token is not None and not await node.service.rights.check_token(wish.admin_token, client.address):
        raise Refused("denied", "this is not the admin token")
    attached, heads = await _attach(client, wish)
    session = attached.session
    if client.gone:
        if attached.new:
            return  # nothing was received from it: it is dropped when its heartbeat expires
        await node.store.sessions.detach(session.origin)
        return
    client.session = session
    client.cookie = wish.cookie
    client.named = session.nick
    client.fresh = attached.new
    client.current = attached.current
    client.heard = node.loop.time()
    actor = Actor.of(session, client.current, address=client.address)
    if wish.admin_token is not None:
        await node.service.rights.become_admin(actor, wish.admin_token)
    elif session.admin:
        await node.service.rights.confirm(session)
    await _welcome(client, wish, attached, heads)


async def _attach(client: Client, wish: _Wish) -> tuple[Attached, dict[str, Position]]:
    """The session with its rooms and where they and the inbox (`@`) stand."""
    if client.gone:
        raise Unavailable  # nobody would hear of it, and nobody would take leave of it
    sessions = client.node.store.sessions
    sid = await sessions.find(digest(wish.cookie)) if wish.given else None
    if sid is None:
        attached = await _create(client, wish)
        if attached.new:
            return attached, await _join_lobby(client, attached)
        sid = attached.session.sid  # the same hello, said on another connection, was first
    return await _resume(client, wish, sid)


async def _create(client: Client, wish: _Wish) -> Attached:
    node = client.node
    if wish.nick is None:
        raise Refused("bad_cookie", "there is no session with this cookie")
    if wish.given and not _COOKIE.fullmatch(wish.cookie):
        raise Violation("a cookie is 22 to 128 characters of base64url, at least 128 random bits")
    nick, sid = names.nick(wish.nick), new_sid()
    inbox = await node.relay.listen("@" + sid)
    if client.gone:
        raise Unavailable
    _listen_as(client, sid, inbox)
    attached = await node.store.sessions.create(
        nick, digest(wish.cookie), wish.device, node.id, client.address, sid=sid
    )
    if attached.session.sid == sid:
        node.relay.stand(inbox, attached.inbox)
    else:
        _abandon(client)
    return attached


async def _join_lobby(client: Client, attached: Attached) -> dict[str, Position]:
    node = client.node
    heads = {names.INBOX: attached.inbox}
    await node.relay.open(names.LOBBY)
    try:
        heads[names.LOBBY] = (await node.store.sessions.join(attached.session, names.LOBBY)).head
    except Refused as refused:
        if isinstance(refused, Unavailable):
            raise
        return heads  # put out of the lobby by its own sanctions: the chat goes on without it
    return heads


async def _resume(client: Client, wish: _Wish, sid: str) -> tuple[Attached, dict[str, Position]]:
    node = client.node
    inbox = await node.relay.listen("@" + sid)
    if client.gone:  # it gave up; its next connection may be in already and must not be replaced
        raise Unavailable
    _listen_as(client, sid, inbox)
    attached = await node.store.sessions.attach(sid, wish.device, node.id, client.address)
    node.relay.stand(inbox, attached.inbox)
    if closed := [room for room in attached.rooms if not node.relay.channel(room).is_open]:
        await asyncio.gather(*[node.relay.open(room) for room in closed])
    heads = await node.store.sessions.enter(attached.session, attached.rooms, told=attached.told)
    if wish.claims is None and attached.held:
        await _take_over(client, attached)
    return attached, {**heads, names.INBOX: attached.inbox}


async def _take_over(client: Client, attached: Attached) -> None:
    """Wait a moment for what the older connection of the device has received since that was last kept."""
    end = client.node.loop.time() + HANDOVER_S
    while not client.gone and client.node.loop.time() < end:
        for note in client.early or ():
            if note.what == "positions" and note.device == attached.session.device:
                attached.positions |= positions_of(note)
                return
        await asyncio.sleep(HANDOVER_S / 100)


async def _welcome(client: Client, wish: _Wish, attached: Attached, heads: dict[str, Position]) -> None:
    claims = attached.positions if wish.claims is None else wish.claims
    rooms: dict[str, Standing] = {}
    starts: list[tuple[Channel, int]] = []
    broken: list[tuple[Channel, tuple[str, int]]] = []
    for room, head in heads.items():
        channel, standing, after = await _standing(client, room, head, claims.get(room))
        rooms[room] = standing
        starts.append((channel, after))
        if standing.recovered is False:
            broken.append((channel, claims[room][:2]))
    for name in claims.keys() - heads.keys():
        rooms[name] = Standing(error="not_joined")
    if client.closing:
        return
    session, node = attached.session, client.node
    interval = node.settings.heartbeat_interval
    node.counted.hellos += 1
    node.counted.resumes += attached.resumed
    if client.dialect == Dialect.TEXT:
        client.sent = client.sent or Sent()
        begun = {room: head for room, head in heads.items() if room not in claims}
        if begun:  # kept before it is told: a crash of this gateway then loses nothing of what follows
            await node.store.sessions.save_positions(session.origin, begun)
        client.say_broken(_welcome_lines(wish.cookie, attached, rooms), broken)
    else:
        client.answer(
            jsonmsg.Welcome(
                session.nick,
                session.sid,
                wish.cookie,
                node.id,
                int(interval) if interval.is_integer() else interval,
                attached.resumed,
                rooms,
                re=jsonmsg.numbered(wish.re),
            )
        )
    client.attach(starts)
    early, client.early = client.early, None
    for note in early or ():
        node.notes.apply_to(client, note)


async def _standing(client: Client, room: str, head: Position, claim: Position | None) -> tuple[Channel, Standing, int]:
    """Where a log stands, what of the claimed position is kept, and from above which seq the client gets it."""
    node = client.node
    channel = await node.relay.open("@" + client.sid if room == names.INBOX else room)
    if channel.epoch != head.epoch:
        await node.relay.mended(channel)
        head = channel.head
    standing = Standing(channel.epoch, head.seq)
    if claim is None:
        return channel, standing, head.seq
    found = await plan(channel, head.seq, claim, node.reader)
    standing.recovered = found.recovered
    if not found.recovered:
        standing.whole_from = found.whole_from
    return channel, standing, found.after


def _welcome_lines(cookie: str, attached: Attached, rooms: dict[str, Standing]) -> str:
    joined = [room for room, standing in rooms.items() if room != names.INBOX and standing.error is UNSET]
    lost = [room for room, standing in rooms.items() if standing.recovered is False]
    back = "back " if attached.resumed else ""
    lines = [f"welcome {back}{attached.session.nick}, you are in {' '.join(sorted(joined)) or 'no room'}"]
    lines += [f"some messages of {room} are no longer kept" for room in lost]
    return line.cookie(cookie) + line.notice(lines)
