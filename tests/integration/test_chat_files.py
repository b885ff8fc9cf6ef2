"""Files by `causerie chat`, in a pipe and at a terminal (docs/files.md, "For people")."""

import asyncio
import json
import os
import pty
import random
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from causerie.client import Client
from tests.support import Chat, Store
from tests.support.processes import Process, causerie_script, run_program
from tests.support.s3 import folder
from tests.support.timing import PATIENCE, eventually
from tests.support.words import new_nick

DATA = random.Random(5).randbytes(300_000)


@pytest.fixture(scope="module")
def chat(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chat]:
    url = folder(tmp_path_factory.mktemp("files")).url
    with Chat(store, gateways=1, workers=0, files_url=url) as started:
        yield started


@pytest.fixture
async def bob(chat: Chat) -> AsyncIterator[Client]:
    async with Client(chat.gateways[0].ws, nick=new_nick("bob")) as client:
        yield client


def command(chat: Chat, nick: str, *args: str) -> list[str]:
    return [causerie_script(), "chat", chat.gateways[0].ws, "--nick", nick, *args]


async def test_a_pipe_sends_waits_and_says_goodbye(chat: Chat, bob: Client, tmp_path: Path) -> None:
    (tmp_path / "my report.pdf").write_bytes(DATA)
    typed = f"@{bob.nick} !send_file my report.pdf\n!broadcast_file 'my report.pdf'\nhello\n"
    done = await run_program(command(chat, new_nick("ann"), "--json"), stdin=typed, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    sent = [event for event in events if event["ev"] == "sent_file"]
    assert [event["name"] for event in sent] == ["my report.pdf"] * 2
    assert not any("token" in line for line in done.stdout.splitlines()), "tokens are nobody's to read"
    messages = [event for event in events if event["ev"] == "message" and event["kind"] == "file"]
    assert {event["in"] for event in messages} == {"@", "#lobby"}
    saved = await bob.get_file(sent[0]["id"], tmp_path / "back")
    assert saved.path.read_bytes() == DATA


async def test_a_pipe_overwrites_nothing(chat: Chat, bob: Client, tmp_path: Path) -> None:
    source, home = tmp_path / "a.txt", tmp_path / "home"
    home.mkdir()
    source.write_bytes(DATA)
    (home / "a.txt").write_text("mine")
    file_id = (await bob.send_file("#lobby", source)).id
    other = "0" * 32
    done = await run_program(command(chat, new_nick("ann")), stdin=f"!get {file_id}\n!get {other}\n", cwd=home)
    assert done.returncode == 1, "one of them is not there"
    assert f"! denied: {other} is not saved: there is no such file, or it was not sent to you" in done.stdout
    assert "saved a (2).txt" in done.stderr
    assert {path.name for path in home.iterdir()} == {"a.txt", "a (2).txt"}
    assert (home / "a.txt").read_text() == "mine"
    assert (home / "a (2).txt").read_bytes() == DATA


async def test_the_same_bytes_twice_at_once(chat: Chat, bob: Client, tmp_path: Path) -> None:
    source, home = tmp_path / "a.txt", tmp_path / "home"
    home.mkdir()
    source.write_bytes(DATA)
    ids = [(await bob.send_file("#lobby", source)).id for _ in range(2)]
    typed = "".join(f"!get {file_id} {name}\n" for file_id, name in zip(ids, ("one", "two"), strict=True))
    done = await run_program(command(chat, new_nick("ann")), stdin=typed, cwd=home)
    assert done.returncode == 0, done.stdout
    assert {path.name: path.read_bytes() for path in home.iterdir()} == {"one": DATA, "two": DATA}


async def test_what_cannot_be_sent(chat: Chat, tmp_path: Path) -> None:
    typed = "!broadcast_file nothing\n!broadcast_file .\n!send_file x\n@nobody-here !send_file empty\n"
    (tmp_path / "empty").touch()
    done = await run_program(command(chat, new_nick("ann")), stdin=typed, cwd=tmp_path)
    assert done.returncode == 1
    refused = sorted(line for line in done.stdout.splitlines() if line.startswith("! "))
    assert refused == [
        "! bad_request: . is not sent: Is a directory",
        "! bad_request: nothing is not sent: No such file or directory",
        "! bad_request: say @nick !send_file PATH, or !broadcast_file PATH for the room",
        "! no_such_nick: empty is not sent: nobody is called nobody-here",
    ]
    assert "Traceback" not in done.stderr


class Terminal:
    """A `causerie chat` with a terminal for input and errors."""

    def __init__(self, argv: list[str], cwd: Path) -> None:
        self.master, slave = pty.openpty()
        self.shown = ""
        self.process = Process(argv, name="chat", stdin=slave, cwd=cwd)
        os.close(slave)

    def type(self, line: str) -> None:
        os.write(self.master, line.encode() + b"\n")


async def test_at_a_terminal_it_asks_before_it_overwrites(chat: Chat, bob: Client, tmp_path: Path) -> None:
    """“Never overwrites without asking”."""
    source, home = tmp_path / "a.txt", tmp_path / "home"
    home.mkdir()
    source.write_bytes(DATA)
    (home / "a.txt").write_text("mine")
    file_id = (await bob.send_file("#lobby", source)).id
    terminal = Terminal(command(chat, new_nick("ann")), home)
    with terminal.process as process:
        for number, answer in enumerate(("n", "y"), 1):
            terminal.type(f"!get {file_id}")

            async def asked(number: int = number) -> bool:
                return process.stderr.count("a.txt exists: overwrite it? (y or n)") == number

            await eventually(asked, "the question")
            assert (home / "a.txt").read_text() == "mine"
            terminal.type(answer)

            async def saved(number: int = number) -> bool:
                return process.stderr.count("causerie: saved ") == number

            await eventually(saved, "the file")
        assert (home / "a.txt").read_bytes() == (home / "a (2).txt").read_bytes() == DATA
        terminal.type("!quit")
        assert await process.exit_code() == 0
    os.close(terminal.master)


async def test_a_bar_at_a_terminal(chat: Chat, tmp_path: Path) -> None:
    """“A progress bar with rate and ETA”, on a terminal for standard error, gone when it is done."""
    (tmp_path / "big").write_bytes(b"")
    with (tmp_path / "big").open("wb") as file:
        file.truncate(200 * 2**20)
    master, slave = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *command(chat, new_nick("ann")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=slave,
        cwd=tmp_path,
    )
    os.close(slave)
    assert process.stdin is not None
    process.stdin.write(b"!broadcast_file big\n")
    process.stdin.close()
    shown = await asyncio.to_thread(_read_all, master)
    assert await asyncio.wait_for(process.wait(), PATIENCE) == 0, shown
    assert re.search(r"\rsending big \[#+-*\] +[0-9]+%  [0-9.]+ MiB/s  0:[0-9]{2}", shown.replace("\x1b[K", "")), shown
    assert shown.rstrip().splitlines()[-1].endswith("SHA-256 is right)")


def _read_all(master: int) -> str:
    found = b""
    try:
        while data := os.read(master, 65536):
            found += data
    except OSError:  # the other end is closed
        pass
    os.close(master)
    return found.decode()
