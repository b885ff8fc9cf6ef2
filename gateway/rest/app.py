"""The application: resources, the guard before them, problems after them."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from fastapi import APIRouter, FastAPI, Security
from fastapi.openapi.utils import get_openapi

from causerie import __version__
from causerie.metrics import Metrics
from causerie.service import Service
from causerie.settings import Settings
from gateway.rest import docs, files, health, operations, problem, rooms, sanctions, sessions, tus
from gateway.rest.auth import Guard, bearer
from gateway.rest.transfers import Slots

DESCRIPTION = """\
Lists are `{"items": [...], "next": cursor or null}`. Errors are `application/problem+json` (RFC 9457) whose
`code` is the chat's own. Everything under `/api/v1` needs `Authorization: Bearer <admin token>`; five wrong
ones a minute from one address are the limit. Files take the tokens that the chat gives for them, too.
"""


class Node(Protocol):
    """What the REST API needs of a gateway."""

    @property
    def service(self) -> Service:
        """The door to the chat."""

    @property
    def settings(self) -> Settings:
        """The gateway's settings."""

    @property
    def metrics(self) -> Metrics:
        """What the process counts."""

    @property
    def stopping(self) -> asyncio.Event:
        """Set when the gateway begins to stop."""

    @property
    def ready(self) -> bool:
        """Whether delivery is proven to work and the gateway is not draining."""


def create_app(node: Node) -> FastAPI:
    """The REST API of a gateway."""
    app = FastAPI(
        title="Causerie",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.node = node
    app.state.slots = Slots()
    api = APIRouter(prefix="/api/v1", dependencies=[Security(bearer)], responses=problem.RESPONSES)
    for resource in (sessions, rooms, sanctions, operations, tus, files):
        api.include_router(resource.router)
    app.include_router(api)
    app.include_router(health.router)
    app.include_router(docs.router)
    problem.install(app)
    app.add_middleware(Guard, service=node.service)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schema["components"]["schemas"]["Problem"] = problem.Problem.model_json_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            schema["components"]["schemas"].pop(unused, None)
        app.openapi_schema = schema
    return app.openapi_schema
