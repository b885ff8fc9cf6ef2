"""`/rooms`: what is talked about where. A room in a path is written `%23lobby`."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Query

from causerie.errors import Refused
from gateway.rest.deps import Operator, RoomName, TheService
from gateway.rest.models import Cursor, Limit, MessageItem, NewMessage, Page, PostedItem, RoomDetail, RoomItem
from gateway.rest.problem import responses

router = APIRouter(prefix="/rooms", tags=["rooms"])


@router.get("", response_model=Page[RoomItem], summary="List the rooms")
async def list_rooms(service: TheService, cursor: Cursor = None, limit: Limit = 100) -> dict[str, Any]:
    """All rooms, a page at a time."""
    items, rest = await service.rooms(cursor, limit)
    return {"items": items, "next": rest}


@router.get("/{room}", response_model=RoomDetail, summary="Show a room", responses=responses(404))
async def show_room(service: TheService, room: RoomName) -> dict[str, Any]:
    """One room with its people."""
    info = await service.room(room)
    people, _ = await service.people(room)
    return {**{name: getattr(info, name) for name in RoomItem.model_fields}, "people": people}


@router.get("/{room}/messages", response_model=Page[MessageItem], summary="Read a room", responses=responses(404))
async def read_messages(
    service: TheService,
    actor: Operator,
    room: RoomName,
    *,
    before: Annotated[int | None, Query(ge=0, le=2**53, description="only messages with a lower seq")] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> dict[str, Any]:
    """The newest messages, in rising seq; `next` is the `before` (or `cursor`) of the older ones."""
    if cursor is not None:
        before = _seq(cursor)
    messages = [msgspec.json.decode(raw) for raw in await service.room_messages(actor, room, before, limit)]
    lowest = messages[0]["seq"] if messages else 1
    return {"items": messages, "next": str(lowest) if lowest > 1 else None}


@router.post(
    "/{room}/messages",
    response_model=PostedItem,
    status_code=201,
    summary="Post as a bot",
    responses=responses(404, 409),
)
async def post_message(
    service: TheService,
    actor: Operator,
    room: RoomName,
    message: NewMessage,
    idempotency_key: Annotated[
        str | None, Header(max_length=255, description="the same key again posts nothing more")
    ] = None,
) -> dict[str, Any]:
    """Post a message under a nick that no session has (409 if one has it)."""
    posted = await service.post(actor, room, message.from_, message.body, idempotency_key)
    return posted._asdict()


def _seq(cursor: str) -> int:
    if not cursor.isdecimal() or len(cursor) > 18:
        raise Refused("bad_request", "this is no cursor of such a list")
    return int(cursor)
