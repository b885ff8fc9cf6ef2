"""The moderator's console of `serve`: what an admin could type, and plain text is an announcement."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable

import structlog

from causerie import commands, names
from causerie.commands import Actor, Say
from causerie.errors import Refused
from causerie.service import Service
from causerie.settings import Settings
from causerie.store import Store
from causerie.wire import line as text

_CHUNK = 2**16
_BACKGROUND_POLL = 1.0
"""Seconds between two looks whether this process has the terminal again."""

_log = structlog.get_logger()


class Console:
    """An admin without a session, who goes through the same door as everybody."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._actor = Actor.operator("console")

    async def answer(self, line: str) -> str:
        """Do what a line says and return the lines to show, as text clients see them."""
        if not line.strip():
            return ""
        try:
            return text.notice(await self._do(line))
        except Refused as refused:
            return text.error(refused)

    async def _do(self, line: str) -> list[str]:
        meant = commands.parse(line, names.LOBBY)
        if not isinstance(meant, Say):
            return (await self._service.execute(self._actor, meant)).text
        if meant.kind != "message" or len(meant.to) != 1 or not meant.to[0].startswith("#"):
            raise Refused("bad_request", "the console announces, posts to rooms and gives commands")
        if meant.to == [names.LOBBY]:
            await self._service.announce(self._actor, meant.body)
            return ["announced"]
        (room,) = meant.to
        await self._service.post(self._actor, room, self._actor.name, meant.body, None)
        return [f"posted in {room}"]


async def run(settings: Settings, write: Callable[[str], object]) -> None:
    """Answer the lines of the terminal on standard input until it ends."""
    store = await Store.open(settings)
    try:
        console = Console(Service(store, settings))
        async for line in _typed_lines(sys.stdin.fileno()):
            try:
                write(await console.answer(line))
            except Exception:  # noqa: BLE001 - a mistake in one command is no reason to stop a chat
                _log.exception("console command failed")
    finally:
        await store.close()


async def _typed_lines(terminal: int) -> AsyncIterator[str]:
    """Yield the lines typed. The terminal stays in blocking mode, as others write to it too."""
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes] = asyncio.Queue()
    # With it, whoever reads while in the background is stopped; ignored, the read fails instead.
    signal.signal(signal.SIGTTIN, signal.SIG_IGN)

    def readable() -> None:
        try:
            chunks.put_nowait(os.read(terminal, _CHUNK))
        except OSError:
            loop.remove_reader(terminal)
            loop.call_later(_BACKGROUND_POLL, loop.add_reader, terminal, readable)

    loop.add_reader(terminal, readable)
    try:
        pending = b""
        while chunk := await chunks.get():
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                yield line.decode("utf-8", "replace").rstrip("\r")
    finally:
        loop.remove_reader(terminal)
