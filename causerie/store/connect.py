"""From a `--redis-url` to connections: single servers, Unix sockets, TLS, Sentinel, Cluster."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import redis.exceptions
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from causerie.errors import Unavailable
from causerie.store.cancellation import unless_cancelled
from causerie.store.resp import AWAY, Arg, ByTask, Connection, ReplyError, Trouble, Wire, pack
from causerie.store.sentinel import Masters

DEFAULT_PORT = 6379
KEEPALIVE_S = 5
_REFUSED_FOR_NOW = (
    redis.exceptions.AskError,
    redis.exceptions.ClusterError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.TryAgainError,
)
"""What redis-py makes of some of the replies in `AWAY`: it takes their first word away."""
_UNREACHED = (
    redis.exceptions.RedisError,
    redis.exceptions.RedisClusterException,  # no `RedisError`: no node answers, or some slots have none
    OSError,
    TimeoutError,
    AttributeError,  # redis-py stumbles over a connection that breaks while it writes
    RuntimeError,  # ... and uvloop says so of a transport that is closed
)
STEADY_S = 2.0
"""A Cluster of which a part is away still answers what needs no slot. It is back when nothing failed for so long."""


class Target:
    """What a URL says; opens ready (authenticated, selected) connections to the current master."""

    def __init__(self, url: str, *, timeout: float = 2.0) -> None:
        self.url = url
        self.timeout = timeout
        self.scheme = urlsplit(url).scheme
        if self.scheme not in ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster"):
            raise ValueError(f"unknown scheme in the store's URL: {self.scheme}://")
        self._masters: Masters | None = None
        self._nodes = itertools.cycle(hosts_of(urlsplit(url).netloc, DEFAULT_PORT) if self.cluster else ())
        if self.scheme == "redis+sentinel":
            self._options, self._masters = self._parse_sentinel(url)
        elif self.scheme != "redis+cluster":
            self._options = dict(parse_url(url))

    @property
    def cluster(self) -> bool:
        """Whether it is a Cluster."""
        return self.scheme == "redis+cluster"

    def _parse_sentinel(self, url: str) -> tuple[dict[str, Any], Masters]:
        parts = urlsplit(url)
        master, _, db = parts.path.strip("/").partition("/")
        if not master:
            raise ValueError("a sentinel URL ends with /MASTER-NAME")
        auth = {"password": unquote(parts.password)} if parts.password else {}
        if parts.username:
            auth["username"] = unquote(parts.username)
        return {**auth, "db": int(db or 0)}, Masters(hosts_of(parts.netloc, 26379), master, self.timeout)

    async def dial(self, factory: Callable[[], Wire]) -> Wire:
        """A connection that has passed AUTH, SELECT and ROLE, within `timeout` seconds. Raises OSError, ReplyError,
        TimeoutError, Unavailable.
        """
        async with asyncio.timeout(self.timeout):
            return await self._dial(factory)

    async def _dial(self, factory: Callable[[], Wire]) -> Wire:
        options = dict(self._options) if not self.cluster else self._seed()
        if self._masters is not None:
            options["host"], options["port"] = await self._masters.find()
        wire = await self._open(options, factory)
        try:
            await self._handshake(wire, options)
        except BaseException:
            wire.abort()
            raise
        if self._masters is not None:
            self._masters.keep(wire, (options["host"], options["port"]))
        return wire

    async def close(self) -> None:
        """Stop looking after the connections."""
        if self._masters is not None:
            await self._masters.close()

    def _seed(self) -> dict[str, Any]:
        """The next node of those that the URL names: each hears all that is published."""
        parts = urlsplit(self.url)
        host, port = next(self._nodes)
        options: dict[str, Any] = {"host": host, "port": port}
        if parts.password:
            options["password"] = unquote(parts.password)
            options["username"] = unquote(parts.username) if parts.username else None
        return options

    async def _open(self, options: dict[str, Any], factory: Callable[[], Wire]) -> Wire:
        loop = asyncio.get_running_loop()
        if "path" in options:
            _, wire = await loop.create_unix_connection(factory, options["path"])
            return wire
        context = self._tls(options) if self.scheme == "rediss" else None
        host, port = options.get("host", "127.0.0.1"), options.get("port", DEFAULT_PORT)
        failure: OSError | None = None
        # Looked up here: a look-up inside `create_connection` that outlives the timeout reports its failure to nobody.
        for *_, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            try:
                _, wire = await loop.create_connection(
                    factory, *address[:2], ssl=context, server_hostname=host if context else None
                )
            except OSError as error:
                failure = error
            else:
                return wire
        raise failure or OSError(f"{host} has no address")

    @staticmethod
    def _tls(options: dict[str, Any]) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
        if str(options.get("ssl_cert_reqs", "required")) == "none":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    async def _handshake(self, wire: Wire, options: dict[str, Any]) -> None:
        commands: list[tuple[str, ...]] = []
        if options.get("password"):
            user = (options["username"],) if options.get("username") else ()
            commands.append(("AUTH", *user, options["password"]))
        if options.get("db"):
            commands.append(("SELECT", str(options["db"])))
        commands.append(("ROLE",))
        replies: asyncio.Queue[Any] = asyncio.Queue()
        deliver, lost = wire.on_reply, wire.on_lost
        wire.on_reply = replies.put_nowait
        wire.on_lost = lambda _: replies.put_nowait(Unavailable("the store hung up, or is no Redis"))
        wire.write(b"".join(pack(*command) for command in commands))
        for command in commands:
            reply = await replies.get()
            if isinstance(reply, Unavailable):
                raise reply
            if isinstance(reply, ReplyError) and command[0] != "ROLE":
                raise Unavailable(f"the store refuses {command[0]}: {reply}")
        if isinstance(reply, ReplyError) and reply.code in AWAY:
            raise Unavailable(f"the store says: {reply}")
        if isinstance(reply, list) and reply[0] != b"master" and not self.cluster:
            raise Unavailable("the store is a replica")
        wire.on_reply, wire.on_lost = deliver, lost


def hosts_of(netloc: str, default_port: int) -> list[tuple[str, int]]:
    """`user:pw@a:1,b:2` as pairs of host and port."""
    hosts = []
    for item in netloc.rpartition("@")[2].split(","):
        host, _, port = item.rpartition(":") if ":" in item else (item, "", "")
        hosts.append((host.strip("[]"), int(port or default_port)))
    return hosts


class RedisPy(ByTask):
    """The same commands through a redis-py client: Cluster, which it routes, and fakeredis in unit tests.

    The client's own rewriting of replies is switched off, so that replies look as on the shared connection.
    """

    one_slot = True
    PARALLEL = 50
    """Below the hundred connections at which redis-py's pool raises instead of waiting."""

    def __init__(self, client: Any) -> None:
        super().__init__()
        self._client = client
        for command in list(client.response_callbacks):
            if not command.startswith(("CLUSTER", "COMMAND")):
                del client.response_callbacks[command]
        self._slots = asyncio.Semaphore(self.PARALLEL)
        self._trouble = Trouble()
        self._failed_at = -STEADY_S

    async def execute(self, *args: Arg) -> Any:
        """See `Executor`."""
        if args[0] == "CONFIG":
            args = (f"CONFIG {args[1]!s}", *args[2:])  # so redis-py knows that it is for every node
        async with self._slots:
            try:
                reply = await unless_cancelled(self._client.execute_command(*args))
            except _REFUSED_FOR_NOW as error:
                raise self._away(error) from None
            except redis.exceptions.ResponseError as error:
                text = str(error)
                if isinstance(error, redis.exceptions.NoScriptError):
                    text = "NOSCRIPT " + text
                if text.split(" ", 1)[0] in AWAY:
                    raise self._away(error) from None
                raise ReplyError(text) from None
            except _UNREACHED as error:
                raise self._away(error) from None
        if time.monotonic() - self._failed_at > STEADY_S:
            self._trouble.over()
        return reply

    def _away(self, error: Exception) -> Unavailable:
        self._failed_at = time.monotonic()
        self._trouble.note(error)
        return Unavailable(f"the store cannot be used: {error}")

    async def execute_many(self, commands: Sequence[tuple[Arg, ...]]) -> list[Any]:
        """See `Executor`. Those of one slot are done in their order, the slots side by side."""
        replies: list[Any] = [None] * len(commands)
        slots: dict[str, list[int]] = {}
        for i, command in enumerate(commands):
            slots.setdefault(_slot(command), []).append(i)

        async def one_after_the_other(indexes: list[int]) -> None:
            for i in indexes:
                try:
                    replies[i] = await self.execute(*commands[i])
                except ReplyError as error:
                    replies[i] = error

        await asyncio.gather(*map(one_after_the_other, slots.values()))
        return replies

    async def close(self) -> None:
        """End the connections."""
        await self._client.aclose()


