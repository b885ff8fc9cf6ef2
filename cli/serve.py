"""`causerie serve`: store, gateway and worker, in one process tree that lives and dies as one."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Coroutine
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from causerie.settings import ENVIRONMENT_PREFIX, Settings
from cli import datadir, embedded
from cli.children import Child
from cli.datadir import ServeError

PATIENCE = {"gateway": 30.0, "worker": 10.0, "store": 30.0}
"""Seconds to end in: the gateway tells everybody and writes out what is queued, the store writes its log."""
HASTY_PATIENCE = 5.0
"""Seconds for each of the others to end in when one of them is dead."""

FILES = "files"
"""The folder of the files that people send, in the data folder."""

_SOURCE = Path(__file__).resolve().parents[1]


def run(settings: Settings) -> int:
    """Run everything until it is stopped; return the exit status."""
    try:
        return asyncio.run(_Serve(settings).run())
    except ServeError as error:
        _say(f"causerie serve: {error}")
        return error.status


class _Serve:
    """One run of everything. Children are kept in the order of their start and stopped in the other."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._asked_to_stop = asyncio.Event()
        self._children: list[Child] = []
        self._console: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Live until the end and stop everything; return the exit status."""
        self._handle_signals()
        os.umask(0o077)
        folder = datadir.prepare(self._settings.data_dir)
        lock = await datadir.lock(folder)
        asked = asyncio.create_task(self._asked_to_stop.wait())
        life = asyncio.create_task(self._live(folder, lock))
        hasty = True
        try:
            await asyncio.wait({asked, life}, return_when=asyncio.FIRST_COMPLETED)
            if life.done():
                life.result()
            hasty = False
        finally:
            life.cancel()
            if self._console is not None:  # while its store still answers
                self._console.cancel()
                await asyncio.wait([self._console])
            went_well = await self._stop_all(hasty)
            os.close(lock)
        return 0 if went_well else 1

    async def _live(self, folder: Path, lock: int) -> None:
        """Start all and return when the gateway ends as it should. Raise ServeError if anything else ends."""
        settings = self._with_token(folder)
        socket = embedded.socket_path(folder)
        self._children.append(await embedded.start(folder, socket, settings.appendfsync, lock))
        await self._unless_dead(embedded.answers(socket))
        files_url = settings.files_url or (folder / FILES).as_uri()
        settings = settings.model_copy(update={"redis_url": f"unix://{socket}", "files_url": files_url})
        worker = await self._start_node("worker", settings)
        gateway = await self._start_node("gateway", settings)
        await self._unless_dead(_all(worker.ready, gateway.ready))
        print(gateway.ready.result(), flush=True)
        _say(_what_next(gateway.ready.result()))
        self._console = self._start_console(settings)
        dead = await self._first_to_end()
        if dead is not gateway or dead.status != 0:
            raise _death(dead)

    async def _start_node(self, package: str, settings: Settings) -> Child:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
        path = os.pathsep.join(filter(None, (str(_SOURCE), kept.get("PYTHONPATH"))))
        environment = kept | settings.environment() | {"PYTHONPATH": path}
        # -P: a folder `gateway` or `worker` where the user happens to stand is none of ours.
        child = await Child.start(package, [sys.executable, "-P", "-m", package], environment=environment)
        self._children.append(child)
        return child

    def _start_console(self, settings: Settings) -> asyncio.Task[None] | None:
        if not sys.stdin.isatty():
            return None
        from cli import console

        _say("This is the moderator's console: !list, !ban bob, !help; plain text is an announcement.")
        return asyncio.create_task(console.run(settings, _write))

    async def _unless_dead(self, work: Coroutine[Any, Any, object]) -> None:
        """Do a part of the start. Raise ServeError if a child ends meanwhile."""
        task = asyncio.create_task(work)
        dead = asyncio.create_task(self._first_to_end())
        await asyncio.wait({task, dead}, return_when=asyncio.FIRST_COMPLETED)
        if dead.done():
            task.cancel()
            raise _death(dead.result())
        dead.cancel()
        task.result()

    async def _first_to_end(self) -> Child:
        await asyncio.wait([child.ended for child in self._children], return_when=asyncio.FIRST_COMPLETED)
        return next(child for child in self._children if child.ended.done())

    async def _stop_all(self, hasty: bool) -> bool:
        went_well = True
        for child in reversed(self._children):
            went_well &= await child.stop(HASTY_PATIENCE if hasty else PATIENCE[child.name])
        return went_well

    def _with_token(self, folder: Path) -> Settings:
        if self._settings.admin_token is not None:
            return self._settings
        token, made = datadir.admin_token(folder)
        if made:
            _say(f"admin token: {token} (kept in {folder / datadir.TOKEN_FILE})")
        return self._settings.model_copy(update={"admin_token": SecretStr(token)})

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # not under nohup
            loop.add_signal_handler(signal.SIGHUP, self._on_signal)

    def _on_signal(self) -> None:
        """Stop; asked once more, stop at once."""
        if self._asked_to_stop.is_set():
            for child in self._children:
                child.kill()
        self._asked_to_stop.set()


async def _all(*parts: Awaitable[object]) -> None:
    await asyncio.gather(*parts)


def _death(dead: Child) -> ServeError:
    hint = f", see {embedded.LOG} in the data folder" if dead.name == "store" else ""
    return ServeError(
        f"the {dead.name} ended by itself ({dead.outcome}){hint}; everything is stopped",
        status=2 if dead.status == 2 else 1,
    )


def _what_next(ready: str) -> str:
    parts = dict(part.split("=", 1) for part in ready.split()[1:] if "=" in part)
    program = "causerie" if shutil.which("causerie") else sys.argv[0]
    lines = ["Now talk, each in a terminal of its own:"]
    if "tcp" in parts:
        lines.append(f"  nc {parts['tcp'].replace(':', ' ')}    (your first line is your nick)")
    if "http" in parts:
        lines.append(f"  {program} chat ws://{parts['http']}/ws --nick alice")
        lines.append(f"  {program} admin list --url http://{parts['http']}")
    return "\n".join([*lines, "^C stops the chat; everything is kept."])


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
