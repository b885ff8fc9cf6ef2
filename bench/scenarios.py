"""What is measured. Each scenario gives one round's figures; `run.py` repeats it and takes medians."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any

from bench import load, servers
from bench.load import Dialect, Load
from bench.machine import cpu_seconds, memory
from bench.peers.registry import PEERS
from bench.servers import Served

Figures = dict[str, Any]
Scenario = Callable[[], Figures]
ALL_HEARD_S = 12.0
"""After so long everybody has had the first ping: what a new session costs once is over."""
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}


def figures(run: dict[str, Any], served: Served) -> Figures:
    """What a run says, with the CPU time of each server process by name and a delivery."""
    if not run["deliveries"]:
        raise RuntimeError(f"nothing came in {run['seconds']:.0f} s")
    cpu = dict(zip(served.pids, run.pop("cpu"), strict=True))
    deliveries, total = run["deliveries"], sum(cpu.values())
    run.pop("event")
    return {
        "cpu_us_per_delivery": round(total * 1e6 / deliveries, 3),
        "cpu_us_by_process": {name: round(used * 1e6 / deliveries, 3) for name, used in cpu.items()},
        "deliveries_per_s": round(deliveries / run["seconds"]),
        "messages_per_s": round(run["sent"] / run["seconds"]),
        "deliveries_per_core_s": round(deliveries / max(total, 1e-9)),
        "deliveries_per_read": round(run["deliveries"] / max(1, run["reads"]), 2),
        "server_cpu": round(total / run["seconds"], 3),
        "load_cpu_share": round(run["load_cpu"] / run["seconds"], 3),
        **({"server": served.about} if served.about else {}),
        **run,
    }


def traffic(
    server: Callable[[], AbstractContextManager[Served]], dialect: Dialect, *, websocket: bool = False, **options: Any
) -> Scenario:
    """Members in rooms; some send, as fast as they get their own back (`window`), or at a `rate` in all."""

    def measure() -> Figures:
        with server() as served:
            ports = served.http_ports if websocket else served.ports
            with Load(dialect, ports, pids=list(served.pids.values()), **options) as generator:
                generator.hear("ready")
                return figures(generator.run(), served)

    return measure


def together(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """One run made of what several load generators saw of it at the same time."""
    listening = [run for run in runs if not run["sent_all"]]
    said = sum(run["sent_all"] for run in runs)
    for run in listening:  # it cannot know how much there was to hear
        run["lost"] = said * run["connections"] - run["deliveries_all"]
    merged: Counter[float] = Counter()
    for run in runs:
        merged.update(dict(run["histogram_us"]))
    histogram = sorted(merged.items())
    summed = {name: sum(run[name] for run in runs) for name in runs[0] if isinstance(runs[0][name], int)}
    return {
        **runs[0],
        **summed,
        "load_cpu": round(sum(run["load_cpu"] for run in runs), 4),
        **{f"{name}_ms": round(percentile(histogram, share) / 1000, 3) for name, share in PERCENTILES.items()},
        "max_ms": max(run["max_ms"] for run in runs),
        "histogram_us": histogram,
    }


def percentile(histogram: list[tuple[float, int]], share: float) -> float:
    """The upper end of the bucket in which a share of all is reached; 0 if there is nothing."""
    wanted = math.ceil(share * sum(count for _, count in histogram))
    reached = 0
    for top, count in histogram:
        reached += count
        if reached >= wanted:
            return top
    return 0.0


def divided(
    server: Callable[[], AbstractContextManager[Served]], parts: list[tuple[Dialect, dict[str, Any]]], **options: Any
) -> Scenario:
    """As `traffic`, by a load generator for each gateway: one process has descriptors for 20,000 connections."""

    def measure() -> Figures:
        with server() as served, ExitStack() as stack:
            loads = []
            for i, (dialect, own) in enumerate(parts):
                apart = {"offset": i * 100_000, "source": 10 + i, "pids": list(served.pids.values())}
                loads.append(stack.enter_context(Load(dialect, served.ports[i : i + 1], **apart, **options, **own)))
            for generator in loads:
                generator.hear("ready")
            for generator in reversed(loads):  # who only listens begins first
                generator.say("go")
            return figures(together([generator.hear("run") for generator in loads]), served)

    return measure


def big_room(members: int, gateways: int, **options: Any) -> Scenario:
    """One room, larger than one gateway can hold."""
    share = members // gateways
    parts = [(load.causerie(), {"senders": int(i == 0)}) for i in range(gateways)]
    return divided(partial(servers.causerie, gateways), parts, members=share, slots=1, **options)


def many_rooms(count: int, members: int, gateways: int, *, senders: int, **options: Any) -> Scenario:
    """More rooms than one gateway can hold the members of; each room has its own gateway."""
    parts: list[tuple[Dialect, dict[str, Any]]] = [(load.causerie(f"#g{i}r%r"), {}) for i in range(gateways)]
    return divided(
        partial(servers.causerie, gateways, spread=gateways > 2),  # a core of pings alone leaves nothing to measure
        parts,
        rooms=count // gateways,
        members=members,
        senders=senders,
        **options,
    )


def room(
    members: int, *, websocket: bool = False, gateways: int = 1, history_limit: int = 10_000, **options: Any
) -> Scenario:
    """One room, one of its members sending."""
    dialect = load.causerie(websocket=websocket)
    server = partial(servers.causerie, gateways, history_limit=history_limit)
    return traffic(server, dialect, websocket=websocket, members=members, senders=1, **options)


def rooms(count: int, members: int, *, websocket: bool = False, **options: Any) -> Scenario:
    """Many rooms, everybody sending."""
    dialect = load.causerie("#r%r", websocket=websocket)
    return traffic(
        servers.causerie, dialect, websocket=websocket, rooms=count, members=members, senders=members, **options
    )


def idle(count: int, *, websocket: bool = False, watch_s: float = 0.0, **settings: object) -> Scenario:
    """Connections to a gateway that do nothing."""
    return at_rest(
        partial(servers.causerie, **settings),
        load.causerie(websocket=websocket),
        websocket=websocket,
        watch_s=watch_s,
        members=count,
    )


def at_rest(
    server: Callable[[], AbstractContextManager[Served]],
    dialect: Dialect,
    *,
    members: int,
    rooms: int = 1,
    websocket: bool = False,
    watch_s: float = 0.0,
) -> Scenario:
    """Connections that do nothing: memory of every process a connection, and CPU while they stay."""

    def measure() -> Figures:
        count = rooms * members
        with server() as served:
            ports = served.http_ports if websocket else served.ports
            with Load(dialect, ports, members=200 // rooms or 1, rooms=min(rooms, 200), offset=1_000_000) as first:
                first.hear("ready")
                time.sleep(1)  # what is made once, is made
            time.sleep(1)
            before = {name: memory(pid) for name, pid in served.pids.items()}
            with Load(dialect, ports, rooms=rooms, members=members, drain_ms=60_000) as generator:
                opened = generator.hear("ready")
                time.sleep(1)
                after = {name: memory(pid) for name, pid in served.pids.items()}
                figures: Figures = {
                    "connections": count,
                    "connects_per_s": round(count / opened["seconds"]),
                    "bytes_per_connection": {
                        name: round((after[name].private - before[name].private) / count) for name in before
                    },
                    "rss_per_connection": {
                        name: round((after[name].rss - before[name].rss) / count) for name in before
                    },
                    **({"server": served.about} if served.about else {}),
                }
                if watch_s:
                    figures |= _watched(served, generator, watch_s)
                return figures

    return measure


def _watched(served: Served, generator: Load, seconds: float) -> Figures:
    """The share of a core that each process takes while nobody says anything, once all have answered a ping."""
    time.sleep(ALL_HEARD_S)
    start, began = time.monotonic(), {name: cpu_seconds(pid) for name, pid in served.pids.items()}
    time.sleep(seconds)
    wall = time.monotonic() - start
    shares = {name: round((cpu_seconds(pid) - began[name]) / wall, 4) for name, pid in served.pids.items()}
    generator.say("stats")
    stats = generator.hear("stats")
    return {"idle_cpu_share": shares, "pings": stats["pings"], "closed": stats["closed"], "watched_s": round(wall, 1)}


def peer(name: str) -> dict[str, Scenario]:
    """Another server's: a room of 1,000 at full speed and at 50/s, 100 rooms of 10, idle connections."""
    other = PEERS[name]
    of = partial(traffic, other.server, other.dialect)
    # One message to each of a thousand takes the slow ones up to half a second: in 3 s chance would be measured.
    times: dict[str, float] = {"seconds": 5, "warmup": 2, "drain_ms": 30_000} if other.slow else {"seconds": 3}
    at_rate = {"seconds": 5, "warmup": 1, "drain_ms": 1000 if other.slow else 10_000}  # a slow one will not catch up
    longer = times | ({"seconds": 20} if other.slow else {})
    return {
        f"peer-{name}-fanout": of(members=1000, senders=1, window=8, **times),
        f"peer-{name}-steady": of(members=1000, senders=1, rate=50, **at_rate),
        f"peer-{name}-rooms": of(rooms=100, members=10, senders=10, window=1, **longer),
        # In rooms of ten: where everybody is told of everybody, 10,000 in one room would measure the joining.
        f"peer-{name}-idle": at_rest(other.server, other.dialect, rooms=200 if other.slow else 1000, members=10),
    }