def _slot(command: tuple[Arg, ...]) -> str:
    """What tells the slot of a command: the hash tag of its first key, or the key."""
    at = 3 if command[0] in ("EVAL", "EVALSHA") else 1
    key = str(command[at]) if at < len(command) else ""
    return key.partition("{")[2].partition("}")[0] or key


def cluster_client(url: str, timeout: float) -> RedisPy:
    """A Cluster client from `redis+cluster://host:port,...`."""
    from redis.asyncio.cluster import ClusterNode

    parts = urlsplit(url)
    nodes = [ClusterNode(host, port) for host, port in hosts_of(parts.netloc, DEFAULT_PORT)]
    client = RedisCluster(
        startup_nodes=nodes,
        password=unquote(parts.password) if parts.password else None,
        username=unquote(parts.username) if parts.username else None,
        socket_timeout=timeout,
        protocol=2,
        retry=Retry(NoBackoff(), 1),
    )
    return RedisPy(client)


async def connect(target: Target) -> Connection | RedisPy:
    """An executor for a URL. While nothing answers its calls raise `Unavailable`, and it goes on trying."""
    if target.cluster:
        return cluster_client(target.url, target.timeout)
    connection = Connection(target.dial, timeout=target.timeout)
    with contextlib.suppress(Unavailable):
        await connection.start()
    return connection
