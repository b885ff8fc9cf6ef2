"""What the resources are given."""

from typing import Annotated

from fastapi import Depends, Request

from causerie.commands import Actor
from causerie.names import room as room_name
from causerie.service import Service
from gateway.rest.auth import operator


def _service(request: Request) -> Service:
    service: Service = request.app.state.node.service
    return service


def _room(room: str) -> str:
    return room_name(room)


TheService = Annotated[Service, Depends(_service)]
Operator = Annotated[Actor, Depends(operator)]
RoomName = Annotated[str, Depends(_room)]
