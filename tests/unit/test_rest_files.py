"""Files over HTTP by the app alone, on a real store and a folder (docs/files.md): tus 1.0 in, ranges out."""

import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from causerie.commands import Actor, parse
from causerie.commands.table import Call
from causerie.errors import Refused
from causerie.model import new_sid
from causerie.rights import digest
from causerie.settings import Settings
from causerie.store import Store
from gateway.rest.transfers import EACH
from tests.support import Store as Valkey
from tests.support.words import new_nick, new_word
from tests.unit.test_rest import TOKEN, Api

DATA = bytes(range(256)) * 40
TUS = {"Tus-Resumable": "1.0.0"}
STREAM = TUS | {"Content-Type": "application/offset+octet-stream"}


class Files(Api):
    """The app, and people who type."""

    async def enter(self, nick: str | None = None) -> Actor:
        nick = nick or new_nick()
        attached = await self.store.sessions.create(nick, digest(new_word()), "", "g-test", "192.0.2.7", sid=new_sid())
        actor = Actor.of(attached.session, "#lobby")
        await self.node.service.join(actor, "#lobby")
        return actor

    async def type(self, actor: Actor, line: str) -> dict[str, Any]:
        call = parse(line, actor.current)
        assert isinstance(call, Call)
        return (await self.node.service.execute(actor, call)).data

    async def announce(self, actor: Actor, data: bytes = DATA, name: str = "a.bin", to: str = "") -> dict[str, Any]:
        command = f"{to} !send_file" if to else "!broadcast_file"
        return await self.type(actor, f"{command} {len(data)} {hashlib.sha256(data).hexdigest()} {name}".strip())

    async def patch(self, link: dict[str, Any], data: bytes, offset: int = 0, **more: Any) -> httpx.Response:
        headers = STREAM | {"Upload-Offset": str(offset)} | more.pop("headers", {})
        return await self.call("PATCH", link["upload"], token=link["token"], headers=headers, content=data, **more)

    async def send(self, actor: Actor, data: bytes = DATA, name: str = "a.bin", to: str = "") -> str:
        link = await self.announce(actor, data, name, to)
        if not link["sent"]:
            assert (await self.patch(link, data)).status_code == 204
        return str(link["id"])

    async def get_file(self, actor: Actor, id_: str, method: str = "GET", **headers: str) -> httpx.Response:
        link = await self.type(actor, f"!get {id_}")
        return await self.call(method, link["download"], token=link["token"], headers=headers)


@pytest_asyncio.fixture
async def api(store: Valkey, tmp_path: Path) -> AsyncIterator[Files]:
    url = f"file://{tmp_path}/files"
    settings = Settings(redis_url=store.url, namespace=new_word("t"), admin_token=TOKEN, files_url=url)
    opened = await Store.open(settings)
    yield Files(opened, settings)
    await opened.close()


# tus: https://tus.io/protocols/resumable-upload


async def test_discovery(api: Files) -> None:
    """“An OPTIONS request MAY be used to gather information about the Server's current configuration.”"""
    response = await api.call("OPTIONS", "/api/v1/files")
    assert response.status_code == 204
    assert response.headers["tus-version"] == "1.0.0"
    assert response.headers["tus-max-size"] == str(2**30)
    assert set(response.headers["tus-extension"].split(",")) >= {"creation", "expiration", "termination"}


async def test_an_upload_in_two_pieces(api: Files) -> None:
    alice = await api.enter()
    link = await api.announce(alice)
    assert (link["offset"], link["sent"]) == (0, False)
    first = await api.patch(link, DATA[:1000])
    assert (first.status_code, first.headers["upload-offset"]) == (204, "1000")
    assert "upload-expires" in first.headers
    head = await api.call("HEAD", link["upload"], token=link["token"], headers=TUS)
    assert (head.status_code, head.headers["upload-offset"], head.headers["upload-length"]) == (200, "1000", "10240")
    assert head.headers["cache-control"] == "no-store"
    rest = await api.patch(link, DATA[1000:], 1000)
    assert (rest.status_code, rest.headers["upload-offset"]) == (204, "10240")
    assert rest.headers["tus-resumable"] == "1.0.0"
    assert (await api.get_file(alice, link["id"])).content == DATA


