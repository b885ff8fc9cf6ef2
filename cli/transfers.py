"""Files in the line client: `@bob !send_file PATH`, `!broadcast_file PATH`, `!get ID [PATH]`.

Transfers run beside the chat, each in a task. At a terminal a bar shows how far they are; elsewhere a line tells
when one begins and ends. Nothing is overwritten unless the person says so.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from causerie import names
from causerie.client import Client, ClientError, Event, NotSent, Refused
from causerie.client.saving import free_name
from causerie.units import format_size
from cli.progress import Meter, bar

EVERY_S: Final = 0.2
"""Seconds between drawings of the bar."""

_SEND: Final = re.compile(r"((?:@\S+\s+)+)!send_file\s+(.+)|!broadcast_file\s+(?:(#\S+)\s+)?(.+)", re.IGNORECASE)
_GET: Final = re.compile(r"!get\s+([0-9a-fA-F]{32})(?:\s+(.+))?", re.IGNORECASE)
_WIRE: Final = re.compile(r"[0-9]{1,15}\s+[0-9A-Fa-f]{64}\s+.+")
"""What programs announce: it goes to the server as it is."""
_WITHOUT: Final = re.compile(r"(?:@\S+\s+)*!(?:send_file|broadcast_file)\b.*", re.IGNORECASE)


class Sending(NamedTuple):
    """A file to send; `to` None is the current room."""

    to: list[str] | str | None
    path: Path


class Getting(NamedTuple):
    """A file to get; `where` None is the working folder."""

    file: str
    where: Path | None


def parse(text: str) -> Sending | Getting | None:
    """What a line asks the client to do with a file; None for all that is the server's business.

    Raises `NotSent` where it is not said whom to send it to, or what.
    """
    text = text.strip()
    if match := _GET.fullmatch(text):
        return Getting(match[1].lower(), _path(match[2]) if match[2] else None)
    if match := _SEND.fullmatch(text):
        said = match[2] or match[4]
        if _WIRE.fullmatch(said):
            return None
        try:
            to = ["@" + names.nick(word[1:]) for word in (match[1] or "").split()]
        except Refused as error:
            raise NotSent(error.code, error.text) from None
        return Sending(to or match[3], _path(said))
    if _WITHOUT.fullmatch(text):
        raise NotSent("bad_request", "say @nick !send_file PATH, or !broadcast_file PATH for the room")
    return None


def _path(said: str) -> Path:
    if len(said) > 1 and said[0] == said[-1] and said[0] in "\"'":
        said = said[1:-1]
    return Path(said).expanduser()


class Transfers:
    """The transfers of one line client. `show` prints an event, `say` tells the person how it goes."""

    def __init__(self, client: Client, show: Callable[[Event], None], say: Callable[[str], None]) -> None:
        self._client, self._show, self._say = client, show, say
        self.failed = False
        """Whether one did not come to its end."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._meters: dict[str, Meter] = {}
        self._question: asyncio.Future[str] | None = None
        self._asking = asyncio.Lock()
        self._drawn = False
        self._terminal = sys.stderr.isatty()
        self._can_ask = sys.stdin is not None and sys.stdin.isatty()

    # -- what the line client does ---------------------------------------------------------------------------------

    def begin(self, wanted: Sending | Getting, current: str) -> None:
        """Start a transfer."""
        loop = asyncio.get_running_loop()
        work = self._send(wanted, current) if isinstance(wanted, Sending) else self._get(wanted)
        task = loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._terminal and len(self._tasks) == 1:
            loop.call_later(EVERY_S, self._draw)

    def answer(self, text: str) -> bool:
        """Take a typed line as the answer to a question; False when none was asked."""
        if self._question is None or self._question.done():
            return False
        self._question.set_result(text)
        return True

    def no_more_answers(self) -> None:
        """The input has ended: nothing is overwritten."""
        self._can_ask = False
        self.answer("")

    async def finish(self) -> None:
        """Wait until all transfers are done."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def stop(self) -> None:
        """End them where they are; each can be gone on with."""
        for task in self._tasks:
            task.cancel()
        await self.finish()

    def clear(self) -> None:
        """Take the bar off the screen, before something else is written there."""
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._drawn = False

    # -- transfers -------------------------------------------------------------------------------------------------

    async def _send(self, wanted: Sending, current: str) -> None:
        to = wanted.to or current
        name = names.printable(wanted.path.name or str(wanted.path))
        key, meter = self._meter(f"sending {name}")
        try:
            sent = await self._client.send_file(to, wanted.path, progress=self._progress(key))
        except (ClientError, Refused, OSError) as error:
            self._failed(f"{name} is not sent", error)
        except asyncio.CancelledError:
            self._stopped(f"{name} is not sent; sending it again goes on where this stopped")
        else:
            whom = to if isinstance(to, str) else ", ".join(to)
            self._done(f"{name} is sent to {whom}", meter)
            self._show({"ev": "sent_file", **sent._asdict()})
        finally:
            del self._meters[key]

    async def _get(self, wanted: Getting) -> None:
        key, meter = self._meter(f"getting {wanted.file[:8]}")
        where, overwrite = wanted.where or Path(), False
        try:
            while True:
                try:
                    saved = await self._client.get_file(
                        wanted.file, where, overwrite=overwrite, progress=self._progress(key)
                    )
                    break
                except FileExistsError as error:
                    target = Path(str(error.filename))
                    overwrite = await self._ask(f"{target} exists: overwrite it? (y or n)")
                    where = target if overwrite else free_name(target)
        except (ClientError, Refused, OSError) as error:
            self._failed(f"{wanted.file} is not saved", error)
        except asyncio.CancelledError:
            self._stopped(f"{wanted.file} is not saved; getting it again goes on where this stopped")
        else:
            self._done(f"saved {names.printable(str(saved.path))}", meter)
            self._show({"ev": "saved_file", **saved._asdict(), "path": str(saved.path)})
        finally:
            del self._meters[key]

    async def _ask(self, question: str) -> bool:
        """The person's leave; nobody to ask is a no."""
        async with self._asking:
            if not self._can_ask:
                return False
            self.clear()
            self._say(question)
            self._question = asyncio.get_running_loop().create_future()
            answer = await self._question
            self._question = None
            return answer.strip().casefold() in {"y", "yes"}

    def _failed(self, what: str, error: Exception) -> None:
        self.failed = True
        self.clear()
        code, why = (error.code, error.text) if isinstance(error, Refused) else ("unavailable", str(error))
        if isinstance(error, OSError) and error.strerror:
            why = error.strerror
        self._show({"ev": "error", "code": code, "text": f"{what}: {why}"})

    def _stopped(self, what: str) -> None:
        self.failed = True
        self.clear()
        self._say(what)

    def _done(self, what: str, meter: Meter) -> None:
        now = asyncio.get_running_loop().time()
        self.clear()
        self._say(f"{what} ({format_size(meter.total)}, {format_size(int(meter.average(now)))}/s, SHA-256 is right)")

    # -- the bar ---------------------------------------------------------------------------------------------------

    def _meter(self, what: str) -> tuple[str, Meter]:
        key, number = what, 1
        while key in self._meters:
            number += 1
            key = f"{what} ({number})"
        meter = self._meters[key] = Meter(asyncio.get_running_loop().time())
        if not self._terminal:
            self._say(what)
        return key, meter

    def _progress(self, key: str) -> Callable[[int, int], None]:
        clock, meter = asyncio.get_running_loop().time, self._meters[key]
        return lambda done, total: meter.feed(done, total, clock())

    def _draw(self) -> None:
        if not self._tasks:
            return
        loop = asyncio.get_running_loop()
        loop.call_later(EVERY_S, self._draw)
        running = [(key, meter) for key, meter in self._meters.items() if meter.total]
        if not running or self._question is not None:
            return
        key, meter = running[0]
        more = f" (+{len(running) - 1})" if len(running) > 1 else ""
        width = shutil.get_terminal_size().columns
        sys.stderr.write("\r\x1b[K" + bar(key + more, meter, loop.time(), width))
        sys.stderr.flush()
        self._drawn = True
