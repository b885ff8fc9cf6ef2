"""Sessions whose time has come: an expired heartbeat makes `crashed`, a day later the end; what a death left
half done (rooms to tell, direct messages to deliver, an end to clean up after) is finished.
"""

from __future__ import annotations

from causerie.store.sessions import Claim
from worker.sweeps import Context, sweep

BATCH = 32
"""Sessions of each shard that are looked at together."""


@sweep(lambda context: min(0.5, context.outage.limit / 2), everywhere=True)
async def due_sessions(context: Context) -> None:
    """Look at every session that is due. Raises `Unavailable`."""
    more = True
    while more and context.outage.over:
        sids, now, more = await context.store.sessions.due(BATCH)
        context.outage.seen()
        if sids and context.outage.over:
            await look(context, sids, now)


async def look(context: Context, sids: list[str], seen_ms: int) -> None:
    """Claim sessions and do what follows. Raises `Unavailable`; then another look does it."""
    claims = await context.store.sessions.claim(sids, seen_ms, int(context.outage.limit * 1000))
    for claim in claims:
        await follow(context, claim)
    again = [(claim.sid, claim.again_ms) for claim in claims if claim.verdict in ("alive", "crashed", "waiting")]
    if again:
        await context.store.sessions.schedule(again)


async def follow(context: Context, claim: Claim) -> None:
    """Do what a verdict asks for."""
    sessions = context.store.sessions
    if claim.verdict == "late":
        context.outage.begin("it answered late")
    elif claim.verdict == "none":
        await sessions.dismiss(claim.sid)
    elif claim.verdict == "ended":
        await sessions.cleanup(claim.sid)
    elif claim.verdict == "crashed" or claim.tell or claim.pending:
        await sessions.tell(claim.sid)
        await context.store.direct.finish(claim.sid)
