"""Commands that post, and so go the way of every `send`."""

from __future__ import annotations

from typing import Any

from causerie.commands.arguments import TEXT
from causerie.commands.table import Say, posts


@posts("me", TEXT)
def me(args: dict[str, Any], current: str) -> Say:
    """Say what you do instead of what you say: `!me waves`."""
    return Say([current], args["text"], "action")
