"""Choose the fine-tuning recipe by cross-validation within the training split: results/recipes.md.

    python -m scripts.experiments.recipes --weights ../shared/weights/yolov5n.pt

Every fold trains on three quarters of the training pairs and is evaluated on the last; the validation split is never
read. Recipes are overrides of a common start, 30 epochs at 320 px, batch 8. An evaluated run is not repeated.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

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
BUDGET = ("train.epochs=30", "train.imgsz=320", "train.batch=8", "train.precision=bf16")
RECIPES: dict[str, tuple[str, ...]] = {
    "finetune": (),
    "EMA 0.998": ("train.ema_decay=0.998",),
    "statistics of BatchNorm trained": ("train.freeze_bn=false",),
    "lr0 0.01": ("train.lr0=0.01",),
    "lr0 0.005": ("train.lr0=0.005",),
    "lr0 0.001": ("train.lr0=0.001",),
    "streams at a tenth of the rate": ("train.rates.streams=0.1",),
    "AdamW 0.0002": ("train.optimizer=adamw", "train.lr0=0.0002"),
    "AdamW 0.0005": ("train.optimizer=adamw", "train.lr0=0.0005"),
    "60 epochs": ("train.epochs=60",),
    "AdamW 0.0002, 60 epochs": ("train.optimizer=adamw", "train.lr0=0.0002", "train.epochs=60"),
    "mosaic until the last 10": ("train.close_mosaic=10",),
    "a camera black in 0.3": ("train.augment.drop_camera=0.3",),
    "scratch": ("train.recipe=scratch", "train.nominal_batch=16"),
    "new head": ("model.head=dfl", "train.recipe=scratch", "train.nominal_batch=16"),
}


@dataclass(frozen=True)
class FoldRun(RunSpec):
    """A run on one fold; it is complete when its last epoch was evaluated."""

    fold: int

    def run_dir(self, runs: Path) -> Path:
        """Return the run's folder."""
        return runs / f"{self.variant.replace(' ', '_')}-fold{self.fold}-{self.seed}"

    def report(self, runs: Path) -> Path:
        """Return the file that marks a finished run."""
        return self.run_dir(runs) / "FINISHED"


def main() -> None:
    """Run what is missing, then write the table over all finished runs."""
    parser = build_parser(__doc__, "recipes", seeds=(0,))
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--folds", type=int, default=FOLDS, help="use the first of the four folds only")
    args = parser.parse_args()
    write_folds(args.data_root.resolve(), args.runs / "folds")
    wanted = [
        FoldRun(DATA, name, seed, fold) for seed in args.seeds for fold in range(args.folds) for name in args.recipes
    ]
    run_missing(wanted, run_fold, args)
    possible = [FoldRun(DATA, name, seed, fold) for name in RECIPES for fold in range(FOLDS) for seed in args.seeds]
    rows = [row for run in possible if run.report(args.runs).exists() for row in read_fold(run, args.runs)]
    write_report(args.out, "recipes", rows, format_page(rows))


def read_fold(run: FoldRun, runs: Path) -> list[Row]:
    """Return the evaluated epochs of a run: the start, if it was evaluated, and the last."""
    with (run.run_dir(runs) / "results.csv").open() as file:
        epochs = [row for row in csv.DictReader(file) if row["val/AP"]]
    return [
        {
            "recipe": run.variant,
            "fold": str(run.fold),
            "seed": str(run.seed),
            "epoch": row["epoch"],
            "AP": f"{float(row['val/AP']):.4f}",
            "AP50": f"{float(row['val/AP50']):.4f}",
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


def run_fold(run: RunSpec, args: argparse.Namespace) -> None:
    """Train one recipe on one fold."""
    assert isinstance(run, FoldRun)
    folder = run.run_dir(args.runs)
    if (folder / "config.yaml").exists():
        run_command("train_dual.py", "--resume", str(folder))
        return
    run_command(
        "train_dual.py", "--cfg", f"configs/small/{DATA}.yaml", *BUDGET, *RECIPES[run.variant], "data.root=null",
        f"data.descriptor={args.runs / 'folds' / f'fold{run.fold}'}.yaml",
        f"weights.pretrained={args.weights.resolve()}", f"train.seed={run.seed}", f"train.run={folder}",
    )  # fmt: skip


def format_page(rows: Sequence[Row]) -> str:
    """Format each recipe's AP50 and AP, and the difference from the first recipe on the folds that both were run on."""
    last = {(row["recipe"], row["fold"], row["seed"]): row for row in rows if row["epoch"] != "0"}
    starts = {(fold, seed): row for row in rows if row["epoch"] == "0" for fold, seed in [(row["fold"], row["seed"])]}
    found = {"before training": starts}
    for recipe, fold, seed in last:
        found.setdefault(recipe, {})[fold, seed] = last[recipe, fold, seed]
    reference = found[next(iter(RECIPES))]
    table = [["recipe", "folds", "AP50", "AP", "AP50 over the first", "AP over the first"]]
    for recipe, runs in found.items():
        both = [key for key in runs if key in reference]
        cells = [format_mean_std([float(row[metric]) for row in runs.values()]) for metric in ("AP50", "AP")]
        for metric in ("AP50", "AP"):
            gaps = [float(runs[key][metric]) - float(reference[key][metric]) for key in both]
            cells.append("" if runs is reference else f"{fmean(gaps):+.3f}" if gaps else "not run")
        table.append([recipe, str(len(runs)), *cells])
    return join_blocks(
        f"## {DATA} train, {FOLDS} folds: mid fusion of yolov5n, 30 epochs at 320 px, batch 8",
        markdown_table(table),
        "A run is evaluated once, after its last epoch, on a quarter of the training pairs that it has not seen. Mean "
        "± standard deviation over the folds, which differ more than recipes do: compare the last two columns, which "
        "are over the folds that both were run on. Made by `python -m scripts.experiments.recipes`.",
    )


if __name__ == "__main__":
    main()
