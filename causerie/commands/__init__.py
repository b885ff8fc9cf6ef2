"""What people can type: one table of commands, one file a family, and the pure parser of lines."""

import causerie.commands.administration
import causerie.commands.files
import causerie.commands.games
import causerie.commands.help
import causerie.commands.moderation
import causerie.commands.people
import causerie.commands.rooms
import causerie.commands.session
import causerie.commands.talk  # noqa: F401  (each family enters its commands into the table)
from causerie.commands.parsing import parse
from causerie.commands.table import (
    COMMANDS,
    Actor,
    Call,
    Command,
    Context,
    Reply,
    Role,
    Say,
    check_complete,
)

__all__ = ["COMMANDS", "Actor", "Call", "Command", "Context", "Reply", "Role", "Say", "parse"]

check_complete()