async def test_creation_leads_to_the_upload_that_was_announced(api: Files) -> None:
    """A tus client of the shelf begins with POST; the token says for which file."""
    alice = await api.enter()
    link = await api.announce(alice)
    wrong = await api.call("POST", "/api/v1/files", token=link["token"], headers=TUS | {"Upload-Length": "3"})
    assert wrong.status_code == 422
    headers = STREAM | {"Upload-Length": str(len(DATA))}
    made = await api.call("POST", "/api/v1/files", token=link["token"], headers=headers, content=DATA[:10])
    assert (made.status_code, made.headers["location"], made.headers["upload-offset"]) == (201, link["upload"], "10")


async def test_a_bot_sends_with_the_admin_token(api: Files) -> None:
    alice = await api.enter()

    def about(**names: str) -> str:
        return ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in names.items())

    headers = STREAM | {"Upload-Length": str(len(DATA))}
    made = await api.call(
        "POST",
        "/api/v1/files",
        headers=headers | {"Upload-Metadata": about(filename="../r.txt", room="#lobby", **{"from": "ci"})},
        content=DATA,
    )
    assert (made.status_code, made.headers["upload-offset"]) == (201, str(len(DATA)))
    id_ = made.headers["location"].rpartition("/")[2]
    (event,) = (await api.get("/rooms/%23lobby/messages"))["items"]
    assert (event["from"], event["kind"], event["body"]) == ("ci", "file", "r.txt")
    assert event["file"]["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert (await api.get_file(alice, id_)).content == DATA
    assert (await api.call("GET", made.headers["location"])).content == DATA
    for wrong, status in (
        (about(filename="a"), 422),
        ("filename ~~~", 422),
        (about(filename="a", room="#nowhere"), 404),
        (about(filename="a", room="#lobby", **{"from": alice.name}), 409),
        (about(filename="a", room="#lobby", sha256="no"), 422),
    ):
        response = await api.call("POST", "/api/v1/files", headers=headers | {"Upload-Metadata": wrong})
        assert response.status_code == status, (wrong, response.text)


async def test_giving_up(api: Files) -> None:
    alice = await api.enter()
    link = await api.announce(alice)
    assert (await api.call("DELETE", link["upload"], token=link["token"], headers=TUS)).status_code == 204
    assert (await api.patch(link, DATA)).status_code == 404
    again = await api.announce(alice)
    assert again["id"] != link["id"]
    await api.patch(again, DATA)
    assert (await api.call("DELETE", again["upload"], token=again["token"], headers=TUS)).status_code == 422


async def test_a_client_without_patch(api: Files) -> None:
    link = await api.announce(await api.enter())
    headers = STREAM | {"Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    response = await api.call("POST", link["upload"], token=link["token"], headers=headers, content=DATA)
    assert response.status_code == 204
    assert (await api.call("POST", link["upload"], token=link["token"], headers=TUS)).status_code == 405


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Tus-Resumable": "0.2"}, 412),
        ({"Upload-Offset": "5"}, 409),
        ({"Upload-Offset": "-1"}, 422),
        ({"Upload-Offset": ""}, 422),
        ({"Content-Type": "application/octet-stream"}, 415),
    ],
)
async def test_wrong_patches(api: Files, headers: dict[str, str], status: int) -> None:
    link = await api.announce(await api.enter())
    response = await api.patch(link, DATA, headers=headers)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.headers["tus-resumable"], response.headers["connection"]) == ("1.0.0", "close")
    assert response.headers.get("upload-offset") == ("0" if status == 409 else None)
    assert (await api.patch(link, DATA)).status_code == 204


async def test_limits_are_problems(api: Files) -> None:
    alice = await api.enter()
    with pytest.raises(Refused) as caught:
        await api.type(alice, f"!broadcast_file {2**40} {'0' * 64} big")
    assert caught.value.code == "too_long"
    link = await api.announce(alice)
    response = await api.patch(link, DATA + b"!")
    assert (response.status_code, response.json()["code"]) == (413, "too_long")
    await api.store.sanctions.suspend(alice.name, None, "spam", "op")
    response = await api.patch(link, DATA)
    assert (response.status_code, response.json()["code"]) == (403, "suspended")


