"""The folder in which one `serve`, and nobody else, keeps everything."""

import asyncio
import fcntl
import os
import secrets
from pathlib import Path

LOCK_FILE = "lock"
LOCK_PATIENCE = 5.0
"""Seconds for a left-over store, whose parent was just killed, to end."""
TOKEN_FILE = "admin-token"  # noqa: S105 - a file's name
_POLL = 0.02


class ServeError(Exception):
    """`serve` cannot go on; the text is one line for people, `status` the exit status."""

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


def prepare(data_dir: Path) -> Path:
    """Make the folder, for this user alone, and return its absolute path. Raise ServeError."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return data_dir.resolve(strict=True)
    except OSError as error:
        raise ServeError(f"--data-dir {data_dir}: {error.strerror}", status=2) from error


async def lock(data_dir: Path) -> int:
    """Return a file descriptor that locks the folder for as long as any process has it open.

    The store inherits it, so the lock ends with the store and not before. Raise ServeError if another
    `serve`, or its store, has the folder.
    """
    try:
        descriptor = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ServeError(f"--data-dir {data_dir}: {error.strerror}", status=2) from error
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if loop.time() > deadline:
                os.close(descriptor)
                raise ServeError(f"--data-dir {data_dir}: another `causerie serve` uses it") from None
            await asyncio.sleep(_POLL)
        else:
            return descriptor


def admin_token(data_dir: Path) -> tuple[str, bool]:
    """Return the admin token of a locked folder and whether it was made just now. Raise ServeError."""
    path = data_dir / TOKEN_FILE
    try:
        kept = path.read_text(encoding="utf-8").strip() if path.exists() else ""
        if kept:
            return kept, False
        made = secrets.token_urlsafe(32)
        draft = path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(made + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ServeError(f"{path}: {getattr(error, 'strerror', None) or error}", status=2) from error
    return made, True
