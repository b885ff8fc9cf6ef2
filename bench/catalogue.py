"""The scenarios by name, and the groups in which they are run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from bench import games, load, scenarios, servers, tls
from bench.peers.registry import PEERS
from bench.scenarios import Scenario

OURS: dict[str, Scenario] = {
    **{
        f"fanout-{kind}-{window}": scenarios.room(1000, websocket=kind == "ws", window=window)
        for kind in ("tcp", "ws")
        for window in (8, 64)
    },
    "steady-tcp": scenarios.room(1000, rate=50, seconds=5, warmup=1),
    "steady-ws": scenarios.room(1000, websocket=True, rate=50, seconds=5, warmup=1),
    "rooms-tcp": scenarios.rooms(100, 10, window=1, seconds=3, warmup=1),
    "rooms-ws": scenarios.rooms(100, 10, websocket=True, window=1, seconds=3, warmup=1),
    "rooms-tcp-3000": scenarios.rooms(100, 10, rate=3000, seconds=3, warmup=1),
    "rooms-tcp-70": scenarios.rooms(100, 10, rate=8400, seconds=3, warmup=1),
    "idle-tcp": scenarios.idle(10_000),
    "idle-ws": scenarios.idle(10_000, websocket=True),
    "idle-tls": scenarios.at_rest(tls.causerie, load.causerie(), members=tls.MOST),
    "fanout-tls-8": scenarios.traffic(
        tls.causerie, load.causerie(), members=1000, senders=1, window=8, seconds=3, warmup=1
    ),
    "heartbeats-tcp": scenarios.idle(18_000, watch_s=30),
    "storm-tcp": scenarios.storm(10_000),
    "game-answer": games.answers(1000, rate=20),
    "game-fanout-tcp-8": games.fanout(1000, window=8),
    "crowd": scenarios.crowd(100_000, 6),
}

FLOOR: dict[str, Scenario] = {
    **{
        f"floor-{joined}{window}": scenarios.traffic(
            lambda joined=joined: servers.floor(joined=bool(joined)), load.FLOOR, members=1000, senders=1, window=window
        )
        for joined in ("", "joined-")
        for window in (8, 64)
    },
    "floor-steady": scenarios.traffic(servers.floor, load.FLOOR, members=1000, senders=1, rate=50, seconds=5, warmup=1),
    "floor-rooms": scenarios.traffic(servers.floor, load.FLOOR, rooms=100, members=10, senders=10, window=1),
}

GROWTH: dict[str, Scenario] = {
    **{f"members-{n}": scenarios.room(n, window=8) for n in (10, 30, 100, 300, 1000, 3000, 10_000)},
    "members-20000": scenarios.big_room(20_000, 2, window=8),
    **{f"rooms-{n}": scenarios.rooms(n, 10, window=1) for n in (1, 3, 10, 30, 100, 300, 1000)},
    # Here one of ten sends: with 30,000 under way the store needs more than the 2 s that a gateway waits for it.
    "rooms-3000": scenarios.many_rooms(3000, 10, 2, senders=1, window=1, warmup=2, seconds=4),
    "rooms-10000": scenarios.many_rooms(10_000, 10, 6, senders=1, window=1, warmup=5, seconds=10, drain_ms=20_000),
    **{f"gateways-{n}": scenarios.room(1000, gateways=n, window=8) for n in (1, 2, 4, 8)},
    **{f"history-{n}": scenarios.room(10, window=8, history_limit=n) for n in (10, 100, 1000, 10_000)},
}

OTHERS: dict[str, Scenario] = {name: one for peer in PEERS for name, one in scenarios.peer(peer).items()}

GROUPS = {"ours": OURS, "floor": FLOOR, "growth": GROWTH, "peers": OTHERS}
SCENARIOS: dict[str, Scenario] = {name: one for group in GROUPS.values() for name, one in group.items()}


def chosen(words: Sequence[str], names: Iterable[str] = SCENARIOS) -> list[str]:
    """The scenarios meant by names, groups and patterns like `peer-*-idle`, each once; KeyError for an unknown."""
    known = list(names)
    found: dict[str, None] = {}
    for word in words:
        of_word = list(GROUPS[word]) if word in GROUPS else [name for name in known if fnmatchcase(name, word)]
        if not of_word:
            raise KeyError(word)
        found.update(dict.fromkeys(of_word))
    return list(found)


def series(name: str, names: Iterable[str]) -> list[tuple[int, str]]:
    """The scenarios NAME-N that differ in one number, by that number."""
    return sorted((int(m[1]), key) for key in names if (m := re.fullmatch(rf"{re.escape(name)}-(\d+)", key)))
