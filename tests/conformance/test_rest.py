"""docs/protocol.md, “REST”: paths, items, pages, problems, the token."""

import asyncio
import time
from typing import Any

import httpx
import pytest

from tests.support import People
from tests.support.rest import problem_of, room_path

EVERY_CALL: list[tuple[str, str, dict[str, Any] | None]] = [
    ("GET", "/sessions", None),
    ("DELETE", "/sessions/nobody", None),
    ("GET", "/rooms", None),
    ("GET", "/rooms/%23lobby", None),
    ("GET", "/rooms/%23lobby/messages", None),
    ("POST", "/rooms/%23lobby/messages", {"body": "x", "from": "intruder"}),
    ("GET", "/bans", None),
    ("POST", "/bans", {"subject": "victim"}),
    ("DELETE", "/bans/victim", None),
    ("GET", "/suspensions", None),
    ("POST", "/suspensions", {"nick": "victim"}),
    ("DELETE", "/suspensions/victim", None),
    ("POST", "/forgive", {"nick": "victim"}),
    ("POST", "/announce", {"body": "intruder"}),
    ("POST", "/shutdown", {"grace": 5}),
    ("GET", "/audit", None),
]


# Health, metrics, description.


async def test_healthz_and_readyz(people: People) -> None:
    """“GET /healthz the process runs”, “GET /readyz 200”: without a token."""
    rest = people.rest(token=None)
    for path in ("/healthz", "/readyz"):
        assert (await rest.http.get(path)).status_code == 200, path


async def test_metrics(people: People) -> None:
    """“GET /metrics Prometheus text”."""
    response = await people.rest(token=None).http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    assert "# TYPE " in response.text
    assert "\n# HELP " in f"\n{response.text}"


async def test_openapi(people: People) -> None:
    """“described by OpenAPI at `/openapi.json` with pages at `/docs`”: every path of the
    contract is in it.
    """
    rest = people.rest(token=None)
    described = (await rest.http.get("/openapi.json")).json()
    assert described["openapi"].startswith("3.")
    calls = {
        (method.upper(), _shape(path))
        for path, methods in described["paths"].items()
        for method in methods
        if method in {"get", "post", "delete", "put", "patch"}
    }
    wanted = {(method, _shape(_template(f"/api/v1{path}"))) for method, path, _ in EVERY_CALL}
    assert wanted <= calls, wanted - calls
    docs = await rest.http.get("/docs")
    assert docs.status_code == 200
    assert "html" in docs.headers["content-type"]


def _template(path: str) -> str:
    for value in ("nobody", "%23lobby", "victim"):
        path = path.replace(f"/{value}", "/{}")
    return path


def _shape(path: str) -> str:
    return "/".join("{}" if part.startswith("{") else part for part in path.split("/"))


# The token.


@pytest.mark.parametrize(("method", "path", "body"), EVERY_CALL)
async def test_everything_needs_the_token(people: People, method: str, path: str, body: dict[str, Any] | None) -> None:
    """“Everything under `/api/v1` needs `Authorization: Bearer <admin token>`; 401 without”."""
    bare = people.rest(token=None)
    await bare.problem(method, path, 401, body)


async def test_wrong_token_is_the_same_401(people: People) -> None:
    """“the same 401 for a wrong one”: nothing tells whether a token was near."""
    without = await people.rest(token=None).call("GET", "/bans")
    answers = []
    headers = ("Bearer wrong", "Bearer", "Basic YTpi", f"bearer{people.chat.admin_token}")
    for number, header in enumerate(headers):
        rest = people.rest(token=None, source=f"127.12.0.{number + 2}")
        answers.append(await rest.call("GET", "/bans", headers={"Authorization": header}))
    for answer in answers:
        problem_of(answer, 401)
        assert answer.json() == without.json()
        assert answer.headers["content-type"] == without.headers["content-type"]
        assert answer.headers.get("www-authenticate") == without.headers.get("www-authenticate")
    assert "bearer" in without.headers.get("www-authenticate", "bearer").lower()


async def test_prefix_of_the_token_is_wrong(people: People) -> None:
    """Only the whole token is the token."""
    for number, token in enumerate((people.chat.admin_token[:-1], people.chat.admin_token + "x")):
        rest = people.rest(token=token, source=f"127.12.1.{number + 2}")
        assert (await rest.call("GET", "/bans")).status_code == 401