def storm(count: int, missed: int = 100, *, websocket: bool = False) -> Scenario:
    """A gateway dies; everybody comes back to another at once, each with some messages missed."""

    def measure() -> Figures:
        with servers.causerie(2, session_ttl="1h") as served:
            ports = served.http_ports if websocket else served.ports
            dialect = load.causerie(websocket=websocket)
            with Load(dialect, ports[:1], members=count, missed=missed, ramp=100) as generator:
                generator.hear("ready")
                generator.say("drop")
                generator.hear("dropped")
                served.gateways[0].kill()
                with Load(
                    load.causerie(),
                    served.ports[1:],
                    offset=count,
                    members=1,
                    senders=1,
                    source=2,
                    rate=missed * 5,
                    seconds=missed / (missed * 5),
                    warmup=0,
                ) as poster:
                    poster.hear("ready")
                    posted = poster.run()["sent_all"]
                time.sleep(0.5)
                pids = {name: pid for name, pid in served.pids.items() if name != "gateway"}
                before = {name: cpu_seconds(pid) for name, pid in pids.items()}
                generator.say(f"resume {ports[1]}")
                back = generator.hear("resumed")
                cpu = {name: round(cpu_seconds(pid) - before[name], 2) for name, pid in pids.items()}
                generator.say("stats")
                stats = generator.hear("stats")
                return {
                    "sessions": count,
                    "missed": missed,
                    "posted": posted,
                    "seconds": round(back["seconds"], 3),
                    "cpu_s": cpu,
                    "lost": stats["lost"],
                    "disorder": stats["disorder"],
                    "errors": stats["errors"],
                }

    return measure


