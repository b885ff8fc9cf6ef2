"""Files through real gateways that are killed, on a folder and on S3 (docs/files.md)."""

import asyncio
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from causerie.client import Client, Event, Refused
from tests.support import Chat, Store
from tests.support.processes import Gateway, Serve
from tests.support.s3 import Place, folder
from tests.support.timing import PATIENCE, eventually
from tests.support.words import new_nick, new_room

MIB = 2**20


def addresses(chat: Chat, transport: str) -> list[str]:
    return [
        gateway.ws if transport == "ws" else "tcp://{}:{}".format(*gateway.tcp)
        for gateway in chat.gateways
        if gateway.alive
    ]


@pytest.fixture
def placed(store: Store, place: Place) -> Iterator[Chat]:
    """Two gateways whose files lie in `place`."""
    with Chat(store, gateways=2, workers=0, files_url=place.url, env=place.env) as chat:
        yield chat


@pytest.fixture
def mortal(store: Store, tmp_path: Path) -> Iterator[Chat]:
    """Two gateways and a worker on a folder, to be killed."""
    with Chat(store, gateways=2, workers=1, files_url=folder(tmp_path / "kept").url) as chat:
        yield chat


def made(path: Path, size: int, seed: int = 1) -> Path:
    path.write_bytes(random.Random(seed).randbytes(size))
    return path


async def file_event(client: Client) -> Event:
    """The next message of kind `file`."""
    async with asyncio.timeout(PATIENCE):
        async for event in client.events():
            if event["ev"] == "message" and event["kind"] == "file":
                return event
    raise AssertionError("the client ended")


