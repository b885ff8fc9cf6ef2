"""A device that speaks JSON as plainly as the contract allows: it resends what has no ack, and resumes from what it
received. It shares no code with causerie.client, so that no cleverness there hides a fault of the server.
"""

import asyncio
import json
import random
import secrets
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import msgspec
import websockets

from tests.chaos.history import (
    Answer,
    Hello,
    Joined,
    Lost,
    Message,
    Place,
    Presence,
    Refused,
    Reset,
    Sent,
    Standing,
    Tape,
    Welcome,
    Wrong,
)
from tests.support.invariants import Ledger
from tests.support.json_client import Event, TcpWire, WebSocketWire

HELLO_S = 5.0
"""Patience for a connection, and then for the welcome."""
ANSWER_S = 6.0
"""An op without an answer for so long: the connection is given up."""
SILENT_BEATS = 2.5
WAITING = 64
"""Messages made and not acknowledged in one lane, past which no more are made."""


@dataclass
class Post:
    """One message, from when it was made until it is acknowledged."""

    id: int
    n: int
    body: str
    to: list[str]
    since: float = 0.0
    """When it was last sent."""
    unsure: bool = False
    """It was sent and not refused: it may be posted, so its id must stay."""


@dataclass
class Lane:
    """What goes to one target, in order. `sent` is under way, `ready` is not."""

    name: str
    window: int
    made: int = 0
    ready: deque[Post] = field(default_factory=deque)
    sent: dict[int, Post] = field(default_factory=dict)
    held: bool = False
    """Something was refused: nothing new goes out before all that is under way is answered."""
    not_before: float = 0.0

    @property
    def waiting(self) -> int:
        return len(self.ready) + len(self.sent)

    def again(self, posts: list[Post]) -> None:
        """These must be sent again, before all that was made later."""
        self.ready = deque(sorted([*posts, *self.ready], key=lambda post: post.n))

    def forget_sent(self) -> None:
        """The connection is gone: nobody will answer."""
        self.again(list(self.sent.values()))
        self.sent.clear()
        self.held = False


class Gone(Exception):
    """The connection is of no use any more; the text says why."""


