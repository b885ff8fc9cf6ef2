"""`/sessions`: who is in the chat, and the door out of it."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from gateway.rest.deps import Operator, TheService
from gateway.rest.models import Limit, Nick, Page, SessionCursor, SessionItem, State
from gateway.rest.problem import responses

router = APIRouter(prefix="/sessions", tags=["sessions"])


@router.get("", response_model=Page[SessionItem], summary="List the sessions")
async def list_sessions(
    service: TheService,
    actor: Operator,
    *,
    state: Annotated[State | None, Query()] = None,
    nick: Annotated[Nick | None, Query()] = None,
    cursor: SessionCursor = None,
    limit: Limit = 100,
) -> dict[str, Any]:
    """All sessions, or those in one state, or the one with that nick."""
    items, rest = await service.sessions(actor, state=state, nick=nick, cursor=cursor, limit=limit)
    return {"items": items, "next": rest}


@router.delete("/{nick}", status_code=204, summary="Kick somebody", responses=responses(404))
async def kick(service: TheService, actor: Operator, nick: Nick, reason: Annotated[str, Query()] = "") -> None:
    """End the session; its cookie is void."""
    await service.kick(actor, [nick], reason)
