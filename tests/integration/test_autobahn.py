"""RFC 6455 by the cases of the Autobahn test suite.

Left out: compression (12, 13), which is not offered, and the speed of messages far beyond our limits (9).
"""

import sys
from collections.abc import Iterator

import kosoku
import pytest

from tests.support import Process

LEFT_OUT = ["9.*", "12.*", "13.*"]
NOT_STRICT = {"6.4.1", "6.4.2", "6.4.3", "6.4.4"}
"""Broken UTF-8 is found at the end of a message, which is allowed, and not at its first wrong byte."""


@pytest.fixture
def echo() -> Iterator[str]:
    with Process([sys.executable, "-m", "tests.integration.websocket_echo"], name="echo") as process:
        yield process.wait_for_line(lambda text: text.startswith("ready "), "a `ready` line").partition("=")[2]


async def test_every_case_passes(echo: str) -> None:
    """A case that fails raises, with its verdict."""
    results = await kosoku.run_fuzzingclient(echo, exclude_cases=LEFT_OUT, concurrency=8)
    assert len(results) == 247
    lenient = {result.case_id for result in results if result.behavior.value == "NON-STRICT"}
    assert lenient == NOT_STRICT
