"""The door to files: for commands, REST and workers."""

from __future__ import annotations

import re
import secrets
from typing import Any, Final, TypeVar

from causerie.errors import Refused
from causerie.files.downloads import Downloads
from causerie.files.objects import Objects
from causerie.files.removal import Removal
from causerie.files.uploads import Uploads
from causerie.rights import Rights, digest
from causerie.settings import Settings
from causerie.store import Store
from causerie.store.files import FileRecord, Grant

Part = TypeVar("Part")

TOKEN_TTL_S: Final = 600.0
"""How long a token is good: to get, from its making; to put, from the last time that it was shown."""
TOKEN: Final = re.compile(r"cf_[A-Za-z0-9_-]{43}")
"""What tokens look like, so that an expired one is not taken for a guess at the admin token."""


class FileService:
    """Files of one chat; without a place for their bytes everything is refused."""

    def __init__(self, store: Store, settings: Settings, rights: Rights) -> None:
        self._store = store
        self.http_port: int | None = None
        """Where this gateway answers HTTP, for clients that came over TCP."""
        url = settings.files_url
        if url is None or url == "off":
            self._uploads = self._downloads = self._removal = None
            return
        objects = Objects(url)
        self._uploads = Uploads(store, objects, settings, rights)
        self._downloads = Downloads(store, objects)
        self._removal = Removal(store, objects, self._uploads)

    @property
    def uploads(self) -> Uploads:
        """What comes in. Raises `Refused` where there are no files."""
        return _there(self._uploads)

    @property
    def downloads(self) -> Downloads:
        """What goes out. Raises `Refused` where there are no files."""
        return _there(self._downloads)

    @property
    def removal(self) -> Removal | None:
        """What workers do; None where there are no files."""
        return self._removal

    async def link(self, what: str, record: FileRecord, sid: str) -> dict[str, Any]:
        """Where a session may put or get a file from now on, and what it has to show there."""
        path = f"/api/v1/files/{record.id}"
        token = await self.grant(what, record, sid)
        where = {"put": "upload", "get": "download"}[what]
        return {where: path, "token": token, "expires_in": TOKEN_TTL_S, "port": self.http_port}

    async def grant(self, what: str, record: FileRecord, sid: str) -> str:
        """A new token whose bearer may `put` or `get` this one file for `TOKEN_TTL_S`, in the name of a session."""
        made = "cf_" + secrets.token_urlsafe(32)
        await self._store.files.grant(digest(made), Grant(what, record.id, sid), TOKEN_TTL_S)
        return made

    async def granted(self, token: str) -> Grant | None:
        """What the bearer of a token may do now; None for an unknown or expired one."""
        return await self._store.files.granted(digest(token), TOKEN_TTL_S)


def _there(part: Part | None) -> Part:
    if part is None:
        raise Refused("denied", "there are no files here: the chat runs without --files-url")
    return part
