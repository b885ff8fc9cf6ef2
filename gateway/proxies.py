"""Balancers in front of the gateway, which are believed when they say for whom they connect."""

from __future__ import annotations

from collections.abc import Iterable

from causerie import names


class Proxies:
    """Those that are trusted: `networks` divided by commas."""

    def __init__(self, networks: str) -> None:
        found = [names.network(word) for word in networks.split(",")]
        self._networks = [network for network in found if network is not None]

    @property
    def any(self) -> bool:
        """Whether anybody is trusted."""
        return bool(self._networks)

    def trusts(self, address: str) -> bool:
        """Whether what comes from this address is said by a balancer."""
        host = names.host(address) if self._networks else None
        return host is not None and any(host in network for network in self._networks)

    def behind(self, address: str, forwarded: Iterable[str]) -> str:
        """For whom `address` asks over HTTP, given its `X-Forwarded-For` headers.

        Only the last entry is the balancer's own; whatever stands before it anybody may have written.
        """
        if not self.trusts(address):
            return address
        last = ",".join(forwarded).rpartition(",")[2].strip()
        return last if names.host(last) is not None else address
