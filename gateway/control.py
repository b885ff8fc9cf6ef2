"""Notes to all gateways: stop, or look at the banned addresses again.

They are read from a stream, so a lost nudge costs a moment and not the note; what was applied is registered, so that
who gave an order can wait until every gateway has carried it out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from causerie.errors import Unavailable
from causerie.store.control import GATEWAY_TTL_S
from causerie.waiting import set_within

if TYPE_CHECKING:
    from causerie.store.control import ControlNote
    from gateway.node import Node

POLL_S: Final = 0.5
"""Seconds between two looks: how long a note is late whose nudge was lost."""
REGISTER_S: Final = GATEWAY_TTL_S / 5
"""Seconds after which a gateway says again that it lives."""

log = logging.getLogger(__name__)


class ControlLoop:
    """Follows the notes that came after its gateway started."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._applied = ""
        self._register_at = 0.0
        """When the gateway says again that it lives, and what it has applied."""
        self._nudged = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """What came before now is not for this gateway. Raises `Unavailable`."""
        self._applied = self._applied or await self._node.store.control.last_id()

    def start(self) -> None:
        """Follow."""
        self._task = self._node.loop.create_task(self._follow())

    def nudge(self, data: bytes) -> None:
        """Something was just published."""
        del data
        self._nudged.set()

    def register_again(self) -> None:
        """There is news, or the store was away and may have come back without its memory."""
        self._register_at = 0.0

    async def stop(self) -> None:
        """Follow no more."""
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        with contextlib.suppress(Unavailable):
            await self._node.store.control.unregister(self._node.id)

    async def _follow(self) -> None:
        control = self._node.store.control
        while True:
            try:
                for note in await control.follow(self._applied):
                    await self._apply(note)
                    self._applied = note.id
                    self.register_again()
                await self._register()
            except Unavailable:
                self.register_again()
            except Exception:  # whatever it is, bans and orders to stop have to come through afterwards
                log.exception("following the notes to all gateways failed")
            await set_within(self._nudged, POLL_S)
            self._nudged.clear()

    async def _register(self) -> None:
        now = self._node.loop.time()
        if now >= self._register_at:
            await self._node.store.control.register(self._node.id, self._applied)
            self._register_at = now + REGISTER_S

    async def _apply(self, note: ControlNote) -> None:
        if note.kind == "addresses":
            await self._node.addresses.load(self._node.store)
            self._node.drop_banned()
        elif note.kind == "shutdown":
            reason = str(note.data.get("reason") or "the chat stops")
            self._node.stop(reason, float(note.data.get("grace") or 0))
