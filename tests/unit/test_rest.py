"""The REST API by its app alone, on a real store (docs/protocol.md, "REST")."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio

from causerie.commands import Actor
from causerie.errors import REFUSALS, Unavailable
from causerie.metrics import Metrics
from causerie.model import new_sid
from causerie.rights import digest
from causerie.service import Service
from causerie.settings import Settings
from causerie.store import Store
from gateway.rest.app import create_app
from gateway.rest.auth import MAX_REQUEST
from gateway.rest.problem import STATUS
from tests.support import Store as Valkey
from tests.support.words import new_nick, new_room, new_word

TOKEN = "the-admin-token"

TABLE = """
GET /api/v1/sessions
DELETE /api/v1/sessions/{nick}
GET /api/v1/rooms
GET /api/v1/rooms/{room}
GET /api/v1/rooms/{room}/messages
POST /api/v1/rooms/{room}/messages
GET /api/v1/bans
POST /api/v1/bans
DELETE /api/v1/bans/{subject}
GET /api/v1/suspensions
POST /api/v1/suspensions
DELETE /api/v1/suspensions/{nick}
POST /api/v1/files
GET /api/v1/files/{id}
PATCH /api/v1/files/{id}
DELETE /api/v1/files/{id}
POST /api/v1/forgive
POST /api/v1/announce
POST /api/v1/shutdown
GET /api/v1/audit
GET /healthz
GET /readyz
GET /metrics
"""


class Api:
    """The app of one gateway, called without a socket."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self.node = SimpleNamespace(
            settings=settings,
            service=Service(store, settings),
            metrics=Metrics(),
            ready=True,
            stopping=asyncio.Event(),
        )
        self.app = create_app(self.node)

    async def call(
        self,
        method: str,
        path: str,
        json: object = None,
        *,
        token: str | None = TOKEN,
        address: str = "192.0.2.1",
        **more: Any,
    ) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, client=(address, 1), raise_app_exceptions=False)
        headers = more.pop("headers", {}) | ({} if token is None else {"Authorization": f"Bearer {token}"})
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            return await http.request(method, path, json=json, headers=headers, **more)

    async def get(self, path: str, **more: Any) -> Any:
        response = await self.call("GET", f"/api/v1{path}", **more)
        assert response.status_code == 200, response.text
        return response.json()

    async def problem(self, status: int, method: str, path: str, json: object = None, **more: Any) -> Any:
        response = await self.call(method, f"/api/v1{path}", json, **more)
        assert response.status_code == status, (response.status_code, response.text)
        assert response.headers["content-type"] == "application/problem+json"
        problem = response.json()
        assert problem["status"] == status
        assert problem["title"]
        return problem

    async def person(self, nick: str | None = None, *rooms: str) -> str:
        nick = nick or new_nick()
        attached = await self.store.sessions.create(nick, digest(new_word()), "", "g-test", "192.0.2.7", sid=new_sid())
        for room in ("#lobby", *rooms):
            await self.node.service.join(Actor.of(attached.session, "#lobby"), room)
        return nick


@pytest_asyncio.fixture
async def api(store: Valkey) -> AsyncIterator[Api]:
    settings = Settings(redis_url=store.url, namespace=new_word("t"), admin_token=TOKEN)
    opened = await Store.open(settings)
    yield Api(opened, settings)
    await opened.close()


# The door.


@pytest.mark.parametrize("path", ["/bans", "/audit", "/nowhere", "", "/rooms/%23lobby"])
async def test_without_the_token_nothing_is_said(api: Api, path: str) -> None:
    """401 without, and the same 401 for a wrong one; also of what does not exist."""
    missing = await api.problem(401, "GET", path, token=None)
    wrong = await api.problem(401, "GET", path, token="wrong")
    assert missing == wrong
    response = await api.call("GET", f"/api/v1{path}", token=None)
    assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", f"Bearer x{TOKEN}"]
)
async def test_what_is_no_bearer_token(api: Api, header: str) -> None:
    await api.problem(401, "GET", "/bans", token=None, headers={"Authorization": header})


async def test_the_token_comes_before_the_request_is_read(api: Api) -> None:
    response = await api.call("POST", "/api/v1/bans", token=None, content=b"{no json")
    assert response.status_code == 401


