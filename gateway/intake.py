"""What a client says, in order.

1. Ops take effect in order. Sends are handed on without waiting for one another; any other op waits until the sends
   before it are settled, and whatever comes after it waits for it.
2. What cannot be begun is not queued: it stays in the socket, from which reading stops.
3. Every op with an id gets exactly one answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Final

from causerie import commands, names
from causerie.commands import Call, Say
from causerie.errors import Goodbye, Refused, Unavailable, Violation
from causerie.model import Outcome, Post
from causerie.wire import jsonmsg, line
from causerie.wire.framing import LineFramer, Mark
from causerie.wire.websocket import FrameReader
from gateway import ops
from gateway.batch import Dialect
from gateway.committer import Waiting
from gateway.connection import Connection

if TYPE_CHECKING:
    from gateway.node import Node

MOST_UNSETTLED: Final = 256
"""Sends of one connection without an answer."""
MOST_UNREAD: Final = 32 * 1024
"""Bytes read and not yet looked at, past which reading stops."""
AT_ONCE: Final = 64
"""Ops begun in one go, so that one client's flood does not hold up the others."""

log = logging.getLogger(__name__)

Request = Say | Call | jsonmsg.Op | line.Nick | line.Reconnect | line.Leave | Violation
"""Something to do, whatever the protocol it was said in."""


