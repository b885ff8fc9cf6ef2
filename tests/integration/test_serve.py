"""`causerie serve`, docs/protocol.md "Programs": one process tree that dies as one and keeps its promises."""

import asyncio
import fcntl
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import JsonClient, Rest, Serve, eventually, run_program
from tests.support.processes import Process, causerie_script

SETTINGS: dict[str, Any] = {"rate_limit": 0}


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Starts `serve` on the test's one data folder, and waits until it is ready."""
    started: list[Serve] = []

    async def start(**settings: Any) -> Serve:
        started.append(Serve(**{**SETTINGS, "data_dir": tmp_path / "data", **settings}))
        return await started[-1].is_ready()

    yield start
    for one in started:
        one.close()


@pytest.fixture
def token(tmp_path: Path) -> Callable[[], str]:
    return lambda: (tmp_path / "data" / "admin-token").read_text().strip()


async def all_gone(pids: list[int]) -> None:
    """Wait until none of these processes runs."""

    async def gone() -> bool:
        return not any(map(runs, pids))

    await eventually(gone, f"the end of {pids}")


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def child(serve: Serve, word: str) -> int:
    """The one process of the tree with this word in its command line."""
    (found,) = [pid for pid in serve.descendants() if word in Path(f"/proc/{pid}/cmdline").read_bytes().decode()]
    return found


async def test_all_that_was_promised_survives_kill_9(serve: Any, token: Any) -> None:
    """Promise 1: with `appendfsync always`, all of it; sessions, cookies and sanctions too."""
    first = await serve()
    ann = await JsonClient.open(first, name="ann")
    await ann.hello(nick="ann")
    await ann.join("#dev")
    bob = await JsonClient.open(first, name="bob")
    await bob.hello(nick="bob")
    acks = [await ann.say("#dev", f"message {n}") for n in range(20)]
    await bob.say(["@ann"], "psst")
    await ann.message("psst", in_="@")
    async with Rest(first, token()) as rest:
        await rest.post("/suspensions", {"nick": "bob", "reason": "noise"})
        await rest.post("/bans", {"subject": "mallory", "reason": "spam"})
    positions = ann.positions("#lobby", "#dev", "@")
    below = first.descendants()
    first.kill()
    await all_gone(below)

    second = await serve()
    back = await JsonClient.open(second, name="ann again")
    welcome = await back.hello(cookie=ann.cookie, resume=positions)
    assert welcome["resumed"] is True
    assert welcome["nick"] == "ann"
    assert {room: state.get("recovered") for room, state in welcome["rooms"].items()} == {
        "#lobby": True,
        "#dev": True,
        "@": True,
    }
    history = await back.ask("history", of="#dev", limit=50, want="result")
    kept = [(one["seq"], one["body"]) for one in history["data"]["messages"]]
    assert kept == [(ack["seq"], f"message {n}") for n, ack in enumerate(acks)]
    bob_again = await JsonClient.open(second, name="bob again")
    await bob_again.hello(cookie=bob.cookie)
    await bob_again.refused("suspended", "send", to="#lobby", body="still here")
    mallory = await JsonClient.open(second, name="mallory")
    await mallory.refused("banned", "hello", nick="mallory")
    assert token() not in second.stdout + second.stderr

    below = second.descendants()
    second.terminate()
    bye = await back.ended("shutdown")
    assert bye["retry_after"] > 0
    assert await second.exit_code(patience=30) == 0
    await all_gone(below)
    for client in (ann, bob, back, bob_again, mallory):
        await client.dispose()


@pytest.mark.parametrize("word", ["valkey-server", "gateway", "worker"])
async def test_when_any_part_dies_all_is_stopped(serve: Any, word: str) -> None:
    """Programs: when any part of it dies, however it dies, nothing is left running. Exit status 1."""
    running = await serve()
    below = running.descendants()
    os.kill(child(running, word), signal.SIGKILL)
    assert await running.exit_code(patience=30) == 1
    await all_gone(below)
    assert "ended by itself (SIGKILL)" in running.stderr


