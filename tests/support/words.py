"""Fresh names, so that tests can share one chat."""

import secrets


def new_word(stem: str = "w") -> str:
    """A lower-case word that no other test uses."""
    return f"{stem}{secrets.token_hex(4)}"


def new_nick(stem: str = "guest") -> str:
    """A nick that is already in its normal form."""
    return new_word(stem)


def new_room(stem: str = "room") -> str:
    """A room's name with its `#`."""
    return f"#{new_word(stem)}"
