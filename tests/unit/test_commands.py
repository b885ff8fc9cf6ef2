"""What lines mean (docs/protocol.md, "Text protocol"), and that the table of commands is whole."""

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causerie import commands, names
from causerie.commands import COMMANDS, Call, Role, Say, parse
from causerie.commands.__main__ import markdown
from causerie.commands.arguments import Argument
from causerie.commands.table import SPELLINGS, Command, check_complete
from causerie.errors import Refused

ROOT = Path(commands.__file__).parents[2]

SAID = [
    ("hello there", Say(["#here"], "hello there")),
    (" !not a command", Say(["#here"], " !not a command")),
    ("# heading", Say(["#here"], "# heading")),
    ("quit it", Say(["#here"], "quit it")),
    ("#Dev  hi  you ", Say(["#dev"], "hi  you")),
    ("@bob psst", Say(["@bob"], "psst")),
    ("@Bob @carol @bob psst you", Say(["@bob", "@carol"], "psst you")),
    ("!me waves", Say(["#here"], "waves", "action")),
    ("@bob !me waves", Say(["@bob"], "waves", "action")),
]


def _about(name: str, *people: str, room: str | None = None, **others: object) -> Call:
    return Call(name, {"room": room, "people": list(people), **others})


_BAN = _about("ban", "bob", duration=600.0, reason="spam here")
_BAN_IN_DEV = _about("ban", "bob", room="#dev", duration=600.0, reason="spam here")

CALLS = [
    ("quit", Call("quit", {"reason": ""})),
    ("!QUIT so long", Call("quit", {"reason": "so long"})),
    ("!logout", Call("quit", {"reason": ""})),
    ("!ban bob 10m spam here", _BAN),
    ("@bob !ban 10m spam here", _BAN),
    ("!ban @bob 10m spam here", _BAN),
    ("!ban #Dev bob 10m spam here", _BAN_IN_DEV),
    ("@bob !ban #dev 10m spam here", _BAN_IN_DEV),
    ("!ban bob", _about("ban", "bob", duration=None, reason="")),
    ("!ban bob spam 10m", _about("ban", "bob", duration=None, reason="spam 10m")),
    ("!ban 203.0.113.7/24 2h", _about("ban", "203.0.113.0/24", duration=7200.0, reason="")),
    ("!ban 2001:DB8::1", _about("ban", "2001:db8::1", duration=None, reason="")),
    ("@bob @carol !suspend 7d", _about("suspend", "bob", "carol", duration=604800.0, reason="")),
    ("!suspend @bob @carol 90s x", _about("suspend", "bob", "carol", duration=90.0, reason="x")),
    ("!kick bob 10m", _about("kick", "bob", reason="10m")),
    ("!shutdown", Call("shutdown", {"seconds": None, "reason": ""})),
    ("!shutdown 0 for an update", Call("shutdown", {"seconds": 0.0, "reason": "for an update"})),
    ("!shutdown soon", Call("shutdown", {"seconds": None, "reason": "soon"})),
    ("!list", Call("list", {"room": None})),
    ("!list\t#Dev", Call("list", {"room": "#dev"})),
    ("!history 5", Call("history", {"n": 5})),
    ("!topic all  about it", Call("topic", {"text": "all  about it"})),
    ("!heartbeat on", Call("heartbeat", {"switch": "on"})),
    ("!cookie", Call("cookie", {"new": None})),
    ("!help !ban", Call("help", {"word": "!ban"})),
    ("!start", Call("start", {"room": None, "game": "killer", "options": ""})),
    ("!start words=a, b", Call("start", {"room": None, "game": "killer", "options": "words=a, b"})),
    ("!start #Dev GUESS max=9", Call("start", {"room": "#dev", "game": "guess", "options": "max=9"})),
    ("!stop #dev", Call("stop", {"room": "#dev"})),
    ("!secrets", Call("secrets", {"room": None})),
    ("!score", Call("score", {"room": None})),
    ("!announce it is late", Call("announce", {"text": "it is late"})),
]

