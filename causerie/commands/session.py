"""One's own session: the cookie, admin rights, the heartbeat, the end."""

from __future__ import annotations

from causerie.commands.arguments import REASON, choice, secret
from causerie.commands.table import Context, Reply, command
from causerie.errors import Refused


@command("cookie", choice("new", "new").maybe(), suspended=True)
async def cookie(ctx: Context) -> Reply:
    """Show the cookie that brings you back to this session, or with `new` make a new one and void the old one."""
    if ctx.args["new"]:
        made = await ctx.service.new_cookie(ctx.actor)
        return Reply([f"your new cookie is {made}; the old one is void"], {"cookie": made}, cookie=made)
    known = await ctx.service.cookie(ctx.actor)
    if known is None:
        return Reply(["another device changed your cookie; only its hash is kept, and `!cookie new` makes a new one"])
    return Reply([f"your cookie is {known}; `!reconnect COOKIE` as the first line brings you back"], {"cookie": known})


@command("reconnect", secret("COOKIE"), suspended=True)
async def reconnect(ctx: Context) -> Reply:  # noqa: ARG001
    """Come back to your session: the first line of a new connection, in place of a nick."""
    raise Refused("bad_request", "!reconnect COOKIE is the first line of a new connection")


@command("quit", REASON, aliases=("logout",), suspended=True)
async def leave(ctx: Context) -> Reply:
    """Say goodbye: your session ends. `!logout`, and `quit` alone, are the same."""
    goodbye = await ctx.service.quit(ctx.actor, ctx.args["reason"])
    return Reply([goodbye.text], goodbye=goodbye)


@command("admin", secret("TOKEN"), suspended=True)
async def admin(ctx: Context) -> Reply:
    """Become an admin by the token of the chat."""
    await ctx.service.rights.become_admin(ctx.actor, ctx.args["secret"])
    return Reply(["you are an admin now"], {"admin": True}, admin=True)


@command("heartbeat", choice("switch", "on", "off"), suspended=True)
async def heartbeat(ctx: Context) -> Reply:
    """For programs on the text protocol: `on` sends `!! ping N`, to be answered by `!pong N`."""
    on = ctx.args["switch"] == "on"
    return Reply([f"heartbeat {ctx.args['switch']}"], {"heartbeat": on}, heartbeat=on)
