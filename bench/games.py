"""Games: how soon they answer, and what they cost the room in which they are played."""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import time
from collections.abc import Iterator
from typing import Any

from bench import load, servers
from bench.load import Load
from bench.scenarios import Figures, Scenario, figures
from bench.servers import Served


class Person:
    """One connection that speaks JSON lines, as an admin."""

    def __init__(self, served: Served, nick: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", served.ports[0]), timeout=10)
        self._lines = self._socket.makefile("rb")
        self._id = 0
        self.ask(op="hello", nick=nick, admin_token=served.token)

    def ask(self, **op: Any) -> dict[str, Any]:
        """Do an op and return its answer; what comes before it is passed over."""
        self.say(**op)
        return self.hear(lambda event: event.get("re") == self._id)

    def say(self, **op: Any) -> None:
        """Send an op."""
        self._id += 1
        self._socket.sendall(json.dumps({"id": self._id, **op}).encode() + b"\n")

    def hear(self, wanted: Any) -> dict[str, Any]:
        """The next event that is wanted."""
        for line in self._lines:
            event: dict[str, Any] = json.loads(line)
            if event["ev"] == "ping":
                self.say(op="pong")
            if event["ev"] == "error":
                raise RuntimeError(f"refused: {event}")
            if wanted(event):
                return event
        raise RuntimeError("the connection ended")

    def close(self) -> None:
        """Leave."""
        self._socket.close()


@contextlib.contextmanager
def _played(served: Served) -> Iterator[Person]:
    """A game of guess in the lobby, begun when everybody is there."""
    person = Person(served, "guesser")
    person.ask(op="command", line="!start #lobby guess max=999999999")
    try:
        yield person
    finally:
        person.close()


def fanout(members: int, **options: Any) -> Scenario:
    """One room, one of its members sending, while a game reads every message."""

    def measure() -> Figures:
        with (
            servers.causerie() as served,
            Load(
                load.causerie(), served.ports, pids=list(served.pids.values()), members=members, senders=1, **options
            ) as generator,
        ):
            generator.hear("ready")
            with _played(served) as person:
                person.close()
                return figures(generator.run(), served)

    return measure


def answers(members: int, rate: float, guesses: int = 300, every_s: float = 0.02) -> Scenario:
    """How long after a message a game answers, with `members` in the room and `rate` other messages a second."""

    def measure() -> Figures:
        with servers.causerie() as served:
            seconds = guesses * every_s + 5
            others = {"members": members, "senders": 1, "rate": rate, "seconds": seconds, "warmup": 0}
            with Load(load.causerie(), served.ports, **others) as generator:
                generator.hear("ready")
                with _played(served) as person:
                    generator.say("go")
                    took = sorted(_guess(person, every_s) for _ in range(guesses))
                generator.hear("run")
        return {
            "guesses": guesses,
            "members": members,
            "other_messages_per_s": rate,
            "answer_p50_ms": round(statistics.median(took) * 1e3, 1),
            "answer_p99_ms": round(took[int(len(took) * 0.99)] * 1e3, 1),
            "answer_max_ms": round(took[-1] * 1e3, 1),
        }

    return measure


def _guess(person: Person, every_s: float) -> float:
    """Seconds from a guess to what the game says of it."""
    began = time.perf_counter()
    person.say(op="send", to="#lobby", body="1")
    person.hear(lambda event: event.get("game", {}).get("event") == "low")
    took = time.perf_counter() - began
    time.sleep(max(0.0, every_s - took))
    return took
