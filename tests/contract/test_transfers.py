"""Bytes on their way into and out of every kind of place: parts, breaks, ranges, left-overs (docs/files.md)."""

import contextlib
import random
import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from causerie.errors import Refused, Unavailable
from causerie.files import receiver, removal, uploads
from causerie.model import Session
from causerie.settings import Settings
from causerie.store import Store
from tests.contract.files import Exchange, digest, events
from tests.contract.people import person
from tests.support.s3 import Place

PART = 4096
DATA = random.Random(7).randbytes(5 * PART + 123)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PART", PART)


@pytest_asyncio.fixture
async def exchange(valkey_url: str, place: Place) -> AsyncIterator[Exchange]:
    store = await Store.open(Settings(redis_url=valkey_url, namespace=f"t{secrets.token_hex(6)}"))
    yield Exchange(store, place.url)
    await store.close()


@pytest_asyncio.fixture
async def alice(exchange: Exchange) -> Session:
    return await person(exchange.store, "alice")


async def names(exchange: Exchange, id_: str) -> list[str]:
    return [f"{id_}/{name}" for name in await exchange.store.files.parts(id_)]


async def test_parts_tell_what_is_in_them(exchange: Exchange, alice: Session) -> None:
    record = await exchange.send(alice, "#lobby", DATA)
    kept = await names(exchange, record.id)
    assert sorted(kept) == sorted(await exchange.kept())
    assert [name.split("-")[1] for name in kept] == [digest(DATA[n : n + PART]) for n in range(0, len(DATA), PART)]
    assert await exchange.get(alice, record.id) == DATA


