"""Periodic repair, one file a sweep. A sweep is a function that may run on any number of workers at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from causerie.files.service import FileService
from causerie.settings import Settings
from causerie.store import Store
from worker.outage import Outage


@dataclass(frozen=True, slots=True)
class Context:
    """What sweeps work with."""

    store: Store
    settings: Settings
    outage: Outage
    files: FileService


Sweep = Callable[[Context], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Entry:
    """A sweep and its period in seconds; with `everywhere` each worker runs it, else one of them a period."""

    name: str
    run: Sweep
    every: Callable[[Context], float]
    everywhere: bool


REGISTRY: list[Entry] = []


def sweep(every: float | Callable[[Context], float], *, everywhere: bool = False) -> Callable[[Sweep], Sweep]:
    """Register a sweep."""

    def register(run: Sweep) -> Sweep:
        period = every if callable(every) else lambda _: every
        REGISTRY.append(Entry(getattr(run, "__name__", "sweep"), run, period, everywhere))
        return run

    return register
