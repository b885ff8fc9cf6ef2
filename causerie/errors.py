"""The three ways in which something does not happen, and the one table of codes.

* `Refused`: a command was understood and is not done. Stable code; says whether trying again can help.
* `Violation`: bytes that are no message of the protocol. The line is answered, the connection stays.
* `Goodbye`: the server ends a connection with a reason; `CODES_THAT_RETURN` says who comes back by itself.

A bug is none of the three: it is logged with its trace and shown to nobody.
"""

from __future__ import annotations

from typing import Final

REFUSALS: Final[dict[str, bool]] = {
    # code: does sending the same again, later, help?
    "bad_request": False,
    "too_long": False,
    "not_joined": False,
    "no_such_nick": False,
    "no_such_room": False,
    "nick_taken": True,
    "bad_nick": False,
    "bad_cookie": False,
    "denied": False,
    "banned": False,
    "suspended": True,
    "dead": False,
    "locked": True,
    "rate_limited": True,
    "unavailable": True,
}

GOODBYES: Final[dict[str, bool]] = {
    # code: does a client come back by itself?
    "replaced": False,
    "kicked": False,
    "banned": False,
    "quit": False,
    "shutdown": True,
    "timeout": True,
    "slow_consumer": True,
    "flood": True,
    "unavailable": True,
}


class Refused(Exception):
    """A command that is not done.

    `code` is one of `REFUSALS`; `until` is the end of a sanction in Unix seconds (None: endless, meaningful
    for `suspended` and `banned` only); `retry_after` is in seconds.
    """

    def __init__(self, code: str, text: str, *, until: float | None = None, retry_after: float | None = None) -> None:
        assert code in REFUSALS, code
        super().__init__(text)
        self.code = code
        self.text = text
        self.until = until
        self.retry_after = retry_after

    @property
    def retry(self) -> bool:
        """Whether trying again later can help."""
        return REFUSALS[self.code]


class Unavailable(Refused):
    """The store cannot be reached, or did not answer in time; what was asked may or may not have happened."""

    def __init__(self, text: str = "the store cannot be reached; send again") -> None:
        super().__init__("unavailable", text)


class Violation(Refused):
    """Bytes that are no message of the protocol (`bad_request` or `too_long`); `re` is the op's id if it has
    one.
    """

    def __init__(self, text: str, *, code: str = "bad_request", re: int | None = None) -> None:
        super().__init__(code, text)
        self.re = re


class Goodbye(Exception):
    """The end of a connection, with one of `GOODBYES`; `retry_after` in seconds, already jittered."""

    def __init__(self, code: str, text: str, *, retry_after: float | None = None) -> None:
        assert code in GOODBYES, code
        super().__init__(text)
        self.code = code
        self.text = text
        self.retry_after = retry_after


class Unfit(Exception):
    """The store cannot be used by this program as it is; the program ends with one clear line and status 2."""
