"""A bot in ten lines: it says again whatever is said to it, and comes through any restart of the servers.

    python examples/echo_bot.py ws://127.0.0.1:8080/ws ws://127.0.0.1:8081/ws

Write `@echo hello` to it. Several addresses are gateways of the same chat: when one dies it goes on through
the next, answers what was said meanwhile, and says nothing twice. `^C` ends it, with a goodbye. See
docs/client.md.
"""

import asyncio
import contextlib
import sys

from causerie.client import Client, Refused


async def main(urls: list[str]) -> None:
    """Answer direct messages until somebody stops us."""
    async with Client(urls, nick="echo") as client:
        async for message in client.messages():
            if message.in_ == "@":
                with contextlib.suppress(Refused):  # whoever asked may have left
                    await client.reply(message, message.body)


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main(sys.argv[1:] or ["ws://127.0.0.1:8080/ws"]))
