"""Games whose entry in the list of games was lost (a gateway died while it began one) are run all the same."""

from worker.sweeps import Context, sweep


@sweep(every=60)
async def find_games(context: Context) -> None:
    """Raises `Unavailable`."""
    store = context.store
    for room in await store.games.unlisted(await store.rooms.names()):
        await store.games.offer(room, only_new=True)