REFUSED = [
    ("!nosuch", "bad_request"),
    ("!", "bad_request"),
    ("! list", "bad_request"),
    ("!!", "bad_request"),
    ("!score killer", "bad_request"),
    ("!stop now", "bad_request"),
    ("@bob !nosuch", "bad_request"),
    ("@bob !list", "bad_request"),
    ("@bob", "bad_request"),
    ("#dev", "bad_request"),
    ("", "bad_request"),
    ("   ", "bad_request"),
    ("@ psst", "bad_nick"),
    ("@b!b psst", "bad_nick"),
    ("!ban", "bad_request"),
    ("!ban b?b", "bad_nick"),
    ("!suspend 203.0.113.7", "bad_nick"),
    ("!ban bob 10min spam", "bad_request"),
    ("!ban bob 0s", "bad_request"),
    ("!ban bob -5m", "bad_request"),
    ("!ban bob 9999999d", "bad_request"),
    ("!join", "bad_request"),
    ("!join dev", "bad_request"),
    ("!join #a,b", "bad_request"),
    ("!nick a b", "bad_request"),
    ("!history none", "bad_request"),
    ("!history 0", "bad_request"),
    ("!history " + "9" * 5000, "bad_request"),
    ("!me", "bad_request"),
    ("!heartbeat maybe", "bad_request"),
    ("hello\nforged", "bad_request"),
    ("!topic a\x1b[2J", "bad_request"),
    ("x" * 4097, "too_long"),
    ("@bob " + "x" * 4097, "too_long"),
    ("!me " + "ä" * 2049, "too_long"),
    (" ".join(f"@n{i}" for i in range(21)) + " hi", "bad_request"),
]


@pytest.mark.parametrize(("line", "meaning"), SAID + CALLS)
def test_lines_mean(line: str, meaning: Say | Call) -> None:
    assert parse(line, "#here") == meaning


@pytest.mark.parametrize(("line", "code"), REFUSED)
def test_lines_refused(line: str, code: str) -> None:
    with pytest.raises(Refused) as caught:
        parse(line, "#here")
    assert caught.value.code == code


def test_an_unknown_command_names_help() -> None:
    with pytest.raises(Refused, match="!help"):
        parse("!nosuch", "#here")


def test_a_secret_is_not_repeated_in_a_refusal() -> None:
    with pytest.raises(Refused) as caught:
        parse("!admin s3cret and more", "#here")
    assert "s3cret" not in caught.value.text


@given(
    st.text(alphabet=st.characters(codec=None), max_size=80),
    st.sampled_from(["", "!", "@", "#", "!ban ", "@a !"]),
)
def test_whatever_is_typed_is_understood_or_refused(text: str, start: str) -> None:
    """Garbage is parsed or refused, and what is parsed holds nothing that could forge a line."""
    try:
        meaning = parse(start + text, "#here")
    except Refused:
        return
    if isinstance(meaning, Say):
        assert names.body(meaning.body) == meaning.body
        assert "\n" not in meaning.body


@pytest.mark.parametrize("entry", COMMANDS.values(), ids=list(COMMANDS))
def test_every_command_can_be_typed_as_its_usage_says(entry: Command) -> None:
    """Every argument given by its example, then only those that must be given."""
    assert entry.help
    full = parse(_line(entry.name, entry.arguments), "#here")
    least = parse(_line(entry.name, [one for one in entry.arguments if not one.optional]), "#here")
    for meaning in (full, least):
        assert isinstance(meaning, Say if entry.posting else Call)
    if isinstance(full, Call) and isinstance(least, Call):
        assert list(full.args) == list(least.args) == [one.name for one in entry.arguments]


def _line(name: str, arguments: list[Argument] | tuple[Argument, ...]) -> str:
    return " ".join([f"!{name}", *(argument.example for argument in arguments)])


@given(st.sampled_from(sorted(SPELLINGS)), st.sampled_from([str.lower, str.upper, str.title]))
def test_the_case_of_a_command_does_not_matter(spelling: str, change: object) -> None:
    entry = SPELLINGS[spelling]
    typed = _line(change(spelling), entry.arguments)  # type: ignore[operator]
    assert parse(typed, "#here") == parse(_line(entry.name, entry.arguments), "#here")


def test_the_table_of_the_contract_is_there() -> None:
    """docs/protocol.md: the table of commands."""
    everybody = "help list rooms join part topic me nick history whois cookie reconnect quit admin heartbeat score"
    everybody += " files get send_file broadcast_file"
    moderators = "kick op deop suspend ban forgive start stop secrets"
    admins = "bans audit announce shutdown"
    for role, wanted in zip(Role, (everybody, moderators, admins), strict=True):
        assert {entry.name for entry in COMMANDS.values() if entry.role is role} == set(wanted.split())


def test_a_command_without_help_stops_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "mute", Command("mute", (), "", None))
    with pytest.raises(RuntimeError, match="!mute has no help"):
        check_complete()


def test_commands_are_pure() -> None:
    """No loop, no store, no HTTP: the table can be read by every program and tested without any of them."""
    allowed = {
        "causerie",
        "collections",
        "dataclasses",
        "datetime",
        "enum",
        "itertools",
        "msgspec",
        "re",
        "sys",
        "typing",
    }
    for path in (ROOT / "causerie" / "commands").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found = {(node.module or "").split(".")[0]}
            else:
                continue
            assert found <= allowed | {"__future__"}, path.name


def test_the_page_of_commands_is_current() -> None:
    """If this fails: `python -m causerie.commands > docs/commands.md`."""
    assert (ROOT / "docs" / "commands.md").read_text() == markdown()
