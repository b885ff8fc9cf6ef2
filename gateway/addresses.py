"""Banned addresses: the store's list, kept here so that a hello costs no look-up."""

from __future__ import annotations

from causerie import names
from causerie.errors import Refused
from causerie.model import Sanction
from causerie.store import Store


class Addresses:
    """The bans of addresses in force, as of the last `load`."""

    def __init__(self) -> None:
        self._bans: list[tuple[names.Network, Sanction]] = []

    async def load(self, store: Store) -> None:
        """Read the list. Raises `Unavailable`."""
        bans = await store.sanctions.addresses()
        found = [(names.network(ban.subject), ban) for ban in bans]
        self._bans = [(network, ban) for network, ban in found if network is not None]

    def find(self, address: str) -> Sanction | None:
        """The ban that holds for an address, if any."""
        host = names.host(address) if self._bans else None
        if host is None:
            return None
        return next((ban for network, ban in self._bans if host in network), None)

    def check(self, address: str) -> None:
        """Raises `Refused` (`banned`) for a banned address."""
        ban = self.find(address)
        if ban is not None:
            raise Refused("banned", ban.reason or "your address is banned", until=ban.until)
