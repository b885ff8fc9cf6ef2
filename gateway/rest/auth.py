"""What stands before every call: the bearer token, and a bound on the size of a request.

This is ASGI middleware, so nothing of a request under `/api/` is read before its token was found right.
"""

from __future__ import annotations

from typing import Final

from fastapi import Request
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from causerie.commands import Actor
from causerie.errors import Refused
from causerie.files.service import TOKEN
from causerie.service import Service
from gateway.rest.problem import ProblemResponse, of_refusal

MAX_REQUEST: Final = 64 * 1024
"""Bytes of a request's body; the longest that means anything has a message of 4 KiB, escaped."""

FILES: Final = "/api/v1/files"

bearer = HTTPBearer(auto_error=False, description="The admin token; for files also the one that the chat gave for it.")
"""Names the scheme in OpenAPI; `Guard` checks it."""


class Guard:
    """Lets a call under `/api/` through only with the admin token; one about files also with the token of a file."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = await self._refusal(scope) if scope["path"].startswith("/api") else None
        upload = _is_of_files(scope) and scope["method"] in {"POST", "PATCH"}
        if not upload:
            refusal = refusal or _too_large(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive if upload else _bounded(receive), send)

    async def _refusal(self, scope: Scope) -> ProblemResponse | None:
        given = _bearer_token(scope)
        try:
            if given is not None and _is_of_files(scope) and TOKEN.fullmatch(given):
                grant = await self.service.files.granted(given)
                scope.setdefault("state", {})["grant"] = grant
                return _unauthorized() if grant is None else None
            if given is not None and await self.service.rights.check_token(given, _address(scope)):
                return None
        except Refused as refused:
            return of_refusal(refused)
        return _unauthorized()


def _unauthorized() -> ProblemResponse:
    return ProblemResponse(
        401,
        "this needs Authorization: Bearer <admin token>",
        headers={"WWW-Authenticate": 'Bearer realm="causerie"'},
    )


def _is_of_files(scope: Scope) -> bool:
    """Whether a request is about files, for which there are tokens of their own and streams of any length."""
    path: str = scope["path"]
    return path == FILES or path.startswith(FILES + "/")


def operator(request: Request) -> Actor:
    """The actor of a call that `Guard` let through."""
    return Actor.operator("admin", _address(request.scope))


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def _header(scope: Scope, name: bytes) -> bytes | None:
    found = [value for key, value in scope["headers"] if key == name]
    return found[0] if len(found) == 1 else None


def _bearer_token(scope: Scope) -> str | None:
    header = _header(scope, b"authorization")
    if header is None:
        return None
    scheme, _, token = header.decode("latin-1").partition(" ")
    return token.strip() if scheme.casefold() == "bearer" and token.strip() else None


def _too_large(scope: Scope) -> ProblemResponse | None:
    length = _header(scope, b"content-length")
    if length is not None and length.isdigit() and int(length[:12]) > MAX_REQUEST:
        return ProblemResponse(413, f"a request has at most {MAX_REQUEST} bytes", headers={"Connection": "close"})
    return None


def _bounded(receive: Receive) -> Receive:
    """The same stream, cut where a request without a length grows too long."""
    left = MAX_REQUEST

    async def bounded() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(413, f"a request has at most {MAX_REQUEST} bytes")
        return message

    return bounded
