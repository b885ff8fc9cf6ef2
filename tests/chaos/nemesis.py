"""Who chooses what goes wrong, and when."""

import asyncio
import random

from tests.chaos.history import Wrong
from tests.chaos.kinds import Kind
from tests.chaos.rig import Rig

AT_ONCE = 8
"""Faults that may be under way together."""


class Nemesis:
    """Chooses faults by their weights, `rate` a second, until `duration` has passed or `most` were done."""

    def __init__(self, rig: Rig, rng: random.Random, *, rate: float, kinds: "list[Kind]") -> None:
        self._rig, self._rng, self._rate, self._kinds = rig, rng, rate, kinds
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, duration: float) -> None:
        """Do harm for so many seconds; returns when all of it is healed."""
        if not self._kinds:
            await asyncio.sleep(duration)
            return
        weights = [kind.weight for kind in self._kinds]
        try:
            async with asyncio.timeout(duration):
                while True:
                    await asyncio.sleep(self._rng.expovariate(self._rate))
                    kind = self._rng.choices(self._kinds, weights)[0]
                    while len(self._tasks) >= AT_ONCE:
                        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                    task = asyncio.create_task(self._do(kind, random.Random(self._rng.random())), name=kind.name)
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
        except TimeoutError:
            pass
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _do(self, kind: Kind, rng: random.Random) -> None:
        try:
            if not (kind.alone and self._rig.store.busy.locked()):
                await kind.deed(self._rig, rng)
        except Exception as error:  # noqa: BLE001 - a program that does not start again, for one
            self._rig.tape.add(Wrong(self._rig.tape.now(), kind.name, f"{type(error).__name__}: {error}"))