def crowd(count: int, gateways: int, *, watch_s: float = 20.0, messages: int = 3) -> Scenario:
    """Connections at once on several gateways, all in the lobby: what they hold and cost, and that they chat."""

    def measure() -> Figures:
        with servers.causerie(gateways, spread=True) as served, ExitStack() as stack:
            share = count // gateways
            before = {name: memory(pid) for name, pid in served.pids.items()}
            began = time.monotonic()
            loads = []
            for i, port in enumerate(served.ports):
                generator = Load(load.causerie(), [port], members=share, offset=i * share, source=10 + i, ramp=50)
                loads.append(stack.enter_context(generator))
            for generator in loads:
                generator.hear("ready")
            opened = time.monotonic() - began
            time.sleep(3)
            after = {name: memory(pid) for name, pid in served.pids.items()}
            watched = _watched(served, loads[0], watch_s)
            talking = {"members": 1, "senders": 1, "source": 2, "rate": 0.5, "warmup": 0}
            talking |= {"seconds": messages / 0.5, "offset": count + 1}
            with Load(load.causerie(), served.ports[:1], **talking) as poster:
                poster.hear("ready")
                posted = poster.run()["sent_all"]
                time.sleep(5)
            for generator in loads:
                generator.say("stats")
            stats = [generator.hear("stats") for generator in loads]
            at = "gateway"
            held = sum(after[name].private - before[name].private for name in served.pids if name.startswith(at))
            return {
                "connections": share * gateways,
                "gateways": gateways,
                "opened_s": round(opened, 1),
                "gateway_bytes_per_connection": round(held / (share * gateways)),
                "store_bytes_per_connection": round(
                    (after["store"].private - before["store"].private) / (share * gateways)
                ),
                **watched,
                "posted": posted,
                "deliveries": sum(one["deliveries"] for one in stats),
                "expected": posted * share * gateways,
                **{name: sum(one[name] for one in stats) for name in ("lost", "disorder", "errors", "closed")},
            }

    return measure
