"""`python -m tests.chaos`: one run, its report, and status 1 if a promise was broken."""

import argparse
import asyncio
import random
import sys
from pathlib import Path

import tests.chaos.faults  # noqa: F401 - registers them
from tests.chaos.checker import judge
from tests.chaos.history import load, save
from tests.chaos.kinds import KINDS, choose
from tests.chaos.report import report
from tests.chaos.run import Run
from tests.chaos.stores import Pair, Single


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="chooses faults and devices; random")
    parser.add_argument("--duration", type=float, default=120.0, help="seconds of harm (%(default)g)")
    parser.add_argument("--rate", type=float, default=1.5, help="faults a second (%(default)g)")
    parser.add_argument("--load", type=float, default=60.0, help="messages a second of all senders (%(default)g)")
    parser.add_argument("--faults", default=".*", metavar="PATTERN", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--lossless", action="store_true", help="leave out the faults that lose what was acknowledged")
    parser.add_argument("--pair", action="store_true", help="two stores and a Sentinel, with failovers")
    parser.add_argument("--min-replicas", type=int, default=0, metavar="N", help="of --pair: acks wait for the copy")
    parser.add_argument("--out", type=Path, default=Path("chaos-report"), help="folder of the report (%(default)s)")
    parser.add_argument("--judge", type=Path, metavar="HISTORY", help="judge a history again, run nothing")
    return parser.parse_args()


def main() -> int:
    """Run, judge, report."""
    arguments = _arguments()
    if arguments.judge is not None:
        records = load(arguments.judge)
    else:
        seed = random.randrange(10**6) if arguments.seed is None else arguments.seed
        print(f"chaos: seed {seed}, {arguments.duration:g} s", flush=True)
        run = Run(
            seed=seed,
            duration=arguments.duration,
            rate=arguments.rate,
            kinds=choose(arguments.faults, on="pair" if arguments.pair else "single", lossy=not arguments.lossless),
            load=arguments.load,
            store=Pair() if arguments.pair else Single(),
            min_replicas=arguments.min_replicas,
        )
        arguments.out.mkdir(parents=True, exist_ok=True)
        try:
            asyncio.run(run.go())
        finally:
            save(run.records, arguments.out / "history.jsonl")
        records = run.records
    verdict = judge(records)
    print(report(records, verdict, arguments.out))
    return 0 if verdict.clean else 1


if __name__ == "__main__":
    sys.exit(main())
