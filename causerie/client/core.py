"""The client without its sockets: what to say on connecting, what each event means, what to send again.

The shell (`causerie.client.client`) owes it: `connected` before anything else on a new connection and its
frame sent first; every received frame to `receive`; `output` whenever something was asked, received, or
`deadline` has passed; `disconnected` once after each connection; and, as soon as `hangup` is set, the end of
that connection. Times are seconds of one clock that never goes back; `random` gives numbers in [0, 1).
"""

from __future__ import annotations

import random as random_module
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from causerie.client.lanes import REMEMBERED, Lane, Pacer, Request
from causerie.client.positions import INBOX, Positions, Verdict
from causerie.client.results import ClientError, Closed, Event, NotSent, OutcomeUnknown, refusal
from causerie.errors import GOODBYES, Refused
from causerie.model import token
from causerie.wire.framing import MAX_LINE

ANSWER_LIMIT = 60.0
"""Seconds without an answer after which a connection is taken for broken, however lively it looks."""

UNREPEATABLE = frozenset({"cookie", "kick", "shutdown", "start", "stop"})
"""Commands of which a second run is not the same as one: not sent again when the answer was lost."""

CONTROL_LANE = "!"
INTERNAL_LANE = ""


@dataclass(slots=True)
class Hangup:
    """Why the connection is to end, and whether to come back: after `retry_after` seconds, if the server said
    so.
    """

    reason: str
    retry_after: float | None = None
    final: ClientError | Refused | None = None


@dataclass(slots=True)
class Answer:
    """The end of a request: the event that answers it, or why there is none."""

    id: int
    event: Event | None = None
    error: ClientError | Refused | None = None


def clock_us() -> int:
    """The first send id of a client without a saved counter: microseconds since 1970."""
    return time.time_ns() // 1000


