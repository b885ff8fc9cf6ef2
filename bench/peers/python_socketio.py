"""A chat on python-socketio with its Redis manager."""

import socketio
from serving import REDIS_URL, serve

server = socketio.AsyncServer(async_mode="asgi", client_manager=socketio.AsyncRedisManager(REDIS_URL))
rooms: dict[str, str] = {}


@server.event
async def join(sid: str, room: str) -> None:
    rooms[sid] = room
    await server.enter_room(sid, room)
    await server.emit("joined", to=sid)


@server.event
async def say(sid: str, text: str) -> None:
    await server.emit("say", text, room=rooms[sid])


serve(socketio.ASGIApp(server))
