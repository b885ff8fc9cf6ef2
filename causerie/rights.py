"""Who may do what: the admin token, admins, a room's moderators, the suspended. Decided here, once."""

from __future__ import annotations

import hashlib
import hmac

from causerie.commands import Actor, Role
from causerie.errors import Refused
from causerie.model import Session
from causerie.settings import Settings
from causerie.store import Store


def digest(secret: str) -> str:
    """What is kept of a secret that has at least 128 random bits, so that a plain hash says nothing of it."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def session_of(actor: Actor) -> Session:
    """The actor's session. The console and REST have none (`bad_request`)."""
    if actor.session is None:
        raise Refused("bad_request", "this needs a session in the chat")
    return actor.session


class Rights:
    """Answers for actors on one store; refuses with `denied`, `suspended`, `rate_limited`."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def is_admin_token(self, given: str) -> bool:
        """Whether this is the admin token, in a time that tells nothing of it."""
        wanted = self._settings.admin_token
        return wanted is not None and hmac.compare_digest(digest(given), digest(wanted.get_secret_value()))

    async def check_token(self, given: str, address: str) -> bool:
        """Whether this is the admin token.

        Five wrong ones a minute from an address, over all gateways, are the limit. Past it nothing is said of
        the token, right or wrong: `Refused` (`rate_limited`).
        """
        right = self.is_admin_token(given)
        # A wrong one counts in the very call that asks for the count, so that guesses sent side by side, here
        # or at other gateways, cannot all be answered before the first of them is counted.
        wait = await (self._store.control.locked_out(address) if right else self._store.control.wrong_token(address))
        if wait is not None:
            raise Refused("rate_limited", "too many wrong tokens from this address", retry_after=wait)
        return right

    async def become_admin(self, actor: Actor, given: str) -> None:
        """Give the actor's session the rights of an admin."""
        session = session_of(actor)
        if not await self.check_token(given, actor.address):
            raise Refused("denied", "this is not the admin token")
        await self._store.sessions.set_admin(session, digest(given))

    async def confirm(self, session: Session) -> None:
        """Take the rights of an admin from a session that came back with those of an earlier token."""
        if not session.admin:
            return
        wanted = self._settings.admin_token
        proof = await self._store.sessions.admin_proof(session.sid)
        if wanted is None or not hmac.compare_digest(proof, digest(wanted.get_secret_value())):
            await self._store.sessions.set_admin(session, "")

    async def roles(self, actor: Actor) -> set[Role]:
        """What the actor may do in the current room."""
        if actor.admin:
            return set(Role)
        session = actor.session
        if session and await self._store.rooms.is_moderator(actor.current, session.sid):
            return {Role.EVERYBODY, Role.MODERATOR}
        return {Role.EVERYBODY}

    def demand_admin(self, actor: Actor) -> None:
        """Refuse all others."""
        if not actor.admin:
            raise Refused("denied", "only an admin may do this")

    async def demand_moderator(self, actor: Actor, room: str) -> None:
        """Refuse who neither moderates this room nor is an admin, and a moderator who is suspended there."""
        if actor.admin:
            return
        session = session_of(actor)
        if not await self._store.rooms.is_moderator(room, session.sid):
            raise Refused("denied", f"only a moderator of {room} or an admin may do this")
        await self._store.rooms.demand_voice(room, session.sid)

    async def demand_voice(self, actor: Actor) -> None:
        """Refuse who is suspended in the whole chat."""
        if actor.session is None:
            return
        sanction = await self._store.sanctions.suspended(actor.session.nick)
        if sanction is not None:
            raise Refused("suspended", sanction.reason or "you are suspended", until=sanction.until)

    async def scope(self, actor: Actor, room: str | None) -> str | None:
        """Where a moderating command holds: a room, or None for the whole chat. Refuses who may not there."""
        if actor.admin:
            return room
        room = room or actor.current
        await self.demand_moderator(actor, room)
        return room

    async def protect(self, actor: Actor, nick: str) -> str | None:
        """The sid behind a nick, if any. Nobody but an admin can sanction an admin."""
        sid = await self._store.sessions.lookup(nick)
        if sid is None or actor.admin:
            return sid
        info = await self._store.sessions.describe(sid)
        if info is not None and "admin" in info.flags:
            raise Refused("denied", f"{nick} is an admin")
        return sid
