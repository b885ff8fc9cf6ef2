"""Sessions: made, attached, renewed, ended; the leases of nicks, the cookies, the heartbeats, the news of all
that.

The record of a session decides (one script in its slot); leases, rooms and indexes in other slots follow and
are repaired by workers. Every change of state raises the session's version and notes on `tell` which rooms
must hear of it; a room drops what it has heard before, so the news comes once, whoever brings it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from causerie.errors import Goodbye, Refused, Unavailable
from causerie.model import Attached, Joined, Origin, Position, Session, new_epoch
from causerie.names import GAME, LOBBY
from causerie.store.directory import Directory, mute_end
from causerie.store.keys import SHARDS, Keys, shard_of
from causerie.store.logs import Logs, position, refusal, text
from causerie.store.resp import ReplyError, all_done
from causerie.store.scripts import Scripts

MAX_DEVICES = 8
RENEWALS = 25
"""Heartbeats of one call: what the script does in half a millisecond."""

_encode = msgspec.json.Encoder().encode


class Renewal(NamedTuple):
    """A heartbeat: the device is known to live for `ttl_ms` from now."""

    origin: Origin
    ttl_ms: int


class Renewed(NamedTuple):
    """`error` when the device was replaced or its session is over; `repair` when rooms or recipients still
    wait.
    """

    origin: Origin
    error: Refused | Goodbye | None
    repair: bool


class Claim(NamedTuple):
    """What a worker finds: `verdict` is late, none, ended, alive, crashed (just now, by this claim) or
    waiting.

    It is to look again in `again_ms`; so many rooms are still to be told, so many direct messages to be
    delivered.
    """

    sid: str
    verdict: str
    again_ms: int = 0
    tell: int = 0
    pending: int = 0


class Sessions(Directory):
    """All operations on sessions. Times in seconds unless they say ms."""

    def __init__(
        self,
        scripts: Scripts,
        executor: Any,
        keys: Keys,
        logs: Logs,
        *,
        ttl: float,
        session_ttl: float,
        nick_ttl: float,
        max_rooms: int,
    ) -> None:
        super().__init__(executor, keys)
        self._run, self._logs = scripts, logs
        self._ttl_ms, self._session_ttl_ms, self._nick_ttl_ms = (
            int(ttl * 1000),
            int(session_ttl * 1000),
            int(nick_ttl * 1000),
        )
        self._max_rooms = max_rooms
        self._renewals_a_call = 1 if executor.one_slot else RENEWALS

    def _ids(self, room: str, sid: str, devices: Sequence[str]) -> list[str]:
        return self._keys.named(room, *(f"sent:{sid}/{device}" for device in devices))

    # --- beginning and coming back

    async def find(self, cookie_hash: str) -> str | None:
        """The session that a cookie leads to, if any."""
        sid = await self._executor.execute("GET", self._keys.cookie(cookie_hash))
        return None if sid is None else text(sid)

    async def create(
        self, nick: str, cookie_hash: str, device: str, gateway: str, address: str, *, sid: str
    ) -> Attached:
        """A new session that holds the nick, or the one that this very cookie made a moment ago.

        The lobby is on its list of rooms; `join` (or `enter`, after a death) makes it a member there.

        Raises `Refused` (`nick_taken`, `banned`).
        """
        row = await self._run(
            "session_create", self._k(sid, "rec", "alive", "devices", "rooms", "meta", "log"),
            self._keys.of("@" + sid), new_epoch(), nick, cookie_hash, device, gateway, self._ttl_ms, address, LOBBY,
        )  # fmt: skip
        await self.schedule([(sid, self._ttl_ms)])
        try:
            mute = await self._lease(nick, sid)
        except Refused as error:
            await self.end(sid, "dropped", "", quietly=True)
            if error.code == "nick_taken" and (holder := await self._same_cookie(nick, cookie_hash)):
                return await self.attach(holder, device, gateway, address)
            raise
        if not await self._executor.execute("SET", self._keys.cookie(cookie_hash), sid, "NX"):
            other = await self.find(cookie_hash)
            if other is not None and other != sid:
                await self.end(sid, "dropped", "", quietly=True)
                return await self.attach(other, device, gateway, address)
        if mute:
            await self._run("session_mute", self._k(sid, "rec", "rooms"), self._keys.of("@" + sid), mute)
        session = Session(sid, nick, device, 1, 1)
        return Attached(session, position(row), [], {}, LOBBY, mute_end(mute), resumed=False, new=True)

    async def _same_cookie(self, nick: str, cookie_hash: str) -> str | None:
        holder = await self.lookup(nick)
        if holder is None:
            return None
        cookie = await self._executor.execute("HGET", self._k(holder, "rec")[0], "cookie")
        if cookie is None or text(cookie) != cookie_hash:
            return None
        await self._executor.execute("SET", self._keys.cookie(cookie_hash), holder)
        return holder

    async def _lease(self, nick: str, sid: str, *, renaming: bool = False) -> str:
        """Take a nick; from a session that is over, or crashed for longer than the nick's TTL, too."""
        if nick == GAME:
            raise Refused("nick_taken", f"{nick} is the nick of the games")
        base, overtake = self._keys.nick(nick), ""
        for _ in range(3):
            row = await self._run("nick_lease", [f"{base}:lease", f"{base}:sanctions"], sid, overtake, int(renaming))
            if row[0] == 1:
                if overtake:
                    await self.cleanup(overtake)
                return text(row[1])
            if text(row[1]) != "nick_taken":
                raise refusal(row)
            holder = text(row[2])
            if await self._run("session_evict", self._k(holder, "rec"), self._nick_ttl_ms) != 1:
                break
            overtake = holder
        raise Refused("nick_taken", f"{nick} is taken")

    async def attach(self, sid: str, device: str, gateway: str, address: str) -> Attached:
        """A device of a session comes back; every older connection of that device is fenced off and told.

        Raises `Refused` (`bad_cookie`, `denied` with eight devices connected).
        """
        row = await self._run(
            "session_attach", self._k(sid, "rec", "alive", "devices", "rooms", "tell", "pos", "meta", "log"),
            self._keys.of("@" + sid), new_epoch(), device, gateway, self._ttl_ms, MAX_DEVICES, address,
        )  # fmt: skip
        if row[0] == 0:
            raise Refused(text(row[1]), text(row[2]))
        nick, version, gen, admin, mute, current = (
            text(row[1]),
            int(row[2]),
            int(row[4]),
            text(row[5]),
            text(row[6]),
            text(row[7]),
        )
        session = Session(sid, nick, device, gen, version)
        session.admin = bool(admin)
        rooms = [text(room) for room in row[8]]
        await self._hold_nick(session, due_ms=int(row[14]) + self._ttl_ms)
        attached = Attached(
            session,
            position(row[10:13]),
            rooms,
            self._positions(device, row[9]),
            current or LOBBY,
            mute_end(mute),
            held=bool(row[13]),
            told=not row[15],
        )
        if attached.current not in rooms:
            attached.current = LOBBY
        return attached

    async def _hold_nick(self, session: Session, due_ms: int) -> None:
        """A lost lease is taken again; a session whose nick another holds is over. A worker is to look at `due_ms`."""
        sid = session.sid
        holder, _ = await self._executor.execute_many(
            [
                ("SET", f"{self._keys.nick(session.nick)}:lease", sid, "NX", "GET"),
                ("ZADD", self._keys.due(shard_of(sid)), due_ms, sid),
            ]
        )
        if isinstance(holder, ReplyError):
            raise holder
        if holder in (None, sid.encode()):
            return
        await self.end(session.sid, "dropped", "", quietly=True)
        raise Refused("bad_cookie", "the nick of this session was given away")

    @staticmethod
    def _positions(device: str, fields: Sequence[bytes]) -> dict[str, Position]:
        found = {}
        for i in range(0, len(fields), 2):
            owner, _, room = text(fields[i]).partition("\0")
            if owner == device:
                epoch, seq, mid = text(fields[i + 1]).split(" ")
                found[room] = Position(epoch, int(seq), mid)
        return found

    async def enter(self, session: Session, rooms: Sequence[str], *, told: bool = False) -> dict[str, Position]:
        """After an attach: fence older connections in every room, tell what changed (nothing, if all is `told`), read
        the heads.
        """
        if not rooms:
            return {}
        calls = [
            (
                self._keys.named(room, "meta", "log", "members", "access"),
                (
                    self._keys.of(room),
                    new_epoch(),
                    session.sid,
                    session.version,
                    "online",
                    session.nick,
                    session.device,
                    session.gen,
                ),
            )
            for room in rooms
        ]
        heads = {}
        for room, row in zip(rooms, await self._run.many("room_enter", calls), strict=True):
            if row[0] == 1:
                heads[room] = position(row[1:])
            else:
                try:
                    heads[room] = (await self.join(session, room, heal=True)).head
                except Refused as refused:
                    if isinstance(refused, Unavailable):
                        raise
        if not told:
            await self._told(session.sid, session.version, rooms)
        return heads

    async def heard(self, origin: Origin) -> None:
        """Something was received from a new session: from now on it outlives its heartbeat as `crashed`."""
        await self._set(origin, "heard", "1")

    async def _set(self, origin: Origin, *fields: str) -> None:
        code = text(
            await self._run("session_set", self._k(origin.sid, "rec", "devices"), origin.device, origin.gen, *fields)
        )
        if code:
            raise refusal((0, code))

    async def set_admin(self, session: Session, proof: str) -> None:
        """Remember that the session proved to be an operator ("" forgets); `proof`: a digest of the token."""
        await self._set(session.origin, "admin", proof)
        session.admin = bool(proof)

    async def admin_proof(self, sid: str) -> str:
        """What `set_admin` kept, "" if nothing."""
        value = await self._executor.execute("HGET", self._k(sid, "rec")[0], "admin")
        return text(value) if value else ""

    # --- heartbeats

    async def renew(self, renewals: Sequence[Renewal]) -> list[Renewed]:
        """Heartbeats of many devices in one write, several of them a call."""
        calls: list[tuple[list[str], list[str | int]]] = []
        for i in range(0, len(renewals), size := self._renewals_a_call):
            keys: list[str] = []
            args: list[str | int] = []
            for (sid, device, gen), ttl_ms in renewals[i : i + size]:
                keys += self._k(sid, "rec", "alive", "devices", "rooms", "tell", "pending")
                args += (device, gen, max(1, ttl_ms))
            calls.append((keys, args))
        rows = [row for rows in await self._run.many("session_renew", calls) for row in rows]
        await self.schedule([(r.origin.sid, r.ttl_ms) for r in renewals])
        return [
            Renewed(r.origin, refusal(row), False) if row[0] == 0 else Renewed(r.origin, None, bool(row[2]))
            for r, row in zip(renewals, rows, strict=True)
        ]

    async def schedule(self, dues: Sequence[tuple[str, int]]) -> None:
        """Have a worker look at sessions in so many ms."""
        now = await self.now_ms()
        shards: dict[int, list[Any]] = {}
        for sid, ms in dues:
            shards.setdefault(shard_of(sid), []).extend((now + ms, sid))
        await self._executor.execute_many([("ZADD", self._keys.due(shard), *pairs) for shard, pairs in shards.items()])

    async def now_ms(self) -> int:
        """The store's clock."""
        seconds, micros = await self._executor.execute("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    async def prove_writable(self) -> None:
        """Raises `Unavailable` where heartbeats cannot be renewed: also when the store answers and refuses to write (no
        memory, a full disk, too few replicas).
        """
        writes = [("ZADD", self._keys.due(shard), "XX", 0, "nobody") for shard in range(SHARDS)]
        await self._executor.execute_many(writes)

    async def detach(self, origin: Origin) -> None:
        """A connection ended without a goodbye. Late news of an old connection changes nothing."""
        code, changed = (
            await self._run(
                "session_detach",
                self._k(origin.sid, "rec", "devices", "rooms", "tell"),
                origin.device,
                origin.gen,
            )
        )[:2]
        if not code and changed:
            await self.tell(origin.sid)

    async def due(self, limit: int) -> tuple[list[str], int, bool]:
        """For workers: sessions to look at now, up to `limit` of each shard; the store's clock in ms; whether there may
        be more.
        """
        now = await self.now_ms()
        asked = [("ZRANGEBYSCORE", self._keys.due(n), "-inf", now, "LIMIT", 0, limit) for n in range(SHARDS)]
        shards = all_done(await self._executor.execute_many(asked))
        return [text(sid) for sids in shards for sid in sids], now, any(len(sids) == limit for sids in shards)

    async def claim(self, sids: Sequence[str], seen_ms: int, fresh_ms: int) -> list[Claim]:
        """For workers: decide about sessions whose time has come, if the store was not away since `seen_ms`
        (its clock).
        """
        names = ("rec", "alive", "devices", "rooms", "tell", "pending")
        calls = [(self._k(sid, *names), (self._session_ttl_ms, seen_ms, fresh_ms)) for sid in sids]
        rows = await self._run.many("session_claim", calls)
        return [Claim(sid, text(row[0]), *map(int, row[1:])) for sid, row in zip(sids, rows, strict=True)]

    async def dismiss(self, sid: str) -> None:
        """For workers: a session that does not exist needs no further look."""
        await self._executor.execute("ZREM", self._keys.due(shard_of(sid)), sid)

    async def tell(self, sid: str) -> None:
        """Bring what `tell` notes to the rooms, and strike it off. Safe to repeat, by anybody."""
        rec, tell = self._k(sid, "rec", "tell")
        fields, rooms = await self._executor.execute_many(
            [("HMGET", rec, "nick", "version", "state", "ended"), ("HKEYS", tell)]
        )
        if fields[0] is None or fields[3] is not None or not rooms:
            return
        nick, version, state = (text(value) for value in fields[:3])
        named = [text(room) for room in rooms]
        calls = [
            (
                self._keys.named(room, "meta", "log", "members", "access"),
                (self._keys.of(room), new_epoch(), sid, version, state, nick, "", ""),
            )
            for room in named
        ]
        await self._run.many("room_enter", calls)
        await self._told(sid, int(version), named)

    async def _told(self, sid: str, version: int, rooms: Sequence[str]) -> None:
        await self._run("session_told", self._k(sid, "tell"), version, *rooms)

    async def save_positions(self, origin: Origin, positions: dict[str, Position], current: str = "") -> None:
        """Keep what a device without a memory of its own has received, and its current room."""
        pairs: list[str] = []
        for room, seen in positions.items():
            pairs += (f"{origin.device}\0{room}", " ".join((seen.epoch, str(seen.seq), seen.mid)))
        code = text(
            await self._run(
                "session_positions",
                self._k(origin.sid, "rec", "devices", "pos"),
                origin.device,
                origin.gen,
                current,
                *pairs,
            )
        )
        if code:
            raise refusal((0, code))

    async def hand_over(self, session: Session, positions: dict[str, Position]) -> None:
        """Tell the connection that took over what this one's device has received; its own writes are refused."""
        note = {"what": "positions", "device": session.device, "gen": session.gen, "value": _encode(positions).decode()}
        await self._executor.execute("PUBLISH", self._keys.of("@" + session.sid), b"S" + _encode(note))

    async def tell_spent(self, sid: str, what: str, tokens: float, gateway: str, to: str = "") -> None:
        """Tell the other gateways that the session is connected to what it has spent of its rate limit."""
        note = {"what": what, "value": f"{tokens:.3f}", "gateway": gateway, "to": to}
        await self._executor.execute("PUBLISH", self._keys.of("@" + sid), b"S" + _encode(note))

    # --- the end

    async def end(
        self, sid: str, code: str, reason: str, *, spare: Origin | None = None, quietly: bool = False
    ) -> bool:
        """End a session: its writes are refused from now on, its connections (but `spare`) get the goodbye
        `code`, the rooms hear `gone`, nick and cookie are free. Returns when all that is done; False when it
        was over before.
        """
        await self.schedule([(sid, 0)])
        device, gen = (spare.device, spare.gen) if spare else ("", 0)
        channel = "" if quietly else self._keys.of("@" + sid)
        ended = await self._run(
            "session_end", self._k(sid, "rec", "alive", "devices"), channel, code, reason, device, gen
        )
        await self.cleanup(sid)
        return bool(ended)

    async def cleanup(self, sid: str) -> None:
        """What follows from the end of a session, in every other slot. Safe to repeat, by anybody."""
        rec, rooms_key, devices_key = self._k(sid, "rec", "rooms", "devices")
        fields, rooms, devices_fields = await self._executor.execute_many(
            [
                ("HMGET", rec, "nick", "cookie", "ended", "leases"),
                ("HKEYS", rooms_key),
                ("HKEYS", devices_key),
            ]
        )
        if fields[2] is None and fields[0] is not None:
            return
        devices = [text(f)[2:] for f in devices_fields if f[:2] == b"g:"]
        for room in map(text, rooms):
            await self.leave(room, sid, devices, why=text(fields[2] or b"gone"), ended=True)
        for nick in {text(fields[0] or b""), *text(fields[3] or b"").split(" ")} - {""}:
            await self._run("nick_release", [f"{self._keys.nick(nick)}:lease"], sid)
        if fields[1] is not None:
            await self._run("nick_release", [self._keys.cookie(text(fields[1]))], sid)
        names = [
            "alive",
            "devices",
            "rooms",
            "tell",
            "pos",
            "log",
            "meta",
            "pending",
            "from",
            "files",
            "uploads",
            "stored",
            *(f"sent:{d}" for d in devices),
            "rec",
        ]
        await self._executor.execute("DEL", *self._k(sid, *names))
        await self._executor.execute("ZREM", self._keys.due(shard_of(sid)), sid)

    # --- rooms

    async def join(self, session: Session, room: str, *, heal: bool = False) -> Joined:
        """Into a room. Raises `Refused` (`banned`, `locked`, `denied`), `Goodbye` (`replaced`)."""
        row = await self._run(
            "session_join",
            self._k(session.sid, "rec", "devices", "rooms"),
            session.device,
            session.gen,
            room,
            self._max_rooms,
        )
        if row[0] == 0:
            raise refusal(row)
        nick, version, state, mute = (text(value) for value in row[1:5])
        pairs = row[6:]
        devices = [text(device) for device in pairs[::2]]
        taken = await self._run(
            "room_join",
            [*self._keys.named(room, "meta", "log", "members", "access"), *self._ids(room, session.sid, devices)],
            self._keys.of(room), new_epoch(), session.sid, version, state, nick, mute,
            int(room != LOBBY), int(session.admin), *pairs,
        )  # fmt: skip
        if taken[0] == 0:
            await self._executor.execute("HDEL", self._k(session.sid, "rooms")[0], room)
            raise refusal(taken)
        head = position(taken[1:4])
        await self._executor.execute_many([("ZADD", self._keys.rooms, 0, room)])
        if not heal:
            await self._run(
                "session_joined",
                self._k(session.sid, "tell"),
                self._keys.of("@" + session.sid),
                session.device,
                session.gen,
                room,
                *head,
            )
        return Joined(room, head, bool(taken[4]), bool(taken[5]))

    async def is_in(self, sid: str, room: str) -> bool:
        """Whether a room is on the session's list: what decides, also while a join or a part is half done."""
        return bool(await self._executor.execute("HEXISTS", self._k(sid, "rooms")[0], room))

    async def part(
        self, sid: str, room: str, *, origin: Origin | None = None, reason: str = "", why: str = "left"
    ) -> bool:
        """Out of a room, by oneself (`origin`) or by others; False when not in it. `why` is a word for a game there.

        Raises `Goodbye` (`replaced`).
        """
        device, gen = (origin.device, origin.gen) if origin else ("", 0)
        row = await self._run(
            "session_part",
            self._k(sid, "rec", "devices", "rooms", "tell"),
            self._keys.of("@" + sid),
            room,
            reason,
            device,
            gen,
        )
        if row[0] == 0:
            raise refusal(row)
        await self.leave(room, sid, [text(device) for device in row[2:]], why=why, ended=False)
        return bool(row[1])

    async def leave(self, room: str, sid: str, devices: Sequence[str], *, why: str, ended: bool) -> None:
        """The room's half of parting; a session that ended is forgotten there altogether."""
        keys = [*self._keys.named(room, "meta", "log", "members", "access", "game"), *self._ids(room, sid, devices)]
        remember_s = 0 if ended else self._session_ttl_ms // 1000 + 1
        left = await self._run("room_leave", keys, self._keys.of(room), sid, remember_s, why, *devices)
        if left == -1:
            await self._executor.execute("ZREM", self._keys.rooms, room)

    # --- names and cookies

    async def rename(self, session: Session, nick: str) -> str:
        """Move the session's lease; returns the old nick. Raises `Refused` (`nick_taken`, `banned`,
        `suspended`).
        """
        old = session.nick
        await self._set(session.origin, "leases", f"{old} {nick}")
        await self._lease(nick, session.sid, renaming=True)
        row = await self._run(
            "session_rename", self._k(session.sid, "rec", "devices", "rooms", "tell"),
            self._keys.of("@" + session.sid), session.device, session.gen, nick,
        )  # fmt: skip
        if row[0] == 0:
            await self._run("nick_release", [f"{self._keys.nick(nick)}:lease"], session.sid)
            raise refusal(row)
        session.nick, session.version = nick, int(row[2])
        if old != nick:
            await self._run("nick_release", [f"{self._keys.nick(old)}:lease"], session.sid)
        await self._set(session.origin, "leases", "")
        await self.tell(session.sid)
        return old

    async def new_cookie(self, session: Session, cookie_hash: str) -> None:
        """Give the session another cookie; the old one is void when this returns."""
        old = await self._executor.execute("HGET", self._k(session.sid, "rec")[0], "cookie")
        await self._executor.execute("SET", self._keys.cookie(cookie_hash), session.sid)
        await self._set(session.origin, "cookie", cookie_hash)
        if old is not None:
            await self._run("nick_release", [self._keys.cookie(text(old))], session.sid)