async def test_unknown_paths_are_problems(people: People) -> None:
    """“Errors are RFC 9457 `application/problem+json`”: also 404 and 405."""
    rest = people.rest()
    await rest.problem("GET", "/nothing/here", 404)
    await rest.problem("PUT", "/bans", 405, {})
    problem_of(await rest.http.get("/nothing"), 404)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/bans", b"{"),
        ("/bans", b"[]"),
        ("/bans", b"{}"),
        ("/bans", b'{"subject":7}'),
        ("/bans", b'{"subject":"x","duration":"soon"}'),
        ("/bans", b'{"subject":"127.0.0.0/99"}'),
        ("/suspensions", b'{"nick":"a b"}'),
        ("/suspensions", b'{"nick":""}'),
        ("/rooms/%23lobby/messages", b'{"body":""}'),
        ("/rooms/%23lobby/messages", b'{"from":"bot"}'),
        ("/rooms/%23lobby/messages", b'{"body":"a\\u001bb","from":"bot"}'),
        ("/rooms/%23lobby/messages", b'{"body":"x","from":"not a nick"}'),
        ("/announce", b'{"body":" "}'),
        ("/forgive", b"{}"),
        ("/shutdown", b'{"grace":"x"}'),
        ("/shutdown", b'{"grace":-1}'),
        ("/bans", b"\xff\xfe"),
    ],
)
async def test_bad_bodies_are_problems(people: People, path: str, content: bytes) -> None:
    """A body that is none is a client's error, as problem+json."""
    rest = people.rest()
    response = await rest.http.post(f"/api/v1{path}", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code in {400, 422}, response.text
    problem_of(response, response.status_code)


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=x", "before=x", "before=-1"])
async def test_bad_queries_are_problems(people: People, query: str) -> None:
    """A query that is none is a client's error."""
    response = await people.rest().http.get(f"/api/v1/rooms/%23lobby/messages?{query}")
    assert response.status_code in {400, 422}, response.text
    problem_of(response, response.status_code)


# Sessions.


async def test_sessions(people: People) -> None:
    """“GET /api/v1/sessions?state=&nick=&cursor=&limit=”."""
    alice, bob = await people.enter("alice", 0), await people.enter("bob", 1)
    await bob.hang_up()
    rest = people.rest()
    (mine,) = await rest.items("/sessions", nick=alice.nick)
    assert mine["nick"] == alice.nick
    assert (mine["state"], mine["flags"]) == ("online", [])
    assert alice.cookie not in str(mine)
    (other,) = await rest.items("/sessions", nick=bob.nick)
    assert other["state"] == "away"
    assert bob.nick in {item["nick"] for item in await rest.items("/sessions", state="away")}
    online = {item["nick"] for item in await rest.items("/sessions", state="online")}
    assert alice.nick in online
    assert bob.nick not in online
    assert await rest.items("/sessions", nick=people.nick("nobody")) == []


async def test_sessions_in_pages(people: People) -> None:
    """“Lists are `{“items”: [...], “next”: cursor or null}`”: each once, all in the end."""
    crowd = [await people.enter("crowd", n % 2) for n in range(7)]
    rest = people.rest()
    page = await rest.get("/sessions", limit=3)
    assert len(page["items"]) <= 3
    assert page["next"] is not None
    nicks = [item["nick"] for item in await rest.items("/sessions", limit=3)]
    assert len(nicks) == len(set(nicks))
    assert {who.nick for who in crowd} <= set(nicks)


async def test_delete_session_kicks(people: People) -> None:
    """“DELETE /api/v1/sessions/{nick} (kick)”: 204, `bye kicked`, the cookie is void."""
    bob = await people.enter("bob", 1)
    rest = people.rest(0)
    await rest.delete(f"/sessions/{bob.nick}")
    await bob.ended("kicked")
    again = await people.connect()
    await again.refused("bad_cookie", "hello", cookie=bob.cookie)
    await rest.problem("DELETE", f"/sessions/{bob.nick}", 404)


# Rooms and messages.


async def test_rooms(people: People) -> None:
    """“GET /api/v1/rooms”, “GET /api/v1/rooms/{room}”; “A room in a path is written `%23lobby`”."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    await alice.say(room, "one")
    rest = people.rest(1)
    listed = await rest.items("/rooms", limit=5)
    assert room in str(listed)
    assert "#lobby" in str(listed)
    one = await rest.get(room_path(room))
    assert room in one.values()
    assert one.get("seq", 1) == 1
    await rest.problem("GET", room_path(people.room()), 404)
    await rest.problem("GET", "/rooms/lobby", (await rest.call("GET", "/rooms/lobby")).status_code)


async def test_messages(people: People) -> None:
    """“GET /api/v1/rooms/{room}/messages?before=&limit=”: the newest `limit` with seq < before."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    for n in range(1, 8):
        await alice.say(room, f"m{n}")
    live = await alice.message("m3")
    rest = people.rest(1)
    page = await rest.get(f"{room_path(room)}/messages", before=5, limit=2)
    assert sorted(item["seq"] for item in page["items"]) == [3, 4]
    (third,) = [item for item in page["items"] if item["seq"] == 3]
    assert {key: third.get(key) for key in ("seq", "from", "body", "mid", "ts", "kind")} == {
        key: live[key] for key in ("seq", "from", "body", "mid", "ts", "kind")
    }
    first = await rest.get(f"{room_path(room)}/messages", limit=3)
    assert sorted(item["seq"] for item in first["items"]) == [5, 6, 7]
    seen = {item["seq"] for item in first["items"]}
    cursor = first["next"]
    while cursor is not None:
        following = await rest.get(f"{room_path(room)}/messages", before=cursor, limit=3)
        seen |= {item["seq"] for item in following["items"]}
        cursor = following["next"]
    assert seen == set(range(1, 8))
    await rest.problem("GET", f"{room_path(people.room())}/messages", 404)


async def test_post_a_message(people: People) -> None:
    """“Posting a message answers 201 {room,seq,mid,duplicate}”; members on every gateway get it."""
    room, bot = people.room(), people.nick("bot")
    near, far = await people.enter("near", 0, room=room), await people.enter("far", 1, room=room)
    typist = await people.text("typist", 1, room=room)
    await near.say(room, "first")
    rest = people.rest(0)
    posted = await rest.post(f"{room_path(room)}/messages", {"body": "from\na bot", "from": bot}, status=201)
    assert posted == {"room": room, "seq": 2, "mid": posted["mid"], "duplicate": False}
    for who in (near, far):
        event = await who.message("from\na bot")
        assert (event["from"], event["seq"], event["mid"]) == (bot, 2, posted["mid"])
    await typist.expect(rf"\[{room}\] {bot}: from")


async def test_post_under_the_nick_of_a_session(people: People) -> None:
    """“(409 if `from` is the nick of a session)”: in any spelling, on any gateway, away or not."""
    alice = await people.enter("alice", 1)
    rest = people.rest(0)
    for sender in (alice.nick, alice.nick.upper()):
        await rest.problem("POST", "/rooms/%23lobby/messages", 409, {"body": "x", "from": sender})
    await alice.hang_up()
    await rest.problem("POST", "/rooms/%23lobby/messages", 409, {"body": "x", "from": alice.nick})


async def test_idempotency_key(people: People) -> None:
    """“honours Idempotency-Key”: the same call again, on any gateway, posts nothing and says `duplicate`."""
    room, bot = people.room(), people.nick("bot")
    alice = await people.enter("alice", room=room)
    path, headers = f"{room_path(room)}/messages", {"Idempotency-Key": people.nick("key")}
    body = {"body": "once", "from": bot}
    first = await people.rest(0).post(path, body, headers=headers)
    second = await people.rest(1).post(path, body, headers=headers)
    assert first["duplicate"] is False
    assert second == {**first, "duplicate": True}
    other = await people.rest(1).call("POST", path, {"body": "another", "from": bot}, headers=headers)
    assert other.status_code in {409, 422}, "the draft of Idempotency-Key: another body under one key is an error"
    other = await people.rest(0).call("POST", path, {**body, "from": people.nick("bot")}, headers=headers)
    assert other.status_code in {409, 422}, "and so is another sender"
    third = await people.rest(0).post(path, body, headers={"Idempotency-Key": people.nick("key")})
    assert third["duplicate"] is False
    await alice.caught_up(room)
    assert alice.bodies(room)[:-1] == ["once", "once"]


async def test_idempotency_key_at_once(people: People) -> None:
    """Eight at once with one key post once."""
    room = people.room()
    alice = await people.enter("alice", room=room)
    path, headers = f"{room_path(room)}/messages", {"Idempotency-Key": people.nick("key")}
    rests = [people.rest(n % 2) for n in range(8)]
    body = {"body": "once", "from": people.nick("bot")}
    answers = await asyncio.gather(*(rest.post(path, body, headers=headers) for rest in rests))
    assert sorted(answer["duplicate"] for answer in answers) == [False] + [True] * 7
    assert len({(answer["seq"], answer["mid"]) for answer in answers}) == 1
    await alice.caught_up(room)
    assert alice.bodies(room).count("once") == 1


async def test_post_too_long(people: People) -> None:
    """A body over 4 KiB is refused."""
    response = await people.rest().call(
        "POST", "/rooms/%23lobby/messages", {"body": "x" * 4097, "from": people.nick("bot")}
    )
    problem_of(response, response.status_code)
    assert response.status_code in {400, 413, 422}


async def test_huge_request(people: People) -> None:
    """Promise 5: nobody makes a gateway's memory grow: a body of 8 MiB is refused."""
    try:
        response = await people.rest().http.post("/api/v1/announce", content=b'{"body":"' + b"x" * 8 * 2**20 + b'"}')
    except httpx.TransportError:
        return
    assert 400 <= response.status_code < 500


# Sanctions.


async def test_bans(people: People) -> None:
    """“bans {subject,until,reason,by,ts}”; POST, GET, DELETE 204."""
    rest = people.rest(0)
    bob = await people.enter("bob", 1)
    before = time.time()
    await rest.post("/bans", {"subject": bob.nick, "duration": "10m", "reason": "spam"})
    await bob.ended("banned")
    (item,) = [item for item in await people.rest(1).items("/bans") if item["subject"] == bob.nick]
    assert set(item) >= {"subject", "until", "reason", "by", "ts"}
    assert item["reason"] == "spam"
    assert before + 590 < item["until"] < time.time() + 610
    assert before - 5 < item["ts"] < time.time() + 5
    assert isinstance(item["by"], str)
    await rest.delete(f"/bans/{bob.nick}")
    assert not [item for item in await rest.items("/bans") if item["subject"] == bob.nick]
    await rest.problem("DELETE", f"/bans/{people.nick('never')}", 404)
    free = await people.connect()
    await free.hello(nick=bob.nick)


async def test_bans_of_addresses_and_networks(people: People) -> None:
    """“{“subject”:“bob|203.0.113.7|203.0.113.0/24”,...}”; a network in a path is written with `%2F`."""
    rest = people.rest(0)
    subjects = ["203.0.113.7", "203.0.113.0/24", "2001:db8::7", "2001:db8::/32"]
    for subject in subjects:
        await rest.post("/bans", {"subject": subject, "reason": "far away"})
    listed = {item["subject"]: item for item in await rest.items("/bans")}
    for subject in subjects:
        assert listed[subject]["until"] is None
        assert (await rest.call("DELETE", f"/bans/{subject.replace('/', '%2F')}")).status_code == 204, subject
    assert not {item["subject"] for item in await rest.items("/bans")} & set(subjects)


async def test_address_ban_over_rest_ends_connections(people: People) -> None:
    """An address ban by REST is the same as one by command; REST from there still works with the token."""
    address = "127.12.2.2"
    here = await people.enter("here", 1, source=address)
    inside = people.rest(0, source=address)
    await inside.post("/bans", {"subject": address})
    await here.ended("banned")
    assert (await inside.call("DELETE", f"/bans/{address}")).status_code == 204
    again = await people.connect(gateway=1, source=address)
    assert (await again.hello(cookie=here.cookie))["session"] == here.session


async def test_suspensions(people: People) -> None:
    """“suspensions {nick,until,reason,by,ts}”; POST, GET, DELETE 204."""
    rest = people.rest(0)
    bob = await people.enter("bob", 1)
    await rest.post("/suspensions", {"nick": bob.nick, "duration": "90s", "reason": "noise"})
    error = await bob.refused("suspended", "send", to="#lobby", body="x")
    assert 0 < error["until"] - time.time() < 95
    (item,) = [item for item in await people.rest(1).items("/suspensions") if item["nick"] == bob.nick]
    assert set(item) >= {"nick", "until", "reason", "by", "ts"}
    assert (item["reason"], item["until"]) == ("noise", pytest.approx(error["until"], abs=0.01))
    await people.rest(1).delete(f"/suspensions/{bob.nick}")
    await bob.say("#lobby", "free")
    assert not [item for item in await rest.items("/suspensions") if item["nick"] == bob.nick]
    await rest.problem("DELETE", f"/suspensions/{people.nick('never')}", 404)


async def test_lists_of_sanctions_show_no_ended_ones(people: People) -> None:
    """A sanction that is over is none."""
    rest, nick = people.rest(), people.nick("short")
    await rest.post("/bans", {"subject": nick, "duration": "1s"})
    until = next(item["until"] for item in await rest.items("/bans") if item["subject"] == nick)
    await asyncio.sleep(max(0, until - time.time()) + 0.05)
    assert not [item for item in await rest.items("/bans") if item["subject"] == nick]


async def test_bans_in_pages(people: People) -> None:
    """Pages of bans: each once."""
    rest = people.rest()
    nicks = {people.nick("paged") for _ in range(5)}
    for nick in nicks:
        await rest.post("/bans", {"subject": nick})
    subjects = [item["subject"] for item in await rest.items("/bans", limit=2)]
    assert len(subjects) == len(set(subjects))
    assert nicks <= set(subjects)
    for nick in nicks:
        await rest.delete(f"/bans/{nick}")


async def test_forgive(people: People) -> None:
    """“POST /api/v1/forgive {“nick”:...}” lifts suspension and ban."""
    rest, nick = people.rest(0), people.nick("both")
    await rest.post("/bans", {"subject": nick})
    await rest.post("/suspensions", {"nick": nick})
    await rest.post("/forgive", {"nick": nick})
    free = await people.enter(nick=nick, gateway=1)
    await free.say("#lobby", "free")


async def test_announce(people: People) -> None:
    """“POST /api/v1/announce {“body”:...}”: everybody gets it, on every gateway, in any room."""
    near, far = await people.enter("near", 0), await people.enter("far", 1)
    body = people.nick("attention")
    await people.rest(0).post("/announce", {"body": body})
    for who in (near, far):
        event = await who.expect("message", body=body)
        assert event["kind"] == "system"


async def test_audit(people: People) -> None:
    """“audit {id,ts,who,what,whom,why,until}”, “GET /api/v1/audit?before=&limit=”: what REST did is in it."""
    rest, nick = people.rest(0), people.nick("audited")
    await rest.post("/bans", {"subject": nick, "duration": "2h", "reason": "first"})
    await rest.delete(f"/bans/{nick}")
    await rest.post("/suspensions", {"nick": nick, "reason": "second"})
    await rest.delete(f"/suspensions/{nick}")
    items = [item for item in (await people.rest(1).get("/audit", limit=50))["items"] if item["whom"] == nick]
    assert len(items) == 4
    assert all(set(item) >= {"id", "ts", "who", "what", "whom", "why", "until"} for item in items)
    assert {item["why"] for item in items} >= {"first", "second"}
    assert len({item["id"] for item in items}) == 4


async def test_audit_in_pages(people: People) -> None:
    """`before` and `limit`: entries before that one, each once, to the end."""
    rest, nick = people.rest(), people.nick("audited")
    for _ in range(4):
        await rest.post("/suspensions", {"nick": nick})
        await rest.delete(f"/suspensions/{nick}")
    found: list[dict[str, Any]] = []
    before = None
    for _ in range(500):
        page = await rest.get("/audit", before=before, limit=3)
        assert len(page["items"]) <= 3
        found += page["items"]
        before = page["next"]
        if before is None:
            break
    ids = [item["id"] for item in found]
    assert len(ids) == len(set(ids))
    assert sum(item["whom"] == nick for item in found) == 8


async def test_kick_and_announce_are_audited(people: People) -> None:
    """“Each is written to the audit log”."""
    rest = people.rest()
    bob = await people.enter("bob")
    await rest.delete(f"/sessions/{bob.nick}")
    items = (await rest.get("/audit", limit=20))["items"]
    assert [item["what"] for item in items if item["whom"] == bob.nick] == ["kick"]