async def test_one_serve_a_folder_until_shutdown_stops_it(serve: Any, tmp_path: Path) -> None:
    """The lock, also that of a left-over store; the token; `!shutdown`. All in a folder with a long name.

    The path of a Unix socket has some hundred bytes; a data folder's has more.
    """
    folder = tmp_path / ("long name " * 12)
    running = await serve(data_dir=folder)
    below = running.descendants()

    second = await run_program(
        [causerie_script(), "serve", "--data-dir", str(folder), "--http-port", "auto", "--tcp-port", "auto"]
    )
    assert (second.returncode, second.stdout, second.stderr.count("\n")) == (1, "", 1)
    assert "another `causerie serve` uses it" in second.stderr
    # Should a store ever outlive its parent, it keeps the next one out.
    descriptors = Path(f"/proc/{child(running, 'valkey-server')}/fd").iterdir()
    assert str(folder / "lock") in [str(descriptor.readlink()) for descriptor in descriptors]

    secret = (folder / "admin-token").read_text().strip()
    assert len(secret) >= 22
    assert (folder / "admin-token").stat().st_mode & 0o777 == 0o600
    assert (running.stdout + running.stderr).count(secret) == 1
    for pid in [running.pid, *below]:
        assert secret not in Path(f"/proc/{pid}/cmdline").read_bytes().decode()

    done = await run_program(
        [causerie_script(), "admin", "shutdown", "--url", running.http],
        env={"CAUSERIE_ADMIN_TOKEN": secret},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert await running.exit_code(patience=30) == 0
    await all_gone(below)


async def test_what_the_gateway_cannot_do_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    """A port that is taken: one line of the gateway that names it, and no process stays."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = await run_program(
            [
                causerie_script(),
                "serve",
                "--data-dir",
                str(tmp_path),
                "--http-port",
                "auto",
                "--tcp-port",
                str(port),
            ]
        )
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"causerie gateway: 127.0.0.1:{port}: " in done.stderr
    assert "Traceback" not in done.stderr
    with (tmp_path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


async def test_a_folder_that_cannot_be_used_is_a_bad_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = await run_program([causerie_script(), "serve", "--data-dir", str(tmp_path / "file" / "data")])
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("causerie serve: --data-dir ")
    assert done.stderr.count("\n") == 1


async def test_the_terminal_is_the_moderators_console(tmp_path: Path) -> None:
    """Programs: a terminal is the moderator's console: `!list`, plain text is an announcement."""
    ours, theirs = os.openpty()
    running = _OnTerminal(theirs, tmp_path)
    os.close(theirs)
    try:
        await running.is_ready()
        ann = await JsonClient.open(running, name="ann")
        await ann.hello(nick="ann")
        os.write(ours, b"Tea is ready\n")
        told = await ann.message("Tea is ready", in_="#lobby")
        assert told["kind"] == "system"
        os.write(ours, b"!list\n")
        await asyncio.to_thread(running.wait_for_line, lambda line: line.startswith("* ann"), "ann in !list")
        os.write(ours, b"!dance\n")
        await asyncio.to_thread(running.wait_for_line, lambda line: line.startswith("! bad_request"), "a refusal")
        os.write(ours, b"!ban ann 10m spam\n")
        await ann.ended("banned")
        running.signal(signal.SIGINT)
        assert await running.exit_code(patience=30) == 0
        await ann.dispose()
    finally:
        running.close()
        os.close(ours)


class _OnTerminal(Serve):
    """`serve` with a terminal on its standard input."""

    def __init__(self, terminal: int, tmp_path: Path) -> None:
        argv = [causerie_script(), "serve", "--data-dir", str(tmp_path / "data"), "--http-port", "auto"]
        Process.__init__(self, [*argv, "--tcp-port", "auto"], name="serve", stdin=terminal)
        self.ready = {}
