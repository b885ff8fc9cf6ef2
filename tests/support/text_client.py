"""A raw client of the text protocol: what `nc` and a person would see."""

import asyncio
import contextlib
import re
import secrets
import socket
import struct
import time
from typing import Self

from tests.support.processes import Gateway
from tests.support.timing import PATIENCE

FORMS = re.compile(r"\[(#[^\]\s]+|@)\] |\* |! [a-z_]+: |!! (cookie|bye|ping) ", re.ASCII)
"""How each line of the server starts: a message, a notice, an error with its code, a word for programs."""

CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
"""What must never reach a terminal; a tab may."""


class TextClient:
    """One connection. Every line received is kept in `lines`; each must have one of the contract's forms
    and no control character.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> None:
        self.reader = reader
        self.writer = writer
        self.name = name
        self.nick = name
        self.cookie = ""
        self.lines: list[str] = []
        self.closed = False
        self.violations: list[str] = []
        self._untaken: list[str] = []
        self._news = asyncio.Condition()
        self._reading = asyncio.Event()
        self._reading.set()
        self._task = asyncio.create_task(self._read(), name=f"reader of {name}")

    @classmethod
    async def open(
        cls,
        gateway: Gateway,
        *,
        name: str = "text",
        source: str | None = None,
        receive_buffer: int | None = None,
    ) -> Self:
        """Connect from the address `source` if given. Says nothing yet."""
        sock = socket.socket(socket.AF_INET)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source is not None:
            sock.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(sock, gateway.tcp)
        limit = 2**20 if receive_buffer is None else max(receive_buffer, 2**13)  # a reader reads ahead twice as much
        return cls(*await asyncio.open_connection(sock=sock, limit=limit), name)

    async def send(self, line: str, end: str = "\n") -> None:
        """Type one line."""
        await self.raw(line.encode() + end.encode())

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def enter(self, nick: str) -> str:
        """The first line: a nick. Returns the cookie."""
        await self.send(nick)
        return await self._cookie_line()

    async def reconnect(self, cookie: str) -> str:
        """The first line: `!reconnect COOKIE`. Returns the cookie that the server names."""
        await self.send(f"!reconnect {cookie}")
        return await self._cookie_line()

    async def _cookie_line(self) -> str:
        self.cookie = (await self.expect(r"!! cookie (\S+)"))[1]
        return self.cookie

    async def ask(self, line: str, answer: str = r"[*!] .*") -> re.Match[str]:
        """Type a line and take the first line after it that matches `answer`."""
        await self.send(line)
        return await self.expect(answer)

    async def expect(self, pattern: str, *, patience: float = PATIENCE) -> re.Match[str]:
        """Take the first line, not yet taken, that matches `pattern` as a whole."""
        wanted = re.compile(pattern)
        deadline = time.monotonic() + patience
        async with self._news:
            while True:
                self.check()
                for index, line in enumerate(self._untaken):
                    match = wanted.fullmatch(line)
                    if match:
                        self._untaken.pop(index)
                        return match
                if self.closed:
                    raise AssertionError(f"{self.name}: the connection ended before {pattern!r}\n{self.tail()}")
                try:
                    await asyncio.wait_for(self._news.wait(), deadline - time.monotonic())
                except TimeoutError:
                    raise AssertionError(f"{self.name}: no {pattern!r} in {patience:g} s\n{self.tail()}") from None

    def seen(self, pattern: str) -> list[str]:
        """Every line so far that matches `pattern` as a whole."""
        return [line for line in self.lines if re.fullmatch(pattern, line)]

    async def settled(self) -> None:
        """A barrier: an unknown command is refused, so everything queued before has arrived."""
        already = len(self.seen(r"! bad_request: .*"))
        await self.send(f"!no-such-command-{secrets.token_hex(4)}")
        deadline = time.monotonic() + PATIENCE
        async with self._news:
            while len(self.seen(r"! bad_request: .*")) <= already:
                assert not self.closed, f"{self.name}: the connection ended\n{self.tail()}"
                try:
                    await asyncio.wait_for(self._news.wait(), deadline - time.monotonic())
                except TimeoutError:
                    raise AssertionError(f"{self.name}: an unknown command got no answer\n{self.tail()}") from None

    async def ended(self, code: str | None = None, patience: float = PATIENCE) -> str:
        """Wait until the server closed; with `code`, after `!! bye CODE`. Returns what followed the code."""
        rest = ""
        if code is not None:
            rest = (await self.expect(rf"!! bye {code}( .*)?", patience=patience))[1] or ""
        async with self._news:
            try:
                await asyncio.wait_for(self._news.wait_for(lambda: self.closed), patience)
            except TimeoutError:
                raise AssertionError(f"{self.name}: still connected after {patience:g} s\n{self.tail()}") from None
        self.check()
        return rest.strip()

    def bytes_received(self) -> int:
        """What this machine's TCP has acknowledged, read or not: `tcpi_bytes_received` of linux/tcp.h."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        count: int = struct.unpack("=128xQ", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136))[0]
        return count

    def freeze(self) -> None:
        """Stop reading the socket."""
        self._reading.clear()

    def thaw(self) -> None:
        self._reading.set()

    def check(self) -> None:
        """Raise lines that have none of the contract's forms."""
        if self.violations:
            found, self.violations = self.violations, []
            raise AssertionError(
                f"{self.name}: lines of no known form, or with control characters: {found}\n{self.tail()}"
            )

    def abort(self) -> None:
        """Vanish: reset the connection."""
        self.writer.transport.abort()

    async def hang_up(self) -> None:
        """Close without `!quit`: the session stays."""
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()
        await self.ended()

    async def dispose(self) -> None:
        """For teardown, in any state."""
        self.thaw()
        with contextlib.suppress(Exception):
            if not self.closed and self.cookie:
                await self.send("!quit")
                await asyncio.wait_for(self.ended(), 2)
        self.abort()
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await self._task

    def tail(self, count: int = 15) -> str:
        return "\n".join(f"  {line[:300]!r}" for line in self.lines[-count:]) or "  (nothing received)"

    async def _read(self) -> None:
        try:
            while True:
                await self._reading.wait()
                raw = await self.reader.readline()
                if not raw.endswith(b"\n"):
                    return
                line = raw.decode("utf-8").removesuffix("\n").removesuffix("\r")
                if not FORMS.match(line + " ") or CONTROL.search(line):
                    self.violations.append(line)
                async with self._news:
                    self.lines.append(line)
                    self._untaken.append(line)
                    self._news.notify_all()
        except OSError:
            pass
        finally:
            self.closed = True
            async with self._news:
                self._news.notify_all()
