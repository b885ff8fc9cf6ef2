"""The only door: whatever a person, a program or an operator asks is allowed and done here.

Rules that could lose a race (membership, suspension when a line is posted, whose nick it is) are decided by
the store's scripts; all else is decided here, once. Every call may raise `Refused` or `Unavailable`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from causerie import commands, names
from causerie.commands import Actor, Call, Context, Reply, Role
from causerie.errors import Goodbye, Refused
from causerie.files.service import FileService
from causerie.model import (
    AuditEntry,
    Member,
    Mids,
    Outcome,
    Post,
    RoomInfo,
    Sanction,
    SessionInfo,
    token,
)
from causerie.playing import Playing
from causerie.rights import Rights, digest, session_of
from causerie.settings import Settings
from causerie.store import Store

__all__ = ["Actor", "Posted", "Reply", "Service"]

MOST_LISTED = 1000
"""People or rooms in one answer."""
MOST_HISTORY = 1000
MOST_HISTORY_BYTES = 2**20
MAX_REASON = 400
"""Characters of a reason or a topic."""


class Posted(NamedTuple):
    """A message of the system or of an operator's bot that is in the store."""

    room: str
    seq: int
    mid: str
    duplicate: bool


class Service:
    """Does commands for actors on one store."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self.settings = settings
        self.rights = Rights(store, settings)
        self.files = FileService(store, settings, self.rights)
        self.playing = Playing(store, self.rights)
        self._mids = Mids()

    async def execute(self, actor: Actor, call: Call, id_: int | None = None) -> Reply:
        """Do a command if this actor may. What it posts under an `id_` of the device it posts once."""
        entry = commands.COMMANDS[call.name]
        if entry.role is Role.ADMIN:
            self.rights.demand_admin(actor)
        if not entry.suspended:
            await self.rights.demand_voice(actor)
        assert entry.handler is not None, "a command that posts is a Say"
        return await entry.handler(Context(self, actor, call.args, id_))

    async def _sid(self, nick: str) -> str:
        sid = await self.store.sessions.lookup(nick)
        if sid is None:
            raise Refused("no_such_nick", f"nobody is called {nick}")
        return sid

    # -- looking --

    async def people(self, room: str | None) -> tuple[list[Member], bool]:
        """The people of a room or of the chat, by nick, and whether there are more."""
        if room is not None:
            await self.room(room)
            found: Sequence[Member | SessionInfo] = await self.store.rooms.members(room)
            more = len(found) > MOST_LISTED
        else:
            found, cursor = await self.store.sessions.page(limit=MOST_LISTED)
            more = cursor is not None
        people = [Member(one.nick, one.state, shown_flags(one.flags)) for one in found[:MOST_LISTED]]
        return sorted(people, key=lambda one: one.nick), more

    async def rooms(self, cursor: str | None, limit: int) -> tuple[list[RoomInfo], str | None]:
        """The rooms, a page."""
        return await self.store.rooms.page(cursor, limit)

    async def room(self, room: str) -> RoomInfo:
        """One room (`no_such_room`); #lobby is there before anybody is."""
        if room == names.LOBBY:
            await self.store.logs.head(room)
        info = await self.store.rooms.info(room)
        # A room that somebody only asked for has a head already, and nothing else.
        if info is None or not (info.created or info.members or info.seq or room == names.LOBBY):
            raise Refused("no_such_room", f"there is no room {room}")
        return info

    async def sessions(
        self, actor: Actor, *, state: str | None, nick: str | None, cursor: str | None, limit: int
    ) -> tuple[list[SessionInfo], str | None]:
        """The sessions as operators see them, a page."""
        self.rights.demand_admin(actor)
        return await self.store.sessions.page(state=state, nick=nick, cursor=cursor, limit=limit)

    async def whois(self, actor: Actor, nick: str) -> dict[str, Any]:
        """What may be known about somebody; the address only to admins."""
        info = await self.store.sessions.describe(await self._sid(nick))
        if info is None:
            raise Refused("no_such_nick", f"nobody is called {nick}")
        about: dict[str, Any] = {
            "nick": info.nick,
            "state": info.state,
            "flags": info.flags,
            "rooms": sorted(info.rooms),
            "since": info.since,
        }
        return about | {"address": info.address, "devices": info.devices} if actor.admin else about

    async def history(self, actor: Actor, of: str, before: int | None, limit: int) -> Reply:
        """The newest `limit` messages of a room or `@` with a seq below `before`, in rising order.

        Of at most 1 MiB, so that no answer is huge; asking again with the lowest seq as `before` goes on.
        """
        session = session_of(actor)
        if limit < 1:
            raise Refused("bad_request", "limit is a number from 1 up")
        if of == names.INBOX:
            log = "@" + session.sid
        else:
            log = of
            if not await self.store.rooms.is_member(of, session.sid):
                raise Refused("not_joined", f"you are not in {of}")
        return Reply(data={"messages": await self._messages(log, before, limit)})

    async def room_messages(self, actor: Actor, room: str, before: int | None, limit: int) -> list[msgspec.Raw]:
        """The same for operators, who need not be members."""
        self.rights.demand_admin(actor)
        await self.room(room)
        return await self._messages(room, before, limit)

    async def _messages(self, log: str, before: int | None, limit: int) -> list[msgspec.Raw]:
        entries = await self.store.logs.read_before(log, before, min(limit, MOST_HISTORY))
        size, first = 0, len(entries)
        while first and (first == len(entries) or size + len(entries[first - 1].line) <= MOST_HISTORY_BYTES):
            first -= 1
            size += len(entries[first].line)
        return [msgspec.Raw(entry.line.rstrip()) for entry in entries[first:]]

    # -- rooms --

    async def join(self, actor: Actor, room: str) -> Reply:
        """Put the actor into a room; `joined` says where the room stood."""
        await self.rights.demand_voice(actor)
        joined = await self.store.sessions.join(session_of(actor), room)
        members, _ = await self.people(room)
        head = joined.head
        data = {"room": room, "epoch": head.epoch, "seq": head.seq, "members": members}
        text = [f"you {'were already' if joined.already else 'are now'} in {room}"]
        if members:
            text.append("with " + ", ".join(member.nick for member in members))
        return Reply(text, data, joined=(room, head))

    async def part(self, actor: Actor, room: str) -> Reply:
        """Take the actor out of a room."""
        await self.rights.demand_voice(actor)
        session = session_of(actor)
        if not await self.store.sessions.part(session.sid, room, origin=session.origin):
            raise Refused("not_joined", f"you are not in {room}")
        return Reply([f"you left {room}"], {"room": room}, left=room)

    async def make_current(self, actor: Actor, room: str | None) -> str:
        """Save the current room (None: the lobby) of the actor's device."""
        room = room or names.LOBBY
        await self.store.sessions.save_positions(session_of(actor).origin, {}, room)
        return room

    async def set_topic(self, actor: Actor, room: str, topic: str, id_: int | None = None) -> None:
        """Set what a room is about and tell the room, unless it already is."""
        session = session_of(actor)
        topic = _short(topic, "topic")
        if (await self.room(room)).topic == topic:
            return
        body = f"set the topic: {topic}"
        await self._append(room, Post(session.origin, session.nick, id_, "system", body, self._mids.next()))
        await self.store.rooms.set_topic(room, topic)

    async def set_moderator(self, actor: Actor, people: Sequence[str], room: str | None, *, to: bool) -> str:
        """Make people moderators of a room, or take that away; returns the room."""
        room = room or actor.current
        await self.rights.demand_moderator(actor, room)
        if room == names.LOBBY:
            raise Refused("denied", f"{room} has no moderators but the admins")
        await self.room(room)
        sids = [await self._sid(nick) for nick in people]
        for nick, sid in zip(people, sids, strict=True):
            await (self.store.rooms.op(room, sid) if to else self.store.rooms.deop(room, sid))
            await self._audit(actor, "op" if to else "deop", nick, "", room=room)
        return room

    # -- one's own session --

    async def rename(self, actor: Actor, nick: str) -> str:
        """Change the actor's nick."""
        session = session_of(actor)
        if nick != session.nick:
            await self.store.sessions.rename(session, nick)
        return nick

    async def new_cookie(self, actor: Actor) -> str:
        """Make a new cookie, voiding the old one."""
        made = token()
        await self.store.sessions.new_cookie(session_of(actor), digest(made))
        return made

    async def cookie(self, actor: Actor) -> str | None:
        """The actor's cookie; None if another device has changed it, for only its hash is kept."""
        sid = await self.store.sessions.find(digest(actor.cookie))
        return actor.cookie if sid == session_of(actor).sid else None

    async def quit(self, actor: Actor, text: str) -> Goodbye:
        """End the actor's session on all its devices."""
        session = session_of(actor)
        await self.store.sessions.end(session.sid, "quit", _short(text, "reason"), spare=session.origin)
        return Goodbye("quit", "goodbye")

    # -- sanctions --

    async def kick(self, actor: Actor, people: Sequence[str], reason: str, room: str | None = None) -> str | None:
        """Put people out of a room, or (None, by an admin) end their sessions; returns where."""
        reason = _short(reason, "reason")
        room = await self.rights.scope(actor, room)
        sids = {nick: await self.rights.protect(actor, nick) for nick in people}
        for nick, sid in sids.items():
            if sid is None:
                raise Refused("no_such_nick", f"nobody is called {nick}")
            if room and not await self.store.rooms.is_member(room, sid):
                raise Refused("no_such_nick", f"{nick} is not in {room}")
        for nick, sid in sids.items():
            if sid is None:
                continue
            if room:
                await self.store.sessions.part(sid, room, reason=reason or "kicked", why="kicked")
            else:
                await self.store.sessions.end(sid, "kicked", reason or f"kicked by {actor.name}")
            await self._audit(actor, "kick", nick, reason, room=room)
        return room

    async def suspend(
        self, actor: Actor, people: Sequence[str], seconds: float | None, reason: str, room: str | None = None
    ) -> tuple[str | None, list[Sanction]]:
        """Silence people in a room or (None, by an admin) everywhere.

        When it returns, not one more line gets through.
        """
        reason = _short(reason, "reason")
        room = await self.rights.scope(actor, room)
        for nick in people:
            await self.rights.protect(actor, nick)
        made = []
        for nick in people:
            how = (nick, seconds, reason, actor.name)
            if room is None:
                sanction = await self.store.sanctions.suspend(*how)
            else:
                sanction = await self.store.sanctions.suspend_in(room, *how)
            await self._audit(actor, "suspend", nick, reason, until=sanction.until, room=room)
            made.append(sanction)
        return room, made

    async def ban(
        self,
        actor: Actor,
        subjects: Sequence[str],
        seconds: float | None,
        reason: str,
        room: str | None = None,
    ) -> tuple[str | None, list[Sanction]]:
        """Shut people or addresses out. Of addresses, all live gateways have answered when it returns."""
        reason = _short(reason, "reason")
        room = await self.rights.scope(actor, room)
        for subject in subjects:
            if not names.is_address(subject):
                await self.rights.protect(actor, subject)
            elif room is not None:
                raise Refused("denied", "an address is banned from the whole chat, by an admin")
        made = []
        for subject in subjects:
            how = (subject, seconds, reason, actor.name)
            if names.is_address(subject):
                sanction = await self.store.sanctions.ban_address(*how)
            elif room is None:
                sanction = await self.store.sanctions.ban(*how)
            else:
                sanction = await self.store.sanctions.ban_from(room, *how)
            await self._audit(actor, "ban", subject, reason, until=sanction.until, room=room)
            made.append(sanction)
        return room, made

    async def forgive(
        self,
        actor: Actor,
        subjects: Sequence[str],
        room: str | None = None,
        kinds: Sequence[str] = ("ban", "suspend"),
    ) -> dict[str, list[str]]:
        """Lift bans and suspensions; says which kinds were lifted of whom."""
        room = await self.rights.scope(actor, room)
        lifted = {}
        for subject in subjects:
            lifted[subject] = await self._lift(subject, room, kinds)
            if lifted[subject]:
                await self._audit(actor, "forgive", subject, "", room=room)
        return lifted

    async def _lift(self, subject: str, room: str | None, kinds: Sequence[str]) -> list[str]:
        sanctions = self.store.sanctions
        if names.is_address(subject):
            return ["ban"] if "ban" in kinds and await sanctions.forgive_address(subject) else []
        if room is not None:
            return await sanctions.forgive_in(room, subject)
        return [kind for kind in kinds if await sanctions.lift(kind, subject)]

    async def bans(self, actor: Actor, cursor: str | None, limit: int) -> tuple[list[Sanction], str | None]:
        """Who is banned from the chat, a page."""
        self.rights.demand_admin(actor)
        return _page(await self.store.sanctions.bans(), cursor, limit)

    async def suspensions(self, actor: Actor, cursor: str | None, limit: int) -> tuple[list[Sanction], str | None]:
        """Who is suspended in the whole chat, a page."""
        self.rights.demand_admin(actor)
        return _page(await self.store.sanctions.suspensions(), cursor, limit)

    # -- operating --

    async def audit(self, actor: Actor, before: str | None, limit: int) -> tuple[list[AuditEntry], str | None]:
        """The newest lines of the audit log, the newest first, and the `before` of the next page."""
        self.rights.demand_admin(actor)
        return await self.store.control.audit_log(before, limit)

    async def announce(self, actor: Actor, body: str, id_: int | None = None) -> list[Posted]:
        """Tell everybody: in #lobby, and in every room that has members who are not in #lobby."""
        self.rights.demand_admin(actor)
        names.body(body)
        key = ""
        if id_ is not None and actor.session is not None:
            key = digest(f"announce {actor.session.sid} {actor.session.device} {id_}")
        rooms = [names.LOBBY, *await self._rooms_beyond_the_lobby()]
        posted = [await self._post(room, actor.name, "system", body, key) for room in rooms]
        if not posted[0].duplicate:
            await self._audit(actor, "announce", "", body)
        return posted

    async def _rooms_beyond_the_lobby(self) -> list[str]:
        in_lobby = set(await self.store.rooms.sids(names.LOBBY))
        rooms = await self.store.rooms.names()
        return [
            room for room in rooms if room != names.LOBBY and not in_lobby.issuperset(await self.store.rooms.sids(room))
        ]

    async def shutdown(self, actor: Actor, grace: float, reason: str) -> None:
        """Stop every gateway that runs now, `grace` seconds from now."""
        self.rights.demand_admin(actor)
        reason = _short(reason, "reason")
        await self._audit(actor, "shutdown", "", reason)
        await self.store.control.publish("shutdown", {"grace": grace, "reason": reason})

    async def post(self, actor: Actor, room: str, sender: str, body: str, key: str | None) -> Posted:
        """Post as a bot.

        With an idempotency key the same call again posts nothing more and is answered the same; the key with
        another body is refused.
        """
        self.rights.demand_admin(actor)
        names.body(body)
        await self.room(room)
        await self.demand_free(sender)
        return await self._post(room, sender, "message", body, digest(key) if key else "")

    async def demand_free(self, nick: str) -> None:
        """Refuse a bot the nick of a session."""
        if await self.store.sessions.lookup(nick) is not None:
            raise Refused("nick_taken", f"{nick} is the nick of a session")

    async def _post(self, room: str, sender: str, kind: str, body: str, key: str) -> Posted:
        mid = self._mids.next()
        if room == names.LOBBY:  # which is there before anybody has joined it
            await self.store.rooms.enlist(room)
        outcome = await self._append(room, Post(None, sender, 1 if key else None, kind, body, mid, key=key))
        return Posted(room, outcome.seq, outcome.mid or mid, outcome.duplicate)

    async def _append(self, room: str, post: Post) -> Outcome:
        (outcome,) = await self.store.logs.append(room, [post])
        if outcome.error is not None:
            raise outcome.error
        return outcome

    async def _audit(
        self,
        actor: Actor,
        what: str,
        whom: str,
        why: str,
        *,
        until: float | None = None,
        room: str | None = None,
    ) -> None:
        await self.store.control.audit(actor.name, what, whom, why, until, room or "")


def shown_flags(flags: Sequence[str]) -> list[str]:
    """The flags that lists show; who is an admin is told by `!whois` and to operators."""
    return [flag for flag in flags if flag in {"suspended", "dead"}]


def _short(text: str, what: str) -> str:
    if len(text) > MAX_REASON:
        raise Refused("too_long", f"a {what} has at most {MAX_REASON} characters")
    return names.line(text)


def _page(items: list[Sanction], cursor: str | None, limit: int) -> tuple[list[Sanction], str | None]:
    """The part of a sorted list after `cursor`, the time and subject of the last one seen."""
    if cursor is not None:
        items = [item for item in items if _place(item) > cursor]
    page = items[:limit]
    return page, _place(page[-1]) if len(items) > limit else None


def _place(item: Sanction) -> str:
    return f"{item.ts:017.3f} {item.subject}"
