"""People: names, and what may be known about somebody."""

from __future__ import annotations

from causerie.commands.arguments import NEW_NICK, PEOPLE
from causerie.commands.table import Context, Reply, command
from causerie.commands.text import whois_lines


@command("nick", NEW_NICK)
async def nick(ctx: Context) -> Reply:
    """Change your nick."""
    new = await ctx.service.rename(ctx.actor, ctx.args["nick"])
    return Reply([f"you are now {new}"], {"nick": new})


@command("whois", PEOPLE, suspended=True)
async def whois(ctx: Context) -> Reply:
    """Show somebody's state and rooms."""
    found = [await ctx.service.whois(ctx.actor, one) for one in ctx.args["people"]]
    return Reply([line for about in found for line in whois_lines(about)], {"people": found} | found[0])