class JsonDevice:
    """Sends and receives until it is told to stop; everything that it sees goes on the tape."""

    def __init__(
        self,
        name: str,
        tape: Tape,
        rng: random.Random,
        *,
        rooms: list[str],
        doors: "list[Any]",
        transport: str = "tcp",
        cookie: str = "",
        window: int = 8,
        rate: float = 5.0,
    ) -> None:
        self.name = name
        self.nick, _, self.device = name.partition("/")
        self.tape, self.rng, self.rooms, self.doors, self.transport = tape, rng, rooms, doors, transport
        self.cookie = cookie or secrets.token_urlsafe(24)
        self.rate = rate
        self.peers: list[str] = []
        """Nicks to write to directly."""
        self.places: dict[str, Place] = {}
        self.lanes = {lane: Lane(lane, window) for lane in [*rooms, "@"]}
        self.connected = False
        self.gateway = ""
        """Where it is connected."""
        self.port = 0
        """Its own port, by which a proxy knows it."""
        self.clock_shift = 0.0
        """Seconds by which its clock is wrong."""
        self._last_id = 0
        self._epochs: dict[str, str] = {}
        self._entered: set[str] = set()
        """Rooms that it may write to."""
        self._joining: dict[int, str] = {}
        self._wire: TcpWire | WebSocketWire | None = None
        self._ledger = Ledger()
        self._kick = asyncio.Event()
        self._heartbeat = 1.0
        self._broken = 0

    # -- what the harness asks -------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Messages without an ack."""
        return sum(lane.waiting for lane in self.lanes.values())

    def forget_counter(self, shift: float) -> None:
        """Lose the saved counter: ids start from the clock, which is wrong by so many seconds."""
        self.clock_shift = shift
        self._last_id = 0

    async def produce(self) -> None:
        """Make messages for ever."""
        while True:
            await asyncio.sleep(self.rng.expovariate(self.rate))
            lane = self.rng.choice(list(self.lanes.values()))
            if lane.waiting >= WAITING or (lane.name == "@" and not self.peers):
                continue
            lane.made += 1
            to = [lane.name]
            if lane.name == "@":
                to = self.rng.sample(self.peers, k=min(len(self.peers), self.rng.choice((1, 1, 2))))
            body = f"{self.name} {lane.name} {lane.made}"
            lane.ready.append(Post(self._next_id(), lane.made, body, to))
            self._kick.set()

    async def live(self) -> None:
        """Be connected for ever, now here, now there."""
        while True:
            door = self.rng.choice(self.doors)
            pause = 0.0
            try:
                pause = await self._visit(door)
            except Gone as gone:
                self._note_lost(str(gone))
            except (OSError, TimeoutError, websockets.WebSocketException) as error:
                self._note_lost(type(error).__name__)
            finally:
                self._hang_up()
            await asyncio.sleep(max(pause, self.rng.uniform(0.02, 0.3)))

    # -- one connection --------------------------------------------------------------------------------------------

    async def _visit(self, door: Any) -> float:
        opening = TcpWire.open(door, None) if self.transport == "tcp" else WebSocketWire.open(door, None)
        async with asyncio.timeout(HELLO_S):
            self._wire = await opening
        self.port, self.gateway = self._own_port(), door.name
        self._ledger = Ledger()
        await self._greet(door)
        writing = asyncio.get_running_loop().create_task(self._write())
        try:
            while True:
                event = await self._read(self._heartbeat * SILENT_BEATS)
                if event["ev"] == "bye":
                    self._note_lost(f"bye {event['code']}")
                    if event["code"] not in {"shutdown", "timeout", "slow_consumer", "unavailable", "replaced"}:
                        self._wrong(f"unexpected goodbye: {event}")
                    return min(float(event.get("retry_after") or 0.1), 2.0)
                self._take(event)
        finally:
            writing.cancel()
            await asyncio.wait([writing])

    def _own_port(self) -> int:
        transport = self._wire.writer.transport if isinstance(self._wire, TcpWire) else self._wire.connection.transport
        own = transport.get_extra_info("sockname")
        return int(own[1]) if own else 0

    async def _greet(self, door: Any) -> None:
        number = self._next_id()
        self.places = {log: place for log, place in self.places.items() if place.epoch}
        resume = {
            log: {"epoch": p.epoch, "seq": p.seq} | ({"mid": p.mid} if p.mid else {}) for log, p in self.places.items()
        }
        self.tape.add(Hello(self.tape.now(), self.name, dict(self.places), door.name))
        hello = {"op": "hello", "id": number, "nick": self.nick, "cookie": self.cookie, "device": self.device}
        await self._say({**hello, "resume": resume} if resume else hello)
        async with asyncio.timeout(HELLO_S):
            while True:
                event = await self._read(HELLO_S)
                if event["ev"] == "welcome":
                    self._welcome(event)
                    return
                if event["ev"] == "error":
                    raise Gone(f"hello refused: {event['code']}")
                if event["ev"] == "bye":
                    raise Gone(f"bye {event['code']}")

    async def _read(self, patience: float) -> Event:
        assert self._wire is not None
        try:
            async with asyncio.timeout(patience):
                raw = await self._wire.read()
        except TimeoutError:
            raise Gone("silence") from None
        if raw is None:
            raise Gone("closed")
        event = self._ledger.received(raw)
        for text in self._ledger.violations:
            self._wrong(text)
        self._ledger.violations.clear()
        if event["ev"] == "ping":
            await self._say({"op": "pong", "n": event["n"]})
        return event

    async def _say(self, op: Event) -> None:
        assert self._wire is not None
        self._ledger.sent(op)
        async with asyncio.timeout(ANSWER_S):
            await self._wire.write(json.dumps(op))

    def _hang_up(self) -> None:
        self.connected, self.port = False, 0
        if self._wire is not None:
            self._wire.abort()
            self._wire = None
        self._joining.clear()
        for lane in self.lanes.values():
            lane.forget_sent()

    def _note_lost(self, why: str) -> None:
        if self.connected:
            self.connected = False
            self.tape.add(Lost(self.tape.now(), self.name, why))
        elif why == "hello refused: bad_cookie":
            self.tape.add(Refused(self.tape.now(), self.name, "bad_cookie"))
            self.places.clear()

    # -- writing ---------------------------------------------------------------------------------------------------

    def _next_id(self) -> int:
        clock = int((time.time() + self.clock_shift) * 1e6)
        self._last_id = self._last_id + 1 if self._last_id else clock
        return self._last_id

    async def _write(self) -> None:
        """Keep every lane's window full, and give up a connection on which nothing is answered."""
        try:
            while True:
                self._kick.clear()
                await self._join_missing()
                for lane in self.lanes.values():
                    await self._fill(lane)
                try:
                    async with asyncio.timeout(0.05):
                        await self._kick.wait()
                except TimeoutError:
                    pass
                if self._unanswered_for() > ANSWER_S:
                    break
        except (OSError, TimeoutError, websockets.WebSocketException):
            pass
        if self._wire is not None:
            self._wire.abort()

    async def _join_missing(self) -> None:
        for room in self.rooms:
            if room not in self._entered and room not in self._joining.values():
                number = self._next_id()
                self._joining[number] = room
                await self._say({"op": "join", "id": number, "room": room})

    async def _fill(self, lane: Lane) -> None:
        if lane.held and not lane.sent:
            lane.held = False
        if lane.name != "@" and lane.name not in self._entered:
            return
        while lane.ready and not lane.held and len(lane.sent) < lane.window and time.monotonic() >= lane.not_before:
            post = lane.ready.popleft()
            lane.sent[post.id] = post
            post.since, post.unsure = time.monotonic(), True
            to = post.to if lane.name == "@" else []
            self.tape.add(Sent(self.tape.now(), self.name, post.id, lane.name, post.n, post.body, to))
            target: Any = [f"@{nick}" for nick in to] or lane.name
            await self._say({"op": "send", "id": post.id, "to": target, "body": post.body})

    def _unanswered_for(self) -> float:
        oldest = min((post.since for lane in self.lanes.values() for post in lane.sent.values()), default=None)
        return time.monotonic() - oldest if oldest else 0.0

    # -- reading ---------------------------------------------------------------------------------------------------

    def _welcome(self, event: Event) -> None:
        now = self.tape.now()
        rooms = {log: msgspec.convert(standing, Standing) for log, standing in event["rooms"].items()}
        self.tape.add(Welcome(now, self.name, event["session"], event["resumed"], rooms))
        self._heartbeat = max(float(event["heartbeat"]), 0.5)
        asked, self._epochs, self._entered = dict(self.places), {}, set()
        for log, standing in rooms.items():
            if standing.error:
                self.places.pop(log, None)
                continue
            self._epochs[log] = standing.epoch
            self._entered.add(log)
            if log not in asked:
                self.places[log] = Place(standing.epoch, standing.seq)
            elif not standing.recovered:
                self.places[log] = Place(standing.epoch, (standing.whole_from or standing.seq + 1) - 1)
        for log in asked.keys() - rooms.keys():
            self._wrong(f"welcome says nothing of {log}, which was asked for")
        self.connected = True

    def _take(self, event: Event) -> None:
        now = self.tape.now()
        match event["ev"]:
            case "message":
                log = event["in"]
                self.places[log] = Place(self._epochs.get(log, ""), event["seq"], event["mid"])
                self.tape.add(Message(now, self.name, log, event["seq"], event["mid"], event["body"], event["from"]))
            case "ack" | "error":
                self._answered(event)
            case "result":
                self._joined(event)
            case "reset":
                log = event["in"]
                self._epochs[log] = event["epoch"]
                self.places[log] = Place(event["epoch"], event["seq"])
                self.tape.add(Reset(now, self.name, log, event["epoch"], event["seq"]))
            case "presence" if "nick" in event:
                self.tape.add(Presence(now, self.name, event["in"], event["nick"], event["state"]))
                if event["nick"] == self.nick and event["state"] == "gone":
                    self._wrong(f"put out of {event['in']}")

    def _joined(self, event: Event) -> None:
        room = self._joining.pop(event["re"], None)
        if room is None:
            return
        data = event["data"]
        self._epochs[room] = data["epoch"]
        self._entered.add(room)
        if room not in self.places or not self.places[room].epoch:
            place = self.places.get(room)
            self.places[room] = place._replace(epoch=data["epoch"]) if place else Place(data["epoch"], data["seq"])
        self.tape.add(Joined(self.tape.now(), self.name, room, data["epoch"], data["seq"]))
        self._kick.set()

    def _answered(self, event: Event) -> None:
        number = event.get("re")
        room = self._joining.pop(number, None)
        if room is not None:
            return  # the join is tried again
        lane = next((lane for lane in self.lanes.values() if number in lane.sent), None)
        if lane is None:
            self._wrong(f"an answer to nothing that is under way: {event}")
            return
        post = lane.sent.pop(number)
        code = event.get("code", "")
        self.tape.add(
            Answer(
                self.tape.now(), self.name, number, lane.name, post.body, code,
                event.get("seq", 0), event.get("duplicate", False),
            )
        )  # fmt: skip
        if code:
            self._refused(lane, post, code)
        self._kick.set()

    def _refused(self, lane: Lane, post: Post, code: str) -> None:
        post.unsure = False
        lane.again([post])
        lane.held = True
        lane.not_before = time.monotonic() + self.rng.uniform(0.02, 0.2)
        if code == "not_joined":
            self._entered.discard(lane.name)
        elif code == "bad_request":  # our ids are out of order: our clock was
            self._renumber(lane)
        elif code not in {"unavailable", "no_such_nick"}:
            self._wrong(f"{post.body!r} was refused: {code}")

    def _renumber(self, lane: Lane) -> None:
        self.clock_shift = 0.0
        self._last_id = max(self._last_id, int(time.time() * 1e6))
        for post in lane.ready:
            if not post.unsure:
                post.id = self._next_id()

    def _wrong(self, text: str) -> None:
        self.tape.add(Wrong(self.tape.now(), self.name, text))
