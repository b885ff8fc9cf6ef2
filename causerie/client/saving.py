"""A file while it comes: kept beside its target under a name of its own, so that another run goes on with it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from pathlib import Path
from typing import Self

from causerie.client.results import ClientError


class Partial:
    """What is there of a file. Held by one at a time; it stays when it is left unfinished."""

    def __init__(self, folder: Path, key: str) -> None:
        self.path = folder / f".causerie-{key}.part"
        self.size = 0
        self._descriptor = -1

    def __enter__(self) -> Self:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise ClientError(f"{self.path.name} is being written already") from None
        self.size = os.fstat(self._descriptor).st_size
        return self

    def __exit__(self, *_: object) -> None:
        if not self.size:
            with contextlib.suppress(OSError):
                self.path.unlink()
        os.close(self._descriptor)

    def write(self, data: bytes) -> None:
        """Add what came."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self.size += len(data)

    def restart(self) -> int:
        """Forget what is there; 0."""
        os.ftruncate(self._descriptor, 0)
        self.size = 0
        return 0

    def digest(self) -> str:
        """The SHA-256 of what is there."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def become(self, target: Path, *, overwrite: bool) -> None:
        """Be the file from now on. Raises `FileExistsError` where there is one and it is not to be overwritten."""
        os.fsync(self._descriptor)
        if overwrite:
            self.path.replace(target)
            return
        try:
            target.hardlink_to(self.path)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
            self.path.replace(target)
            return
        self.path.unlink()


def free_name(target: Path) -> Path:
    """The path itself, or the first of `name (2).ext`, `name (3).ext`, ... that is free."""
    number, found = 1, target
    while os.path.lexists(found):
        number += 1
        found = target.with_name(f"{target.stem} ({number}){target.suffix}")
    return found
