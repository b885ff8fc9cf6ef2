"""A chat on `websockets` and redis-py: one pub/sub connection, `broadcast` to the members of a room."""

import contextlib
import sys
from collections import defaultdict

import redis.asyncio
import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

store = redis.asyncio.Redis(
    connection_pool=redis.asyncio.BlockingConnectionPool.from_url(sys.argv[1], max_connections=50)
)
members: dict[str, set[ServerConnection]] = defaultdict(set)


async def chat(socket: ServerConnection) -> None:
    room = await socket.recv()
    members[room].add(socket)
    await socket.send("joined")
    with contextlib.suppress(ConnectionClosed):
        async for message in socket:
            await store.publish(f"chat:{room}", message)
    members[room].discard(socket)


async def main() -> None:
    feed = store.pubsub(ignore_subscribe_messages=True)
    await feed.psubscribe("chat:*")
    async with serve(chat, "127.0.0.1", 0, compression=None, backlog=4096) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        async for message in feed.listen():
            broadcast(members[message["channel"].decode()[5:]], message["data"].decode())


uvloop.run(main())
