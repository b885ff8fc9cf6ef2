"""What the client hands to its user: answers, messages and refusals."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from causerie.errors import REFUSALS, Refused
from causerie.wire.jsonmsg import File

Event: TypeAlias = dict[str, Any]
"""One JSON object of the protocol, with the protocol's own names (docs/protocol.md), or one of the client's
own: `disconnected`, `session_lost`, `lost`, `left`, `gap`, `skipped` (docs/client.md)."""


class Ack(msgspec.Struct, frozen=True):
    """A message is kept in the store.

    `in_` is the room, or `"@"` for a direct message; `seq` is its number there (for `"@"`: in one's own
    inbox); `duplicate` says that the server had kept it before, when the answer was lost on the way.
    """

    in_: str = msgspec.field(name="in")
    seq: int
    duplicate: bool = False


class Result(msgspec.Struct, frozen=True):
    """The answer to a command: lines for people and data for programs."""

    text: list[str] = []
    data: Any = None


class Message(msgspec.Struct, frozen=True):
    """A `message` event with attributes. `ts` is in seconds since 1970, by the store's clock."""

    in_: str = msgspec.field(name="in")
    seq: int
    sender: str = msgspec.field(name="from")
    body: str
    mid: str = ""
    ts: float = 0.0
    kind: str = "message"
    to: list[str] = []
    file: File | None = None
    """Of a message of kind `file`: `Client.get_file(file.id)` gets it."""

    @property
    def reply_to(self) -> str:
        """The target that an answer belongs to: the room, or the sender of a direct message."""
        return f"@{self.sender}" if self.in_ == "@" else self.in_


class ClientError(Exception):
    """Whatever the client raises on its own account."""


class NotSent(Refused):
    """Refused by the client itself: no server would read it, so none was asked."""


class OutcomeUnknown(ClientError):
    """It was sent, no answer came, and asking again could do it twice: it may have happened or not."""


class Closed(ClientError):
    """The client has ended. `code` is that of the server's `bye`, or `closed` when its user closed it."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(f"{code}: {text}" if text else code)
        self.code = code
        self.text = text


class Unreachable(ClientError):
    """No server could be reached for longer than the caller was willing to wait."""


def refusal(event: Event) -> Refused:
    """The exception for an `error` event; a code that this version does not know becomes a `bad_request`."""
    code, text = str(event["code"]), str(event.get("text", ""))
    until, wait = event.get("until"), event.get("retry_after")
    if code not in REFUSALS:
        code, text = "bad_request", f"{code}: {text}"
    return Refused(code, text, until=until, retry_after=wait)