async def test_other_bytes_are_no_file(api: Files) -> None:
    alice = await api.enter()
    link = await api.announce(alice)
    response = await api.patch(link, DATA[::-1])
    assert (response.status_code, response.json()["code"]) == (422, "bad_request")
    with pytest.raises(Refused):
        await api.type(alice, f"!get {link['id']}")


# Tokens.


async def test_a_token_is_for_one_thing(api: Files) -> None:
    """“Short-lived, single-purpose”: one file, one direction; and nothing else under `/api/v1`."""
    alice = await api.enter()
    mine = await api.announce(alice, b"mine")
    other = await api.announce(alice, b"other")
    sent = await api.type(alice, f"!get {await api.send(alice)}")
    for link, token, status in (
        (mine["upload"], other["token"], 403),
        (sent["download"], mine["token"], 403),
        (mine["upload"], "cf_" + "x" * 43, 401),
        (mine["upload"], None, 401),
        (mine["upload"], TOKEN, 403),
    ):
        response = await api.call("PATCH", link, token=token, headers=STREAM | {"Upload-Offset": "0"}, content=b"mine")
        assert response.status_code == status, (link, token)
    assert (await api.call("GET", sent["download"], token=mine["token"])).status_code == 403
    await api.problem(401, "GET", "/sessions", token=mine["token"])
    await api.problem(401, "GET", "/filesystem", token=mine["token"])


async def test_expired_tokens_are_no_guesses(api: Files) -> None:
    """Five wrong admin tokens a minute are the limit; who comes late with a link has tried none."""
    alice = await api.enter()
    link = await api.type(alice, f"!get {await api.send(alice)}")
    for n in range(8):
        await api.problem(401, "GET", link["download"].removeprefix("/api/v1"), token="cf_" + str(n) * 43)
    assert (await api.call("GET", link["download"], token=link["token"])).content == DATA
    for _ in range(5):
        await api.problem(401, "GET", "/files/x", token="a guess")
    assert (await api.call("GET", link["download"])).status_code == 429
    assert (await api.call("GET", link["download"], token=link["token"])).content == DATA


async def test_a_link_ends_with_the_right(api: Files) -> None:
    alice, bob = await api.enter(), await api.enter()
    link = await api.type(bob, f"!get {await api.send(alice)}")
    assert bob.session is not None
    await api.store.sessions.part(bob.session.sid, "#lobby")
    response = await api.call("GET", link["download"], token=link["token"])
    assert (response.status_code, response.json()["code"]) == (403, "denied")


async def test_operators_have_what_rooms_have(api: Files) -> None:
    alice, bob = await api.enter(), await api.enter()
    await api.call("GET", f"/api/v1/files/{await api.send(alice)}")
    direct = await api.send(alice, b"psst", to=f"@{bob.name}")
    assert (await api.call("GET", f"/api/v1/files/{direct}")).status_code == 403
    assert (await api.get_file(bob, direct)).content == b"psst"


# What people type.


async def test_files_and_get(api: Files) -> None:
    alice, bob = await api.enter(), await api.enter()
    shown = await api.send(alice, name="shown.txt")
    direct = await api.send(alice, b"psst", "direct.txt", f"@{bob.name}")
    listed = (await api.type(bob, "!files"))["files"]
    assert [(one["name"], one["in"], one["from"]) for one in listed] == [
        ("direct.txt", "@", alice.name),
        ("shown.txt", "#lobby", alice.name),
    ]
    assert [one["id"] for one in (await api.type(bob, "!files #lobby"))["files"]] == [shown]
    call = parse(f"!get {direct}", "#lobby")
    assert isinstance(call, Call)
    reply = await api.node.service.execute(bob, call)
    assert reply.data["sha256"] == hashlib.sha256(b"psst").hexdigest()
    (line,) = reply.text
    assert f"/api/v1/files/{direct}" in line
    assert reply.data["token"] in line
    with pytest.raises(Refused) as caught:
        await api.type(await api.enter(), f"!get {direct}")
    assert caught.value.code == "denied"
    assert (await api.type(await api.enter(), "!files"))["files"][0]["name"] == "shown.txt"


