"""`causerie chat`: the plain line client. What a person would type goes in, the lines of the text protocol
come out.

Standard output carries what happens in the chat and nothing else; what happens to the connection is said on
standard error, a line each.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import re
import signal
import sys
import threading
from concurrent.futures import CancelledError
from typing import Final

import msgspec

from causerie import commands
from causerie.client import Ack, Client, ClientError, Closed, Event, NotSent, OutcomeUnknown, Refused
from causerie.client.results import refusal
from causerie.commands import Call, Say
from causerie.names import LOBBY
from causerie.wire import jsonmsg, line
from causerie.wire.framing import LineFramer, Mark
from cli import transfers
from cli.transfers import Transfers

PATIENCE: Final = 60.0
"""Seconds without any answer after which the end of input waits no longer for what is unacknowledged."""

ABANDONED: Final = 600.0
"""Seconds without any server after which a program in a pipe gives up; a person at a terminal may wait for
ever."""

HASTE: Final = 5.0
"""The same after `^C`."""

_RAW_CONTROLS: Final = re.compile("[\x7f-\x9f\u2028\u2029]")
"""What JSON leaves as it is, but a terminal obeys or a reader of lines splits at."""


def run(urls: list[str], *, nick: str | None, json_output: bool, cookie: str | None) -> int:
    """Chat until the input ends; returns the exit status."""
    if nick is None and cookie is None:
        nick = _ask_nick()
    if not nick and not cookie:
        complain("no nick, no chat")
        return 1
    return asyncio.run(_chat(urls, nick, cookie, json_output))


async def _chat(urls: list[str], nick: str | None, cookie: str | None, json_output: bool) -> int:
    # One send under way at a time: lines keep their order even where a server refuses some for a moment.
    client = Client(urls, nick=nick, cookie=cookie, window=1, patience=None if _at_terminal() else ABANDONED)
    return await LineClient(client, json_output=json_output, current=None if cookie else LOBBY).run()


class LineClient:
    """Standard input to sends and commands, events to standard output.

    `current` is where plain text goes; None while only the server knows, as in a session come back to.
    """

    def __init__(self, client: Client, *, json_output: bool, current: str | None) -> None:
        self._client = client
        self._json = json_output
        self._current = current
        self._typed: asyncio.Queue[list[bytes | Mark] | None] = asyncio.Queue(maxsize=2)
        self._reading: asyncio.Task[None] | None = None
        self._goodbye: asyncio.Task[None] | None = None
        self._patience = PATIENCE
        self._failed = False
        self._mute = False
        self._welcomes = 0
        self._transfers = Transfers(client, self._print, complain)

    async def run(self) -> int:
        """Live from the first connection to the goodbye; returns the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        self._client.start()
        threading.Thread(target=_pump_input, args=(loop, self._typed), name="stdin", daemon=True).start()
        printing = loop.create_task(self._print_all())
        self._reading = loop.create_task(self._read_all())
        await asyncio.wait([printing, self._reading], return_when=asyncio.FIRST_COMPLETED)
        if not printing.done():
            self._goodbye = loop.create_task(self._say_goodbye())
            await asyncio.wait([printing, self._goodbye], return_when=asyncio.FIRST_COMPLETED)
        self._reading.cancel()
        await self._transfers.stop()
        await self._client.close()
        await printing
        return int(self._failed or self._transfers.failed)

    def _on_signal(self) -> None:
        if self._goodbye is not None:
            self._goodbye.cancel()
        elif self._reading is not None:
            self._patience = HASTE if self._welcomes else 0.0
            self._reading.cancel()

    async def _say_goodbye(self) -> None:
        client = self._client
        self._transfers.no_more_answers()
        try:
            if self._patience == PATIENCE:
                await self._transfers.finish()
        except asyncio.CancelledError:
            self._patience = HASTE
        await self._transfers.stop()
        try:
            async with asyncio.timeout(self._patience):
                await client.welcomed()
            if await client.drain(self._patience):
                await client.quit()
                return
        except (asyncio.CancelledError, TimeoutError):
            pass  # a second ^C, or no server at all
        except (ClientError, Refused):
            return  # the printer says why
        if client.unanswered:
            self._fail(f"{client.unanswered} of the lines typed were not acknowledged and may be lost")
        elif not self._welcomes:
            self._fail("no server could be reached")

    # -- in ------------------------------------------------------------------------------------------------

    async def _read_all(self) -> None:
        while (typed := await self._typed.get()) is not None:
            for each in typed:
                try:
                    going_on = await self._read(each)
                except OutcomeUnknown as error:
                    self._fail(f"{error}: {_excerpt(each)}")
                    going_on = True
                except NotSent as error:
                    self._print(_event_of(error))
                    going_on = True
                except (ClientError, Refused):
                    going_on = self._client.closed is None  # what the server said is an event already
                if not going_on:
                    return

    async def _read(self, typed: bytes | Mark) -> bool:
        """Do one line; False if it was the goodbye."""
        if isinstance(typed, Mark):
            raise NotSent("too_long", "a line of more than 16 KiB was skipped")
        try:
            text = line.decode(typed)
        except Refused as error:
            raise NotSent(error.code, error.text) from None
        if self._transfers.answer(text) or not text.strip():
            return True
        if (transfer := transfers.parse(text)) is not None:
            self._transfers.begin(transfer, self._current or "")
            return True
        said = self._parse(text)
        if isinstance(said, Call) and said.name == "quit":
            return False
        if isinstance(said, Say):
            to = said.to[0] if len(said.to) == 1 else said.to
            sending = await self._client.submit(to, said.body, kind=said.kind)
            sending.add_done_callback(self._after_sending)
        else:
            await self._command(text)
        return True

    def _parse(self, text: str) -> Say | Call | None:
        """What the line means; None where the server knows better."""
        try:
            said = commands.parse(text, self._current or "")
        except Refused:
            return None
        return None if isinstance(said, Say) and "" in said.to else said

    async def _command(self, text: str) -> None:
        # Typed after what came before it, and done after it too.
        await self._client.drain()
        result = await self._client.command(text)
        if isinstance(result, Ack) or not isinstance(result.data, dict):
            return
        said = self._parse(text)
        if isinstance(said, Call) and said.name == "join":
            self._current = result.data.get("room", self._current)
        elif isinstance(said, Call) and said.name == "part" and result.data.get("room") == self._current:
            self._current = LOBBY

    def _after_sending(self, sending: asyncio.Task[Ack]) -> None:
        if not sending.cancelled() and isinstance(error := sending.exception(), OutcomeUnknown):
            self._fail(f"{error}: a message may or may not have been posted")

    # -- out -----------------------------------------------------------------------------------------------

    async def _print_all(self) -> None:
        try:
            async for event in self._client.events():
                self._follow(event)
                self._print(event)
        except Closed as error:
            self._fail(str(error))
        except Refused as error:
            self._fail(line.error(error).removeprefix("! ").rstrip())
        except ClientError as error:
            self._fail(str(error))

    def _follow(self, event: Event) -> None:
        match event:
            case {"ev": "disconnected", "url": url, "reason": reason, "retry_in": wait}:
                what = f"the connection to {url} was lost" if self._welcomes else f"no connection to {url}"
                complain(f"{what} ({reason}); next try in {wait:.1f} s")
            case {"ev": "welcome"}:
                self._welcomes += 1
                if self._welcomes > 1:
                    complain(f"connected again, to {event.get('gateway')}")
            case {"ev": "session_lost"}:
                complain("the session had ended; starting a new one")
            case {"ev": "left", "in": room} | {"ev": "presence", "state": "gone", "in": room}:
                mine = event.get("nick", self._client.nick) == self._client.nick
                if mine and room == self._current:
                    self._current = LOBBY

    def _print(self, event: Event) -> None:
        if self._mute:
            return
        self._transfers.clear()
        text = as_json(event) if self._json else as_text(event, first=self._welcomes == 1)
        try:
            sys.stdout.buffer.write(text.encode("utf-8", "replace"))
            sys.stdout.buffer.flush()
        except OSError:
            # Nobody reads any more. What was typed still goes out.
            self._mute = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self._on_signal()

    def _fail(self, text: str) -> None:
        complain(text)
        self._failed = True


