"""One chat for tests: N gateways and M workers on a store, under a namespace of their own."""

import secrets
from typing import Any, Self

from tests.support.processes import Gateway, Worker
from tests.support.store import Store

ADMIN_TOKEN = "a-token-for-tests-0123456789"
SHORT_HEARTBEATS: dict[str, Any] = {"heartbeat_interval": "0.4", "heartbeat_ttl": "1.5"}
"""Settings for tests of `away`, `crashed` and `timeout`: seconds become tenths."""


class Chat:
    """The processes of one chat. `settings` go to gateways and workers alike; see `worker_settings`."""

    def __init__(self, store: Store, *, gateways: int = 1, workers: int = 1, **settings: Any) -> None:
        self.store = store
        self.namespace = str(settings.pop("namespace", None) or f"t-{secrets.token_hex(5)}")
        self.admin_token = str(settings.pop("admin_token", ADMIN_TOKEN))
        self.settings = settings
        self._counts = (gateways, workers)
        self.gateways: list[Gateway] = []
        self.workers: list[Worker] = []

    def common(self) -> dict[str, Any]:
        """What every process of this chat is given."""
        base: dict[str, Any] = {"redis_url": self.store.url, "namespace": self.namespace, "rate_limit": 0}
        return {**base, **self.settings}

    def launch_gateway(self, **settings: Any) -> Gateway:
        """Start one more gateway, without waiting for it (`wait_ready()` or `await is_ready()`)."""
        gateway = Gateway(**{**self.common(), "admin_token": self.admin_token, **settings})
        self.gateways.append(gateway)
        return gateway

    def launch_worker(self, **settings: Any) -> Worker:
        """Start one more worker, without waiting for it."""
        worker = Worker(**{**self.common(), **settings})
        self.workers.append(worker)
        return worker

    async def gateway(self, **settings: Any) -> Gateway:
        """Start one more gateway and wait until it takes traffic."""
        return await self.launch_gateway(**settings).is_ready()

    async def worker(self, **settings: Any) -> Worker:
        """Start one more worker and wait for its `ready`."""
        return await self.launch_worker(**settings).is_ready()

    def start(self) -> Self:
        """Start all processes side by side and wait for each."""
        gateways, workers = self._counts
        for _ in range(gateways):
            self.launch_gateway()
        for _ in range(workers):
            self.launch_worker()
        try:
            for process in [*self.gateways, *self.workers]:
                process.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        for process in [*self.gateways, *self.workers]:
            process.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()
