"""What tests stand on: real processes and raw protocol clients.

Nothing here imports `causerie`, `gateway`, `worker` or `cli`: these tools look at the programs from outside,
so a mistake in the project's own client cannot hide a mistake in its server.
"""

from tests.support.chat import Chat
from tests.support.json_client import Answered, JsonClient, Violation
from tests.support.people import People
from tests.support.processes import Gateway, Process, Serve, Worker, run_program
from tests.support.rest import Rest
from tests.support.store import Store
from tests.support.text_client import TextClient
from tests.support.timing import PATIENCE, eventually
from tests.support.words import new_nick, new_room, new_word

__all__ = [
    "PATIENCE",
    "Answered",
    "Chat",
    "Gateway",
    "JsonClient",
    "People",
    "Process",
    "Rest",
    "Serve",
    "Store",
    "TextClient",
    "Violation",
    "Worker",
    "eventually",
    "new_nick",
    "new_room",
    "new_word",
    "run_program",
]