async def test_two_tokens_are_none(api: Api) -> None:
    transport = httpx.ASGITransport(api.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        pair = [("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer wrong")]
        assert (await http.get("/api/v1/bans", headers=pair)).status_code == 401


async def test_without_a_token_set_there_is_no_admin(store: Valkey) -> None:
    settings = Settings(redis_url=store.url, namespace=new_word("t"))
    opened = await Store.open(settings)
    api = Api(opened, settings)
    for token in (None, "", "None", "wrong"):
        await api.problem(401, "GET", "/bans", token=token)
    await opened.close()


async def test_five_wrong_tokens_a_minute(api: Api) -> None:
    """Then 429 for that address, whatever token it bears; others are not touched."""
    for _ in range(5):
        await api.problem(401, "GET", "/bans", token="wrong", address="192.0.2.66")
    for token in ("wrong", TOKEN):
        response = await api.call("GET", "/api/v1/bans", token=token, address="192.0.2.66")
        assert response.status_code == 429
        assert response.headers["content-type"] == "application/problem+json"
        assert 1 <= int(response.headers["retry-after"]) <= 60
    await api.problem(401, "GET", "/bans", token=None, address="192.0.2.66")
    await api.get("/bans", address="192.0.2.67")


async def test_a_request_is_bounded(api: Api) -> None:
    await api.problem(413, "POST", "/announce", {"body": "x" * MAX_REQUEST})

    async def stream() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * (MAX_REQUEST // 4)

    response = await api.call(
        "POST", "/api/v1/announce", content=stream(), headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 413


async def test_problems_of_http(api: Api) -> None:
    await api.problem(404, "GET", "/nowhere")
    await api.problem(404, "GET", "/audit/")
    assert "detail" not in await api.problem(405, "PUT", "/audit", {})
    assert (await api.call("PUT", "/api/v1/audit")).headers["allow"] == "GET"
    response = await api.call("GET", "/nowhere")
    assert response.headers["content-type"] == "application/problem+json"
    await api.problem(422, "POST", "/bans", {})
    await api.problem(422, "POST", "/bans", content=b"{no json", headers={"Content-Type": "application/json"})


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 60_000,
        b'{"nick":"\\ud800","reason":"x"}',
        b'{"nick":"bob","reason":"\\ud800"}',
        b'{"nick":"bob","duration":"\\ud800"}',
        b'{"nick":"bob","duration":NaN}',
        b'{"nick":"bob","duration":1e999}',
        b'{"nick":"bob","duration":1' + b"0" * 6000 + b"}",
        b"\xff\xfe\xfd",
        b"",
    ],
)
async def test_junk_is_a_problem_of_who_sends_it(api: Api, content: bytes) -> None:
    response = await api.call(
        "POST", "/api/v1/suspensions", content=content, headers={"Content-Type": "application/json"}
    )
    assert response.status_code in {400, 422}, response.text
    assert response.headers["content-type"] == "application/problem+json"


async def test_a_bug_shows_nothing_of_itself(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken() -> None:
        raise RuntimeError("a detail")

    monkeypatch.setattr(api.store.sanctions, "bans", broken)
    assert "detail" not in await api.problem(500, "GET", "/bans")


async def test_the_store_is_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **__: object) -> None:
        raise Unavailable

    monkeypatch.setattr(api.store.sanctions, "bans", away)
    problem = await api.problem(503, "GET", "/bans")
    assert problem["code"] == "unavailable"
    monkeypatch.setattr(api.store.control, "locked_out", away)
    assert (await api.problem(503, "GET", "/audit"))["code"] == "unavailable"
    await api.problem(401, "GET", "/audit", token=None)


def test_every_refusal_has_a_status() -> None:
    assert STATUS.keys() == REFUSALS.keys()


# Resources.


async def test_sessions(api: Api) -> None:
    room = new_room()
    alice, bob = await api.person("alice", room), await api.person("bob")
    listed = await api.get("/sessions")
    assert listed["next"] is None
    assert [(one["nick"], one["state"], one["flags"]) for one in sorted(listed["items"], key=lambda s: s["nick"])] == [
        (alice, "online", []),
        (bob, "online", []),
    ]
    (found,) = (await api.get("/sessions", params={"nick": "ALICE"}))["items"]
    assert found["rooms"] == ["#lobby", room]
    assert (await api.get("/sessions", params={"state": "crashed"}))["items"] == []
    await api.problem(422, "GET", "/sessions", params={"state": "asleep"})


async def test_pages_of_sessions(api: Api) -> None:
    nicks = {await api.person() for _ in range(5)}
    seen: list[str] = []
    cursor = None
    for _ in range(3):
        page = await api.get("/sessions", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        seen += [one["nick"] for one in page["items"]]
        cursor = page["next"]
    assert cursor is None
    assert len(seen) == 5
    assert set(seen) == nicks


@pytest.mark.parametrize("path", ["/sessions", "/rooms", "/bans", "/suspensions", "/audit", "/rooms/%23lobby/messages"])
@pytest.mark.parametrize("cursor", ["x", "99999999999999999999", "7.", "-1", "1-2-3", "\u00e9", "(", "+"])
async def test_a_cursor_from_nowhere_is_harmless(api: Api, path: str, cursor: str) -> None:
    await api.person()
    response = await api.call("GET", f"/api/v1{path}", params={"cursor": cursor})
    assert response.status_code in {200, 422}, response.text


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "many"])
async def test_a_limit_has_bounds(api: Api, limit: str) -> None:
    await api.problem(422, "GET", "/rooms", params={"limit": limit})


