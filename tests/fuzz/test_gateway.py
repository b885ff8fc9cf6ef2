"""“a flood, a slow-loris, a 1 GB line, broken UTF-8, a bad frame: ... nobody else notices”."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.streams import frame_streams, tcp_streams, web_streams
from tests.fuzz.victim import Victim
from tests.support import Store

EXAMPLES = settings(max_examples=60, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def victim(store: Store) -> Iterator[Victim]:
    with Victim(store) as started:
        yield started


@EXAMPLES
@given(stream=tcp_streams)
def test_tcp(victim: Victim, stream: bytes) -> None:
    victim.tcp(stream)


@EXAMPLES
@given(stream=frame_streams)
def test_frames(victim: Victim, stream: bytes) -> None:
    victim.frames(stream)


@EXAMPLES
@given(stream=web_streams)
def test_web(victim: Victim, stream: bytes) -> None:
    victim.web(stream)
