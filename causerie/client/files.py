"""Sending and getting files: announced and asked for in the chat, carried over HTTP, resumed until they are done.

After whatever went wrong the file is announced (or asked for) again, through whichever gateway the chat is on by
then; the answer says where it stands and gives a new token. So there is one way of going on, for every death.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import random
import stat
from collections.abc import AsyncIterator, Callable
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from causerie.client.results import ClientError, NotSent
from causerie.client.saving import Partial
from causerie.client.transport import LOCAL_HOSTS
from causerie.errors import REFUSALS, Refused
from causerie.files.naming import file_name

if TYPE_CHECKING:
    import httpx

    from causerie.client.client import Client

Progress = Callable[[int, int], None]
"""Told how many bytes of how many are there; the first may fall when a connection broke."""

PIECE: Final = 256 * 1024
FAILURES: Final = 10
"""Tries in a row without a byte of progress after which a transfer is given up."""
LONGEST_DELAY: Final = 10.0
ANSWER_LIMIT: Final = 120.0
"""Seconds for an answer; after the last byte the server may have to read all of a file back."""
_OVER: Final = frozenset({403, 413, 422})
"""Statuses that asking again does not change."""


class SentFile(NamedTuple):
    """A file that is posted."""

    id: str
    name: str
    size: int
    sha256: str


class SavedFile(NamedTuple):
    """A file that was got, checked and saved."""

    id: str
    path: Path
    size: int
    sha256: str


class TransferFailed(ClientError):
    """A file could not be sent or got; the text says why."""


class Interrupted(Exception):
    """A connection ended or a server wants to be asked again, after `wait` seconds if it said so."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class Patience:
    """Delays between tries, longer while nothing moves; and an end to them."""

    def __init__(self) -> None:
        self._failures = 0
        self._reached = -1

    async def after(self, error: Interrupted, reached: int) -> None:
        """Wait before the next try. Raises `TransferFailed`."""
        self._failures = 1 if reached > self._reached else self._failures + 1
        self._reached = max(self._reached, reached)
        if self._failures > FAILURES:
            raise TransferFailed(f"gave up after {FAILURES} tries: {error}")
        delay = random.uniform(0.05, min(0.1 * 2**self._failures, LONGEST_DELAY))
        await asyncio.sleep(delay if error.wait is None else error.wait + delay)


async def send(client: Client, to: str | list[str], path: Path, name: str | None, progress: Progress) -> SentFile:
    """See `Client.send_file`."""
    with _readable(path) as file:
        size, sha256 = await asyncio.to_thread(_measured, file)
        name = file_name(name or path.name)
        line = f"{_command(to)} {size} {sha256} {name}"
        patience, asked = Patience(), None
        while True:
            asked, result = await client.ask(line, asked)
            link = result.data
            if link["sent"]:
                progress(size, size)
                return SentFile(link["id"], link["name"], size, sha256)
            offset = int(link["offset"])
            progress(offset, size)
            try:
                async with _http(client, link) as http:
                    await _push(http, link, file, offset, size, progress)
            except Interrupted as error:
                await patience.after(error, offset)


def _command(to: str | list[str]) -> str:
    if isinstance(to, str) and not to.startswith("@"):
        return f"!broadcast_file {to}".rstrip()
    return f"{to if isinstance(to, str) else ' '.join(to)} !send_file"


async def get(client: Client, file_id: str, where: Path, *, overwrite: bool, progress: Progress) -> SavedFile:
    """See `Client.get_file`."""
    patience, wrong = Patience(), 0
    while True:
        _, result = await client.ask(f"!get {file_id}")
        link = result.data
        size, sha256 = int(link["size"]), str(link["sha256"])
        target = _target(where, str(link["name"]), overwrite)
        with Partial(target.parent, sha256[:16] + file_id[:16]) as partial:
            reached = partial.size if partial.size <= size else partial.restart()
            progress(reached, size)
            try:
                if reached < size:
                    async with _http(client, link) as http:
                        await _pull(http, link, partial, size, progress)
            except Interrupted as error:
                await patience.after(error, partial.size)
                continue
            if await asyncio.to_thread(partial.digest) == sha256:
                await asyncio.to_thread(partial.become, target, overwrite=overwrite)
                return SavedFile(file_id, target, size, sha256)
            partial.restart()
            wrong += 1
            if wrong > 1:
                raise TransferFailed(f"{target.name} comes with other bytes than its SHA-256 says")


