"""`/bans`, `/suspensions`, `/forgive`. When a call has answered, not one more line gets through."""

from typing import Any

from fastapi import APIRouter

from causerie.commands.arguments import subject as subject_of
from causerie.errors import Refused
from causerie.model import Sanction
from gateway.rest.deps import Operator, TheService
from gateway.rest.models import (
    BanItem,
    Cursor,
    Forgiven,
    Limit,
    NewBan,
    NewForgiveness,
    NewSuspension,
    Nick,
    Page,
    SanctionItem,
)
from gateway.rest.problem import responses

router = APIRouter(tags=["sanctions"])


@router.get("/bans", response_model=Page[BanItem], summary="List the bans")
async def list_bans(service: TheService, actor: Operator, cursor: Cursor = None, limit: Limit = 100) -> dict[str, Any]:
    """Who is banned from the chat: nicks, addresses, networks."""
    items, rest = await service.bans(actor, cursor, limit)
    return {"items": items, "next": rest}


@router.post("/bans", response_model=BanItem, status_code=201, summary="Ban")
async def ban(service: TheService, actor: Operator, new: NewBan) -> Sanction:
    """Ban a nick, an address or a network; a ban that stands is replaced."""
    _, made = await service.ban(actor, [new.subject], new.duration, new.reason)
    return made[0]


@router.delete("/bans/{subject:path}", status_code=204, summary="Lift a ban", responses=responses(404))
async def unban(service: TheService, actor: Operator, subject: str) -> None:
    """Lift the ban alone; a suspension stays."""
    await _lift(service, actor, subject_of(subject), "ban")


@router.get("/suspensions", response_model=Page[SanctionItem], summary="List the suspensions")
async def list_suspensions(
    service: TheService, actor: Operator, cursor: Cursor = None, limit: Limit = 100
) -> dict[str, Any]:
    """Who is suspended in the whole chat."""
    items, rest = await service.suspensions(actor, cursor, limit)
    return {"items": items, "next": rest}


@router.post("/suspensions", response_model=SanctionItem, status_code=201, summary="Suspend")
async def suspend(service: TheService, actor: Operator, new: NewSuspension) -> Sanction:
    """Suspend a nick; a suspension that stands is replaced."""
    _, made = await service.suspend(actor, [new.nick], new.duration, new.reason)
    return made[0]


@router.delete("/suspensions/{nick}", status_code=204, summary="Lift a suspension", responses=responses(404))
async def unsuspend(service: TheService, actor: Operator, nick: Nick) -> None:
    """Lift the suspension alone; a ban stays."""
    await _lift(service, actor, nick, "suspend")


@router.post("/forgive", response_model=Forgiven, summary="Forgive")
async def forgive(service: TheService, actor: Operator, new: NewForgiveness) -> dict[str, Any]:
    """Lift ban and suspension; forgiving somebody who has none is no error."""
    lifted = await service.forgive(actor, [new.nick])
    return {"nick": new.nick, "lifted": lifted[new.nick]}


async def _lift(service: TheService, actor: Operator, subject: str, kind: str) -> None:
    lifted = await service.forgive(actor, [subject], kinds=[kind])
    if not lifted[subject]:
        raise Refused("no_such_nick", f"no such sanction on {subject}")
