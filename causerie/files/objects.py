"""The bytes of files: a folder, S3 and the like, by one library (obstore). Names are `FILE/PART`.

Whatever a store answers badly is `Unavailable`, what it does not have `FileNotFoundError`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from causerie.errors import Unavailable

ID: Final = re.compile(r"[0-9a-f]{32}")
"""Of a file."""
PIECE: Final = 256 * 1024
"""Bytes read at a time."""
_RETRY: Final = {"max_retries": 3}


log = logging.getLogger(__name__)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except (BaseError, OSError) as error:
        log.warning("the file store fails: %s", str(error).strip().split("\n", 1)[0])
        raise Unavailable("the file store cannot be reached; try again") from None


class Objects:
    """One store of objects; `url` is that of `Settings.files_url`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._folder = Path(unquote(parts.path)) if parts.scheme == "file" else None
        self._store: Any = None
        self._url = url

    def _open(self) -> Any:
        if self._store is None:
            if self._folder is not None:
                self._store = LocalStore(self._folder, mkdir=True)
            else:
                self._store = from_url(self._url, client_options=_client_options(), retry_config=_RETRY)  # type: ignore[call-overload]
        return self._store

    async def put(self, name: str, data: bytes | memoryview) -> None:
        """Keep an object whole or not at all; in a folder, on the disk when this returns."""
        with _translated():
            await obstore.put_async(self._open(), name, data)
            if self._folder is not None:
                await asyncio.to_thread(_flush, self._folder / name)

    async def get(self, name: str) -> bytes:
        """All of an object."""
        return b"".join([piece async for piece in self.read(name)])

    async def read(self, name: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes of an object from `start` to before `end`, in pieces."""
        with _translated():
            wanted: Any = {"offset": start} if end is None else (start, end)
            result = await obstore.get_async(self._open(), name, options={"range": wanted})
            pieces = aiter(result.stream(min_chunk_size=PIECE))
        while True:
            with _translated():
                piece = await anext(pieces, None)
            if piece is None:
                return
            yield bytes(piece)

    async def delete(self, names: Iterable[str]) -> None:
        """Delete objects; one that is not there is no error."""
        with _translated():
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    await obstore.delete_async(self._open(), name)

    async def clear(self, file: str) -> None:
        """Delete all objects of a file, and what a writer that was killed left half written."""
        assert ID.fullmatch(file), file  # whatever else lies there is none of ours
        await self.delete([name for name, _ in await self.parts(file)])
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder / file, ignore_errors=True)

    async def parts(self, file: str) -> list[tuple[str, float]]:
        """The objects of a file: name, and when it was written (Unix seconds, by the store's clock)."""
        found: list[tuple[str, float]] = []
        with _translated():
            async for page in obstore.list(self._open(), prefix=file):
                found += [(one["path"], one["last_modified"].timestamp()) for one in page]
        return found

    async def files(self) -> list[str]:
        """The ids of all files that have objects, or had some."""
        with _translated():
            result = await obstore.list_with_delimiter_async(self._open())
        return [id_ for prefix in result["common_prefixes"] if ID.fullmatch(id_ := prefix.rstrip("/"))]


def _client_options() -> dict[str, Any]:
    """Limits; and plain HTTP only where the environment says so (options given here hide what it says)."""
    plain = os.environ.get("AWS_ALLOW_HTTP", "").lower() in {"1", "true"}
    return {"timeout": "60s", "connect_timeout": "5s", "allow_http": plain}


def _flush(path: Path) -> None:
    """Force a file to the disk, and its entries in the folders above it."""
    for each in (path, path.parent, path.parent.parent):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
