"""`python -m causerie.commands > docs/commands.md` writes the reference page from the table."""

from __future__ import annotations

import sys
from itertools import groupby

from causerie.commands.help import listed
from causerie.commands.table import Command

_HEAD = """\
# Commands

What can be typed, in every protocol: as a line of the text protocol, in the console of `causerie serve`, or
as `{"op":"command","line":"..."}`. This page is written from the table in `causerie/commands/`
(`python -m causerie.commands > docs/commands.md`; a test checks that it is current).

A line that starts with `!` is a command, `@nick text` a direct message (`@bob @carol text` to both),
`#room text` a message to that room, `quit` alone is `!quit`; anything else goes to your current room. To say
something that starts with `!`, `@` or `#`, put a space before it.

`@bob !ban 10m spam` and `!ban bob 10m spam` are the same; `@bob @carol !suspend 10m` names several. Durations
are `90s`, `10m`, `2h`, `7d` or seconds; none means until forgiven. A moderator's command holds for the
current room or the one named first (`!kick #dev bob`), an admin's for the whole chat unless it names a room.
"""


def markdown() -> str:
    """The whole page."""
    parts = [_HEAD]
    for role, entries in groupby(listed(), key=lambda entry: entry.role):
        parts.append(f"\n## For {role.value}\n\n| command | what it does | while suspended |\n| --- | --- | --- |\n")
        parts += [_row(entry) for entry in entries]
    return "".join(parts)


def _row(entry: Command) -> str:
    usage = ", ".join([f"`{entry.usage}`", *(f"`!{alias}`" for alias in entry.aliases)])
    cells = (usage, entry.help, "yes" if entry.suspended else "no")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())
