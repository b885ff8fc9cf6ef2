"""What a run looked like: `report.json`, and `timeline.svg`, acks a second with the faults below."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from tests.chaos.checker import Verdict
from tests.chaos.history import Answer, AnyRecord, Fault, Settings
from tests.chaos.plot import timeline

SHOWN = 12
"""Findings of a kind that are printed; the report has all."""


def report(records: Sequence[AnyRecord], verdict: Verdict, folder: Path) -> str:
    """Write the report into the folder; a summary to print."""
    folder.mkdir(parents=True, exist_ok=True)
    faults = [record for record in records if isinstance(record, Fault)]
    numbers: dict[str, Any] = {
        "seed": next((record.seed for record in records if isinstance(record, Settings)), None),
        "seconds": round(max(record.t for record in records), 1),
        "faults": len(faults),
        "faults_by_name": dict(Counter(f"{fault.name} ({_kind(fault.who)})" for fault in faults).most_common()),
        **{name: getattr(verdict, name) for name in ("sent", "acknowledged", "delivered", "told", "losses_told")},
        "overtaken": verdict.overtaken,
        "silence_s": _silence(records),
        "answers": dict(Counter(record.code or "ack" for record in records if isinstance(record, Answer))),
    }
    findings = {name: len(sentences) for name, sentences in verdict.findings.items()}
    (folder / "report.json").write_bytes(
        msgspec.json.format(msgspec.json.encode({**numbers, "found": findings, "findings": verdict.findings}))
    )
    title = f"seed {numbers['seed']}: {len(faults)} faults, {verdict.acknowledged} messages acknowledged, " + ", ".join(
        f"{name} {len(verdict.findings[name])}" for name in ("lost", "duplicated", "reordered", "gaps")
    )
    (folder / "timeline.svg").write_text(timeline(records, title), encoding="utf-8")
    lines = [f"{name}: {value}" for name, value in numbers.items() if name != "faults_by_name"]
    lines.append("found: " + ", ".join(f"{name} {count}" for name, count in findings.items()))
    for name, sentences in verdict.findings.items():
        lines += [f"  {name}: {sentence[:400]}" for sentence in sentences[:SHOWN]]
    lines.append(f"report in {folder}/")
    return "\n".join(lines)


def _silence(records: Sequence[AnyRecord]) -> float:
    """The longest time without any ack between the first and the last."""
    acks = sorted(record.t for record in records if isinstance(record, Answer) and not record.code)
    return round(max((after - before for before, after in pairwise(acks)), default=0.0), 1)


def _kind(who: str) -> str:
    names = {"g": "gateway", "w": "worker", "s": "store", "p": "client", "t": "client"}
    return names.get(who[:1], who)
