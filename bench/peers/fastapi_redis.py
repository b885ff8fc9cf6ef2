"""The chat of FastAPI's tutorial (a manager that awaits `send_text` for one after the other), told by Redis pub/sub."""

import asyncio
import contextlib
from collections import defaultdict

import redis.asyncio
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from serving import REDIS_URL, serve

# redis-py's usual pool raises once 100 connections are busy: one that waits instead.
store = redis.asyncio.Redis(
    connection_pool=redis.asyncio.BlockingConnectionPool.from_url(REDIS_URL, max_connections=50)
)
members: dict[str, list[WebSocket]] = defaultdict(list)


async def tell() -> None:
    feed = store.pubsub(ignore_subscribe_messages=True)
    await feed.psubscribe("chat:*")
    async for message in feed.listen():
        text = message["data"].decode()
        for socket in list(members[message["channel"].decode()[5:]]):
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                await socket.send_text(text)


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI):
    task = asyncio.create_task(tell())
    yield
    task.cancel()


app = FastAPI(lifespan=lifespan)


@app.websocket("/ws")
async def chat(socket: WebSocket) -> None:
    await socket.accept()
    room = await socket.receive_text()
    members[room].append(socket)
    await socket.send_text("joined")
    try:
        while True:
            await store.publish(f"chat:{room}", await socket.receive_text())
    except WebSocketDisconnect:
        members[room].remove(socket)


serve(app)
