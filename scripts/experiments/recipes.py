"""Choose the fine-tuning recipe by cross-validation within the training split: results/recipes.md.

    python -m scripts.experiments.recipes --weights ../shared/weights/yolov5n.pt

Every fold trains mid fusion on three quarters of the training pairs and is evaluated on the last, once, after the last
epoch; the validation split is never read. How much of the start to keep: scripts/experiments/keep_start.py. A finished
run is not repeated.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from scripts.experiments.gain import MODELS
from scripts.experiments.real_runs import (
    Row,
    RunSpec,
    build_parser,
    join_blocks,
    load_real_pairs,
    run_command,
    run_missing,
    write_descriptor,
    write_report,
)
from scripts.experiments.stats import format_mean_std
from yolofuse.tables import markdown_table

DATA = "roadscene-flir"
FOLDS = 4
BUDGET = ("train.imgsz=320", "train.batch=8", "train.keep_start=0")
REFERENCE = "finetune, keep_start 0"
RECIPES: dict[str, tuple[str, ...]] = {
    REFERENCE: (),
    "EMA 0.998": ("train.ema_decay=0.998",),
    "statistics of BatchNorm trained": ("train.freeze_bn=false",),
    "lr0 0.01": ("train.lr0=0.01",),
    "lr0 0.005": ("train.lr0=0.005",),
    "lr0 0.001": ("train.lr0=0.001",),
    "streams at a tenth of the rate": ("train.rates.streams=0.1",),
    "all but the head at a tenth of the rate": ("train.rates.streams=0.1", "train.rates.trunk=0.1"),
    "AdamW 0.0002": ("train.optimizer=adamw", "train.lr0=0.0002"),
    "AdamW 0.0005": ("train.optimizer=adamw", "train.lr0=0.0005"),
    "mosaic until the last 10": ("train.close_mosaic=10",),
    "a camera black in 0.3": ("train.augment.drop_camera=0.3",),
    "scratch": ("train.recipe=scratch", "train.nominal_batch=16"),
    "new head": ("model.head=dfl", "train.recipe=scratch", "train.nominal_batch=16"),
}
EPOCHS = 30


@dataclass(frozen=True)
class Trial(RunSpec):
    """A run of one recipe and model on one fold; it is complete when its last epoch was evaluated."""

    model: str
    fold: int

    def run_dir(self, runs: Path) -> Path:
        """Return the run's folder."""
        recipe = self.variant.replace(",", "").replace(" ", "_")
        return runs / f"{self.model}-{recipe}-fold{self.fold}-{self.seed}"

    def report(self, runs: Path) -> Path:
        """Return the file that marks a finished run."""
        return self.run_dir(runs) / "FINISHED"


def main() -> None:
    """Run what is missing of the chosen recipes, then write the table over all finished runs."""
    parser = build_parser(__doc__, "recipes", seeds=(0,))
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--folds", type=int, default=FOLDS, help="run the first of the four folds only")
    args = parser.parse_args()
    write_folds(args.data_root.resolve(), args.runs / "folds")
    cells = [(seed, fold) for seed in args.seeds for fold in range(args.folds)]
    run_missing(
        [Trial(DATA, name, seed, "mid", fold) for seed, fold in cells for name in args.recipes], run_trial, args
    )
    every = [Trial(DATA, name, seed, "mid", fold) for name in RECIPES for seed in args.seeds for fold in range(FOLDS)]
    rows = [row for trial in every if trial.report(args.runs).exists() for row in read_epochs(trial, args.runs)]
    write_report(args.out, "recipes", rows, format_page(rows))


def read_epochs(trial: Trial, runs: Path) -> list[Row]:
    """Return the evaluated epochs of a run: the start, if it was evaluated, and the last."""
    with (trial.run_dir(runs) / "results.csv").open() as file:
        epochs = [row for row in csv.DictReader(file) if row["epoch"] in ("0", str(EPOCHS))]
    return [
        {
            "recipe": trial.variant,
            "fold": str(trial.fold),
            "seed": str(trial.seed),
            "epoch": row["epoch"],
            **{name: f"{float(row[f'val/{name}']):.4f}" for name in ("AP", "AP50")},
        }
        for row in epochs
    ]


def write_folds(root: Path, folder: Path) -> None:
    """Write a descriptor per fold, in which a block of successive pairs of the training split is the validation split.

    Pairs that follow each other show one street: apart from each other they would be in both splits.
    """
    pairs = load_real_pairs(DATA, root, "train")
    for fold in range(FOLDS):
        block = range(fold * len(pairs) // FOLDS, (fold + 1) * len(pairs) // FOLDS)
        held_out = [pairs.records[index] for index in block]
        rest = [record for index, record in enumerate(pairs.records) if index not in block]
        write_descriptor(folder / f"fold{fold}.yaml", {"train": rest, "val": held_out}, pairs.names)


def run_trial(run: RunSpec, args: argparse.Namespace) -> None:
    """Train one model by one recipe on one fold."""
    assert isinstance(run, Trial)
    folder = run.run_dir(args.runs)
    if (folder / "config.yaml").exists():
        run_command("train_dual.py", "--resume", str(folder))
        return
    run_command(
        "train_dual.py", "--cfg", f"configs/small/{DATA}.yaml", *BUDGET, *MODELS[run.model], *RECIPES[run.variant],
        f"train.precision={args.precision}",
        f"train.epochs={EPOCHS}", "data.root=null",
        f"data.descriptor={args.runs / 'folds' / f'fold{run.fold}'}.yaml",
        f"weights.pretrained={args.weights.resolve()}", f"train.seed={run.seed}", f"train.run={folder}",
    )  # fmt: skip


def format_page(rows: Sequence[Row]) -> str:
    """Format the table."""
    return join_blocks(
        f"## {DATA} train, {FOLDS} folds: mid fusion of yolov5n, {EPOCHS} epochs at 320 px, batch 8",
        markdown_table(recipe_table(rows)),
        "A run is evaluated once, after its last epoch, on a quarter of the training pairs that it has not seen. Mean "
        "± standard deviation over the folds, which differ more than recipes do: compare the differences, which are "
        "over the folds that both were run on. Made by `python -m scripts.experiments.recipes`.",
    )


Fold = tuple[str, str]  # its number and the seed


def recipe_table(rows: Sequence[Row]) -> list[list[str]]:
    """Return each recipe's AP50 and AP, and the difference from the first recipe on common folds."""
    found: dict[str, dict[Fold, Row]] = {"before training": {}}
    for row in rows:
        recipe = "before training" if row["epoch"] == "0" else row["recipe"]
        found.setdefault(recipe, {})[row["fold"], row["seed"]] = row
    reference = found.get(REFERENCE, {})
    table = [["recipe", "folds", "AP50", "AP", "AP50 over the first", "AP over the first"]]
    for recipe, runs in found.items():
        cells = [format_mean_std([float(row[metric]) for row in runs.values()]) for metric in ("AP50", "AP")]
        gaps = ["" if runs is reference else _mean_gap(runs, reference, metric) for metric in ("AP50", "AP")]
        table.append([recipe, str(len(runs)), *cells, *gaps])
    return table


def _mean_gap(runs: dict[Fold, Row], reference: dict[Fold, Row], metric: str) -> str:
    gaps = [float(runs[fold][metric]) - float(reference[fold][metric]) for fold in runs if fold in reference]
    return f"{fmean(gaps):+.3f}" if gaps else "not run"


if __name__ == "__main__":
    main()
