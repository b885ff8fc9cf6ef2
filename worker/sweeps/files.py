"""Files: those whose time is over or that nobody can reach are taken away, what a dead gateway left is finished."""

from __future__ import annotations

import asyncio

from worker.sweeps import Context, sweep

BATCH = 100
AT_ONCE = 4
"""Files looked at side by side: an object store takes its time."""
STRAYS_EVERY_S = 3600.0


@sweep(every=5)
async def due_files(context: Context) -> None:
    """Look at every file that is due. Raises `Unavailable`."""
    removal, store = context.files.removal, context.store
    if removal is None:
        return
    while True:
        ids, now = await store.files.due(BATCH)
        # Each is put off first, so that one that cannot be dealt with does not hold up those behind it.
        for id_ in ids:
            await store.files.look_at(id_, 60_000)
        failed: list[BaseException] = []
        for i in range(0, len(ids), AT_ONCE):
            looks = [removal.look(id_, now) for id_ in ids[i : i + AT_ONCE]]
            done = await asyncio.gather(*looks, return_exceptions=True)
            failed += [error for error in done if isinstance(error, BaseException)]
        if failed:
            raise failed[0]
        if len(ids) < BATCH:
            return


@sweep(every=STRAYS_EVERY_S)
async def stray_objects(context: Context) -> None:
    """Delete objects that count for no file. Raises `Unavailable`."""
    if context.files.removal is not None:
        await context.files.removal.sweep_strays()
