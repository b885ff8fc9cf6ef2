"""Gateways that registered long ago and never again leave the register."""

from worker.sweeps import Context, sweep


@sweep(every=30)
async def forget_gateways(context: Context) -> None:
    """Raises `Unavailable`."""
    await context.store.control.forget_dead()