def _target(where: Path, name: str, overwrite: bool) -> Path:
    """Where a file is to be saved, under a name that is made harmless here too."""
    target = where / file_name(name) if where.is_dir() else where
    if os.path.lexists(target) and not overwrite:
        raise FileExistsError(errno.EEXIST, "there is a file already", str(target))
    return target


def _readable(path: Path) -> BufferedReader:
    try:
        file = path.open("rb")
    except OSError as error:
        raise NotSent("bad_request", error.strerror or str(error)) from None
    try:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise NotSent("bad_request", "this is no file")
    except BaseException:
        file.close()
        raise
    return file


def _measured(file: BufferedReader) -> tuple[int, str]:
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    return file.tell(), digest


# -- HTTP --------------------------------------------------------------------------------------------------------------


def base_url(chat_url: str, port: int | None) -> str:
    """The HTTP address of the gateway behind a chat's; over TCP it is on the port that the gateway named."""
    parts = urlsplit(chat_url)
    if parts.scheme in {"ws", "wss"}:
        return parts._replace(scheme="http" + parts.scheme[2:], path=parts.path.removesuffix("/ws"), query="").geturl()
    if not port:
        raise TransferFailed("this gateway has no HTTP port, and files go over HTTP")
    host = parts.hostname or ""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.asynccontextmanager
async def _http(client: Client, link: dict[str, Any]) -> AsyncIterator[httpx.AsyncClient]:
    import httpx

    url = base_url(client.url, link.get("port"))
    host = urlsplit(url).hostname or ""
    local = host in LOCAL_HOSTS or host.startswith("127.")
    limits = httpx.Timeout(30.0, connect=5.0, read=ANSWER_LIMIT)
    bearer = {"Authorization": f"Bearer {link['token']}"}
    try:
        async with httpx.AsyncClient(base_url=url, headers=bearer, timeout=limits, trust_env=not local) as http:
            yield http
    except httpx.HTTPError as error:
        raise Interrupted(str(error) or type(error).__name__) from None


async def _push(
    http: httpx.AsyncClient, link: dict[str, Any], file: BufferedReader, offset: int, size: int, progress: Progress
) -> None:
    """Upload what is missing."""

    async def rest() -> AsyncIterator[bytes]:
        at = offset
        await asyncio.to_thread(file.seek, offset)
        while at < size:
            data = await asyncio.to_thread(file.read, min(PIECE, size - at))
            if not data:
                raise TransferFailed("the file became shorter while it was sent")
            yield data
            at += len(data)
            progress(at, size)

    headers = {
        "Tus-Resumable": "1.0.0",
        "Upload-Offset": str(offset),
        "Content-Type": "application/offset+octet-stream",
        "Content-Length": str(size - offset),
    }
    response = await http.patch(link["upload"], headers=headers, content=rest())
    _check(response, 204)


async def _pull(http: httpx.AsyncClient, link: dict[str, Any], partial: Partial, size: int, progress: Progress) -> None:
    """Download what is missing."""
    headers = {"Accept-Encoding": "identity"}
    if partial.size:
        headers |= {"Range": f"bytes={partial.size}-", "If-Range": f'"{link["sha256"]}"'}
    async with http.stream("GET", link["download"], headers=headers) as response:
        if response.status_code not in {200, 206}:
            await response.aread()
        _check(response, 200, 206)
        if response.status_code == 200:
            partial.restart()
        async for data in response.aiter_raw(PIECE):
            if partial.size + len(data) > size:
                raise TransferFailed("the server sends more than it said")
            await asyncio.to_thread(partial.write, data)
            progress(partial.size, size)
    if partial.size < size:
        raise Interrupted("the connection was lost")


def _check(response: httpx.Response, *wanted: int) -> None:
    """Raise what a response means that is not the one wanted."""
    status = response.status_code
    if status in wanted:
        return
    problem: dict[str, Any] = {}
    with contextlib.suppress(ValueError):
        body = response.json()
        problem = body if isinstance(body, dict) else {}
    text = str(problem.get("detail") or problem.get("title") or f"HTTP status {status}")
    code = problem.get("code")
    if status in _OVER and code in REFUSALS:
        raise Refused(str(code), text)
    wait = response.headers.get("Retry-After", "")
    raise Interrupted(text, float(wait) if wait.isdecimal() and len(wait) < 4 else None)
