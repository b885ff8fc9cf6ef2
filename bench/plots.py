"""`make bench-plots`: draw what `docs/benchmarks/*.json` hold, as SVG beside them."""

from __future__ import annotations

import sys
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator

from bench.catalogue import series
from bench.kept import RESULTS, SERVERS, Kept, idle_kb, results, short
from bench.peers.registry import PEERS

mpl.use("svg")
mpl.rcParams |= {
    "svg.hashsalt": "causerie",  # the same picture from the same figures
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
}

OURS, OTHERS, FLOOR = "#1d5fa8", "#b8bcc2", "#5f6670"

SERIES = {
    "members": "members of one room (one sends, 8 messages under way)",
    "rooms": "rooms of 10 (each sender has one message under way)",
    "gateways": "gateways, all on one core (one room of 1,000, 8 messages under way)",
    "history": "messages kept of a room (of 10, 8 messages under way)",
}
PARTS = {"gateway": "gateways", "store": "store"}
LATENCIES = {
    "steady-tcp": "Causerie, TCP",
    "steady-ws": "Causerie, WebSocket",
    "floor-steady": "floor in C",
    **{f"peer-{name}-steady": PEERS[name].title for name in ("socketio", "ws", "inspircd", "redis")},
}
WORK = (
    "one room of 1,000,\n8 messages under way",
    "one room of 1,000,\n50 messages/s",
    "100 rooms of 10, all send,\none under way each",
)


def growth(kept: Kept, name: str) -> None:
    """CPU a delivery, process by process, against what grows."""
    found = series(name, kept)
    if len(found) < 2:
        return
    sizes = [size for size, _ in found]
    figure, axes = plt.subplots(figsize=(7, 3.8))
    for part, label in PARTS.items():
        used = [kept[key]["cpu_us_by_process"] for _, key in found]
        costs = [sum(cost for process, cost in one.items() if process.startswith(part)) for one in used]
        axes.plot(sizes, costs, "o-", label=label, color=OURS if part == "gateway" else FLOOR)
    axes.set(xscale="log", yscale="log", xlabel=SERIES[name], ylabel="CPU-µs a delivery")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=35, ha="right", rotation_mode="anchor")
    axes.minorticks_off()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    _plain(axes.yaxis)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    _save(figure, f"grows-{name}")


def latencies(kept: Kept) -> None:
    """How many deliveries took longer than so many milliseconds."""
    figure, axes = plt.subplots(figsize=(7, 3.8))
    for name, label in LATENCIES.items():
        histogram = kept.get(name, {}).get("histogram_us")
        if not histogram:
            continue
        total = left = sum(count for _, count in histogram)
        shares = []
        for _, count in histogram:
            left -= count
            shares.append(left / total)
        tops = [top / 1000 for top, _ in histogram]
        axes.plot(tops, shares, label=label, linewidth=2.2 if label.startswith("Causerie") else 1.2)
    axes.set(yscale="log", ylim=(1e-4, 1), xscale="log", xlabel="milliseconds", ylabel="share of deliveries later than")
    axes.set_title("Latency, one room of 1,000 at 50 messages/s")
    _plain(axes.xaxis)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    _save(figure, "latency")


def peers(kept: Kept) -> None:
    """CPU a delivery of every server, a panel for each kind of work."""
    rows = _rows(kept, 0, lambda one: one["cpu_us_per_delivery"])
    figure, panels = plt.subplots(1, len(WORK), figsize=(11, 0.33 * len(rows) + 1.5), sharey=True)
    for i, (axes, title) in enumerate(zip(panels, WORK, strict=True)):
        values = dict(_rows(kept, i, lambda one: one["cpu_us_per_delivery"]))
        _bars(axes, [name for name, _ in rows], values)
        axes.set(title=title, xlabel="CPU-µs a delivery, Redis included")
    _save(figure, "peers-cpu")


def memory(kept: Kept) -> None:
    """Memory of an idle connection, all processes together."""
    rows = _rows(kept, 3, idle_kb)
    if not rows:
        return
    figure, axes = plt.subplots(figsize=(7, 0.33 * len(rows) + 1.4))
    _bars(axes, [name for name, _ in rows], dict(rows))
    axes.set(title="10,000 idle connections", xlabel="kB a connection, all server processes, Redis included")
    _save(figure, "peers-memory")


def _rows(kept: Kept, work: int, value: Any) -> list[tuple[str, float]]:
    """Servers and their values, the smallest first."""
    found = {name: value(kept[names[work]]) for name, names in SERVERS.items() if names[work] in kept}
    return sorted(found.items(), key=lambda item: item[1])


def _bars(axes: Any, names: list[str], values: dict[str, float]) -> None:
    shown = [name for name in names if name in values]
    colours = [OURS if name.startswith("Causerie") else FLOOR if name.startswith("floor") else OTHERS for name in shown]
    bars = axes.barh([names.index(name) for name in shown], [values[name] for name in shown], color=colours)
    axes.bar_label(bars, labels=[short(values[name]) for name in shown], padding=3, fontsize="small")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)  # the smallest on top
    axes.tick_params(axis="y", length=0)
    axes.set_xscale("log")
    if shown:
        axes.set_xlim(min(values.values()) / 3, max(values.values()) * 4)
    _plain(axes.xaxis)


def _plain(axis: Any) -> None:
    axis.set_major_formatter(FuncFormatter(short))


def _save(figure: Any, name: str) -> None:
    figure.tight_layout()
    path = RESULTS / f"{name}.{mpl.rcParams['savefig.format']}"
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
    print(path)


def main() -> int:
    mpl.rcParams["savefig.format"] = sys.argv[1] if len(sys.argv) > 1 else "svg"
    kept = results()
    if not kept:
        print(f"bench: nothing is kept in {RESULTS}; measure with --keep", file=sys.stderr)
        return 2
    for name in SERIES:
        growth(kept, name)
    latencies(kept)
    peers(kept)
    memory(kept)
    return 0


if __name__ == "__main__":
    sys.exit(main())
