"""`python -m bench.run NAME|GROUP|PATTERN ...`: measure scenarios, several rounds each, and keep medians as JSON."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import re
import signal
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.apart import go_apart
from bench.catalogue import GROUPS, SCENARIOS, chosen
from bench.kept import RESULTS
from bench.machine import description
from bench.peers.install import Absent

LOAD_LIMIT = 0.9  # the share of its core above which the load generator, not the server, may set the rate


def median(rounds: list[Any]) -> Any:
    """Medians of rounds, number by number; of anything else, the last."""
    if all(isinstance(one, dict) for one in rounds):
        return {name: median([one[name] for one in rounds]) for name in rounds[-1]}
    if all(isinstance(one, int | float) and not isinstance(one, bool) for one in rounds):
        return statistics.median(rounds)
    return rounds[-1]


@contextlib.contextmanager
def bounded(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in what takes longer."""

    def ring(*_: object) -> None:
        raise TimeoutError(f"took more than {seconds} s")

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


@contextlib.contextmanager
def alone(lock: str | None) -> Iterator[None]:
    """Hold a lock that other users of the machine honour, where one is named."""
    if lock is None:
        yield
        return
    with Path(lock).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def measured(name: str, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """All rounds of a scenario and their medians."""
    middle = median(rounds)
    if "histogram_us" in middle:  # that of one round: the one with the middle p99
        middle["histogram_us"] = sorted(rounds, key=lambda one: one["p99_ms"])[len(rounds) // 2]["histogram_us"]
    result = {"scenario": name, "rounds": len(rounds), "machine": description(), "median": middle}
    if middle.get("load_cpu_share", 0) >= LOAD_LIMIT:
        result["load_bound"] = True
    result["each"] = [{k: v for k, v in one.items() if k != "histogram_us"} for one in rounds]
    return result


def measure(names: list[str], given: argparse.Namespace) -> int:
    """Measure scenarios, their rounds in turn, and report them, also when this is ended early; how many failed."""
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    failed: list[str] = []

    @contextlib.contextmanager
    def tried(name: str) -> Iterator[None]:
        try:
            yield
        except Absent as absent:
            print(f"{name}: skipped: {absent}", flush=True)
            del rounds[name]
        except Exception as error:  # noqa: BLE001 - whatever it is, the other scenarios go on
            print(f"{name}: failed: {type(error).__name__}: {error}", flush=True)
            del rounds[name]
            failed.append(name)

    try:
        with alone(given.lock):
            for _ in range(given.rounds):
                for name in list(rounds):
                    with tried(name), bounded(given.limit):
                        rounds[name].append(SCENARIOS[name]())
    finally:
        for name in [name for name, its in rounds.items() if its]:
            with tried(name):
                report(measured(name, rounds[name]), given)
    return len(failed)


def report(result: dict[str, Any], given: argparse.Namespace) -> None:
    """Print, and keep what is to be kept."""
    name = result["scenario"]
    if given.keep and result["rounds"] == given.rounds:
        RESULTS.mkdir(parents=True, exist_ok=True)
        text = re.sub(r"\[\s+([\d.]+),\s+(\d+)\s+\]", r"[\1, \2]", json.dumps(result, indent=1))  # a bucket a line
        Path(RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    shown = {k: v for k, v in result["median"].items() if k != "histogram_us" or given.verbose}
    print(name, json.dumps(shown, indent=1 if given.verbose else None), flush=True)
    if result.get("load_bound"):
        print(f"{name}: the load generator's core was full: the rate is the load's, not the server's", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", help=f"scenarios, groups ({', '.join(GROUPS)}) or patterns; none: list them"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=int, default=300, help="seconds that a round may take (%(default)s)")
    parser.add_argument("--lock", metavar="FILE", help="hold a lock on FILE while measuring")
    parser.add_argument("--apart", action="store_true", help="in a network namespace, past the machine's firewall")
    parser.add_argument("--in-turn", action="store_true", help="a round of each after the other, not all of one")
    parser.add_argument("--keep", action="store_true", help=f"write {RESULTS.name}/NAME.json")
    parser.add_argument("--verbose", action="store_true")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    if not given.names:
        for group, members in GROUPS.items():
            print(f"{group}: {' '.join(members)}\n")
        return 0
    try:
        names = chosen(given.names)
    except KeyError as unknown:
        print(f"bench: no scenario {unknown}; without names all are listed", file=sys.stderr)
        return 2
    if given.apart:
        go_apart()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through the `finally` of everything that was started
    together = [names] if given.in_turn else [[name] for name in names]
    failed = sum(measure(some, given) for some in together)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
