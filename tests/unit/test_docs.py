"""The documents name what the code has, and nothing else; what they quote and link is there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from causerie.commands import COMMANDS
from causerie.errors import GOODBYES, REFUSALS
from causerie.settings import Settings, option
from causerie.wire import jsonmsg
from gateway.rest.app import create_app
from gateway.rest.problem import STATUS

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
TESTS_OF_CLAUSES = sorted(ROOT.glob("tests/conformance/*.py"))


def section(title: str) -> str:
    """What stands under a heading of the contract, up to the next one."""
    return re.split(rf"^##+ {title}$", PROTOCOL, flags=re.MULTILINE)[1].split("\n## ")[0].split("\n### ")[0]


def rows(title: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    lines = re.findall(r"^\|(.*)\|$", section(title), flags=re.MULTILINE)
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)] for line in lines[2:]]


def test_every_setting_is_an_option_of_the_contract() -> None:
    listed = re.findall(r"^\| `(--[a-z-]+)` \|", section("Programs"), flags=re.MULTILINE)
    assert listed == [option(name) for name in Settings.model_fields]


def test_error_codes_are_those_of_the_code() -> None:
    told = {cells[0].strip("`"): (cells[2] == "yes", int(cells[3])) for cells in rows("Error codes")}
    assert told == {code: (retry, STATUS[code]) for code, retry in REFUSALS.items()}


def test_bye_codes_are_those_of_the_code() -> None:
    told = [code for cells in rows("bye codes") for code in re.findall(r"`(\w+)`", cells[0])]
    assert sorted(told) == sorted(GOODBYES)
    stay, return_ = re.findall(r"after ((?:`\w+`(?:,\s)?)+)", section("bye codes"))
    assert {code: code in return_ for code in told} == GOODBYES
    assert all(code in stay or code in return_ for code in told)


def test_every_command_is_in_the_table_of_the_contract() -> None:
    told = set(re.findall(r"!(\w+)", section("Commands and sanctions") + section("Not there yet")))
    assert {spelling for entry in COMMANDS.values() for spelling in (entry.name, *entry.aliases)} <= told


def test_every_op_and_event_is_shown() -> None:
    def tags(union: object) -> set[str]:
        return {member.__struct_config__.tag for member in union.__args__}  # type: ignore[attr-defined]

    shown = section("JSON protocol")
    assert set(re.findall(r'"op":"(\w+)"', shown)) == tags(jsonmsg.Op)
    assert set(re.findall(r'"ev":"(\w+)"', shown)) == tags(jsonmsg.Event)


def test_every_route_is_listed() -> None:
    api = create_app(SimpleNamespace(service=None)).openapi()  # type: ignore[arg-type]
    routes = {f"{method.upper()} {path}" for path, methods in api["paths"].items() for method in methods}
    listed = re.findall(r"(GET|POST|DELETE|PUT|PATCH) +(/[^\s?]+)", section("REST"))
    assert {f"{method} {path}" for method, path in listed} == routes


# -- clauses -----------------------------------------------------------------------------------------------------------


def words(text: str) -> str:
    """The text as bare words, so that marks, quotes and tables make no difference."""
    return " ".join(re.findall(r"[\w#@!]+", text.casefold()))


def quotes(text: str) -> Iterator[str]:
    """What stands between the outermost quotation marks, cut at `...`."""
    depth, start = 0, 0
    for place, char in enumerate(text):
        if char == "“":
            depth += 1
            start = place + 1 if depth == 1 else start
        elif char == "”" and depth:
            depth -= 1
            if not depth:
                yield from re.split(r"\.\.\.|…", text[start:place])


def docstrings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield ast.get_docstring(node) or ""


@pytest.mark.parametrize("path", TESTS_OF_CLAUSES, ids=lambda path: path.stem)
def test_clauses_that_tests_quote_stand_in_the_documents(path: Path) -> None:
    said = words(PROTOCOL) + " " + words((ROOT / "docs/architecture.md").read_text(encoding="utf-8"))
    quoted = [quote for text in docstrings(path) for quote in quotes(text) if len(quote) > 2]
    assert [quote for quote in quoted if words(quote) not in said] == []


# -- links and paths ---------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), link
        assert not anchor or anchor in anchors(found), link


def test_the_map_for_contributors_names_what_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w./]+(?:/|\.py|\.md))`", text)) - {"__init__.py"}
    assert len(named) > 20
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
