"""`/files`: uploads, by the tus protocol 1.0 (https://tus.io/protocols/resumable-upload)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import Scope

from causerie import names
from causerie.errors import Refused
from causerie.store.files import Elsewhere, FileRecord
from gateway.rest.deps import TheService
from gateway.rest.problem import ProblemResponse, of_refusal, responses
from gateway.rest.transfers import incoming

VERSION: Final = "1.0.0"
EXTENSIONS: Final = "creation,creation-with-upload,expiration,termination"
STREAM: Final = "application/offset+octet-stream"
SPOKEN: Final = {"Tus-Resumable": VERSION}


class TusRoute(APIRoute):
    """A route that speaks tus: the version in every answer, and the connection closed where a body stays unread."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Leave a HEAD that speaks no tus to downloads."""
        spoken = any(name == b"tus-resumable" for name, _ in scope.get("headers", ()))
        if scope.get("method") == "HEAD" and not spoken:
            return Match.NONE, {}
        return super().matches(scope)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler with refusals answered as tus wants them."""
        handle = super().get_route_handler()

        async def spoken(request: Request) -> Response:
            if request.method != "OPTIONS" and request.headers.get("Tus-Resumable") != VERSION:
                return _closing(ProblemResponse(412, "this speaks tus 1.0.0", headers={"Tus-Version": VERSION}))
            try:
                return await handle(request)
            except (Elsewhere, Refused, HTTPException, TimeoutError, ClientDisconnect) as error:
                return _closing(_problem(error))

        async def versioned(request: Request) -> Response:
            response = await spoken(request)
            response.headers.update(SPOKEN)
            return response

        return versioned


def _problem(error: Exception) -> Response:
    if isinstance(error, Elsewhere):
        return ProblemResponse(409, str(error), headers={"Upload-Offset": str(error.offset)})
    if isinstance(error, Refused):
        return ProblemResponse(413, error.text, code=error.code) if error.code == "too_long" else of_refusal(error)
    if isinstance(error, HTTPException):
        return ProblemResponse(error.status_code, error.detail)
    if isinstance(error, TimeoutError):
        return ProblemResponse(408, "nothing came for too long; go on where it stands")
    return Response(status_code=400)  # nobody is there to read it


def _closing(response: Response) -> Response:
    response.headers["Connection"] = "close"
    return response


router = APIRouter(prefix="/files", tags=["files"], route_class=TusRoute)


@router.options("", include_in_schema=False)
@router.options("/{id}", include_in_schema=False)
async def discover(request: Request) -> Response:
    """Say what of tus is spoken here."""
    most = request.app.state.node.settings.max_file
    told = {"Tus-Version": VERSION, "Tus-Extension": EXTENSIONS, "Tus-Max-Size": str(most)}
    return Response(status_code=204, headers=told)


@router.post(
    "", status_code=201, response_class=Response, summary="Begin an upload", responses=responses(403, 404, 413)
)
async def create(service: TheService, request: Request) -> Response:
    """Begin an upload (tus creation, also with the first bytes). With the token that `!send_file` or
    `!broadcast_file` gave it is the upload that was announced there. With the admin token it is a bot's to a room:
    `Upload-Metadata` holds `filename`, `room`, and may hold `from`, `filetype`, `sha256`.
    """
    size = _number(request, "Upload-Length")
    grant = getattr(request.state, "grant", None)
    if grant is None:
        record = await _begin(service, size, _metadata(request))
    else:
        record = await _writable(service, request, grant.file)
        if record.size != size:
            raise Refused("bad_request", f"{record.size} bytes were announced")
    if request.headers.get("Content-Type") == STREAM and record.offset == 0:
        record = await _receive(service, request, record, 0)
    return Response(status_code=201, headers={"Location": f"/api/v1/files/{record.id}", **_standing(record)})


@router.head("/{id}", include_in_schema=False)
async def standing(service: TheService, request: Request, id: str) -> Response:  # noqa: A002
    """Say how much of an upload is there."""
    record = await _writable(service, request, id)
    return Response(headers={"Cache-Control": "no-store", "Upload-Length": str(record.size), **_standing(record)})


@router.patch(
    "/{id}",
    status_code=204,
    response_class=Response,
    summary="Upload",
    responses=responses(403, 404, 408, 409, 413, 415),
)
async def upload(service: TheService, request: Request, id: str) -> Response:  # noqa: A002
    """Go on with an upload at `Upload-Offset`, on any gateway. With the last byte the file is checked and sent; an
    empty PATCH at the end tries that again.
    """
    if request.headers.get("Content-Type") != STREAM:
        raise HTTPException(415, f"the body is {STREAM}")
    record = await _writable(service, request, id)
    record = await _receive(service, request, record, _number(request, "Upload-Offset"))
    return Response(status_code=204, headers=_standing(record))


@router.delete(
    "/{id}", status_code=204, response_class=Response, summary="Give an upload up", responses=responses(403, 404)
)
async def cancel(service: TheService, request: Request, id: str) -> Response:  # noqa: A002
    """Give up an upload that is not finished."""
    await service.files.uploads.cancel(await _writable(service, request, id))
    return Response(status_code=204)


@router.post("/{id}", include_in_schema=False)
async def overridden(service: TheService, request: Request, id: str) -> Response:  # noqa: A002
    """What clients send that know no PATCH (`X-HTTP-Method-Override`)."""
    method = {"PATCH": upload, "DELETE": cancel, "HEAD": standing}.get(
        request.headers.get("X-HTTP-Method-Override", "").upper()
    )
    if method is None:
        raise HTTPException(405)
    return await method(service, request, id)


async def _begin(service: TheService, size: int, about: dict[str, str]) -> FileRecord:
    """A bot's upload."""
    if not {"filename", "room"} <= about.keys():
        raise Refused("bad_request", "Upload-Metadata needs filename and room")
    sender, sha256 = names.nick(about.get("from", "bot")), about.get("sha256", "").lower()
    if sha256 and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise Refused("bad_request", "sha256 is 64 hexadecimal digits")
    await service.demand_free(sender)
    return await service.files.uploads.offer_as(
        sender,
        names.room(about["room"]),
        size,
        sha256,
        about["filename"],
        about.get("filetype", ""),
    )