async def test_breaks_lose_nothing_that_came(exchange: Exchange, alice: Session) -> None:
    """Whatever the pieces and wherever they break: what came before the break counts."""
    rng = random.Random(11)
    record = await exchange.offer(alice, "#lobby", DATA)
    offset = 0
    while offset < len(DATA):
        end = min(len(DATA), offset + rng.randrange(1, 2 * PART))
        cut = rng.randrange(offset, end)
        with contextlib.suppress(ConnectionError):
            await exchange.put(record, DATA[offset:cut], DATA[cut:end], ConnectionError(), offset=offset)
        found = await exchange.store.files.get(record.id)
        assert found is not None
        record = found
        assert (found.offset, len(await names(exchange, record.id))) == (end, -(-end // PART))
        offset = end
    assert record.state == "sent", "the last byte was there, if not the end of the stream"
    assert await exchange.get(alice, record.id) == DATA
    assert sorted(await names(exchange, record.id)) == sorted(await exchange.kept())


async def test_every_range(exchange: Exchange, alice: Session) -> None:
    record = await exchange.send(alice, "#lobby", DATA)
    edges = sorted({0, 1, PART - 1, PART, PART + 1, 3 * PART, 5 * PART - 1, 5 * PART, len(DATA) - 1, len(DATA)})
    for start in edges:
        for end in edges:
            if start <= end:
                assert await exchange.get(alice, record.id, start, end) == DATA[start:end], (start, end)


async def test_a_gateway_that_stops_keeps_what_came(exchange: Exchange, alice: Session) -> None:
    record = await exchange.offer(alice, "#lobby", DATA)

    async def pieces() -> AsyncIterator[bytes]:
        yield DATA[:5000]
        raise AssertionError("it goes on reading")

    with pytest.raises(Unavailable):
        await exchange.service.uploads.receive(record, 0, pieces(), lambda: True)
    again = await exchange.offer(alice, "#lobby", DATA)
    assert again.offset == 5000


async def test_a_slow_stream_counts_now_and_then(
    exchange: Exchange, alice: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that fills slowly counts before its lease is over."""
    monkeypatch.setattr(receiver, "FLUSH_S", -1.0)
    record = await exchange.offer(alice, "#lobby", DATA)
    offsets = []

    async def pieces() -> AsyncIterator[bytes]:
        for n in range(0, 500, 100):
            yield DATA[n : n + 100]
            found = await exchange.store.files.get(record.id)
            assert found is not None
            offsets.append(found.offset)

    await exchange.service.uploads.receive(record, 0, pieces())
    assert offsets == [0, 100, 200, 300, 400]
    assert len(await exchange.kept()) == 1


async def test_what_lies_there_is_what_is_checked(exchange: Exchange, alice: Session) -> None:
    """A part that changed or went lost in the place never becomes a file."""
    objects = exchange.service.uploads._objects
    for harm in ("changed", "lost", "last"):
        record = await exchange.offer(alice, "#lobby", DATA, harm)
        cut = 3 * PART + (5 if harm == "last" else 0)
        await exchange.put(record, DATA[:cut])
        name = (await names(exchange, record.id))[-1]
        if harm == "lost":
            await objects.delete([name])
        else:
            await objects.put(name, bytes(cut % PART or PART))
        with pytest.raises(Refused) as caught:
            await exchange.put(record, DATA[cut:], offset=cut)
        assert caught.value.code == "bad_request"
        assert await exchange.state(record.id) == "gone"
    await exchange.work()
    assert await exchange.kept() == []
    assert await events(exchange.store, "#lobby") == []


async def test_left_overs_are_swept(exchange: Exchange, alice: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects that count for no file go when they are old; whatever counts stays."""
    objects = exchange.service.uploads._objects
    record = await exchange.send(alice, "#lobby", DATA)
    coming = await exchange.offer(alice, "#lobby", DATA[::-1])
    await exchange.put(coming, DATA[:100])
    wanted = sorted([*await names(exchange, record.id), *await names(exchange, coming.id)])
    await objects.put(f"{record.id}/000000-of-one-who-was-overtaken", b"x")
    await objects.put(f"{secrets.token_hex(16)}/000000-of-a-file-long-gone", b"x")
    sweep = exchange.service.removal
    assert sweep is not None
    await sweep.sweep_strays()
    assert len(await exchange.kept()) == len(wanted) + 2
    monkeypatch.setattr(removal, "STRAY_S", -5.0)
    await sweep.sweep_strays()
    assert sorted(await exchange.kept()) == wanted


async def test_a_place_that_is_away(exchange: Exchange, alice: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    record = await exchange.offer(alice, "#lobby", DATA)
    objects = exchange.service.uploads._objects

    async def away(*_: object) -> None:
        raise Unavailable("the file store is away")

    with monkeypatch.context() as patched:
        patched.setattr(objects, "put", away)
        with pytest.raises(Unavailable):
            await exchange.put(record, DATA)
    assert (await exchange.put(record, DATA)).state == "sent"


@hypothesis_settings(max_examples=40)
@given(st.lists(st.integers(0, 3 * 64), max_size=12), st.integers(1, 64))
def test_any_cut_of_the_pieces(cuts: list[int], part: int) -> None:
    """The buffer of a writer: pieces of any size become parts of one size, and nothing is lost."""
    import asyncio

    data = random.Random(3).randbytes(sum(cuts))
    kept: list[bytes] = []

    class Fake:
        """Store and objects of a writer, as far as it uses them."""

        files = property(lambda self: self)

        async def take(self, *_: object) -> object:
            return type("Taken", (), {"fence": 1, "last": ""})()

        async def put(self, name: str, data: memoryview) -> None:
            index = int(name.partition("/")[2].partition("-")[0])
            kept[index:] = [bytes(data)]

        async def commit(self, *_: object) -> str:
            return ""

    class Record:
        id, size, offset = "f", len(data), 0

    record = Record()
    record.part = part  # type: ignore[attr-defined]

    async def pieces() -> AsyncIterator[bytes]:
        at = 0
        for cut in cuts:
            yield data[at : at + cut]
            at += cut

    async def allowed() -> None:
        pass

    async def run() -> str | None:
        writer = receiver.Receiver(Fake(), Fake(), record, 1, allowed)  # type: ignore[arg-type]
        await writer.run(0, pieces(), lambda: False)
        return writer.sha256

    sha256 = asyncio.run(run())
    assert b"".join(kept) == data
    assert all(len(one) == part for one in kept[:-1])
    assert sha256 == (digest(data) if data else None)
