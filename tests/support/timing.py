"""How long a test waits before it calls something missing. Waiting long costs nothing when all is well."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

PATIENCE = float(os.environ.get("CAUSERIE_TEST_PATIENCE", "15"))
"""Seconds after which an awaited event counts as missing."""

START_PATIENCE = max(30.0, 2 * PATIENCE)
"""Seconds that a program may take to start on a busy machine."""

T = TypeVar("T")


async def eventually(probe: Callable[[], Awaitable[T]], what: str, patience: float = PATIENCE) -> T:
    """Return the first truthy answer of `probe`.

    Only for states that nothing announces (a counter over REST, a key's expiry); where an event tells,
    wait for it.
    """
    deadline = time.monotonic() + patience
    while True:
        answer = await probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {patience:g} s; last answer {answer!r}")
        await asyncio.sleep(0.02)