async def _writable(service: TheService, request: Request, id_: str) -> FileRecord:
    """The upload that the bearer of the request's token may write. Raises `Refused`, `HTTPException` (404)."""
    grant = getattr(request.state, "grant", None)
    if grant is not None and (grant.what, grant.file) != ("put", id_):
        raise Refused("denied", "this token is for something else")
    record = await service.files.uploads.find(id_)
    if record is None:
        raise HTTPException(404, "there is no such upload")
    if grant is None and record.sid:
        raise Refused("denied", "this upload is a person's")
    return record


async def _receive(service: TheService, request: Request, record: FileRecord, offset: int) -> FileRecord:
    if offset != record.offset:
        raise Elsewhere(record.state, record.offset)
    length = request.headers.get("Content-Length", "")
    if length.isdecimal() and int(length[:18]) > record.size - offset:
        raise Refused("too_long", f"{record.size} bytes were announced")
    node = request.app.state.node
    with request.app.state.slots.taken(record.sid):
        stream = incoming(request, node.settings.stall_timeout)
        return await service.files.uploads.receive(record, offset, stream, node.stopping.is_set)


def _standing(record: FileRecord) -> dict[str, str]:
    return {"Upload-Offset": str(record.offset), "Upload-Expires": formatdate(record.due / 1000, usegmt=True)}


def _number(request: Request, name: str) -> int:
    value = request.headers.get(name, "")
    if not value.isdecimal() or len(value) > 15:
        raise Refused("bad_request", f"{name} is missing or no number")
    return int(value)


def _metadata(request: Request) -> dict[str, str]:
    """`Upload-Metadata`: names and, in base64, values."""
    found: dict[str, str] = {}
    for pair in request.headers.get("Upload-Metadata", "").split(","):
        name, _, value = pair.strip().partition(" ")
        try:
            found[name] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, ValueError):
            raise Refused("bad_request", "Upload-Metadata is not in base64") from None
    return found
