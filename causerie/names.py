"""Nicks, rooms, targets and bodies: what may stand in them, decided in one place.

Nicks and rooms follow PRECIS UsernameCaseMapped (RFC 8265, section 3.3), so two spellings that differ in case
or width are the same name, and the mapped form is the one that is stored and shown.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Final

from precis_i18n import get_profile

from causerie.errors import Refused, Violation

LOBBY: Final = "#lobby"
INBOX: Final = "@"
MAX_NICK: Final = 32
MAX_ROOM: Final = 64
MAX_BODY: Final = 4096
"""Bytes of UTF-8."""
MAX_DEVICE: Final = 64
MAX_RECIPIENTS: Final = 20
GAME: Final = "game"
"""Who speaks for the games: nobody else gets this nick."""

_PROFILE = get_profile("UsernameCaseMapped")
_FORBIDDEN = re.compile(r"[#@!:,*?/{}<>\s]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_IN_BODY = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_ESCAPED = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}

Host = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _mapped(text: str, limit: int, what: str) -> str:
    try:
        name: str = _PROFILE.enforce(text)
    except UnicodeError:
        raise Refused("bad_nick", f"{printable(text)!r:.80} cannot be a {what}") from None
    if len(name) > limit or _FORBIDDEN.search(name):
        raise Refused("bad_nick", f"a {what} has 1 to {limit} characters and none of # @ ! : , * ? / {{ }} < >")
    if is_address(name):
        raise Refused("bad_nick", f"a {what} cannot look like an address")
    return name


@lru_cache(maxsize=2048)
def nick(text: str) -> str:
    """The stored form of a nick. Raises `Refused` (`bad_nick`)."""
    if len(text) > 4 * MAX_NICK:
        raise Refused("bad_nick", f"a nick has at most {MAX_NICK} characters")
    return _mapped(text, MAX_NICK, "nick")


@lru_cache(maxsize=16384)
def room(text: str) -> str:
    """The stored form of a room's name, `#` included. Raises `Refused` (`bad_request`)."""
    if not text.startswith("#") or len(text) > 4 * MAX_ROOM:
        raise Refused("bad_request", f"a room is # and 1 to {MAX_ROOM} characters")
    try:
        return "#" + _mapped(text[1:], MAX_ROOM, "room")
    except Refused as error:
        raise Refused("bad_request", error.text) from None


def network(text: str) -> Network | None:
    """The network that an address or a CIDR names, or None when the text is neither; IPv4 in the form of IPv6 is
    IPv4.
    """
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Network) and found.prefixlen >= 96 and found.network_address.ipv4_mapped:
        return ipaddress.IPv4Network((int(found.network_address.ipv4_mapped), found.prefixlen - 96))
    return found


def host(text: str) -> Host | None:
    """The address that a text is, or None; an IPv4 address in the form of IPv6 is itself."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped) or found


def is_address(text: str) -> bool:
    """Whether a text parses as an IP address or network (and so can never be a nick)."""
    return network(text) is not None


def subject(network_: Network) -> str:
    """The canonical text of a banned address (no prefix length for one host) or network."""
    return str(network_.network_address) if network_.num_addresses == 1 else str(network_)


def body(text: str) -> str:
    """The text itself if it may be sent. Raises `Violation` (`bad_request`, `too_long`)."""
    if text.isascii() and text.isprintable() and not text.isspace() and 0 < len(text) <= MAX_BODY:
        return text  # most are like this, and the checks below take ten times as long
    if len(text) > MAX_BODY or len(text.encode("utf-8", "surrogatepass")) > MAX_BODY:
        raise Violation(f"a body has at most {MAX_BODY} bytes", code="too_long")
    if not text or text.isspace():
        raise Violation("the body is blank")
    if _CONTROL_IN_BODY.search(text):
        raise Violation("a body may hold no control characters but newline and tab")
    if not _encodable(text):
        raise Violation("the body is not valid Unicode")
    return text


def line(text: str) -> str:
    """A command line, reason, topic or device: one line, no control characters. Raises `Violation`."""
    if _CONTROL.search(text.replace("\t", " ")) or not _encodable(text):
        raise Violation("control characters are not allowed here")
    return text


def printable(text: str) -> str:
    """The text with its control characters spelled out, safe to print on a terminal."""
    return text.translate(_ESCAPED).encode("utf-8", "replace").decode("utf-8")


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
