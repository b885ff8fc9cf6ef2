"""`python -m bench.plots`: draw what `docs/benchmarks/*.json` hold, as SVG beside them. Needs matplotlib."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from bench.run import RESULTS

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "causerie"  # the same picture from the same figures

SERIES = {
    "members": "members of one room, 8 messages under way",
    "rooms": "rooms of 10, everybody sends, one message each under way",
    "gateways": "gateways on one core for one room of 1,000, 8 messages under way",
    "history": "messages kept of a room of 10, 8 messages under way",
}
LATENCIES = ("steady-tcp", "steady-ws", "floor-steady", "rooms-tcp-70")


def results(folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """The medians of each scenario that was kept."""
    return {path.stem: json.loads(path.read_text("utf-8"))["median"] for path in sorted(folder.glob("*.json"))}


def growth(kept: dict[str, dict[str, Any]], name: str) -> None:
    """CPU a delivery, process by process, against what grows."""
    found = sorted((int(m[1]), figures) for key, figures in kept.items() if (m := re.fullmatch(rf"{name}-(\d+)", key)))
    if len(found) < 2:
        return
    sizes = [size for size, _ in found]
    figure, axes = plt.subplots(figsize=(6, 3.5))
    for part in ("gateway", "store"):
        costs = [sum(v for k, v in figures["cpu_us_by_process"].items() if k.startswith(part)) for _, figures in found]
        axes.plot(sizes, costs, "o-", label=part)
    axes.set(xscale="log", yscale="log", xlabel=SERIES[name], ylabel="CPU-µs a delivery")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=30)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, f"grows-{name}")


def latencies(kept: dict[str, dict[str, Any]]) -> None:
    """How many deliveries took longer than so many milliseconds."""
    figure, axes = plt.subplots(figsize=(6, 3.5))
    for name in LATENCIES:
        histogram = kept.get(name, {}).get("histogram_us")
        if not histogram:
            continue
        total = left = sum(count for _, count in histogram)
        shares = []
        for _, count in histogram:
            left -= count
            shares.append(left / total)
        axes.plot([top / 1000 for top, _ in histogram], shares, label=name)
    axes.set(yscale="log", ylim=(1e-4, 1), xscale="log", xlabel="milliseconds", ylabel="share of deliveries later")
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, "latency")


def bars(kept: dict[str, dict[str, Any]], names: list[str], title: str, file: str) -> None:
    """CPU a delivery of some scenarios side by side."""
    names = [name for name in names if name in kept]
    if not names:
        return
    figure, axes = plt.subplots(figsize=(6, 0.4 * len(names) + 1.2))
    costs = [kept[name]["cpu_us_per_delivery"] for name in names]
    shown = axes.barh(names[::-1], costs[::-1])
    axes.bar_label(shown, fmt="%.2f", padding=3)
    axes.margins(x=0.12)
    axes.set(xlabel="CPU-µs a delivery, store included", title=title)
    _save(figure, file)


def _save(figure: Any, name: str) -> None:
    figure.tight_layout()
    figure.savefig(RESULTS / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)
    print(RESULTS / f"{name}.svg")


def main() -> int:
    kept = results()
    for name in SERIES:
        growth(kept, name)
    latencies(kept)
    fan_out = ["fanout-tcp-8", "fanout-ws-8", "fanout-tcp-64", "fanout-ws-64", "floor-8", "floor-joined-8"]
    bars(kept, fan_out, "One room of 1,000", "fan-out")
    bars(kept, ["rooms-tcp", "rooms-ws", "rooms-tcp-70", "floor-rooms"], "100 rooms of 10", "rooms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
