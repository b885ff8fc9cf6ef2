"""What was measured and kept; `python -m bench.kept` prints it as the tables of docs/performance.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.machine import FOLDER
from bench.peers.registry import PEERS

RESULTS = FOLDER.parent / "docs" / "benchmarks"
Figures = dict[str, Any]
Kept = dict[str, Figures]

# What each server's scenarios are called: one room at full speed, at 50 messages/s, many rooms, idle connections.
SERVERS: dict[str, tuple[str, ...]] = {
    "Causerie, TCP": ("fanout-tcp-8", "steady-tcp", "rooms-tcp", "idle-tcp"),
    "Causerie, WebSocket": ("fanout-ws-8", "steady-ws", "rooms-ws", "idle-ws"),
    "floor in C": ("floor-8", "floor-steady", "floor-rooms", ""),
    "floor in C, joining lines": ("floor-joined-8", "", "", ""),
    **{
        peer.title: tuple(f"peer-{name}-{work}" for work in ("fanout", "steady", "rooms", "idle"))
        for name, peer in PEERS.items()
    },
}
HEAD = "| server | one room of 1,000, 8 under way | at 50 messages/s | 100 rooms of 10 | kB an idle connection |"
RATE = 50_000  # deliveries a second that 50 messages a second to 1,000 members are


def results(folder: Path = RESULTS) -> Kept:
    """The medians of each scenario that was kept."""
    return {path.stem: json.loads(path.read_text("utf-8"))["median"] for path in sorted(folder.glob("*.json"))}


def short(value: float, _: object = None) -> str:
    """A number with as many digits as say something."""
    return f"{value:,.0f}" if value >= 20 else f"{value:.3g}"


def idle_kb(figures: Figures) -> float:
    """Memory of an idle connection in kB, all processes together."""
    return sum(figures["bytes_per_connection"].values()) / 1000


def troubles(figures: Figures) -> str:
    """What makes a figure worth less, in brackets; nothing if nothing does."""
    said = [f"{figures[name]:,.0f} {name}" for name in ("lost", "disorder", "errors", "closed") if figures.get(name)]
    return f" ({', '.join(said)})" if said else ""


def steady(figures: Figures) -> str:
    """The cost and the delay at a rate, or how much of it a whole core can do."""
    cost = short(figures["cpu_us_per_delivery"])
    if figures["deliveries_per_core_s"] < RATE:
        return f"{cost}; cannot: {figures['deliveries_per_core_s'] / 1000:,.0f} a core"
    return f"{cost}; p99 {short(figures['p99_ms'])} ms{troubles(figures)}"


def row(kept: Kept, server: str) -> str:
    """One server's line of the table."""
    fanout, at_rate, rooms, idle = (kept.get(name) for name in SERVERS[server])
    cells = [
        f"{short(fanout['cpu_us_per_delivery'])}{troubles(fanout)}" if fanout else "",
        steady(at_rate) if at_rate else "",
        f"{short(rooms['cpu_us_per_delivery'])}; {short(rooms['messages_per_s'])}/s{troubles(rooms)}" if rooms else "",
        short(idle_kb(idle)) if idle else "",
    ]
    return f"| {server} | {' | '.join(cells)} |"


def main() -> None:
    kept = results()
    found = [server for server, names in SERVERS.items() if any(name in kept for name in names)]
    print(HEAD, "| --- | --- | --- | --- | --- |", sep="\n")
    print(*(row(kept, server) for server in found), sep="\n")


if __name__ == "__main__":
    main()
