"""Errors as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from causerie.errors import Refused

MEDIA_TYPE: Final = "application/problem+json"

STATUS: Final[dict[str, int]] = {
    "bad_request": 422,
    "too_long": 422,
    "not_joined": 409,
    "no_such_nick": 404,
    "no_such_room": 404,
    "nick_taken": 409,
    "bad_nick": 422,
    "bad_cookie": 403,
    "denied": 403,
    "banned": 403,
    "suspended": 403,
    "dead": 403,
    "locked": 403,
    "rate_limited": 429,
    "unavailable": 503,
}
"""The HTTP status of every code in `causerie.errors.REFUSALS`."""


class Problem(BaseModel):
    """An error (RFC 9457). `code` is a stable word of the chat's own, where there is one."""

    type: str = "about:blank"
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str | None = None
    code: str | None = None
    errors: list[dict[str, Any]] | None = None


class ProblemResponse(JSONResponse):
    """A response with a problem in it."""

    media_type = MEDIA_TYPE

    def __init__(
        self,
        status: int,
        detail: str | None = None,
        *,
        code: str | None = None,
        errors: list[dict[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, code=code, errors=errors)
        super().__init__(problem.model_dump(exclude_none=True), status_code=status, headers=headers)


def of_refusal(refused: Refused) -> ProblemResponse:
    """The response for a command that is not done."""
    status = STATUS[refused.code]
    headers: dict[str, str] = {}
    if status in {429, 503}:
        headers["Retry-After"] = str(math.ceil(refused.retry_after or 1))
    return ProblemResponse(status, refused.text, code=refused.code, headers=headers)


def install(app: FastAPI) -> None:
    """Let every error of this app be a problem."""

    @app.exception_handler(Refused)
    async def _refused(_: Request, error: Refused) -> ProblemResponse:
        return of_refusal(error)

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> ProblemResponse:
        detail = None if error.detail == HTTPStatus(error.status_code).phrase else error.detail
        return ProblemResponse(error.status_code, detail, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> ProblemResponse:
        errors = [{"at": [str(part) for part in one["loc"]], "detail": one["msg"]} for one in error.errors()]
        first = errors[0]
        detail = f"{'.'.join(first['at'])}: {first['detail']}"
        return ProblemResponse(422, detail, code="bad_request", errors=errors)

    @app.exception_handler(Exception)
    async def _bug(_: Request, __: Exception) -> ProblemResponse:
        return ProblemResponse(500)


RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    status: {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status in (401, 422, 429, 503)
}
"""What every call under `/api/v1` may answer, for OpenAPI."""


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The same with these statuses too."""
    return RESPONSES | {status: RESPONSES[401] | {"description": HTTPStatus(status).phrase} for status in statuses}