def as_json(event: Event) -> str:
    """The event as one line that no control character breaks."""
    text = msgspec.json.encode(event).decode()
    return _RAW_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"


def as_text(event: Event, *, first: bool = False) -> str:
    """The event as lines for people, without anything that a terminal would obey; "" if it is not for
    them.
    """
    try:
        text = _lines(event, first)
    except (msgspec.ValidationError, LookupError, TypeError):
        text = line.notice(["the server sent something that this version cannot show"])
    return "\n".join([line.shown(each) for each in text.split("\n")])


def _lines(event: Event, first: bool) -> str:
    match event["ev"]:
        case "message":
            return line.message(msgspec.convert(event, jsonmsg.Message))
        case "presence":
            return line.presence(msgspec.convert(event, jsonmsg.Presence))
        case "result":
            return line.notice(event["text"])
        case "error":
            return line.error(refusal(event))
        case "reset" | "lost" | "gap":
            return line.reset(event["in"])
        case "left":
            return line.notice([f"you are not in {event['in']} any more"])
        case "skipped":
            return line.notice([f"{event['count']} events went by too fast to be shown"])
        case "welcome" if first:
            rooms = sorted(room for room in event["rooms"] if room != "@")
            return line.notice([f"you are {event['nick']}, in {', '.join(rooms)}"])
    return ""


def complain(text: str) -> None:
    """One line on standard error."""
    print(f"causerie: {line.shown(' '.join(text.split()))}", file=sys.stderr, flush=True)


def _event_of(error: Refused) -> Event:
    return {"ev": "error", "code": error.code, "text": error.text}


def _excerpt(typed: bytes | Mark) -> str:
    return typed[:60].decode("utf-8", "replace") if isinstance(typed, bytes) else ""


def _at_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _ask_nick() -> str:
    if _at_terminal():
        try:
            return input("nick: ").strip()
        except (EOFError, KeyboardInterrupt):
            return ""
    try:
        return os.environ.get("USER") or getpass.getuser()
    except (KeyError, OSError):
        return ""


def _pump_input(loop: asyncio.AbstractEventLoop, typed: asyncio.Queue[list[bytes | Mark] | None]) -> None:
    """Feed the queue from standard input, in a thread: not every kind of file can be polled.

    It reads the descriptor itself, since a thread that waits inside `sys.stdin` would hold up the exit.
    """
    framer = LineFramer()
    while True:
        try:
            data = os.read(0, 65536)
        except OSError:
            data = b""
        framer.feed(data or (b"\n" if framer.waiting else b""))
        lines: list[bytes | Mark] = []
        while (each := framer.take()) is not None:
            lines.append(each)
        for batch in [lines] if data else [lines, None]:
            putting = typed.put(batch)
            try:
                asyncio.run_coroutine_threadsafe(putting, loop).result()
            except (RuntimeError, CancelledError):
                putting.close()
                return  # the loop has ended
        if not data:
            return
