"""What only admins may do."""

from __future__ import annotations

from causerie.commands.arguments import COUNT, GRACE, REASON, TEXT
from causerie.commands.table import Context, Reply, Role, command
from causerie.commands.text import audit_line, sanction_line


@command("bans", role=Role.ADMIN, suspended=True)
async def bans(ctx: Context) -> Reply:
    """List who is banned and who is suspended in the whole chat, until when and why."""
    banned, _ = await ctx.service.bans(ctx.actor, None, 1000)
    suspended, _ = await ctx.service.suspensions(ctx.actor, None, 1000)
    text = [sanction_line(one, "banned") for one in banned]
    text += [sanction_line(one, "suspended") for one in suspended]
    return Reply(text or ["nobody is banned or suspended"], {"bans": banned, "suspensions": suspended})


@command("audit", COUNT.maybe(20), role=Role.ADMIN, suspended=True)
async def audit(ctx: Context) -> Reply:
    """Show the newest lines of the audit log: who, what, whom, until when, why."""
    entries, _ = await ctx.service.audit(ctx.actor, None, min(ctx.args["n"], 1000))
    return Reply([audit_line(entry) for entry in reversed(entries)] or ["nothing yet"], {"audit": entries})


@command("announce", TEXT, role=Role.ADMIN)
async def announce(ctx: Context) -> Reply:
    """Tell everybody something."""
    rooms = await ctx.service.announce(ctx.actor, ctx.args["text"], ctx.id)
    return Reply(["announced"], {"rooms": [posted.room for posted in rooms]})


@command("shutdown", GRACE, REASON, role=Role.ADMIN)
async def shutdown(ctx: Context) -> Reply:
    """Stop every gateway that runs now, after so many seconds; everybody is told first."""
    grace = ctx.args["seconds"] or 0.0
    await ctx.service.shutdown(ctx.actor, grace, ctx.args["reason"])
    return Reply([f"every gateway stops in {grace:g} s"], {"grace": grace})