async def test_kick(api: Api) -> None:
    nick = await api.person()
    assert (await api.call("DELETE", f"/api/v1/sessions/{nick}")).status_code == 204
    await api.problem(404, "DELETE", f"/sessions/{nick}")


async def test_rooms(api: Api) -> None:
    room = new_room("räume")
    nick = await api.person(None, room)
    rooms = {one["room"]: one for one in (await api.get("/rooms"))["items"]}
    assert set(rooms) == {"#lobby", room}
    assert rooms[room]["members"] == 1
    shown = await api.get(f"/rooms/{quote(room)}")
    assert shown["people"] == [{"nick": nick, "state": "online", "flags": []}]
    await api.problem(404, "GET", f"/rooms/{quote(new_room())}")
    await api.problem(422, "GET", "/rooms/lobby")


async def test_messages(api: Api) -> None:
    """POST answers 201 {room,seq,mid,duplicate}; GET the newest with seq < before, in rising seq."""
    await api.person()
    for n in range(1, 6):
        response = await api.call("POST", "/api/v1/rooms/%23lobby/messages", {"body": f"n{n}", "from": "Herald"})
        assert response.status_code == 201
        posted = response.json()
        assert (posted["room"], posted["seq"], posted["duplicate"]) == ("#lobby", n, False)
    page = await api.get("/rooms/%23lobby/messages", params={"limit": 2})
    assert [(m["seq"], m["from"], m["in"], m["body"]) for m in page["items"]] == [
        (4, "herald", "#lobby", "n4"),
        (5, "herald", "#lobby", "n5"),
    ]
    assert page["items"][1]["mid"] == posted["mid"]
    older = await api.get("/rooms/%23lobby/messages", params={"limit": 3, "before": page["next"]})
    assert [m["seq"] for m in older["items"]] == [1, 2, 3]
    assert older["next"] is None
    same = await api.get("/rooms/%23lobby/messages", params={"limit": 3, "cursor": page["next"]})
    assert same == older


async def test_the_lobby_is_there_before_anybody(api: Api) -> None:
    assert (await api.get("/rooms/%23lobby"))["people"] == []
    assert (await api.call("POST", "/api/v1/rooms/%23lobby/messages", {"body": "first"})).json()["seq"] == 1


