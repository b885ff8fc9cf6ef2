"""`python -m bench.run NAME ...`: measure scenarios, several rounds each, and keep the medians as JSON."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from bench import games, load, scenarios, servers
from bench.machine import FOLDER, description

RESULTS = FOLDER.parent / "docs" / "benchmarks"

SCENARIOS: dict[str, scenarios.Scenario] = {
    **{
        f"fanout-{kind}-{window}": scenarios.room(1000, websocket=kind == "ws", window=window)
        for kind in ("tcp", "ws")
        for window in (8, 64)
    },
    "steady-tcp": scenarios.room(1000, rate=50, seconds=5, warmup=1),
    "steady-ws": scenarios.room(1000, websocket=True, rate=50, seconds=5, warmup=1),
    "rooms-tcp": scenarios.rooms(100, 10, window=1, seconds=3, warmup=1),
    "rooms-ws": scenarios.rooms(100, 10, websocket=True, window=1, seconds=3, warmup=1),
    "rooms-tcp-70": scenarios.rooms(100, 10, rate=8400, seconds=3, warmup=1),
    "idle-tcp": scenarios.idle(10_000),
    "idle-ws": scenarios.idle(10_000, websocket=True),
    "heartbeats-tcp": scenarios.idle(18_000, watch_s=30),
    "storm-tcp": scenarios.storm(10_000),
    "game-answer": games.answers(1000, rate=20),
    "game-fanout-tcp-8": games.fanout(1000, window=8),
    "crowd": scenarios.crowd(100_000, 6),
    **{
        f"floor-{joined}{window}": scenarios.traffic(
            lambda joined=joined: servers.floor(joined=bool(joined)), load.FLOOR, members=1000, senders=1, window=window
        )
        for joined in ("", "joined-")
        for window in (8, 64)
    },
    "floor-steady": scenarios.traffic(servers.floor, load.FLOOR, members=1000, senders=1, rate=50, seconds=5, warmup=1),
    "floor-rooms": scenarios.traffic(servers.floor, load.FLOOR, rooms=100, members=10, senders=10, window=1),
    **{f"members-{n}": scenarios.room(n, window=8) for n in (10, 30, 100, 300, 1000, 3000, 10_000, 18_000)},
    **{f"rooms-{n}": scenarios.rooms(n, 10, window=1) for n in (1, 3, 10, 30, 100, 300, 1000)},
    **{f"gateways-{n}": scenarios.room(1000, gateways=n, window=8) for n in (1, 2, 4, 8)},
    **{f"history-{n}": scenarios.room(10, window=8, history_limit=n) for n in (10, 100, 1000, 10_000)},
}


def median(rounds: list[Any]) -> Any:
    """Medians of rounds, number by number; of anything else, the last."""
    if all(isinstance(one, dict) for one in rounds):
        return {name: median([one[name] for one in rounds]) for name in rounds[-1]}
    if all(isinstance(one, int | float) and not isinstance(one, bool) for one in rounds):
        return statistics.median(rounds)
    return rounds[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="scenarios; none: list them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", action="store_true", help=f"write {RESULTS.name}/NAME.json")
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    if not given.names:
        print("\n".join(SCENARIOS))
        return 0
    for name in given.names:
        rounds = [SCENARIOS[name]() for _ in range(given.rounds)]
        result = {"scenario": name, "rounds": given.rounds, "machine": description(), "median": median(rounds)}
        result["each"] = [{k: v for k, v in one.items() if k != "histogram_us"} for one in rounds]
        if given.keep:
            RESULTS.mkdir(parents=True, exist_ok=True)
            Path(RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        shown = {k: v for k, v in result["median"].items() if k != "histogram_us" or given.verbose}
        print(name, json.dumps(shown, indent=1 if given.verbose else None), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