class Client(Connection):
    """A connection with its intake."""

    __slots__ = (
        "_job",
        "_pumping",
        "_reading",
        "_unsettled",
        "_waiting",
        "cookie",
        "current",
        "ended",
        "framer",
        "fresh",
        "poisoned",
    )

    framer: LineFramer | FrameReader

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.current = names.LOBBY
        self.cookie = ""
        """What brings the session back, to show it again to the same person."""
        self.fresh = False
        """A new session that nothing was received from yet."""
        self.ended = False
        """The peer will say no more."""
        self.poisoned: dict[str, int] | None = None
        """Targets whose sends read so far fail, with the place in the stream where that ends."""
        self._waiting: tuple[int | None, Request] | None = None
        """Taken and not yet begun."""
        self._job: asyncio.Task[None] | None = None
        self._unsettled = 0
        self._reading = True
        self._pumping = False

    # -- taking ----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.node.wheel.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.node.wheel.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.closing:
            return
        if self.session is not None:
            self.heard = self.node.loop.time()
        self.framer.feed(data)
        self.pump()

    @property
    def at_leisure(self) -> bool:
        """Whether whatever comes can be begun at once."""
        return self._job is None and self._waiting is None and not (self.closing or self.paused)

    def take_only(self, message: bytes) -> None:
        """Begin what a message asks for that came to one at leisure, and alone: `data_received` without detours."""
        if self.session is not None:
            self.heard = self.node.loop.time()
        re, request = self._understood(message)
        if not self._begin(re, request):
            self._waiting = re, request

    def pump(self) -> None:
        """Begin whatever can be begun."""
        budget = AT_ONCE
        while self._job is None and not self.closing and not self.paused:
            if not budget:
                self._pump_soon()
                break
            budget -= 1
            taken, self._waiting = self._waiting, None
            if taken is None:
                taken = self._take()
                if taken is None:
                    break
            if not self._begin(*taken):
                self._waiting = taken
                break
        self._regulate()
        if self.ended and self.idle and not self.paused:
            self.end()

    def _pump_soon(self) -> None:
        if not self._pumping:
            self._pumping = True
            self.node.loop.call_soon(self._pump_again)

    def _pump_again(self) -> None:
        self._pumping = False
        try:
            self.pump()
        except Exception:  # nothing else would ever pump again
            log.exception("a request failed")
            self.fail()

    @property
    def idle(self) -> bool:
        """Whether all that was said is done."""
        return self._job is None and not self._unsettled and self._waiting is None and not self._pumping

    def _regulate(self) -> None:
        """Read from the socket only what can be dealt with."""
        if self.gone or self.ended:
            return
        wanted = self.closing or not (self.paused or self.framer.waiting > MOST_UNREAD)
        if wanted is not self._reading:
            self._reading = wanted
            if wanted:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def _take(self) -> tuple[int | None, Request] | None:
        """The next request, None if there is none."""
        raise NotImplementedError

    def _understood(self, item: bytes | Mark) -> tuple[int | None, Request]:
        """What a message of the framer asks for; where it cannot be told, the violation that it is."""
        self.node.counted.received += 1
        try:
            return self._read(item)
        except Violation as violation:
            return violation.re, violation

    def _read(self, item: bytes | Mark) -> tuple[int | None, Request]:
        if item is Mark.BINARY:
            raise Violation("frames are text")
        if item is Mark.TOO_LONG:
            raise Violation("a line has at most 16 KiB", code="too_long")
        if self.dialect == Dialect.TEXT:
            return self._read_line(item)
        op = jsonmsg.decode_op(item)
        try:
            return op.id, self._meaning(op)
        except Refused as refused:
            raise Violation(refused.text, code=refused.code, re=op.id) from None

    def _read_line(self, message: bytes) -> tuple[int | None, Request]:
        if self.session is None:
            return None, line.decode_first(message)
        if line.pong_of(message):
            return None, jsonmsg.Pong()
        try:
            return None, commands.parse(line.decode(message), self.current)
        except Refused as refused:
            raise Violation(refused.text, code=refused.code) from None

    def _meaning(self, op: jsonmsg.Op) -> Request:
        if isinstance(op, jsonmsg.Send):
            return Say(ops.recipients(op.to), names.body(op.body), op.kind)
        if isinstance(op, jsonmsg.Command) and self.session is not None:
            return commands.parse(op.line, self.current)
        if isinstance(op, jsonmsg.Part):
            return Call("part", {"room": names.room(op.room)})
        if isinstance(op, jsonmsg.Quit):
            return Call("quit", {"reason": ""})
        if isinstance(op, jsonmsg.Join):
            op.room = names.room(op.room)
        return op

    # -- beginning -------------------------------------------------------------------------------------------------

    def _begin(self, re: int | None, request: Request) -> bool:
        """Begin to do it; False if it must wait."""
        if self.session is None:
            self._greet(re, request)
        elif self.fresh:
            self._start(ops.hear(self, re, request))
        elif isinstance(request, Say):
            return self.send(re, request)
        elif isinstance(request, Violation):
            self.refuse(request, re)
        elif isinstance(request, jsonmsg.Pong):
            self.take_pong(re)
        elif isinstance(request, jsonmsg.Hello):
            self.refuse(Violation("you said hello already"), re)
        elif self._unsettled:
            return False
        else:
            self._start(ops.do(self, re, request))
        return True

    def _greet(self, re: int | None, request: Request) -> None:
        from gateway import hello

        if isinstance(request, Violation):
            self.refuse(request, re)
        elif isinstance(request, line.Leave):
            self.goodbye(Goodbye("quit", "goodbye"))
        elif isinstance(request, line.Nick | line.Reconnect | jsonmsg.Hello):
            self._start(hello.hello(self, request))
        elif re is not None or not isinstance(request, jsonmsg.Pong):
            self.refuse(Violation("say hello first"), re)

    def take_pong(self, re: int | None) -> None:
        """That it came is all that it says; one with an id has its answer like every op."""
        if re is not None:
            self.answer(jsonmsg.Result(re=re, text=[], data={}))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        """Run work to which whatever comes next must wait."""
        self._job = self.node.loop.create_task(work)
        self._job.add_done_callback(self._done)

    def _done(self, job: asyncio.Task[None]) -> None:
        self._job = None
        if not job.cancelled() and (error := job.exception()):
            log.error("a request failed", exc_info=error)
            self.fail()
        self.pump()

    # -- sends -----------------------------------------------------------------------------------------------------

    def send(self, re: int | None, said: Say) -> bool:
        """Hand a message to the committer; False if too many are on their way."""
        session = self.session
        assert session is not None
        if self._unsettled >= MOST_UNSETTLED:
            return False
        room = said.to[0] if said.to[0].startswith("#") else None
        if self.poisoned is not None and self._is_poisoned(self.poisoned, room or names.INBOX):
            self.node.counted.unavailable += 1
            self.refuse(Unavailable(), re)
            return True
        wait = self.node.shares.take(session.sid, len(said.to))
        if wait is not None:
            self.refuse(Refused("rate_limited", "too many messages", retry_after=wait), re)
            return True
        self._unsettled += 1
        post = Post(session.origin, session.nick, re, said.kind, said.body, self.node.mids.next())
        if room is not None:
            self.node.committer.post(room, Waiting(self, re, post, []))
        else:
            self.node.committer.direct(Waiting(self, re, post, [nick[1:] for nick in said.to]))
        return True

    def settled(self, re: int | None, log_: str, outcome: Outcome) -> None:
        """What became of a message."""
        self._unsettled -= 1
        if isinstance(outcome.error, Goodbye):
            self.refuse(Unavailable(outcome.error.text), re)
            self.goodbye(outcome.error)
        elif outcome.error is not None:
            self.refuse(outcome.error, re)
        elif self.dialect != Dialect.TEXT and re is not None:
            ack = jsonmsg.Ack(re, log_, outcome.seq)
            if outcome.duplicate:
                ack.duplicate = True
            self.answer(ack)
        if self._waiting is not None or self.framer.waiting or self.ended:
            self._pump_soon()

    def poison(self, target: str) -> None:
        """A send to that target failed and may or may not be in the store: all that was read for it fails too."""
        if self.poisoned is None:
            self.poisoned = {}
        self.poisoned[target] = self.framer.received

    def _is_poisoned(self, poisoned: dict[str, int], target: str) -> bool:
        here = self.framer.consumed
        if here > max(poisoned.values()):
            self.poisoned = None
            return False
        return here <= poisoned.get(target, 0)

    # -- the transport's word --------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        self._regulate()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.pump()

    def end(self, goodbye: Goodbye | None = None) -> None:
        super().end(goodbye)
        # what still comes is read and dropped: left unread, it would turn our last words into a reset
        self._regulate()
