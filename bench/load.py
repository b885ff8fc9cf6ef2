"""The load generator (`native/load.c`) and how to speak to each server with it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from bench.machine import LOAD_CORES, built, end, spawn


@dataclass(frozen=True)
class Dialect:
    """What clients say to a server, as templates of load.c; `echo` = 0 where a sender does not get its own."""

    options: dict[str, str | int] = field(default_factory=dict)

    def words(self) -> list[str]:
        """The options of load.c."""
        return [word for name, value in self.options.items() for word in (f"--{name}", str(value))]


def causerie(room: str = "#lobby", *, websocket: bool = False) -> Dialect:
    """JSON on TCP or WebSocket, in a room whose name may contain %r."""
    end_of_line = "" if websocket else "\n"
    join = "" if room == "#lobby" else f'{{"op":"join","id":2,"room":"{room}"}}{end_of_line}'
    return Dialect(
        {
            "ws": int(websocket),
            "hello": '{"op":"hello","id":1,"nick":"bench%i"}' + end_of_line,
            "ready": '"ev":"welcome"',
            "join": join,
            "joined": '"ev":"result"',
            "prefix": f'{{"op":"send","id":%n,"to":"{room}","body":"',
            "suffix": '"}' + end_of_line,
            "ack": '"ev":"ack"',
            "error": '"ev":"error"',
            "ping": '{"ev":"ping"',
            "pong": '{"op":"pong"}' + end_of_line,
            "seq": '"seq":',
            "resume": '{"op":"hello","id":1,"cookie":"%c","resume":{"#lobby":{"epoch":"%e","seq":%s}}}' + end_of_line,
        }
    )


FLOOR = Dialect({"hello": "%r\n", "ready": "ok"})


class Load:
    """One process of the load generator."""

    def __init__(self, dialect: Dialect, ports: Sequence[int], *, pids: Sequence[int] = (), **options: Any) -> None:
        words = [built("load"), *dialect.words(), "--ports", ",".join(map(str, ports))]
        if pids:
            words += ["--pids", ",".join(map(str, pids))]
        for name, value in options.items():
            words += [f"--{name.replace('_', '-')}", str(value)]
        self.process = spawn(words, cores=LOAD_CORES, stdin=subprocess.PIPE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        end(self.process)

    def say(self, command: str) -> None:
        """Give it a command."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def hear(self, event: str) -> dict[str, Any]:
        """Its next word."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the load generator ended while {event} was awaited")
        found: dict[str, Any] = json.loads(line)
        assert found["event"] == event, found
        return found

    def run(self) -> dict[str, Any]:
        """One run of the traffic asked for."""
        self.say("go")
        return self.hear("run")
