"""Processes under measurement: started on one core, asked for CPU time and memory, ended without a trace."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
SERVER_CORES = {0}
LOAD_CORES = {os.cpu_count() - 1} if (os.cpu_count() or 1) > 1 else {0}
START_S = 30.0
JEMALLOC = find_library("jemalloc")
"""For the store: the Valkeys of distributions and of Docker allocate with it, the wheel's does not."""
APART = "CAUSERIE_BENCH_APART"
"""Set where the bench has a network of its own (`apart.py`)."""
_TICKS = os.sysconf("SC_CLK_TCK")
_PR_SET_PDEATHSIG = 1


def _prepare(cores: set[int]) -> Callable[[], None]:
    libc = ctypes.CDLL(None)

    def prepare() -> None:
        os.sched_setaffinity(0, cores)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a killed bench leaves nothing behind

    return prepare


def spawn(
    words: Sequence[str],
    *,
    cores: set[int],
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    stdin: int | None = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
    quiet: bool = False,
) -> subprocess.Popen[str]:
    """Start a program on some cores; its standard output is a pipe that somebody must read, or DEVNULL."""
    return subprocess.Popen(
        list(words),
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.DEVNULL if quiet else None,
        text=True,
        bufsize=1,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        preexec_fn=_prepare(cores),  # noqa: PLW1509 - one thread here
    )


def end(process: subprocess.Popen[str]) -> None:
    """End a process that was started here, kindly at first."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@dataclass
class Memory:
    """Memory of a process, in bytes."""

    rss: int
    private: int
    pss: int


def memory(pid: int) -> Memory:
    """What a process holds now."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split(":")
        found[name] = int(value.split()[0]) * 1024
    return Memory(found["Rss"], found["Private_Clean"] + found["Private_Dirty"], found["Pss"])


def children(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def built(name: str) -> str:
    """A native program of this folder, compiled if this very source was not."""
    source = FOLDER / "native" / f"{name}.c"
    content = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    program = Path(tempfile.gettempdir()) / f"causerie-bench-{os.getuid()}" / f"{name}-{content}"
    if not program.exists():
        program.parent.mkdir(exist_ok=True)
        subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", program, source], check=True)
    return str(program)


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Return when something holds."""
    deadline = time.monotonic() + START_S
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} took more than {START_S} s")
        time.sleep(0.02)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder that goes again."""
    with tempfile.TemporaryDirectory(prefix="causerie-bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def description() -> dict[str, object]:
    """What the figures were measured on."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=FOLDER, check=False
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "store_malloc": "jemalloc" if JEMALLOC else "libc",
        "apart": bool(os.environ.get(APART)),
        "commit": commit.stdout.strip(),
        "date": time.strftime("%Y-%m-%d"),
    }