async def test_message_under_a_key(api: Api) -> None:
    await api.person()
    key = {"Idempotency-Key": "k" * 255}
    path = "/api/v1/rooms/%23lobby/messages"
    first = await api.call("POST", path, {"body": "once"}, headers=key)
    again = await api.call("POST", path, {"body": "once"}, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json() | {"duplicate": True}
    await api.problem(422, "POST", "/rooms/%23lobby/messages", {"body": "twice"}, headers=key)
    await api.problem(422, "POST", "/rooms/%23lobby/messages", {"body": "x"}, headers={"Idempotency-Key": "k" * 256})


@pytest.mark.parametrize(
    "message",
    [{}, {"body": ""}, {"body": " \n"}, {"body": "a\x1b[2J"}, {"body": "x" * 4097}, {"body": 7},
     {"body": None}, {"body": "x", "from": "a b"}, {"body": "x", "from": ""},
     {"body": "x", "from": "127.0.0.1"}, [], "x", 7],
)  # fmt: skip
async def test_messages_are_checked_like_everybodys(api: Api, message: object) -> None:
    await api.person()
    await api.problem(422, "POST", "/rooms/%23lobby/messages", message)


async def test_a_bot_is_nobody_who_is_here(api: Api) -> None:
    nick = await api.person()
    await api.problem(409, "POST", "/rooms/%23lobby/messages", {"body": "x", "from": nick.upper()})


@pytest.mark.parametrize("subject", ["mallory", "203.0.113.7", "203.0.113.0/24", "2001:db8::/32"])
async def test_bans(api: Api, subject: str) -> None:
    """{subject,until,reason,by,ts}: made, listed, lifted once."""
    made = await api.call("POST", "/api/v1/bans", {"subject": subject, "duration": "10m", "reason": "spam"})
    assert made.status_code == 201, made.text
    item = made.json()
    assert set(item) == {"subject", "until", "reason", "by", "ts"}
    assert (item["subject"], item["reason"]) == (subject, "spam")
    assert item["until"] == pytest.approx(item["ts"] + 600, abs=0.01)
    assert (await api.get("/bans"))["items"] == [item]
    path = f"/bans/{quote(subject, safe='')}"
    assert (await api.call("DELETE", f"/api/v1{path}")).status_code == 204
    await api.problem(404, "DELETE", path)
    assert (await api.get("/bans"))["items"] == []


async def test_suspensions(api: Api) -> None:
    """{nick,until,reason,by,ts}: `until` null without a duration."""
    nick = await api.person()
    made = await api.call("POST", "/api/v1/suspensions", {"nick": nick.upper()})
    assert made.status_code == 201
    item = made.json()
    assert set(item) == {"nick", "until", "reason", "by", "ts"}
    assert (item["nick"], item["until"], item["reason"]) == (nick, None, "")
    assert (await api.get("/suspensions"))["items"] == [item]
    assert (await api.get("/sessions"))["items"][0]["flags"] == ["suspended"]
    assert (await api.call("DELETE", f"/api/v1/suspensions/{nick}")).status_code == 204
    await api.problem(404, "DELETE", f"/suspensions/{nick}")


@pytest.mark.parametrize("duration", ["10 minutes", "", "-1", 0, "0s", True, [], {}, "9" * 400, -5])
async def test_durations_are_checked(api: Api, duration: object) -> None:
    await api.problem(422, "POST", "/suspensions", {"nick": "bob", "duration": duration})
    assert (await api.get("/suspensions"))["items"] == []


@pytest.mark.parametrize("duration", ["90s", "2h", 600, 0.5])
async def test_durations_that_are_good(api: Api, duration: object) -> None:
    response = await api.call("POST", "/api/v1/suspensions", {"nick": "bob", "duration": duration})
    assert response.status_code == 201


async def test_a_reason_is_one_short_line(api: Api) -> None:
    await api.problem(422, "POST", "/bans", {"subject": "bob", "reason": "a\nb"})
    await api.problem(422, "POST", "/bans", {"subject": "bob", "reason": "x" * 401})


async def test_one_lifting_leaves_the_other_and_forgiving_lifts_both(api: Api) -> None:
    for _ in range(2):
        await api.call("POST", "/api/v1/bans", {"subject": "bob"})
        await api.call("POST", "/api/v1/suspensions", {"nick": "bob"})
    await api.call("DELETE", "/api/v1/bans/bob")
    assert len((await api.get("/suspensions"))["items"]) == 1
    await api.call("POST", "/api/v1/bans", {"subject": "bob"})
    for lifted in (["ban", "suspend"], []):
        response = await api.call("POST", "/api/v1/forgive", {"nick": "bob"})
        assert (response.status_code, response.json()) == (200, {"nick": "bob", "lifted": lifted})
    assert (await api.get("/bans"))["items"] == []


async def test_announce(api: Api) -> None:
    await api.person()
    response = await api.call("POST", "/api/v1/announce", {"body": "it is late"})
    assert response.status_code == 201
    assert response.json()["rooms"] == ["#lobby"]
    (message,) = (await api.get("/rooms/%23lobby/messages"))["items"]
    assert (message["kind"], message["body"]) == ("system", "it is late")


async def test_the_lobby_is_listed_before_anybody_has_joined_it(api: Api) -> None:
    await api.call("POST", "/api/v1/rooms/%23lobby/messages", {"body": "is anybody there?"})
    assert [(one["room"], one["members"], one["seq"]) for one in (await api.get("/rooms"))["items"]] == [
        ("#lobby", 0, 1)
    ]


@pytest.mark.parametrize(("body", "grace"), [({"grace": 5}, 5), ({"grace": "2s"}, 2), ({}, 0), (None, 0)])
async def test_shutdown(api: Api, body: object, grace: float) -> None:
    before = await api.store.control.last_id()
    response = await api.call("POST", "/api/v1/shutdown", body)
    assert response.status_code == 202
    (note,) = await api.store.control.follow(before)
    assert (note.kind, note.data["grace"]) == ("shutdown", grace)


async def test_audit(api: Api) -> None:
    """{id,ts,who,what,whom,why,until}, the newest first, in pages."""
    for nick in ("a1", "a2", "a3"):
        await api.call("POST", "/api/v1/bans", {"subject": nick, "duration": 60, "reason": "why not"})
    first = await api.get("/audit", params={"limit": 2})
    assert [(one["what"], one["whom"], one["why"]) for one in first["items"]] == [
        ("ban", "a3", "why not"),
        ("ban", "a2", "why not"),
    ]
    assert set(first["items"][0]) >= {"id", "ts", "who", "what", "whom", "why", "until"}
    rest = await api.get("/audit", params={"limit": 2, "before": first["items"][-1]["id"]})
    assert ([one["whom"] for one in rest["items"]], rest["next"]) == (["a1"], None)


# For machines and for reading.


async def test_openapi_is_the_table(api: Api) -> None:
    schema = (await api.call("GET", "/openapi.json", token=None)).json()
    listed = {f"{method.upper()} {path}" for path, ways in schema["paths"].items() for method in ways}
    assert listed == set(TABLE.split("\n")) - {""}
    for path, ways in schema["paths"].items():
        for way in ways.values():
            good = [answer for status, answer in way["responses"].items() if status.startswith("2")]
            assert good, path
            if path.startswith("/api/"):
                assert way["security"], path
                assert set(way["responses"]["401"]["content"]) == {"application/problem+json"}
                assert set(way["responses"]["422"]["content"]) == {"application/problem+json"}
    text = str(schema)
    names = set(schema["components"]["schemas"])
    assert not {ref for ref in text.split("#/components/schemas/")[1:] if ref.split("'")[0] not in names}


async def test_docs_need_nothing_from_elsewhere(api: Api) -> None:
    response = await api.call("GET", "/docs", token=None)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    for line in TABLE.split("\n"):
        assert line.split(" ")[-1] in response.text
    assert "http:" not in response.text.replace("http://test", "")
    assert "src=" not in response.text


async def test_health(api: Api) -> None:
    for method in ("GET", "HEAD"):
        assert (await api.call(method, "/healthz", token=None)).status_code == 200
    ready = await api.call("GET", "/readyz", token=None)
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    api.node.ready = False
    not_ready = await api.call("GET", "/readyz", token=None)
    assert (not_ready.status_code, not_ready.json()["ready"]) == (503, False)


async def test_metrics(api: Api) -> None:
    api.node.metrics.deliveries = 42
    response = await api.call("GET", "/metrics", token=None)
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "\ncauserie_deliveries_total 42.0\n" in response.text
    assert "\n# TYPE causerie_connections_now gauge\n" in response.text
