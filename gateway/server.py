"""A gateway from start to stop, in order.

Start: listen, so that health can be asked for; reach the store; say `ready`. Stop: take nobody new, tell everybody,
write what is queued, take leave of the sessions, close.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import signal
import sys

import uvloop

from causerie.errors import Unfit
from causerie.settings import Settings
from causerie.store import Store
from gateway.listeners import Listeners
from gateway.node import Node

FLUSH_S = 4.0
"""How long the goodbyes may take."""


def run(settings: Settings) -> int:
    """Run a gateway until it is told to stop; its exit status."""
    _allow_many_connections()
    if settings.processes > 1:
        from gateway import processes

        return processes.run(settings, _run_one)
    return _run_one(settings)


def _allow_many_connections() -> None:
    """Take as many open files as we may have; shells and containers often begin with 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _run_one(settings: Settings) -> int:
    # thousands of small objects live while a message is on its way, and hardly any of them is in a cycle
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    return uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    node = Node(settings, await Store.open(settings))
    for number in (signal.SIGINT, signal.SIGTERM):
        node.loop.add_signal_handler(number, node.stop)
    listeners = Listeners(node)
    try:
        await listeners.open()
    except OSError as error:
        print(f"causerie gateway: {error.strerror or error}", file=sys.stderr)
        await node.close()
        return 1
    try:
        if await _until_reached(node):
            _say_ready(node, listeners)
            await node.leaving.wait()
    except Unfit as error:
        print(f"causerie gateway: {error}", file=sys.stderr)
        await listeners.close()
        await node.close()
        return 2
    listeners.stop_accepting()
    await node.say_goodbye(FLUSH_S)
    await listeners.close()
    await node.close()
    return 0


async def _until_reached(node: Node) -> bool:
    """Wait for the store; False when the gateway is told to stop before."""
    reaching = node.loop.create_task(node.reach_store())
    stopping = node.loop.create_task(node.stopping.wait())
    await asyncio.wait((reaching, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if reaching.done():
        reaching.result()
        return True
    reaching.cancel()
    return False


def _say_ready(node: Node, listeners: Listeners) -> None:
    parts = [f"gateway={node.id}"]
    if listeners.http_at:
        parts.append(f"http={listeners.http_at}")
    if listeners.tcp_at:
        parts.append(f"tcp={listeners.tcp_at}")
    print("ready", *parts, flush=True)
