"""The public asyncio client of the JSON protocol: what the line client, bots and tests talk through.

    async with Client("ws://127.0.0.1:8080/ws", nick="echo") as client:
        async for message in client.messages():
            await client.reply(message, message.body)

It comes back by itself through any of its URLs, misses nothing and says nothing twice; see docs/client.md.
"""

from causerie.client.client import Client
from causerie.client.files import SavedFile, SentFile, TransferFailed
from causerie.client.results import (
    Ack,
    ClientError,
    Closed,
    Event,
    Message,
    NotSent,
    OutcomeUnknown,
    Result,
    Unreachable,
)
from causerie.errors import Refused

__all__ = [
    "Ack",
    "Client",
    "ClientError",
    "Closed",
    "Event",
    "Message",
    "NotSent",
    "OutcomeUnknown",
    "Refused",
    "Result",
    "SavedFile",
    "SentFile",
    "TransferFailed",
    "Unreachable",
]
