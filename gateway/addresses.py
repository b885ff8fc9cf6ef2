"""Banned addresses: the store's list, kept here so that a hello costs no look-up."""

from __future__ import annotations

import math
import time

from causerie import names
from causerie.errors import Refused
from causerie.model import Sanction
from causerie.store import Store


class Addresses:
    """The bans of addresses, as of the last `load`; each ends by itself."""

    def __init__(self) -> None:
        self._bans: list[tuple[names.Network, Sanction, float]] = []
        """Who, the ban, and its end on this process's monotonic clock."""

    async def load(self, store: Store) -> None:
        """Read the list. Raises `Unavailable`."""
        bans = await store.sanctions.addresses()
        ahead = time.monotonic() - await store.sessions.now_ms() / 1000  # ends are told in the store's time
        found = [
            (names.network(ban.subject), ban, math.inf if ban.until is None else ban.until + ahead) for ban in bans
        ]
        self._bans = [(network, ban, end) for network, ban, end in found if network is not None]

    def find(self, address: str) -> Sanction | None:
        """The ban that holds for an address now, if any."""
        host = names.host(address) if self._bans else None
        if host is None:
            return None
        now = time.monotonic()
        return next((ban for network, ban, end in self._bans if host in network and now < end), None)

    def check(self, address: str) -> None:
        """Raises `Refused` (`banned`) for a banned address."""
        ban = self.find(address)
        if ban is not None:
            raise Refused("banned", ban.reason or "your address is banned", until=ban.until)
