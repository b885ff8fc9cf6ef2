"""`causerie admin`: the REST admin API from a shell."""

import argparse
import ipaddress
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from causerie.names import printable
from causerie.settings import OneLineParser, default_data_dir
from causerie.units import duration
from cli.datadir import TOKEN_FILE
from cli.rest import AdminError, Api, is_http_url

DEFAULT_URL = "http://127.0.0.1:8080"
Answer = dict[str, Any]


def run(argv: Sequence[str]) -> int:
    """Do one action; return 0, or 1 with one line on standard error when it was not done."""
    parser = _parser()
    url = os.environ.get("CAUSERIE_URL") or DEFAULT_URL
    # Not as the parser's defaults: those of a subparser would undo what stood before the action.
    options = argparse.Namespace(url=url, admin_token=None, admin_token_file=None, json=False)
    given = parser.parse_args(argv, options)
    try:
        if not is_http_url(given.url):
            raise ValueError(f"--url: not an http:// or https:// address: {given.url!r}")
        if given.action in _SANCTIONS:
            given.duration, given.reason = _sanction(given)
        token = _token(given)
    except ValueError as error:
        parser.error(str(error))
    try:
        answer = given.act(Api(given.url, token), given)
    except AdminError as error:
        print(f"causerie admin: {printable(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
    print(json.dumps(answer, ensure_ascii=False) if given.json else given.show(answer, given))
    return 0


def _token(given: argparse.Namespace) -> str:
    """Return the admin token: flag, environment, file, else, on this machine, the one that `serve` made."""
    token: str | None = given.admin_token
    path: str | None = given.admin_token_file
    if token is None and path is None:
        token = os.environ.get("CAUSERIE_ADMIN_TOKEN") or None
        path = os.environ.get("CAUSERIE_ADMIN_TOKEN_FILE") or None
    if token is None and path is None and _is_loopback(given.url):
        made = Path(os.environ.get("CAUSERIE_DATA_DIR") or default_data_dir()) / TOKEN_FILE
        path = str(made) if made.is_file() else None
    if token is None and path is not None:
        try:
            token = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"admin token file {path}: {getattr(error, 'strerror', error)}") from error
    if not token:
        raise ValueError("no admin token: give --admin-token, CAUSERIE_ADMIN_TOKEN or --admin-token-file")
    if not token.isascii() or not token.isprintable():
        raise ValueError("--admin-token: must be printable ASCII to stand in an HTTP header")
    return token


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _sanction(given: argparse.Namespace) -> tuple[str | None, str]:
    """Return duration and reason, from options or, as in the chat, from the words after the name."""
    words = list(given.words)
    length: str | None = given.duration
    if length is not None:
        duration(length)
    elif words:
        try:
            duration(words[0])
        except ValueError:
            pass
        else:
            length = words.pop(0)
    return length, given.reason if given.reason is not None else " ".join(words)


def _parser() -> argparse.ArgumentParser:
    shared = OneLineParser(add_help=False)
    shared.add_argument("--url", default=argparse.SUPPRESS, help=f"a gateway ({DEFAULT_URL}, or CAUSERIE_URL)")
    shared.add_argument("--admin-token", default=argparse.SUPPRESS, metavar="TOKEN", help="better by environment")
    shared.add_argument("--admin-token-file", default=argparse.SUPPRESS, metavar="FILE")
    shared.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print the answer as JSON")
    parser = OneLineParser(prog="causerie admin", description="Moderate from a shell.", parents=[shared])
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")

    def action(name: str, act: Callable[[Api, Any], Answer], show: Callable[..., str], text: str) -> OneLineParser:
        added = actions.add_parser(name, help=text, description=text, parents=[shared])
        added.set_defaults(act=act, show=show)
        return added

    listed = action("list", _list, _table("nick", "state", "flags"), "who is here")
    listed.add_argument("--state", choices=("online", "away", "crashed"))
    listed.add_argument("--nick")
    rooms = action("rooms", _rooms, _table(), "the rooms")
    rooms.add_argument("room", nargs="?", metavar="#ROOM")
    for name, text in _SANCTIONS.items():
        sanction = action(name, _ban if name == "ban" else _suspend, _done, text)
        sanction.add_argument("subject", type=_name, metavar="NICK|ADDRESS|CIDR" if name == "ban" else "NICK")
        sanction.add_argument("words", nargs="*", default=[], metavar="[DURATION] [REASON ...]")
        sanction.add_argument("--duration", help="90s, 10m, 2h, 7d; none = until forgiven")
        sanction.add_argument("--reason")
    action("forgive", _forgive, _done, "lift suspension and ban").add_argument(
        "subject", type=_name, metavar="NICK|ADDRESS|CIDR"
    )
    kick = action("kick", _kick, _done, "end a session")
    kick.add_argument("subject", type=_name, metavar="NICK")
    kick.add_argument("words", nargs="*", default=[], metavar="REASON")
    action("bans", _bans, _table("subject", "until", "by", "reason"), "the bans in force")
    action("suspensions", _suspensions, _table("nick", "until", "by", "reason"), "the suspensions in force")
    audit = action("audit", _audit, _table("ts", "who", "what", "whom", "until", "why"), "who did what, newest")
    audit.add_argument("limit", nargs="?", type=int, default=50, metavar="N")
    audit.add_argument("--before", help="go on from the `next` of an earlier answer")
    action("announce", _announce, _done, "tell everybody").add_argument("words", nargs="+", metavar="TEXT")
    stop = action("shutdown", _shutdown, _done, "stop every gateway that runs now")
    stop.add_argument("grace", nargs="?", type=_seconds, default=None, metavar="SECONDS")
    stop.add_argument("words", nargs="*", default=[], metavar="REASON")
    return parser


