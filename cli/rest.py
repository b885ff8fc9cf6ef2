"""A small client of the REST API, on the standard library alone."""

import http.client
import json
from typing import Any
from urllib.parse import urlencode, urlsplit

TIMEOUT = 30.0
"""Seconds that a gateway may take to answer."""


class AdminError(Exception):
    """What was asked for was not done; the text is one line for people."""


def is_http_url(url: str) -> bool:
    """Tell whether this is an http:// or https:// address with a host."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


class Api:
    """The REST API of one gateway, `/api/v1`.

    It follows no redirect and uses no proxy: the token goes to the host named and nowhere else.
    """

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self._url = url
        self._base = parts.path.rstrip("/") + "/api/v1"
        self._https = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}

    def call(self, method: str, path: str, body: object = None, **query: object) -> dict[str, Any]:
        """Return the answer, `{}` if it is empty. Raise AdminError if it is a refusal or does not come."""
        given = {key: value for key, value in query.items() if value is not None}
        target = self._base + path + (f"?{urlencode(given)}" if given else "")
        headers = dict(self._headers)
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        status, answer = self._exchange(method, target, data, headers)
        if not 200 <= status < 300:
            raise AdminError(_problem(status, answer))
        return _object(answer) or {}

    def every_page(self, path: str, **query: object) -> dict[str, Any]:
        """Return a whole list, however many pages it has, as one page."""
        items: list[Any] = []
        cursors: set[str] = set()
        cursor: str | None = None
        while True:
            page = self.call("GET", path, None, **query, cursor=cursor)
            items += page.get("items", [])
            cursor = page.get("next")
            if cursor is None or str(cursor) in cursors:
                return {"items": items, "next": None}
            cursors.add(str(cursor))

    def _exchange(self, method: str, target: str, data: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        kind = http.client.HTTPSConnection if self._https else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=TIMEOUT)
        try:
            connection.request(method, target, data, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise AdminError(f"cannot reach {self._url}: {reason}") from error
        finally:
            connection.close()


def _object(answer: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(answer)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _problem(status: int, answer: bytes) -> str:
    """Return the text of an RFC 9457 problem, or the bare status where something else answered."""
    problem = _object(answer) or {}
    text = problem.get("detail") or problem.get("title")
    if not isinstance(text, str) or not text:
        text = http.client.responses.get(status, "no reason given")
    return f"{text} ({status})"
