"""The REST API as another program would call it."""

from typing import Any, Self
from urllib.parse import quote

import httpx

from tests.support.processes import Gateway
from tests.support.timing import PATIENCE

Json = dict[str, Any]


class Rest:
    """Calls below `/api/v1` of one gateway, with the admin token (None sends none)."""

    def __init__(self, gateway: Gateway, token: str | None, *, source: str | None = None) -> None:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self.http = httpx.AsyncClient(
            base_url=gateway.http,
            headers=headers,
            timeout=PATIENCE,
            trust_env=False,
            transport=httpx.AsyncHTTPTransport(local_address=source) if source else None,
        )

    async def call(self, method: str, path: str, body: Json | None = None, **params: Any) -> httpx.Response:
        """Call `/api/v1` + path; `params` are the query, `headers` are headers."""
        headers = params.pop("headers", None)
        query = {key: value for key, value in params.items() if value is not None}
        return await self.http.request(method, f"/api/v1{path}", json=body, params=query or None, headers=headers)

    async def get(self, path: str, **params: Any) -> Json:
        """GET that must answer 200; returns the JSON."""
        return _json(await self.call("GET", path, **params), 200)

    async def post(self, path: str, body: Json, *, status: int | None = None, **params: Any) -> Json:
        """POST that must succeed (or answer `status`); returns the JSON, {} for an empty body."""
        return _json(await self.call("POST", path, body, **params), status)

    async def delete(self, path: str, *, status: int = 204) -> Json:
        return _json(await self.call("DELETE", path), status)

    async def problem(self, method: str, path: str, status: int, body: Json | None = None, **params: Any) -> Json:
        """A call that must be refused with this status, as problem+json of RFC 9457."""
        return problem_of(await self.call(method, path, body, **params), status)

    async def items(self, path: str, **params: Any) -> list[Json]:
        """All items of a list, following `next` as `cursor` to its end."""
        found: list[Json] = []
        cursor: str | None = None
        for _ in range(1000):
            page = await self.get(path, cursor=cursor, **params)
            assert set(page) >= {"items", "next"}, page
            found += page["items"]
            cursor = page["next"]
            if cursor is None:
                return found
        raise AssertionError(f"{path}: more than 1000 pages")

    async def counter(self, name: str) -> int:
        """A counter of this gateway, from `/metrics`."""
        text = (await self.http.get("/metrics")).text
        line = next(line for line in text.splitlines() if line.startswith(f"causerie_{name}_total "))
        return int(float(line.split()[1]))

    async def close(self) -> None:
        await self.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def problem_of(response: httpx.Response, status: int) -> Json:
    """Check that a response is problem+json with this status."""
    assert response.status_code == status, f"wanted {status}: {response.status_code} {response.text[:500]}"
    assert response.headers["content-type"].split(";")[0] == "application/problem+json", response.headers
    problem: Json = response.json()
    assert problem.get("status", status) == status, problem
    assert isinstance(problem.get("title"), str), problem
    return problem


def room_path(room: str) -> str:
    """A room in a path: `#lobby` is `%23lobby`."""
    return f"/rooms/{quote(room, safe='')}"


def _json(response: httpx.Response, status: int | None) -> Json:
    ok = response.status_code == status if status is not None else response.is_success
    assert ok, f"{response.request.method} {response.request.url}: {response.status_code} {response.text[:500]}"
    answer: Json = response.json() if response.content else {}
    return answer
