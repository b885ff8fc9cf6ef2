"""What a run keeps its messages in: one store, or two of which Sentinel promotes the other when one dies."""

import asyncio
import resource
from collections.abc import Callable
from pathlib import Path

import redis
import redis.asyncio

from tests.chaos.proxy import Proxy
from tests.support.sentinel import Sentinel
from tests.support.store import Store

START_S = 60.0
POLL_S = 0.02


class Single:
    """One store; programs reach it through proxies."""

    proxied = True

    def __init__(self) -> None:
        self.server = Store(durable=True)
        """The one that takes writes."""
        self.busy = asyncio.Lock()
        """Held by the fault that stops and starts it."""

    def url(self, proxy: Proxy) -> str:
        """How a program behind that proxy finds the store."""
        return f"redis://127.0.0.1:{proxy.port}/0"

    async def start(self) -> None:
        """Launch it (again) and wait until it answers."""
        await launched(self.server)

    def client(self) -> redis.asyncio.Redis:
        """A connection of the harness, past all proxies."""
        return client_of(self.server)

    def file_size(self) -> int:
        """Bytes of the file that it appends to."""
        files = Path(self.server.folder).glob("appendonlydir/*.incr.aof")
        return max((file.stat().st_size for file in files), default=0)

    def limit_files(self, size: int) -> None:
        """No file that it writes may grow past so many bytes."""
        assert self.server.process is not None
        resource.prlimit(self.server.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def close(self) -> None:
        """End it."""
        self.server.close()


class Pair(Single):
    """A master and its copy. What the copy lacks when the master dies is lost, and must be told."""

    proxied = False  # Sentinel names the stores by their own ports

    def __init__(self) -> None:
        super().__init__()
        self.servers = [self.server, Store(durable=True, repl_diskless_sync_delay=0)]
        self.sentinel = Sentinel(self.server, down_after=1000, failover_timeout=1000)
        self.surprises = 0
        """Failovers that nobody here asked for: on a busy machine the master can look dead."""

    def url(self, proxy: Proxy) -> str:
        del proxy
        return self.sentinel.url

    async def start(self) -> None:
        """Launch all of it and wait until the copy is one."""
        first, second = self.servers
        await launched(first)
        await self.follow(second)
        self.sentinel.start()
        await self.sentinel.knows_replica()
        await self.settled()

    @property
    def copy(self) -> Store:
        """The one that copies it."""
        return next(server for server in self.servers if server is not self.server)

    async def follow(self, store: Store) -> None:
        """Launch a store (again), as a copy of the master."""
        store.extra["replicaof"] = f"127.0.0.1 {self.server.port}"
        await launched(store)

    async def promoted(self, patience: float = START_S) -> bool:
        """Return when Sentinel has made the other one the master; False if that does not happen."""
        old = self.server
        try:
            await until(lambda: self.sentinel.master not in (0, old.port), "a failover", patience)
        except AssertionError:
            return False
        self._turn()
        return True

    def _turn(self) -> None:
        self.server = self.copy
        self.server.extra.pop("replicaof", None)

    def look(self) -> bool:
        """Whether Sentinel has another master than we know; from now on we know it."""
        if self.sentinel.master in (0, self.server.port):
            return False
        self._turn()
        self.surprises += 1
        return True

    async def demote(self, store: Store) -> None:
        """Make one that was the master, and runs, a copy; Sentinel would, ten seconds later."""
        self.look()
        if store is self.server:
            return
        async with client_of(store) as client:
            await client.execute_command("REPLICAOF", "127.0.0.1", str(self.server.port))

    async def settled(self) -> None:
        """Return when the copy has caught up, and Sentinel would promote it."""
        await until(self._copied, "the copy")
        await until(self._eligible, "a copy that Sentinel knows")

    def describe(self) -> str:
        """Where both stand, for a report."""
        rows = [f"Sentinel says {self.sentinel.master}, we {self.server.port}: {self.sentinel.ask('REPLICAS', 'talk')}"]
        for server in self.servers:
            try:
                with server.client() as client:
                    rows.append(f"{server.port}: {client.info('replication')}")
            except redis.RedisError as error:
                rows.append(f"{server.port}: {error}")
        return "\n".join(rows)

    def _copied(self) -> bool:
        self.look()
        try:
            with self.server.client() as one, self.copy.client() as other:
                ours, theirs = one.info("replication"), other.info("replication")
        except redis.RedisError:
            return False
        if ours["role"] != "master" or theirs.get("master_link_status") != "up":
            return False
        return bool(theirs["slave_repl_offset"] >= ours["master_repl_offset"])

    def _eligible(self) -> bool:
        found = self.sentinel.ask("REPLICAS", "talk") or []
        rows = [one if isinstance(one, dict) else dict(zip(one[::2], one[1::2], strict=True)) for one in found]  # type: ignore[index,call-overload]
        return any(row["port"] == str(self.copy.port) and row["flags"] == "slave" for row in rows)

    def close(self) -> None:
        self.sentinel.close()
        for store in self.servers:
            store.close()


def client_of(store: Store) -> redis.asyncio.Redis:
    """A connection of the harness to a store."""
    return redis.asyncio.Redis(port=store.port, decode_responses=True, socket_timeout=5, socket_connect_timeout=5)


async def launched(store: Store) -> None:
    """Launch a store and wait until it answers."""
    process = store.launch()
    async with asyncio.timeout(START_S), client_of(store) as client:
        while True:
            try:
                await client.ping()
                return
            except (redis.RedisError, OSError):
                if not process.alive:
                    raise AssertionError(process.describe()) from None
                await asyncio.sleep(POLL_S)


async def until(true: Callable[[], bool], what: str, patience: float = START_S) -> None:
    """Return when something holds; it is asked in a thread."""
    try:
        async with asyncio.timeout(patience):
            while not await asyncio.to_thread(true):
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"{what} took more than {patience:g} s") from None
