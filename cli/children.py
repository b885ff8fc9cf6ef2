"""Programs that `serve` starts: none of them outlives it, and none sees its terminal or its `^C`."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

_PR_SET_PDEATHSIG = 1
_LONGEST_LINE = 2**16
"""Bytes of one line of standard output."""


class Child:
    """A running program. Its standard error is ours; of its standard output only the `ready` line counts."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.create_task(process.wait())
        self._process = process
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(
        cls,
        name: str,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        inherited: Iterable[int] = (),
    ) -> Self:
        """Start a program that dies with this process; `inherited` file descriptors stay open in it."""
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            limit=_LONGEST_LINE,
            env=environment,
            cwd=folder,
            pass_fds=tuple(inherited),
            # A terminal sends ^C to every process of its group; the order of stopping is ours to give.
            start_new_session=True,
            preexec_fn=_dies_with(os.getpid()),
        )
        return cls(name, process)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status, None while it runs, negative for a signal."""
        return self._process.returncode

    @property
    def outcome(self) -> str:
        """How it ended, for people."""
        if self.status is not None and self.status < 0:
            return signal.Signals(-self.status).name
        return f"exit status {self.status}"

    async def stop(self, patience: float) -> bool:
        """Ask it to end, kill it after `patience` seconds, wait for it; tell whether it went well."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self.ended), patience)
        self.kill()
        return await self.ended == 0

    def kill(self) -> None:
        """`kill -9`, if it still runs."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while True:
            try:
                raw = await self._process.stdout.readline()
            except ValueError:
                continue  # a line over the limit; what follows it counts again
            if not raw:
                return
            line = raw.decode("utf-8", "replace").rstrip()
            if line.startswith("ready ") and not self.ready.done():
                self.ready.set_result(line)
            else:
                print(line, file=sys.stderr, flush=True)


def _dies_with(parent: int) -> Callable[[], None]:
    """Return what a forked child runs first, so that its parent's death, however it comes, is its own."""
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above; no signal will come
            os._exit(1)

    return prepare
