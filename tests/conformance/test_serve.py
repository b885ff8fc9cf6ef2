"""docs/protocol.md: “`causerie serve` everything on one machine ... in one process tree”."""

import os
import pty
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Chat, People, Serve, Store, eventually, run_program
from tests.support.processes import causerie_script, clean_environment, parse_ready, prepare


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def left_over() -> Iterator[list[int]]:
    """Process ids that a test is responsible for; whatever still runs of them is ended."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        if _runs(pid):
            os.kill(pid, signal.SIGKILL)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def _all_gone(pids: list[int]) -> None:
    async def gone() -> bool:
        return not any(map(_runs, pids))

    await eventually(gone, f"the end of {pids}")


def _people(serve: Serve, token: str = "the-token") -> People:
    chat = Chat(Store(), admin_token=token)
    chat.gateways.append(serve)
    return People(chat)


async def test_serve_and_sigterm(folder: Path, left_over: list[int]) -> None:
    """“an embedded Valkey ..., one gateway, one worker, in one process tree”; SIGTERM: `bye shutdown`, exit
    0, and nothing is left.
    """
    with Serve(data_dir=folder, admin_token="the-token") as serve:
        await serve.is_ready()
        assert serve.ready.keys() == {"gateway", "http", "tcp"}
        left_over += serve.descendants()
        assert len(left_over) >= 3
        async with _people(serve) as people:
            alice, text = await people.enter("alice"), await people.text("bob")
            await alice.say("#lobby", "hello")
            await text.expect(rf"\[#lobby\] {alice.nick}: hello")
            await people.rest().get("/bans")
            serve.terminate()
            await alice.ended("shutdown")
            await text.ended("shutdown")
            assert await serve.exit_code(20) == 0
        await _all_gone(left_over)
        assert "Traceback" not in serve.stderr


async def test_serve_survives_its_kill(folder: Path, left_over: list[int]) -> None:
    """“nothing is left running”, and survives its own `kill -9`: sessions, cookies, sanctions, messages are
    there.
    """
    with Serve(data_dir=folder, admin_token="the-token") as first:
        await first.is_ready()
        left_over += first.descendants()
        async with _people(first) as people:
            room = people.room()
            alice = await people.enter("alice", room=room)
            admin = await people.admin()
            banned, quiet = people.nick("banned"), people.nick("quiet")
            await admin.command(f"!ban {banned} 10m")
            await admin.command(f"!suspend {quiet} 10m")
            acks = [await alice.say(room, f"kept {n}") for n in range(20)]
            await alice.message("kept 19")
            first.kill()
            await alice.ended()
        await _all_gone(left_over)
    with Serve(data_dir=folder, admin_token="the-token") as second:
        await second.is_ready()
        left_over += second.descendants()
        async with _people(second) as people:
            again = await people.back(alice)
            assert again.welcome["rooms"][room] == {
                **again.welcome["rooms"][room],
                "seq": 20,
                "recovered": True,
            }
            repeat = await again.say(room, "kept 19", id=acks[-1]["re"])
            assert (repeat["duplicate"], repeat["seq"]) == (True, 20)
            data = (await again.ask("history", of=room, limit=50, want="result"))["data"]
            assert [message["body"] for message in data["messages"]] == [f"kept {n}" for n in range(20)]
            client = await people.connect()
            await client.refused("banned", "hello", nick=banned)
            silent = await people.enter(nick=quiet)
            await silent.refused("suspended", "send", to="#lobby", body="x")
            assert (await again.say(room, "on"))["seq"] == 21
        second.terminate()
        assert await second.exit_code(20) == 0


@pytest.mark.parametrize("victim", ["valkey", "gateway", "worker"])
async def test_death_of_a_part_ends_all(folder: Path, left_over: list[int], victim: str) -> None:
    """“when any part of it dies, however it dies, nothing is left running”: and the exit status tells."""
    with Serve(data_dir=folder) as serve:
        await serve.is_ready()
        left_over += serve.descendants()
        (part,) = [pid for pid in left_over if victim in _command(pid)]
        os.kill(part, signal.SIGKILL)
        assert await serve.exit_code(20) == 1
        await _all_gone(left_over)


def _command(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    named = [Path(os.fsdecode(word)).name for word in words[:5]]
    return " ".join(named)


async def test_second_serve_on_the_same_data_is_kept_out(folder: Path) -> None:
    """“the next `serve` never shares the data with a left-over”: nor with one that runs."""
    with Serve(data_dir=folder) as serve:
        await serve.is_ready()
        argv = [
            "serve",
            "--data-dir",
            str(folder),
            "--http-port",
            "auto",
            "--tcp-port",
            "auto",
            "--irc-port",
            "0",
        ]
        ended = await run_program([causerie_script(), *argv])
        assert ended.returncode in {1, 2}, ended
        assert "ready" not in ended.stdout
        assert "Traceback" not in ended.stderr
        async with _people(serve) as people:
            await (await people.enter("alice")).say("#lobby", "undisturbed")


async def test_admin_token_is_made_kept_and_printed_once(folder: Path) -> None:
    """“`--admin-token` (`serve` makes one if none is given, keeps it in the data dir and prints it once)”."""
    with Serve(data_dir=folder) as first:
        await first.is_ready()
        printed = set(re.findall(r"[A-Za-z0-9_-]{20,}", first.stdout + first.stderr))
        kept = {
            word for path in folder.rglob("*") if path.is_file() and path.stat().st_size < 1000 for word in _words(path)
        }
        (token,) = printed & kept
        assert (first.stdout + first.stderr).count(token) == 1
        async with _people(first, token) as people:
            await people.rest().get("/bans")
        first.terminate()
        assert await first.exit_code(20) == 0
    with Serve(data_dir=folder) as second:
        await second.is_ready()
        assert token not in second.stdout + second.stderr
        async with _people(second, token) as people:
            await people.rest().get("/bans")


def _words(path: Path) -> set[str]:
    return set(re.findall(r"[A-Za-z0-9_-]{20,}", path.read_text(errors="replace")))


async def test_what_is_kept_is_private(folder: Path) -> None:
    """A token and a store's data are secrets: nobody else on the machine may read them."""
    with Serve(data_dir=folder) as serve:
        await serve.is_ready()
        open_to_others = [path for path in folder.rglob("*") if path.stat().st_mode & 0o007 and path.is_file()]
        assert folder.stat().st_mode & 0o007 == 0 or not open_to_others


