"""A real Sentinel that watches one master."""

import tempfile
from pathlib import Path

import redis

from tests.support.processes import Process
from tests.support.store import Store, free_port, valkey_binary
from tests.support.timing import PATIENCE, eventually


class Sentinel:
    """Its master is called `talk`. `down_after` and `failover_timeout` are in milliseconds."""

    def __init__(self, master: Store, *, down_after: int = 500, failover_timeout: int = 3000) -> None:
        self.port = free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="causerie-sentinel-")
        self._conf = Path(self._folder.name) / "sentinel.conf"
        self._conf.write_text(
            f"port {self.port}\nbind 127.0.0.1\nsentinel monitor talk 127.0.0.1 {master.port} 1\n"
            f"sentinel down-after-milliseconds talk {down_after}\nsentinel failover-timeout talk {failover_timeout}\n"
        )
        self.process: Process | None = None

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.port}/talk"

    def start(self) -> "Sentinel":
        """Start it (again); its configuration is what it last wrote."""
        self.process = Process([valkey_binary(), str(self._conf), "--sentinel"], name="sentinel")
        return self

    def client(self) -> "redis.Redis":
        """A plain synchronous client."""
        return redis.Redis(port=self.port, decode_responses=True, socket_timeout=PATIENCE)

    def ask(self, *command: str) -> "list[object] | str | None":
        """The answer to a `SENTINEL` command; None while it cannot be had."""
        try:
            with self.client() as client:
                return client.execute_command("SENTINEL", *command)  # type: ignore[no-any-return]
        except redis.RedisError:
            return None

    @property
    def master(self) -> int:
        """The port of the master; 0 while it cannot be asked."""
        found = self.ask("GET-MASTER-ADDR-BY-NAME", "talk")
        return int(str(found[1])) if found else 0

    async def knows_replica(self) -> None:
        """Return when it has found one."""

        async def known() -> bool:
            return bool(self.ask("REPLICAS", "talk"))

        await eventually(known, "the sentinel's replica", 30)

    def close(self) -> None:
        if self.process is not None:
            self.process.close()
        self._folder.cleanup()

    def __enter__(self) -> "Sentinel":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()
