"""Wrappers around the programs: started for real, watched, killed, and never left behind."""

import asyncio
import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Self

from tests.support.timing import PATIENCE, START_PATIENCE

ROOT = Path(__file__).resolve().parents[2]
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
running: list["Process"] = []
"""Every process alive or ended since the last report, for what a failed test shows."""


def prepare() -> None:
    """A killed pytest takes its children with it; `^C` means to them what it does, also where a shell started the tests
    in the background, which makes all below it ignore that.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def clean_environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """This environment without any setting of ours or a proxy, so that only what a test gives counts."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.upper().startswith("CAUSERIE_") and not key.lower().endswith("_proxy")
    }
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), **(extra or {})}


class Process:
    """One started program: its lines of standard output as they come, its standard error in a file."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        name: str,
        env: dict[str, str] | None = None,
        stdin: int | None = subprocess.DEVNULL,
        cwd: Path = ROOT,
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.stdout_lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  read after the process ended
        self._reported = 0
        # Started from the caller's thread on purpose: PDEATHSIG fires when the *thread* that forked ends.
        self.popen = subprocess.Popen(
            self.argv,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=clean_environment(env),
            cwd=cwd,
            preexec_fn=prepare,
        )
        threading.Thread(target=self._pump, name=f"stdout of {name}", daemon=True).start()
        running.append(self)

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    @property
    def stderr(self) -> str:
        """All that it wrote to standard error so far."""
        size = os.fstat(self._stderr.fileno()).st_size
        return os.pread(self._stderr.fileno(), size, 0).decode("utf-8", "replace")

    @property
    def stdout(self) -> str:
        return "".join(f"{line}\n" for line in self.stdout_lines)

    def wait_for_line(self, test: Callable[[str], bool], what: str, patience: float = START_PATIENCE) -> str:
        """The first line of standard output that passes `test`; an AssertionError if none comes."""
        deadline = time.monotonic() + patience
        with self._changed:
            while True:
                for line in self.stdout_lines:
                    if test(line):
                        return line
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    why = "ended" if self._ended else f"silent for {patience:g} s"
                    raise AssertionError(f"{self.name} {why} without {what}\n{self.describe()}")
                self._changed.wait(left)

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.popen.send_signal(number)

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.popen.wait(PATIENCE)

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        self.signal(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP: the machine sleeps, its sockets stay open."""
        self.signal(signal.SIGSTOP)

    def wake(self) -> None:
        self.signal(signal.SIGCONT)

    async def exit_code(self, patience: float = PATIENCE) -> int:
        """Wait for the end without holding up the test's loop."""
        try:
            return await asyncio.to_thread(self.popen.wait, patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {patience:g} s\n{self.describe()}") from None

    def close(self) -> None:
        """End it in any way, for teardown."""
        if self.alive:
            self.wake()
            self.kill()

    def describe(self) -> str:
        """What a person needs to see when a test failed."""
        state = "running" if self.alive else f"exit {self.popen.returncode}"
        return f"--- {self.name} ({state})\nstdout: {self.stdout[-1000:]}\nstderr: {self.stderr[-6000:]}"

    def news(self) -> str:
        """What it wrote to standard error since this was asked last; nothing if it wrote nothing and runs."""
        stderr = self.stderr
        unseen, self._reported = stderr[self._reported :], len(stderr)
        if self.alive and not unseen:
            return ""
        state = "running" if self.alive else f"exit {self.popen.returncode}"
        return f"--- {self.name} ({state})\n{unseen[-6000:]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _pump(self) -> None:
        assert self.popen.stdout is not None
        for raw in self.popen.stdout:
            with self._changed:
                self.stdout_lines.append(raw.decode("utf-8", "replace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def options(settings: dict[str, Any]) -> list[str]:
    """`heartbeat_ttl=1.5` as `--heartbeat-ttl 1.5`; None leaves an option out."""
    argv = []
    for key, value in settings.items():
        if value is not None:
            argv += [f"--{key.replace('_', '-')}", str(value)]
    return argv


class _Served(Process):
    """A program that prints a `ready` line."""

    program = ""

    def __init__(self, argv: Sequence[str], *, env: dict[str, str] | None = None) -> None:
        super().__init__(argv, name=self.program, env=env)
        self.ready: dict[str, str] = {}

    def wait_ready(self) -> Self:
        """Wait for `ready key=value ...` and keep its parts."""
        line = self.wait_for_line(lambda text: text.startswith("ready "), "a `ready` line")
        self.ready = parse_ready(line)
        self.name = f"{self.program} {next(iter(self.ready.values()), '?')}"
        return self

    async def is_ready(self) -> Self:
        """`wait_ready` without holding up the test's loop."""
        return await asyncio.to_thread(self.wait_ready)


def parse_ready(line: str) -> dict[str, str]:
    """The parts of a `ready` line; anything else on it is an error."""
    assert re.fullmatch(r"ready( [a-z]+=\S+)+", line), f"not a ready line: {line!r}"
    return dict(part.split("=", 1) for part in line.split()[1:])


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


class Gateway(_Served):
    """`python -m gateway`."""

    program = "gateway"

    def __init__(self, *, env: dict[str, str] | None = None, **settings: Any) -> None:
        chosen = {"http_port": "auto", "tcp_port": "auto", "irc_port": 0, **settings}
        super().__init__([sys.executable, "-m", "gateway", *options(chosen)], env=env)

    @property
    def id(self) -> str:
        return self.ready["gateway"]

    @property
    def tcp(self) -> tuple[str, int]:
        return address(self.ready["tcp"])

    @property
    def http(self) -> str:
        return f"http://{self.ready['http']}"

    @property
    def ws(self) -> str:
        return f"ws://{self.ready['http']}/ws"


class Worker(_Served):
    """`python -m worker`."""

    program = "worker"

    def __init__(self, *, env: dict[str, str] | None = None, **settings: Any) -> None:
        super().__init__([sys.executable, "-m", "worker", *options(settings)], env=env)


def causerie_script() -> str:
    """The installed `causerie` command of this interpreter."""
    return str(Path(sys.executable).parent / "causerie")


class Serve(Gateway):
    """`causerie serve`: store, gateway and worker in one process tree."""

    program = "serve"

    def __init__(self, *, env: dict[str, str] | None = None, **settings: Any) -> None:
        chosen = {"http_port": "auto", "tcp_port": "auto", "irc_port": 0, **settings}
        _Served.__init__(self, [causerie_script(), "serve", *options(chosen)], env=env)

    def wait_ready(self) -> Self:
        line = self.wait_for_line(lambda text: text.startswith("ready gateway="), "a `ready gateway=` line")
        self.ready = parse_ready(line)
        return self

    def descendants(self) -> list[int]:
        """Every process below this one, at this moment."""
        found, todo = [], [self.pid]
        while todo:
            pid = todo.pop()
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    below = [int(child) for child in children.read_text().split()]
                    found += below
                    todo += below
        return found


async def run_program(
    argv: Sequence[str],
    *,
    stdin: str | bytes = b"",
    env: dict[str, str] | None = None,
    patience: float = START_PATIENCE,
    cwd: Path = ROOT,
) -> subprocess.CompletedProcess[str]:
    """Run a short-lived program to its end: `causerie admin ...`, or a gateway with wrong settings."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clean_environment(env),
        cwd=cwd,
        preexec_fn=prepare,
    )
    data = stdin.encode() if isinstance(stdin, str) else stdin
    try:
        out, err = await asyncio.wait_for(process.communicate(data), patience)
    except TimeoutError:
        process.kill()
        out, err = await process.communicate()
        raise AssertionError(f"{argv} still ran after {patience:g} s\n{out.decode()}\n{err.decode()}") from None
    assert process.returncode is not None
    return subprocess.CompletedProcess(list(argv), process.returncode, out.decode(), err.decode())
