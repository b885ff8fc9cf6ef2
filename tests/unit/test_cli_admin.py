"""`causerie admin` against a REST API that only remembers what it was asked, docs/protocol.md "REST"."""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from cli import admin

TOKEN = "correct-horse"


class Rest(ThreadingHTTPServer):
    """Answers each request with the next of `answers`, and keeps what was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str, object]] = []
        self.queries: list[dict[str, str]] = []
        self.answers: list[tuple[int, object]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Rest

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, unquote(parts.path), json.loads(body) if body else None))
        self.server.queries.append(dict(parse_qsl(parts.query)))
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            status, answer = 401, {"title": "Unauthorized", "detail": "wrong admin token"}
        else:
            status, answer = self.server.answers.pop(0) if self.server.answers else (200, {})
        data = b"" if answer is None else answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - as the library calls them

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def rest():
    with Rest() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    for name in [name for name in os.environ if name.startswith("CAUSERIE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CAUSERIE_DATA_DIR", str(tmp_path))


def act(rest: Rest, *argv: str, token: str = TOKEN) -> int:
    return admin.run([*argv, "--url", rest.url, "--admin-token", token])


@pytest.mark.parametrize(
    ("argv", "asked"),
    [
        (["ban", "bob"], ("POST", "/bans", {"subject": "bob", "reason": ""})),
        (
            ["ban", "@bob", "10m", "all", "that"],
            ("POST", "/bans", {"subject": "bob", "duration": "10m", "reason": "all that"}),
        ),
        (["ban", "10.0.0.0/8", "spam"], ("POST", "/bans", {"subject": "10.0.0.0/8", "reason": "spam"})),
        (
            ["ban", "bob", "--duration", "2h", "--reason", "x"],
            ("POST", "/bans", {"subject": "bob", "duration": "2h", "reason": "x"}),
        ),
        (
            ["suspend", "bob", "90s"],
            ("POST", "/suspensions", {"nick": "bob", "duration": "90s", "reason": ""}),
        ),
        (["forgive", "bob"], ("POST", "/forgive", {"nick": "bob"})),
        (["forgive", "10.0.0.0/8"], ("DELETE", "/bans/10.0.0.0/8", None)),
        (["kick", "é/b"], ("DELETE", "/sessions/é/b", None)),
        (["kick", "bob", "too", "loud"], ("DELETE", "/sessions/bob", None)),
        (["announce", "tea", "time"], ("POST", "/announce", {"body": "tea time"})),
        (["shutdown"], ("POST", "/shutdown", {})),
        (["shutdown", "5"], ("POST", "/shutdown", {"grace": 5.0})),
        (["shutdown", "5", "new", "disk"], ("POST", "/shutdown", {"grace": 5.0, "reason": "new disk"})),
        (["rooms", "#lobby"], ("GET", "/rooms/#lobby", None)),
    ],
)
def test_each_action_is_its_request(rest: Rest, argv: list[str], asked: tuple[str, str, object]) -> None:
    assert act(rest, *argv) == 0
    method, path, body = asked
    assert rest.asked == [(method, "/api/v1" + path, body)]


def test_a_list_is_read_to_its_end(rest: Rest, capsys: pytest.CaptureFixture[str]) -> None:
    rest.answers = [
        (200, {"items": [{"nick": "ann", "state": "online", "flags": ["dead", "suspended"]}], "next": "c1"}),
        (200, {"items": [{"nick": "bob", "state": "away", "flags": []}], "next": None}),
    ]
    assert act(rest, "list", "--state", "online") == 0
    assert rest.queries == [{"state": "online"}, {"state": "online", "cursor": "c1"}]
    assert capsys.readouterr().out.splitlines() == [
        "nick  state   flags",
        "ann   online  dead,suspended",
        "bob   away    -",
    ]


def test_json_is_the_answer_of_rest(rest: Rest, capsys: pytest.CaptureFixture[str]) -> None:
    answer = {
        "items": [{"subject": "bob", "until": None, "reason": "é", "by": "ann", "ts": 1.5}],
        "next": None,
    }
    rest.answers = [(200, answer), (204, None)]
    assert act(rest, "bans", "--json") == 0
    assert json.loads(capsys.readouterr().out) == answer
    assert act(rest, "--json", "kick", "bob") == 0
    assert json.loads(capsys.readouterr().out) == {}


def test_a_table_carries_no_escape_sequence(rest: Rest, capsys: pytest.CaptureFixture[str]) -> None:
    rest.answers = [(200, {"items": [{"id": 1, "ts": 0, "who": "a", "why": "\x1b[31mred\nline"}], "next": None})]
    assert act(rest, "audit") == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert len(out.splitlines()) == 2
    assert "1970-01-01 00:00:00Z" in out


@pytest.mark.parametrize(
    ("status", "answer", "text"),
    [
        (404, {"title": "Not Found", "detail": "no such nick"}, "no such nick (404)"),
        (503, {"title": "Unavailable"}, "Unavailable (503)"),
        (502, b"<html>\x1b[0m", "Bad Gateway (502)"),
        (302, [], "Found (302)"),
    ],
)
def test_a_refusal_is_one_line_and_status_1(
    rest: Rest, status: int, answer: object, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rest.answers = [(status, answer)]
    assert act(rest, "kick", "bob") == 1
    assert capsys.readouterr() == ("", f"causerie admin: {text}\n")


def test_a_wrong_token_is_not_shown(rest: Rest, capsys: pytest.CaptureFixture[str]) -> None:
    assert act(rest, "list", token="battery-staple") == 1
    assert capsys.readouterr() == ("", "causerie admin: wrong admin token (401)\n")


def test_nobody_there(rest: Rest, capsys: pytest.CaptureFixture[str]) -> None:
    assert admin.run(["list", "--url", "http://127.0.0.1:1", "--admin-token", TOKEN]) == 1
    assert capsys.readouterr() == (
        "",
        "causerie admin: cannot reach http://127.0.0.1:1: Connection refused\n",
    )


def test_the_token_that_serve_made_is_found_on_this_machine_only(
    rest: Rest, tmp_path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "admin-token").write_text(TOKEN + "\n")
    assert admin.run(["rooms", "--url", rest.url]) == 0
    with pytest.raises(SystemExit) as ended:
        admin.run(["rooms", "--url", "http://chat.example"])
    assert ended.value.code == 2
    assert "no admin token" in capsys.readouterr().err


@pytest.mark.parametrize("token", ["a\nb", "é", "\x7f"])
def test_a_token_that_fits_no_header(rest: Rest, token: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        act(rest, "list", token=token)
    assert token not in capsys.readouterr().err