async def test_from_one_to_another(placed: Chat, tmp_path: Path) -> None:
    one, other = addresses(placed, "ws")[0], addresses(placed, "tcp")[1]
    path = made(tmp_path / "holiday film.mp4", 9 * MIB + 5)
    got = tmp_path / "got"
    got.mkdir()
    async with Client(one, nick=new_nick("ann")) as ann, Client(other, nick=new_nick("bob")) as bob:
        sent = await ann.send_file(f"@{bob.nick}", path)
        event = await file_event(bob)
        assert event["file"] == {
            "id": sent.id,
            "name": "holiday film.mp4",
            "size": 9 * MIB + 5,
            "type": "video/mp4",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        saved = await bob.get_file(sent.id, got)
        assert saved.path == got / "holiday film.mp4"
        assert saved.path.read_bytes() == path.read_bytes()
        with pytest.raises(FileExistsError):
            await bob.get_file(sent.id, got)
        # The same bytes again: nothing is uploaded.
        steps: list[int] = []
        again = await bob.send_file("#lobby", saved.path, progress=lambda done, _: steps.append(done))
        assert (steps, again.id != sent.id) == ([9 * MIB + 5], True)
        assert sorted(path.name for path in got.iterdir()) == ["holiday film.mp4"]
        async with Client(one, nick=new_nick("eve")) as eve:
            with pytest.raises(Refused) as caught:
                await eve.get_file(sent.id, got / "stolen")
            assert caught.value.code == "denied"


class Reaper:
    """Progress that kills a gateway, with signal 9, when a share of the bytes is there."""

    def __init__(self, chat: Chat, client: Client, at: float) -> None:
        self.chat, self.client, self.at = chat, client, at
        self.killed: Gateway | None = None
        self.seen: list[int] = []

    def __call__(self, done: int, total: int) -> None:
        self.seen.append(done)
        if self.killed is None and done >= total * self.at:
            self.killed = next(one for one in self.chat.gateways if one.id == self.client.gateway)
            self.killed.kill()


@pytest.mark.parametrize("transport", ["ws", "tcp"])
async def test_the_gateway_dies_in_the_middle_of_an_upload(mortal: Chat, tmp_path: Path, transport: str) -> None:
    """“An upload cut by the death of a gateway goes on at its offset on another one.”"""
    path, room = made(tmp_path / "big.bin", 30 * MIB), new_room()
    async with Client(addresses(mortal, transport), nick=new_nick("ann")) as ann:
        await ann.join(room)
        reaper = Reaper(mortal, ann, 0.6)
        sent = await ann.send_file(room, path, progress=reaper)
        assert reaper.killed is not None
        assert ann.gateway != reaper.killed.id
        fallen = [b for a, b in zip(reaper.seen, reaper.seen[1:], strict=False) if b < a]
        assert fallen, "it noticed nothing"
        assert all(offset > 0 and offset % (4 * MIB) == 0 for offset in fallen), "what counted was not sent again"
        files = [message for message in await ann.history(room) if message.kind == "file"]
        assert [message.file and message.file.id for message in files] == [sent.id]
        saved = await ann.get_file(sent.id, tmp_path / "back")
        assert saved.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


async def test_the_gateway_dies_in_the_middle_of_a_download(mortal: Chat, tmp_path: Path) -> None:
    path = made(tmp_path / "big.bin", 30 * MIB)
    async with Client(addresses(mortal, "ws"), nick=new_nick("ann")) as ann:
        sent = await ann.send_file("#lobby", path)
        reaper = Reaper(mortal, ann, 0.5)
        saved = await ann.get_file(sent.id, tmp_path / "back", progress=reaper)
        assert reaper.killed is not None
        assert reaper.seen == sorted(reaper.seen), "it began anew"
        assert saved.path.read_bytes() == path.read_bytes()


async def test_the_gateway_dies_with_the_last_answer(mortal: Chat, tmp_path: Path) -> None:
    """The file is posted, the answer is lost: it is not posted again."""
    path = made(tmp_path / "small.bin", 1000)
    room = new_room()
    async with Client(addresses(mortal, "ws"), nick=new_nick("ann")) as ann:
        await ann.join(room)
        reaper = Reaper(mortal, ann, 1.0)
        sent = await ann.send_file(room, path, progress=reaper)
        assert reaper.killed is not None
        files = [message for message in await ann.history(room) if message.kind == "file"]
        assert [message.file and message.file.id for message in files] == [sent.id]


def memory(gateway: Gateway, field: str) -> int:
    """MiB: VmRSS now, VmHWM at most since it was reset."""
    for line in Path(f"/proc/{gateway.pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) // 1024
    raise AssertionError(field)


@pytest.mark.slow
async def test_memory_of_a_transfer_is_bounded(store: Store, tmp_path: Path) -> None:
    """A file of any size takes at most 32 MiB more of a gateway's memory, in and out."""
    path = tmp_path / "big.bin"
    with path.open("wb") as file:
        file.truncate(256 * MIB)
    with Chat(store, gateways=1, workers=0, files_url=folder(tmp_path / "kept").url) as chat:
        (gateway,) = chat.gateways
        async with Client(gateway.ws, nick=new_nick("ann")) as ann:
            small = await ann.send_file("#lobby", made(tmp_path / "small", 100))
            await ann.get_file(small.id, tmp_path / "small back")
            for direction in ("in", "out"):
                before = memory(gateway, "VmRSS")
                Path(f"/proc/{gateway.pid}/clear_refs").write_text("5")  # the peak begins anew
                if direction == "in":
                    sent = await ann.send_file("#lobby", path)
                else:
                    await ann.get_file(sent.id, tmp_path / "back")
                more = memory(gateway, "VmHWM") - before
                print(f"{direction}: {more} MiB more")
                assert more <= 32, direction


async def test_a_worker_takes_away_what_is_over(store: Store, tmp_path: Path) -> None:
    """“The worker removes files that nobody can reach any more.”"""
    kept = tmp_path / "kept"
    with Chat(store, gateways=1, workers=1, files_url=folder(kept).url, file_ttl="1s") as chat:
        async with Client(chat.gateways[0].ws, nick=new_nick("ann")) as ann:
            sent = await ann.send_file("#lobby", made(tmp_path / "a", 100))
            assert list(kept.iterdir()) == [kept / sent.id]

            async def gone() -> bool:
                return not list(kept.iterdir())

            await eventually(gone, "the end of its bytes", PATIENCE * 2)
            assert (await ann.ask("!files"))[1].data == {"files": []}
            with pytest.raises(Refused):
                await ann.get_file(sent.id, tmp_path / "back")


async def test_serve_has_files(tmp_path: Path) -> None:
    """“Stored by obstore: a folder under `--data-dir` by default”."""
    data = tmp_path / "data"
    with Serve(data_dir=data) as serve:
        await serve.is_ready()
        async with Client(serve.ws, nick=new_nick("ann")) as ann:
            sent = await ann.send_file("#lobby", made(tmp_path / "a", 100))
            assert (await ann.get_file(sent.id, tmp_path / "back")).path.read_bytes() == (tmp_path / "a").read_bytes()
            (part,) = (data / "files" / sent.id).iterdir()
            assert part.stat().st_mode & 0o077 == 0, "for this user alone"
