"""Suspensions are carried to sessions and rooms again (a gateway may have died on the way), ended ones leave
the lists.
"""

from worker.sweeps import Context, sweep


@sweep(every=10)
async def carry_sanctions(context: Context) -> None:
    """Raises `Unavailable`."""
    await context.store.sanctions.repair()
