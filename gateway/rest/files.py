"""`/files/{id}`: downloads. What a client sent is handed out as bytes to be saved, never as something to show."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response

from causerie.errors import Refused
from causerie.store.files import FileRecord
from gateway.rest.deps import TheService
from gateway.rest.problem import ProblemResponse, responses
from gateway.rest.ranges import Span, Unsatisfiable, wanted
from gateway.rest.transfers import Outgoing

router = APIRouter(prefix="/files", tags=["files"])

SAFE_TYPES: Final = frozenset(
    {"image/png", "image/jpeg", "image/gif", "image/webp", "audio/mpeg", "audio/ogg", "video/mp4", "video/webm"}
)
"""Media types that no browser runs; all others are `application/octet-stream` to it."""

_BYTES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/octet-stream": {}}, "description": "The file"},
    206: {"content": {"application/octet-stream": {}}, "description": "The range asked for"},
    416: {"description": "Range Not Satisfiable"},
}


def reader(request: Request, id_: str) -> str | None:
    """The session in whose name a request reads a file, None for an operator. Raises `Refused`."""
    grant = getattr(request.state, "grant", None)
    if grant is None:
        return None
    if (grant.what, grant.file) != ("get", id_):
        raise Refused("denied", "this token is for something else")
    sid: str = grant.sid
    return sid


@router.head("/{id}", include_in_schema=False)
@router.get("/{id}", response_class=Response, summary="Get a file", responses=responses(403) | _BYTES)
async def download(
    service: TheService,
    request: Request,
    id: str,  # noqa: A002 - the name that stands in the path
    range: Annotated[str | None, Header(description="one range of bytes (RFC 9110)")] = None,  # noqa: A002
    if_range: Annotated[str | None, Header(description="the ETag that the range belongs to")] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """A file, or a range of it, for those to whom it was sent: with the token that `!get ID` gives, or, where it
    was sent to a room, with that of the admins. The ETag is its SHA-256.
    """
    downloads = service.files.downloads
    record = await downloads.find(id, reader(request, id))
    headers = headers_of(record)
    if if_none_match and {"*", headers["ETag"]} & {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}:
        return Response(status_code=304, headers={"ETag": headers["ETag"], "Cache-Control": headers["Cache-Control"]})
    try:
        span = wanted(range, record.size) if if_range in {None, headers["ETag"]} else None
    except Unsatisfiable:
        return ProblemResponse(416, headers={"Content-Range": f"bytes */{record.size}"})
    if span is not None:
        headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{record.size}"
    status, span = (200, Span(0, record.size)) if span is None else (206, span)
    headers["Content-Length"] = str(span.end - span.start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    pieces = downloads.read(await downloads.content(record), *span)
    state = request.app.state
    who = (state.node.settings.stall_timeout, state.slots, reader(request, id) or "")
    return Outgoing(pieces, *who, status_code=status, headers=headers)


def headers_of(record: FileRecord) -> dict[str, str]:
    """What every answer about a file says: save it, and trust nothing of it."""
    safe = record.type if record.type in SAFE_TYPES else "application/octet-stream"
    plain = "".join(char if char.isascii() and char not in '"\\%' else "_" for char in record.name)
    digest = base64.b64encode(bytes.fromhex(record.sha256)).decode()
    return {
        "Content-Type": safe,
        "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(record.name, safe='')}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "private, no-cache",
        "Accept-Ranges": "bytes",
        "ETag": f'"{record.sha256}"',
        "Repr-Digest": f"sha-256=:{digest}:",
    }