class _Terminal:
    """`causerie serve` on a pseudo-terminal."""

    def __init__(self, folder: Path) -> None:
        self.master, slave = pty.openpty()
        argv = [causerie_script(), "serve", "--data-dir", str(folder), "--admin-token", "the-token"]
        argv += ["--http-port", "auto", "--tcp-port", "auto", "--irc-port", "0"]
        self.popen = subprocess.Popen(
            argv,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=clean_environment({"TERM": "dumb"}),
            preexec_fn=_own_session,
        )
        os.close(slave)
        self.shown = ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.master, 4096)
            except OSError:
                return
            if not data:
                return
            self.shown += data.decode("utf-8", "replace")

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    async def shows(self, pattern: str) -> re.Match[str]:
        async def found() -> re.Match[str] | None:
            return re.search(pattern, self.shown)

        match = await eventually(found, f"{pattern!r} on the terminal: {self.shown[-500:]!r}", 30)
        assert match is not None
        return match

    def close(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        os.close(self.master)


def _own_session() -> None:
    prepare()
    os.setsid()
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


async def test_moderators_console(folder: Path) -> None:
    """“If the terminal is interactive it is the moderator's console: `!list`, `!ban bob`, plain text is an
    announcement. `^C` is a graceful shutdown”.
    """
    terminal = _Terminal(folder)
    try:
        line = (await terminal.shows(r"ready gateway=[^\r\n]+"))[0]
        serve = Serve.__new__(Serve)
        serve.ready = parse_ready(line.strip())
        async with _people(serve) as people:
            alice, bob = await people.enter("alice"), await people.enter("bob")
            terminal.type("!list\n")
            await terminal.shows(rf"{alice.nick}.*online")
            terminal.type("dinner is ready\n")
            event = await alice.message("dinner is ready")
            assert event["kind"] == "system"
            terminal.type(f"!ban {bob.nick} 10m\n")
            await bob.ended("banned")
            terminal.type("!nonsense\n")
            await terminal.shows(r"bad_request")
            terminal.type("\x03")
            await alice.ended("shutdown")

            async def ended() -> bool:
                return terminal.popen.poll() is not None

            await eventually(ended, "the end of serve", 20)
            assert terminal.popen.returncode == 0
            assert "Traceback" not in terminal.shown
            assert "WARNING" not in terminal.shown, "a graceful stop is no trouble"
    finally:
        terminal.close()
