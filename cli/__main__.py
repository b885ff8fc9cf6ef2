"""`causerie`: the programs that people start."""

import os
import runpy
import sys
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from causerie import __version__, logs
from causerie.settings import OneLineParser, from_command_line

USAGE = """\
usage: causerie PROGRAM [OPTION ...]

  serve    everything on one machine: store, gateway and worker
  gateway  one gateway against a Redis or Valkey
  worker   one worker against a Redis or Valkey
  chat     the client
  admin    moderate from a shell

`causerie PROGRAM --help` lists its options."""

CHAT_SCHEMES = ("ws", "wss", "tcp")
DEFAULT_CHAT_URL = "ws://127.0.0.1:8080/ws"


def main() -> int:
    """Run the program that the first argument names and return its exit status."""
    match sys.argv[1:]:
        case ["-h" | "--help" | "help", *_]:
            print(USAGE)
            return 0
        case ["--version", *_]:
            print(f"causerie {__version__}")
            return 0
        case [name, *argv] if name in PROGRAMS:
            return PROGRAMS[name](argv)
        case [name, *_]:
            print(f"causerie: no such program: {name!r} ({', '.join(PROGRAMS)})", file=sys.stderr)
        case _:
            print(f"causerie: name a program: {', '.join(PROGRAMS)}", file=sys.stderr)
    return 2


def _serve(argv: Sequence[str]) -> int:
    settings = from_command_line(argv, "causerie serve")
    logs.configure(settings.log_level)
    from cli.serve import run

    return run(settings)


def _node(package: str) -> Callable[[Sequence[str]], int]:
    """Return how to become `python -m PACKAGE`, a program that nothing here may import."""

    def become(argv: Sequence[str]) -> int:
        sys.argv[1:] = argv
        runpy.run_module(package, run_name="__main__", alter_sys=True)
        return 0

    return become


def _chat(argv: Sequence[str]) -> int:
    parser = OneLineParser(prog="causerie chat", description="Chat. Several URLs: fail over between gateways.")
    parser.add_argument("urls", nargs="*", metavar="URL", help=f"ws://, wss:// or tcp:// ({DEFAULT_CHAT_URL})")
    parser.add_argument("--nick", default=os.environ.get("CAUSERIE_NICK") or None, help="who to be")
    parser.add_argument("--json", action="store_true", help="print events as JSON lines")
    parser.add_argument(
        "--cookie",
        default=os.environ.get("CAUSERIE_COOKIE") or None,
        help="come back as this session; better by CAUSERIE_COOKIE, which no process list shows",
    )
    given = parser.parse_args(argv)
    for url in given.urls:
        if (problem := _chat_url_problem(url)) is not None:
            parser.error(f"{problem}: {url!r}")
    from cli.chat import run

    urls = given.urls or [DEFAULT_CHAT_URL]
    return run(urls, nick=given.nick, json_output=given.json, cookie=given.cookie)


def _chat_url_problem(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        return str(error)
    if parts.scheme not in CHAT_SCHEMES or not host:
        return "not a ws://, wss:// or tcp:// address"
    if parts.scheme == "tcp" and port is None:
        return "names no port"
    return None


def _admin(argv: Sequence[str]) -> int:
    from cli.admin import run

    return run(argv)


PROGRAMS: dict[str, Callable[[Sequence[str]], int]] = {
    "serve": _serve,
    "gateway": _node("gateway"),
    "worker": _node("worker"),
    "chat": _chat,
    "admin": _admin,
}

if __name__ == "__main__":
    sys.exit(main())
