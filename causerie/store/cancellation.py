"""Being told to stop while a library waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def unless_cancelled(answer: Awaitable[T]) -> T:
    """What redis-py answers, or fails with. Raises `CancelledError` where that met a cancellation: redis-py, and
    `wait_for` of Python 3.11 in it, then swallow the latter, and a program that is told to stop would never end.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    try:
        return await answer
    finally:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError
