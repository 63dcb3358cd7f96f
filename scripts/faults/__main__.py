"""Inject every fault of results/faults.csv into tiny runs, and measure the effect.

    python -m scripts.faults --csv
    python -m scripts.faults --trainer ultralytics --csv
    python -m scripts.faults.random_kills --csv             # the first row of our trainer

Our runs are 3 epochs of 6 steps of YOLOv8n, mid fusion, at 64 px, with a checkpoint every 2 steps, on the CPU; two
ranks communicate through gloo. "Bit-identical" means weights, EMA, optimizer, losses and metrics, compared with an
undisturbed run. The exit code is 1 if a promise was broken.

ultralytics' runs are 5 epochs of 4 steps of YOLOv8n from its YAML at 64 px, seeded and deterministic, offline. A fault
comes from outside (a signal, a full disk, a damaged file) or through a callback of the trainer; its training code is
not replaced, except where it prepares a batch, for NaN pixels and simulated out-of-memory errors.

The full disk needs root.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from scripts.faults import ours_files, ours_ranks, ours_steps, ultralytics_files, ultralytics_steps
from scripts.faults.lab import limit_threads
from scripts.faults.ours_run import OurRuns
from scripts.faults.outcomes import FAULTS, TABLE, Outcome, Trainer, print_outcome, save_outcomes
from scripts.faults.ultralytics_run import UltralyticsRuns, finish
from yolofuse import upstream

Runs = TypeVar("Runs", OurRuns, UltralyticsRuns)
_OURS: dict[str, Callable[[OurRuns], Outcome]] = {
    **ours_files.SCENARIOS,
    **ours_steps.SCENARIOS,
    **ours_ranks.SCENARIOS,
}
_ULTRALYTICS: dict[str, Callable[[UltralyticsRuns], Outcome]] = {
    **ultralytics_files.SCENARIOS,
    **ultralytics_steps.SCENARIOS,
}


def main() -> None:
    """Run the scenarios of a trainer, print the outcomes and optionally write them to the table."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trainer", choices=["ours", "ultralytics"], default="ours")
    parser.add_argument("--csv", action="store_true", help=f"write the outcomes to {TABLE.name}")
    parser.add_argument("--only", nargs="+", choices=FAULTS, metavar="NAME", help="some of the faults")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="a new folder for the runs, kept afterwards")
    args = parser.parse_args()
    trainer: Trainer = args.trainer
    scenarios = _OURS if trainer == "ours" else _ULTRALYTICS
    names = args.only or list(scenarios)
    if unknown := [name for name in names if name not in scenarios]:
        parser.error(f"--only: no such fault for {trainer}: {', '.join(unknown)}; known: {', '.join(scenarios)}")
    limit_threads()
    with tempfile.TemporaryDirectory() as scratch:
        if args.keep:
            args.keep.mkdir(parents=True)
        root = args.keep or Path(scratch)
        outcomes = _run_ours(root, names) if trainer == "ours" else _run_ultralytics(root, names)
    if args.csv:
        save_outcomes(outcomes, trainer, f"ultralytics {upstream.version}")
    if trainer == "ours" and not all(outcome.is_kept for outcome in outcomes):
        raise SystemExit(1)


def _run_ours(root: Path, names: Sequence[str]) -> list[Outcome]:
    runs = OurRuns(root)
    try:
        runs.finish("whole")
        runs.finish("whole2", ranks=2)
        return _run_scenarios(_OURS, names, runs)
    finally:
        runs.end_all()


def _run_ultralytics(root: Path, names: Sequence[str]) -> list[Outcome]:
    runs = UltralyticsRuns(root)
    finish(runs.start("whole"))
    return _run_scenarios(_ULTRALYTICS, names, runs)


def _run_scenarios(scenarios: dict[str, Callable[[Runs], Outcome]], names: Sequence[str], runs: Runs) -> list[Outcome]:
    outcomes = []
    for name in names:
        outcomes.append(scenarios[name](runs))
        print_outcome(outcomes[-1])
    return outcomes


if __name__ == "__main__":
    main()
