"""A text client: it listens in some rooms and to its inbox, and comes back with `!reconnect`.

It is connected without a proxy: what its TCP has acknowledged counts as received, so nothing may stand between.
"""

import asyncio
import random
import re
from typing import Any

from tests.chaos.history import Line, Lost, Presence, Tape, TextBack, TextStart, TextTold, Wrong
from tests.support.json_client import abort
from tests.support.text_client import CONTROL, FORMS

PATIENCE_S = 6.0
MESSAGE = re.compile(r"\[(#\S+|@)\] [^:]+: (.*)")
TOLD = re.compile(r"\* some messages (?:of|in) (\S+) (?:are no longer kept|may have been lost)")
PRESENCE = re.compile(r"\* (\S+) (crashed) \((\S+)\)")


class Gone(Exception):
    """The connection is of no use any more."""


class TextDevice:
    """Reads until it is told to stop; everything that it sees goes on the tape."""

    def __init__(self, name: str, tape: Tape, rng: random.Random, *, rooms: list[str], doors: list[Any]) -> None:
        self.name, self.tape, self.rng, self.rooms, self.doors = name, tape, rng, rooms, doors
        self.cookie = ""
        self.connected = False
        self.gateway = ""
        """Where it is connected."""
        self._known = False
        """It was welcomed once."""
        self._entered: set[str] = set()
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None

    async def live(self) -> None:
        """Be connected for ever, now here, now there."""
        while True:
            try:
                await self._visit(self.rng.choice(self.doors))
            except (Gone, OSError, TimeoutError, ValueError) as gone:
                if self.connected:
                    self.tape.add(Lost(self.tape.now(), self.name, str(gone) or type(gone).__name__))
            finally:
                self.connected = False
                if self._writer is not None:
                    abort(self._writer.transport)
            await asyncio.sleep(self.rng.uniform(0.05, 0.4))

    async def leave(self) -> None:
        """End the connection from this side, having read all that came."""
        if self._writer is not None and self.connected and self._writer.can_write_eof():
            self._writer.write_eof()

    async def _visit(self, door: Any) -> None:
        async with asyncio.timeout(PATIENCE_S):
            self._reader, self._writer = await asyncio.open_connection(*door.tcp, limit=2**20)
        self.gateway = door.name
        await self._type(f"!reconnect {self.cookie}" if self.cookie else self.name)
        async with asyncio.timeout(PATIENCE_S):
            await self._greeting()
        await self._type("!heartbeat on")
        for room in self.rooms:
            if room not in self._entered:
                await self._join(room)
        while True:
            async with asyncio.timeout(PATIENCE_S):
                line = await self._line()
            self._take(line)

    async def _greeting(self) -> None:
        while True:
            line = await self._line()
            if found := re.fullmatch(r"!! cookie (\S+)", line):
                break
            if line.startswith("! "):
                if line.startswith("! bad_cookie"):
                    self.cookie = ""
                raise Gone(line)
            self._take(line)
        anew = self._known and not self.cookie
        self.cookie, self.connected = found[1], True
        self.tape.add(TextBack(self.tape.now(), self.name, anew))
        if anew or not self._known:
            self._entered.clear()
            self.tape.add(TextStart(self.tape.now(), self.name, "@"))
        self._known = True

    async def _join(self, room: str) -> None:
        """Enter a room; what is sent after this returns must come."""
        barrier = f"!barrier-{self.rng.getrandbits(32):x}"
        await self._type(f"!join {room}\n{barrier}")
        async with asyncio.timeout(PATIENCE_S):
            while True:
                line = await self._line()
                self._take(line)
                if line.startswith("! bad_request:"):
                    break
                if line.startswith("! "):
                    raise Gone(line)
        self._entered.add(room)
        self.tape.add(TextStart(self.tape.now(), self.name, room))

    async def _type(self, line: str) -> None:
        assert self._writer is not None
        try:
            self._writer.write(line.encode() + b"\n")
        except RuntimeError:  # it hung up meanwhile, see `leave`
            raise Gone("hung up") from None
        async with asyncio.timeout(PATIENCE_S):
            await self._writer.drain()

    async def _line(self) -> str:
        raw = await self._reader.readline()
        if not raw.endswith(b"\n"):
            raise Gone("closed")
        line = raw.decode("utf-8").removesuffix("\n")
        if not FORMS.match(line + " ") or CONTROL.search(line):
            self.tape.add(Wrong(self.tape.now(), self.name, f"a line of no known form: {line!r}"))
        if found := re.fullmatch(r"!! ping (\d+)", line):
            await self._type(f"!pong {found[1]}")
        return line

    def _take(self, line: str) -> None:
        now = self.tape.now()
        if found := MESSAGE.fullmatch(line):
            self.tape.add(Line(now, self.name, found[1], found[2]))
        elif found := TOLD.fullmatch(line):
            self.tape.add(TextTold(now, self.name, found[1]))
        elif found := PRESENCE.fullmatch(line):
            self.tape.add(Presence(now, self.name, found[3], found[1], found[2]))
