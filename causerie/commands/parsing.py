"""From a line that a person typed to what it means; pure."""

from __future__ import annotations

from causerie import names
from causerie.commands.arguments import read, split
from causerie.commands.table import SPELLINGS, Call, Command, Say
from causerie.errors import Refused


def parse(line: str, current: str) -> Say | Call:
    """What a line means for somebody whose current room is `current`.

    A line that starts with `!` is a command, with `@nick` a direct message or a command about people, with
    `#room ` a message to that room, `quit` alone the command; anything else goes to the current room. Raises
    `Refused` (`bad_request`, `bad_nick`, `too_long`).
    """
    line = names.line(line)
    if line.startswith("!"):
        return _command(line, [], current)
    if line.startswith("@"):
        return _to_people(line, current)
    if line.startswith("#") and not line[1:2].isspace():
        room, body = split(line)
        return _said([names.room(room)], body.strip(), f"say something after {names.printable(room)}")
    if line.strip() == "quit":
        return _command("!quit", [], current)
    return Say([current], names.body(line))


def _to_people(line: str, current: str) -> Say | Call:
    words: list[str] = []
    rest = line
    while rest.startswith("@"):
        word, rest = split(rest)
        words.append(word)
    if rest.startswith("!"):
        return _command(rest, words, current)
    return _said(_recipients(words), rest.rstrip(), "say something after the nicks")


def _said(to: list[str], body: str, blank: str) -> Say:
    if not body:
        raise Refused("bad_request", blank)
    return Say(to, names.body(body))


def _recipients(words: list[str]) -> list[str]:
    to = list(dict.fromkeys("@" + names.nick(word[1:]) for word in words))
    if len(to) > names.MAX_RECIPIENTS:
        raise Refused("bad_request", f"a direct message goes to at most {names.MAX_RECIPIENTS} people")
    return to


def _command(line: str, about: list[str], current: str) -> Say | Call:
    name, rest = split(line[1:]) if not line[1:2].isspace() else ("", "")
    entry = SPELLINGS.get(name.casefold())
    if entry is None:
        raise Refused("bad_request", f"unknown command !{names.printable(name)[:40]}; !help lists them all")
    if entry.posting is not None:
        return _posting(entry, rest, about, current)
    return Call(entry.name, read(entry.arguments, entry.reminder, rest, about))


def _posting(entry: Command, rest: str, about: list[str], current: str) -> Say:
    assert entry.posting is not None
    said = entry.posting(read(entry.arguments, entry.usage, rest, []), current)
    names.body(said.body)
    return said if not about else Say(_recipients(about), said.body, said.kind)
