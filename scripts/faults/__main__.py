"""Bring every fault of results/faults.csv upon tiny runs, and measure what comes of it.

    python scripts/faults.py --csv
    python scripts/kill_runs.py --csv       # the first row
    python scripts/faults_stock.py --csv    # beside it: ultralytics' own trainer on the same faults

A run is 3 epochs of 6 steps of YOLOv8n, cut mid, at 64 px, with a checkpoint every 2 steps, on the CPU; two ranks speak
through gloo. "Bit-identical" is told of weights, EMA, optimizer, losses and scores, against a run that nothing happened
to. A full disk needs root. Ends with 1 if a promise was not kept.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from scripts.faults import ours_files
from scripts.faults import ours_ranks
from scripts.faults import ours_steps
from scripts.faults.lab import TABLE, Outcome, book, quiet_parent, tell
from scripts.faults.ours_run import Runs

_SCENARIOS: dict[str, Callable[[Runs], Outcome]] = {
    **faults_files.SCENARIOS,
    **faults_steps.SCENARIOS,
    **faults_ranks.SCENARIOS,
}


def main() -> None:
    """Print an outcome for each fault, and book them when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", action="store_true", help=f"book the outcomes in {TABLE.name}")
    parser.add_argument("--only", nargs="+", choices=_SCENARIOS, metavar="NAME", default=list(_SCENARIOS))
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="a new folder for the runs, kept afterwards")
    args = parser.parse_args()
    quiet_parent()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as scratch:
        if args.keep:
            args.keep.mkdir(parents=True)
        runs = Runs(args.keep or Path(scratch))
        try:
            runs.finish("whole")
            runs.finish("whole2", ranks=2)
            for name in args.only:
                outcomes.append(_SCENARIOS[name](runs))
                tell(outcomes[-1])
        finally:
            runs.end_all()
    if args.csv:
        book(outcomes, "ours")
    if any("NOT" in outcome.text for outcome in outcomes):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