class Core:
    """One session as one device sees it, over any number of connections."""

    def __init__(
        self,
        nick: str | None = None,
        *,
        device: str = "",
        password: str | None = None,
        admin_token: str | None = None,
        cookie: str | None = None,
        positions: dict[str, dict[str, Any]] | None = None,
        window: int = REMEMBERED,
        first_id: int | None = None,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        assert nick or cookie, "a client needs a nick or a cookie"
        self.nick = nick or ""
        self.cookie = cookie or token()
        self.session = ""
        self.gateway = ""
        self.heartbeat = 10.0
        self.positions = Positions(positions)
        self.state: Literal["offline", "greeting", "open"] = "offline"
        self.hangup: Hangup | None = None
        self.quitting = False
        self._own_cookie_unused = cookie is None
        self._greetings = {"device": device, "password": password, "admin_token": admin_token}
        self._window = window
        self._random = random
        self._last_id = (first_id or clock_us()) - 1
        self._hello_id = 0
        self._asked: dict[str, Any] = {}
        self._lanes: dict[str, Lane] = {}
        self._lane_of: dict[int, Lane] = {}
        self._pacer = Pacer()
        self._events: list[Event] = []
        self._answers: list[Answer] = []
        self._pongs: list[bytes] = []
        self._holes: dict[str, int] = {}
        self._current_room: str | None = None
        self._rooms_to_rejoin: dict[str, None] = {}
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder().decode

    # -- what the user asks --------------------------------------------------------------------------------

    def request(
        self,
        lane: str,
        *,
        repeatable: bool = True,
        internal: bool = False,
        quiet: bool = False,
        again: int | None = None,
        **op: Any,
    ) -> int:
        """Queue an op in a lane and return its id. Raises `NotSent` for what no server would read.

        `quiet`: its answer is no event; `again`: it is the op that was answered before under this id.
        """
        self._last_id += again is None
        request_id = again or self._last_id
        op = {"op": op.pop("op"), "id": request_id, **op}
        try:
            frame = self._encode(op)
        except UnicodeEncodeError:
            raise NotSent("bad_request", "this is no text: it holds half of a character") from None
        if len(frame) > MAX_LINE:
            # A server skips such a line and cannot say which one it was.
            raise NotSent("too_long", f"{len(frame)} bytes; at most {MAX_LINE} can be sent at once")
        found = self.lane(lane)
        found.add(Request(request_id, op, frame, repeatable=repeatable, internal=internal, quiet=quiet))
        self._lane_of[request_id] = found
        return request_id

    def send(self, to: str | list[str], body: str, kind: str | None = None) -> int:
        """Queue a message; it goes again, under the same id, until it is answered."""
        extra: dict[str, Any] = {} if kind is None else {"kind": kind}
        return self.request(lane_name(to), op="send", to=to, body=body, **extra)

    def command(self, line: str, *, quiet: bool = False, again: int | None = None) -> int:
        """Queue a line as a person would type it."""
        repeatable = verb_of(line) not in UNREPEATABLE
        return self.request(CONTROL_LANE, op="command", line=line, repeatable=repeatable, quiet=quiet, again=again)

    def quit(self) -> int:
        """Queue the goodbye."""
        self.quitting = True
        return self.request(CONTROL_LANE, op="quit")

    def lane(self, name: str) -> Lane:
        """The lane of a target (`lane_name`)."""
        if name not in self._lanes:
            self._lanes[name] = Lane(most=self._window, jitter=self._random)
        return self._lanes[name]

    @property
    def unanswered(self) -> int:
        """How many requests wait for their answer."""
        return len(self._lane_of)

    # -- what the shell does -------------------------------------------------------------------------------

    def connected(self) -> bytes:
        """A connection stands; returns the frame to send first."""
        self.state, self.hangup = "greeting", None
        self._last_id += 1
        self._hello_id = self._last_id
        hello: dict[str, Any] = {"op": "hello", "id": self._hello_id}
        hello |= {name: value for name, value in self._greetings.items() if value}
        if self._own_cookie_unused:
            hello["nick"] = self.nick
        hello["cookie"] = self.cookie
        self._asked = self.positions.resume()
        if self._asked:
            hello["resume"] = self._asked
        return self._encode(hello)

    def receive(self, frame: bytes | str, now: float) -> None:
        """Take one frame. After it, look at `events`, `answers`, `hangup` and `output`."""
        if self.hangup is not None:
            return
        try:
            event = self._decode(frame)
            self._handle(event, now)
        except (msgspec.DecodeError, LookupError, TypeError, ValueError, AttributeError) as error:
            self.hangup = Hangup(f"the server sent something unreadable ({type(error).__name__}: {error})")

    def output(self, now: float) -> list[bytes]:
        """The frames to send now, in order."""
        frames, self._pongs = self._pongs, []
        if self.state != "open" or self.hangup is not None:
            return frames
        oldest = min((at for lane in self._lanes.values() if (at := lane.oldest()) is not None), default=now)
        if now - oldest >= ANSWER_LIMIT:
            self.hangup = Hangup("the server does not answer")
            return frames
        for lane in self._active_lanes():
            frames += [request.frame for request in lane.take(now, self._pacer)]
        return frames

    def deadline(self) -> float | None:
        """When `output` is worth calling though nothing happens; None: not before something does."""
        if self.state != "open":
            return None
        times = [lane.ready_at(self._pacer) for lane in self._active_lanes()]
        limits = [lane.oldest() for lane in self._lanes.values()]
        due = [at for at in times if at is not None] + [at + ANSWER_LIMIT for at in limits if at is not None]
        return min(due, default=None)

    def disconnected(self) -> None:
        """The connection is gone, for whatever reason."""
        self.state = "offline"
        self._pongs.clear()
        for request in self.lane(INTERNAL_LANE).abandon():
            del self._lane_of[request.id]
        for lane in self._lanes.values():
            for request in lane.disconnected():
                self._fail(request, OutcomeUnknown("the connection broke before the answer came"))

    def take_events(self) -> list[Event]:
        """What the user is to be told, in order."""
        events, self._events = self._events, []
        return events

    def take_answers(self) -> list[Answer]:
        """The requests that have ended."""
        answers, self._answers = self._answers, []
        return answers

    def close(self, error: ClientError | Refused) -> None:
        """Nothing more will be sent: everything unanswered ends with `error`."""
        for lane in self._lanes.values():
            for request in lane.abandon():
                self._fail(request, error)

    # -- what events mean ----------------------------------------------------------------------------------

    def _handle(self, event: Event, now: float) -> None:
        handler = {
            "ping": self._on_ping,
            "welcome": self._on_welcome,
            "message": self._on_message,
            "presence": self._on_presence,
            "reset": self._on_reset,
            "bye": self._on_bye,
        }.get(event["ev"])
        if handler is not None:
            handler(event)
        elif event["ev"] == "error" and event.get("re") == self._hello_id:
            self._on_refused_hello(event)
        elif event["ev"] in {"ack", "result", "error"} and event.get("re") is not None:
            self._on_answer(event, now)
        else:
            self._events.append(event)

    def _on_ping(self, event: Event) -> None:
        self._pongs.append(self._encode({"op": "pong", "n": event["n"]}))

    def _on_welcome(self, event: Event) -> None:
        inbox = event["rooms"][INBOX]
        if self._own_cookie_unused and event["resumed"] and inbox["seq"]:
            # A hello whose answer was lost made this session: what came to its inbox since was never seen.
            self.positions.reset(INBOX, inbox["epoch"], 0)
            self._own_cookie_unused = False
            self.hangup = Hangup("there is mail from before the welcome", retry_after=0.0)
            return
        self.state = "open"
        self._own_cookie_unused = False
        self.nick = event["nick"]
        self.session, self.gateway = event.get("session", ""), event.get("gateway", "")
        self.cookie = event.get("cookie") or self.cookie
        self.heartbeat = float(event.get("heartbeat") or self.heartbeat)
        news = self.positions.welcome(event["rooms"], self._asked)
        self._events += [event, *news]
        if any(item.get("reset") for item in news):
            # A store that lost numbers lost members too; without that sign somebody took us out of the room.
            self._rooms_to_rejoin |= {item["in"]: None for item in news if item["ev"] == "left"}
        self._restore()

    def _restore(self) -> None:
        """Bring a session that was lost, or lost its rooms, back to where it was."""
        for room in self._rooms_to_rejoin:
            if room == self._current_room:
                self.request(INTERNAL_LANE, internal=True, op="command", line=f"!join {room}")
            elif room not in self.positions:
                self.request(INTERNAL_LANE, internal=True, op="join", room=room)

    def _on_message(self, event: Event) -> None:
        log, seq, mid = event["in"], event["seq"], event.get("mid", "")
        verdict = self.positions.judge(log, seq, mid)
        if verdict is Verdict.REPEAT:
            return
        if verdict is Verdict.HOLE and not self._tell_hole(log, seq):
            return
        self.positions.received(log, seq, mid)
        self._events.append(event)

    def _tell_hole(self, log: str, seq: int) -> bool:
        """Ask for what is missing by coming back; where that was tried from here already, say so and go
        on.
        """
        here = self.positions[log].seq
        if self._holes.get(log) != here:
            self._holes[log] = here
            self.hangup = Hangup(f"{log} jumps from {here} to {seq}")
            return False
        self._events.append({"ev": "gap", "in": log, "after": here, "before": seq})
        return True

    def _on_presence(self, event: Event) -> None:
        mine = event.get("nick") == self.nick
        if mine and event.get("state") == "renamed":
            self.nick = event["to"]
        elif mine and event.get("state") == "gone":
            self._left(event["in"])
        elif mine and event.get("state") == "online" and event["in"] not in self.positions:
            # Another device of ours joined. Joining again changes nothing and tells where the room stands;
            # without that, a break before its first message would pass over it.
            self.request(INTERNAL_LANE, internal=True, op="join", room=event["in"])
        self._events.append(event)

    def _on_reset(self, event: Event) -> None:
        self.positions.reset(event["in"], event["epoch"], event["seq"])
        self._events.append(event)

    def _on_bye(self, event: Event) -> None:
        code, text = event["code"], event.get("text", "")
        comes_back = GOODBYES.get(code, True) and not (self.quitting and not self.unanswered)
        self._events.append(event)
        final = None if comes_back else Closed(code, text)
        self.hangup = Hangup(f"bye {code}: {text}", event.get("retry_after"), final)

    def _on_refused_hello(self, event: Event) -> None:
        code = event["code"]
        refused = refusal(event)
        if code in {"unavailable", "rate_limited"}:
            self.hangup = Hangup(refused.text, event.get("retry_after"))
        elif code != "bad_cookie":
            self.hangup = Hangup(refused.text, final=refused)
        elif self.quitting:
            self.hangup = Hangup("the session has ended", final=Closed("quit"))
        elif not self.nick or self._own_cookie_unused:
            self.hangup = Hangup(refused.text, final=refused)
        else:
            self._start_anew(refused)

    def _start_anew(self, refused: Refused) -> None:
        """The session is no more: be the same person again in a new one."""
        self._rooms_to_rejoin |= dict.fromkeys(self.positions.forget())
        self._holes.clear()
        self.cookie, self._own_cookie_unused = token(), True
        self._events.append({"ev": "session_lost", "nick": self.nick, "text": refused.text})
        for lane in self._lanes.values():
            for request in lane.abandon_transmitted():
                self._fail(request, OutcomeUnknown("the session ended before the answer came"))
        self.hangup = Hangup("the session is no more; starting a new one", retry_after=0.0)

    def _on_answer(self, event: Event, now: float) -> None:
        lane = self._lane_of.get(event["re"])
        if lane is None:
            return
        code = event.get("code") if event["ev"] == "error" else None
        if code in {"unavailable", "rate_limited"}:
            wait = event.get("retry_after")
            if code == "rate_limited":
                self._pacer.refused(1.0 if wait is None else wait, now)
            lane.refused(event["re"], wait, now)
            return
        request = lane.answered(event["re"])
        if request is None:
            return
        if event["ev"] == "ack":
            self._pacer.accepted()
        del self._lane_of[request.id]
        if event["ev"] == "result":
            self._learn(request.op, event.get("data"))
        if request.internal:
            self._on_restored(request, event)
            return
        if not request.quiet:
            self._events.append(event)
        error = refusal(event) if event["ev"] == "error" else None
        self._answers.append(Answer(request.id, event, error))

    def _on_restored(self, request: Request, event: Event) -> None:
        room = request.op.get("room") or request.op["line"].split()[1]
        wanted = room in self._rooms_to_rejoin
        self._rooms_to_rejoin.pop(room, None)
        if event["ev"] == "error" and wanted:
            self._events.append({"ev": "left", "in": room, "code": event["code"]})

    def _learn(self, op: dict[str, Any], data: Any) -> None:
        """What the answer to our own op says about the session."""
        if not isinstance(data, dict):
            return
        verb = verb_of(op["line"]) if op["op"] == "command" else op["op"]
        if verb == "join" and "room" in data and "epoch" in data:
            self.positions.joined(data["room"], data["epoch"], data["seq"])
            if op["op"] == "command":
                self._current_room = data["room"]
        elif verb == "part":
            self._left(str(data.get("room") or op.get("room", "")))
        elif verb == "cookie" and isinstance(data.get("cookie"), str):
            self.cookie = data["cookie"]

    def _left(self, room: str) -> None:
        self.positions.left(room)
        if room == self._current_room:
            self._current_room = None

    # -- helpers -------------------------------------------------------------------------------------------

    def _active_lanes(self) -> list[Lane]:
        """What may be sent from: until the session is as it was, nothing but what makes it so."""
        internal = self._lanes.get(INTERNAL_LANE)
        return [internal] if internal else list(self._lanes.values())

    def _fail(self, request: Request, error: ClientError | Refused) -> None:
        self._lane_of.pop(request.id, None)
        if not request.internal:
            self._answers.append(Answer(request.id, error=error))


def lane_name(to: str | list[str]) -> str:
    """The lane of a message's target; all direct messages of a device are one target."""
    if isinstance(to, str) and to.startswith("#"):
        return to.casefold()
    return INBOX


def verb_of(line: str) -> str:
    """The command that a typed line gives (`ban` of `@bob !ban`), or "" for a message."""
    words = line.split()
    while words and words[0].startswith("@"):
        words.pop(0)
    return words[0][1:].casefold() if words and words[0].startswith("!") else ""
