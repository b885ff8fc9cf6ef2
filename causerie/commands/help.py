"""`!help`: the table, as the person who asks may use it."""

from __future__ import annotations

from causerie import names
from causerie.commands.arguments import WORD
from causerie.commands.table import COMMANDS, SPELLINGS, Command, Context, Reply, Role, command
from causerie.errors import Refused

LINES_THAT_TALK = (
    "anything else you type goes to your current room",
    "@nick text  a message to that person (or several: @bob @carol text)",
    "#room text  a message to that room",
)


@command("help", WORD, suspended=True)
async def show(ctx: Context) -> Reply:
    """List the commands that you may use, or explain one."""
    word = ctx.args["word"]
    if word:
        entry = SPELLINGS.get(word.removeprefix("!").casefold())
        if entry is None:
            raise Refused("bad_request", f"unknown command {names.printable(word)[:40]}; !help lists them all")
        return Reply(_explained(entry), {"commands": [described(entry)]})
    allowed = await ctx.service.rights.roles(ctx.actor)
    entries = [entry for entry in listed() if entry.role in allowed]
    lines = [f"{entry.usage}  {entry.help}" for entry in entries]
    return Reply([*LINES_THAT_TALK, *lines], {"commands": [described(entry) for entry in entries]})


def listed() -> list[Command]:
    """All commands: everybody's first, then those of moderators and of admins, by name."""
    roles = list(Role)
    return sorted(COMMANDS.values(), key=lambda entry: (roles.index(entry.role), entry.name))


def described(entry: Command) -> dict[str, object]:
    """A command as programs see it."""
    return {
        "name": entry.name,
        "usage": entry.usage,
        "help": entry.help,
        "who": entry.role.value,
        "aliases": list(entry.aliases),
    }


def _explained(entry: Command) -> list[str]:
    lines = [entry.usage, entry.help]
    if entry.role is not Role.EVERYBODY:
        lines.append(f"for {entry.role.value}")
    if entry.aliases:
        lines.append("also " + ", ".join(f"!{alias}" for alias in entry.aliases))
    return lines
