"""A chat on Django Channels with channels_redis, as in its tutorial: a consumer a connection, a group a room."""

import sys

import django
from django.conf import settings
from serving import REDIS_URL, serve

LAYER = sys.argv[2]
# The core layer drops without a word what exceeds `capacity` (100 by default), and the pool of connections of both does
# not wait: it raises once 100 are busy, unless it may have more.
CONFIG: dict[str, object] = {"hosts": [f"{REDIS_URL}?max_connections=5000"]}
if LAYER.endswith(".RedisChannelLayer"):
    CONFIG["capacity"] = 1_000_000
settings.configure(CHANNEL_LAYERS={"default": {"BACKEND": LAYER, "CONFIG": CONFIG}})
django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402 - Django must be set up before


class Chat(AsyncWebsocketConsumer):
    room = ""

    async def receive(self, text_data: str) -> None:
        if self.room:
            await self.channel_layer.group_send(self.room, {"type": "chat.message", "text": text_data})
            return
        self.room = text_data
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.send(text_data="joined")

    async def chat_message(self, event: dict[str, str]) -> None:
        await self.send(text_data=event["text"])

    async def disconnect(self, _: int) -> None:
        if self.room:
            await self.channel_layer.group_discard(self.room, self.channel_name)


serve(Chat.as_asgi())