@pytest.mark.parametrize(
    "line",
    [
        "!send_file",
        "!send_file report.pdf",
        "@bob !send_file report.pdf",
        "@bob !send_file my report.pdf",
        "@bob !send_file 12 report.pdf",
        "!broadcast_file",
        "!broadcast_file report.pdf",
        "!broadcast_file ~/report 2.pdf",
    ],
)
def test_people_are_told_what_to_use(line: str) -> None:
    """One clear line for who types a path where only a program can send bytes."""
    with pytest.raises(Refused) as caught:
        parse(line, "#lobby")
    assert caught.value.code == "bad_request"
    assert "`causerie chat` does it for you" in caught.value.text
    assert "\n" not in caught.value.text


# Downloads.


async def test_what_a_download_says(api: Files) -> None:
    alice = await api.enter()
    response = await api.get_file(alice, await api.send(alice, name='é"x\\.html'))
    assert response.content == DATA
    headers = response.headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"] == "attachment; filename=\"html\"; filename*=UTF-8''html"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("sandbox")
    assert headers["etag"] == f'"{hashlib.sha256(DATA).hexdigest()}"'
    assert headers["repr-digest"] == f"sha-256=:{base64.b64encode(hashlib.sha256(DATA).digest()).decode()}:"
    assert headers["cache-control"].startswith("private")
    head = await api.get_file(alice, await api.send(alice, name="é.png"), "HEAD")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(DATA)))
    assert head.headers["content-type"] == "image/png"
    assert head.headers["content-disposition"] == "attachment; filename=\"_.png\"; filename*=UTF-8''%C3%A9.png"


async def test_ranges(api: Files) -> None:
    alice = await api.enter()
    id_ = await api.send(alice)
    part = await api.get_file(alice, id_, Range="bytes=100-199")
    assert (part.status_code, part.content) == (206, DATA[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(DATA)}"
    assert part.headers["content-length"] == "100"
    etag = part.headers["etag"]
    rest = await api.get_file(alice, id_, **{"Range": "bytes=10000-", "If-Range": etag})
    assert (rest.status_code, rest.content) == (206, DATA[10000:])
    other = await api.get_file(alice, id_, **{"Range": "bytes=10000-", "If-Range": '"another"'})
    assert (other.status_code, other.content) == (200, DATA)
    beyond = await api.get_file(alice, id_, Range=f"bytes={len(DATA)}-")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(DATA)}")
    assert (await api.get_file(alice, id_, **{"If-None-Match": etag})).status_code == 304


async def test_few_at_once(api: Files) -> None:
    alice = await api.enter()
    link = await api.announce(alice)
    with pytest.raises(RuntimeError), api.app.state.slots.taken(alice.session.sid):  # type: ignore[union-attr]
        raise RuntimeError
    held = [api.app.state.slots.taken(alice.session.sid) for _ in range(EACH)]  # type: ignore[union-attr]
    for slot in held:
        slot.__enter__()
    response = await api.patch(link, DATA)
    assert (response.status_code, response.headers["retry-after"]) == (429, "1")
    for slot in held:
        slot.__exit__(None, None, None)
    assert (await api.patch(link, DATA)).status_code == 204
    assert not api.app.state.slots._taken


async def test_without_files(store: Valkey) -> None:
    settings = Settings(redis_url=store.url, namespace=new_word("t"), admin_token=TOKEN)
    opened = await Store.open(settings)
    api = Files(opened, settings)
    alice = await api.enter()
    for line in (f"!broadcast_file 3 {'0' * 64} a", "!files", "!get 123"):
        with pytest.raises(Refused) as caught:
            await api.type(alice, line)
        assert (caught.value.code, "no files here" in caught.value.text) == ("denied", True)
    await api.problem(403, "GET", "/files/123")
    await opened.close()
