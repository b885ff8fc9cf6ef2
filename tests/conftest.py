"""Fixtures that every test may use. See tests/support for what they hand out."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import pytest_asyncio

from tests.support import Chat, People, Store
from tests.support.processes import running
from tests.support.s3 import S3, Place, folder

hypothesis.settings.register_profile("no deadlines", deadline=None)  # on a busy machine anything can take long
hypothesis.settings.load_profile("no deadlines")


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    """One real Valkey for every test that does not kill it; each chat has a namespace of its own."""
    with Store() as started:
        yield started


@pytest.fixture(scope="session")
def shared_chat(store: Store) -> Iterator[Chat]:
    """Two gateways and a worker, for all tests that kill nothing. No rate limit."""
    with Chat(store, gateways=2, workers=1) as chat:
        yield chat


@pytest.fixture
def chat(shared_chat: Chat) -> Chat:
    """The chat that `people` visit. A module with special settings has its own `chat` fixture instead."""
    return shared_chat


@pytest.fixture
def transport() -> str:
    """What JSON clients use where a test does not say: parametrize it with "tcp" and "ws" for both."""
    return "tcp"


@pytest_asyncio.fixture
async def people(chat: Chat, transport: str) -> AsyncIterator[People]:
    """Opens clients on `chat`; at the end they leave, and what broke a promise fails the test."""
    async with People(chat, transport) as opened:
        yield opened


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """One S3 server for all tests; each place has a bucket of its own."""
    with S3() as started:
        yield started


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Where files lie: each test that takes this runs on a folder and on S3."""
    if request.param == "folder":
        return folder(tmp_path / "files")
    server: S3 = request.getfixturevalue("s3")
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    return Place(server.bucket(), server.env)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    """Show what the processes wrote to standard error while a failed test ran."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when == "teardown":
        for process in [process for process in running if not process.alive]:
            running.remove(process)
    news = [process.news() for process in running]
    if report.failed:
        report.sections += [("processes", text) for text in news if text]
