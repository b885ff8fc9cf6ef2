"""Names and media types of files: made harmless here, by the server before it keeps them and by the client again.

A name is what a file may be called in any folder of any system: no path, nothing that a terminal obeys or that a
reader cannot see, no word that a shell or a system takes for something else.
"""

from __future__ import annotations

import mimetypes
import re
import unicodedata
from typing import Final

MAX_NAME: Final = 200
"""Bytes of UTF-8, below what file systems take, so that a client can add to it."""
NAMELESS: Final = "file"
UNKNOWN_TYPE: Final = "application/octet-stream"

_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_RESERVED: Final = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
_TYPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,62}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,62}")
_types: Final = mimetypes.MimeTypes()
"""Without the tables of the machine: every gateway answers the same."""


def file_name(text: str) -> str:
    """The last part of a path as a harmless name; `file` where nothing is left of it."""
    text = unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode())
    text = re.split(r"[/\\]", text)[-1]
    text = "".join(char for char in text if char == "\t" or unicodedata.category(char) not in _INVISIBLE)
    text = re.sub(r'[<>:"|?*]', "_", unicodedata.normalize("NFC", text))
    text = _trimmed(" ".join(text.split()))
    if text.startswith("-") or _RESERVED.fullmatch(text):
        text = "_" + text
    return _shortened(text) or NAMELESS


def media_type(given: str | None, name: str) -> str:
    """The media type that somebody claims, else the one that the name suggests; it decides nothing."""
    if given and _TYPE.fullmatch(given):
        return given.lower()
    return _types.guess_type(f"file:///{name}", strict=True)[0] or UNKNOWN_TYPE


def _trimmed(text: str) -> str:
    """Without what hides a name (`.bashrc`) or what Windows drops from its end."""
    return text.lstrip(" .").rstrip(" .")


def _shortened(text: str) -> str:
    """At most `MAX_NAME` bytes, with the ending kept where it is short."""
    if len(text.encode()) <= MAX_NAME:
        return text
    stem, dot, ending = text.rpartition(".")
    if not dot or len(ending.encode()) > 16:
        stem, ending = text, ""
    room = MAX_NAME - len((dot + ending).encode()) if ending else MAX_NAME
    cut = stem.encode()[:room].decode("utf-8", "ignore")
    return _trimmed(unicodedata.normalize("NFC", cut)) + (dot + ending if ending else "")
