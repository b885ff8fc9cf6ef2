"""`/announce`, `/shutdown`, `/audit`."""

from typing import Any

from fastapi import APIRouter

from gateway.rest.deps import Operator, TheService
from gateway.rest.models import (
    Announced,
    AuditId,
    AuditItem,
    Limit,
    NewAnnouncement,
    NewShutdown,
    Page,
)

router = APIRouter(tags=["operation"])


@router.post("/announce", response_model=Announced, status_code=201, summary="Tell everybody something")
async def announce(service: TheService, actor: Operator, new: NewAnnouncement) -> dict[str, Any]:
    """Post a message of kind `system` in #lobby and wherever somebody would miss it there."""
    posted = await service.announce(actor, new.body)
    return posted[0]._asdict() | {"rooms": [one.room for one in posted]}


@router.post("/shutdown", response_model=NewShutdown, status_code=202, summary="Stop every gateway")
async def shutdown(service: TheService, actor: Operator, new: NewShutdown | None = None) -> NewShutdown:
    """Stop every gateway that runs now, `grace` seconds from now; everybody connected is told first."""
    new = new or NewShutdown()
    await service.shutdown(actor, new.grace, new.reason)
    return new


@router.get("/audit", response_model=Page[AuditItem], summary="Read the audit log")
async def read_audit(
    service: TheService,
    actor: Operator,
    before: AuditId = None,
    cursor: AuditId = None,
    limit: Limit = 100,
) -> dict[str, Any]:
    """Who did what to whom, the newest first; `next` is the `before` (or `cursor`) of the older lines."""
    entries, rest = await service.audit(actor, cursor or before, limit)
    return {"items": entries, "next": rest}
