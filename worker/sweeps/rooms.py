"""Rooms empty and silent for a session's lifetime are forgotten, so that rooms cannot pile up."""

from worker.sweeps import Context, sweep


@sweep(every=300)
async def forget_rooms(context: Context) -> None:
    """Raises `Unavailable`."""
    store = context.store
    since = await store.sessions.now_ms() - int(context.settings.session_ttl * 1000)
    for room in await store.rooms.names():
        await store.rooms.forget(room, since)