_SANCTIONS = {"ban": "end and refuse someone's connections", "suspend": "let someone read and not speak"}


def _name(text: str) -> str:
    """Return a nick as REST wants it; in the chat it would be written `@bob`."""
    return text.removeprefix("@")


def _seconds(text: str) -> float:
    try:
        return duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _list(api: Api, given: argparse.Namespace) -> Answer:
    return api.every_page("/sessions", state=given.state, nick=given.nick)


def _rooms(api: Api, given: argparse.Namespace) -> Answer:
    if given.room is not None:
        return api.call("GET", f"/rooms/{quote(given.room, safe='')}")
    return api.every_page("/rooms")


def _ban(api: Api, given: argparse.Namespace) -> Answer:
    return api.call("POST", "/bans", _sanction_body("subject", given))


def _suspend(api: Api, given: argparse.Namespace) -> Answer:
    return api.call("POST", "/suspensions", _sanction_body("nick", given))


def _sanction_body(key: str, given: argparse.Namespace) -> dict[str, str]:
    body = {key: given.subject, "reason": given.reason}
    return body if given.duration is None else body | {"duration": given.duration}


def _forgive(api: Api, given: argparse.Namespace) -> Answer:
    try:
        ipaddress.ip_network(given.subject, strict=False)
    except ValueError:
        return api.call("POST", "/forgive", {"nick": given.subject})
    return api.call("DELETE", f"/bans/{quote(given.subject, safe='')}")


def _kick(api: Api, given: argparse.Namespace) -> Answer:
    return api.call("DELETE", f"/sessions/{quote(given.subject, safe='')}", reason=" ".join(given.words) or None)


def _bans(api: Api, _: argparse.Namespace) -> Answer:
    return api.every_page("/bans")


def _suspensions(api: Api, _: argparse.Namespace) -> Answer:
    return api.every_page("/suspensions")


def _audit(api: Api, given: argparse.Namespace) -> Answer:
    return api.call("GET", "/audit", limit=given.limit, before=given.before)


def _announce(api: Api, given: argparse.Namespace) -> Answer:
    return api.call("POST", "/announce", {"body": " ".join(given.words)})


def _shutdown(api: Api, given: argparse.Namespace) -> Answer:
    body: Answer = {} if given.grace is None else {"grace": given.grace}
    return api.call("POST", "/shutdown", body | ({"reason": " ".join(given.words)} if given.words else {}))


_DONE = {
    "ban": "banned {}",
    "suspend": "suspended {}",
    "forgive": "forgave {}",
    "kick": "kicked {}",
    "announce": "announced",
    "shutdown": "shutting down",
}


def _done(answer: Answer, given: argparse.Namespace) -> str:
    text = _DONE[given.action].format(printable(getattr(given, "subject", "")))
    until = answer.get("until")
    return f"{text} until {_cell('until', until)}" if isinstance(until, int | float) else text


def _table(*columns: str) -> Callable[[Answer, argparse.Namespace], str]:
    """Return what prints a list of items under these columns, by default those of its first item."""

    def show(answer: Answer, _: argparse.Namespace) -> str:
        items: list[Answer] = answer.get("items", [answer])
        if not items:
            return "none"
        heads = columns or tuple(items[0])
        rows = [heads, *(tuple(_cell(head, item.get(head)) for head in heads) for item in items)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(_row(row, widths) for row in rows)

    return show


def _row(row: Iterable[str], widths: Iterable[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _cell(head: str, value: object) -> str:
    if value is None:
        return "-"
    if head in ("ts", "until") and isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, list):
        return ",".join(printable(str(part)) for part in value) or "-"
    if isinstance(value, dict):
        return printable(json.dumps(value, ensure_ascii=False))
    return printable(str(value)) or "-"
