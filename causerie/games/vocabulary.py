"""Words: what counts as the same word, and the lists that games deal from."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Final

from causerie.errors import Refused

MOST_WORDS: Final = 500
MAX_WORD: Final = 40
"""Characters."""
LISTS: Final = ("en", "fr")

_LETTERS: Final = str.maketrans(
    {"æ": "ae", "œ": "oe", "ø": "o", "ð": "d", "đ": "d", "ħ": "h", "ı": "i", "ł": "l", "ŧ": "t", "þ": "th"}
)
"""Letters with an accent that Unicode does not take apart."""
_UNSEEN: Final = frozenset({"Mn", "Mc", "Me", "Cf"})
"""Accents, and what nobody sees (a soft hyphen, a zero-width joiner)."""
_TOKEN: Final = re.compile(r"[^\W_]+")
_COMMAS: Final = re.compile(r"\s*[,;]\s*")


def tokens(text: str) -> list[str]:
    """The words of a text without case, accents and punctuation: `L'Été, enfin!` is `l`, `ete`, `enfin`."""
    folded = text.casefold()
    if not folded.isascii():
        folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", folded).casefold())
        folded = folded.translate(_LETTERS)
        folded = "".join([char for char in folded if unicodedata.category(char) not in _UNSEEN])
    return _TOKEN.findall(folded)


def contains(text: str, word: str) -> bool:
    """Whether a text has the word in it, as a word: `Bananas` has no `banana`, `une Banané!` has."""
    wanted, found = tokens(word), tokens(text)
    if not wanted:
        return False
    count = len(wanted)
    return any(found[i : i + count] == wanted for i in range(len(found) - count + 1))


@cache
def word_list(language: str) -> tuple[str, ...]:
    """The built-in list of a language, one of `LISTS`."""
    file = resources.files("causerie.games") / "words" / f"{language}.txt"
    return tuple(file.read_text("utf-8").split())


def choose(text: str) -> Sequence[str]:
    """The words of an option: `en`, `fr`, or words with commas (or only spaces) between. Raises `Refused`."""
    if not text or text.casefold() in LISTS:
        return word_list(text.casefold() or "en")
    words: dict[tuple[str, ...], str] = {}
    for word in filter(None, _COMMAS.split(text) if _COMMAS.search(text) else text.split()):
        key = tuple(tokens(word))
        if not key or len(word) > MAX_WORD:
            raise Refused("bad_request", f"a word has letters or digits, and at most {MAX_WORD} characters")
        words.setdefault(key, word)
    if not words or len(words) > MOST_WORDS:
        raise Refused(
            "bad_request", f"words= takes {' or '.join(LISTS)}, or 1 to {MOST_WORDS} words with commas between"
        )
    return list(words.values())
