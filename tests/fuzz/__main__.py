"""`python -m tests.fuzz 10m`: fuzz for that long, then say how much was tried. Exit status 1 with what broke it."""

import sys
import time
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

from causerie.units import duration
from tests.fuzz.streams import frame_streams, tcp_streams, web_streams
from tests.fuzz.victim import Victim
from tests.support import Store

ROUND = settings(
    max_examples=200, deadline=None, database=None, print_blob=True, suppress_health_check=list(HealthCheck)
)


def main() -> int:
    """Round after round of every kind of stream, until the time is over."""
    end = time.monotonic() + duration(sys.argv[1] if len(sys.argv) > 1 else "60s")
    counts = {"tcp": 0, "frames": 0, "web": 0}
    with Store() as store, Victim(store) as victim:

        def attack(name: str, strategy: SearchStrategy[bytes], send: Callable[[bytes], None]) -> None:
            @ROUND
            @given(strategy)
            def once(stream: bytes) -> None:
                counts[name] += 1
                send(stream)

            once()

        while time.monotonic() < end:
            attack("tcp", tcp_streams, victim.tcp)
            attack("frames", frame_streams, victim.frames)
            attack("web", web_streams, victim.web)
    print("nothing broke in", ", ".join(f"{count} {name}" for name, count in counts.items()), "sessions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
