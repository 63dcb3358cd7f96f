"""Choose the fine-tuning recipe by cross-validation within the training split: results/recipes.md.

    python -m scripts.experiments.recipes --weights ../shared/weights/yolov5n.pt

Every fold trains on three quarters of the training pairs and is evaluated on the last, once, after the last epoch; the
validation split is never read. Two tables: what other values of an option give, and how much of the start the averaged
weights should keep (``train.keep_start``), for which the weights of runs that keep nothing are mixed with their start.
A finished run is not repeated.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator, Sequence
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
from yolofuse.distributed.ranks import join_ranks
from yolofuse.engine.build import build_start
from yolofuse.engine.dataloaders import load_split
from yolofuse.engine.evaluate_checkpoint import load_detector
from yolofuse.engine.evaluate_split import evaluate_split
from yolofuse.files import save_json
from yolofuse.tables import markdown_table

DATA = "roadscene-flir"
FOLDS = 4
BUDGET = ("train.imgsz=320", "train.batch=8", "train.precision=fp32", "train.keep_start=0")
REFERENCE = "finetune, keep_start 0"
RECIPES: dict[str, tuple[str, ...]] = {
    REFERENCE: (),
    "EMA 0.998": ("train.ema_decay=0.998",),
    "statistics of BatchNorm trained": ("train.freeze_bn=false",),
    "lr0 0.01": ("train.lr0=0.01",),
    "lr0 0.005": ("train.lr0=0.005",),
    "lr0 0.001": ("train.lr0=0.001",),
    "streams at a tenth of the rate": ("train.rates.streams=0.1",),
    "AdamW 0.0002": ("train.optimizer=adamw", "train.lr0=0.0002"),
    "AdamW 0.0005": ("train.optimizer=adamw", "train.lr0=0.0005"),
    "mosaic until the last 10": ("train.close_mosaic=10",),
    "a camera black in 0.3": ("train.augment.drop_camera=0.3",),
    "scratch": ("train.recipe=scratch", "train.nominal_batch=16"),
    "new head": ("model.head=dfl", "train.recipe=scratch", "train.nominal_batch=16"),
}
SHORT, LONG = 30, 60
"""Epochs of the first and of the second table."""
SHARES = (0.0, 0.15, 0.3, 0.5, 0.7, 1.0)


@dataclass(frozen=True)
class Trial(RunSpec):
    """A run of one recipe, model and budget on one fold; it is complete when its last epoch was evaluated."""

    model: str
    epochs: int
    fold: int

    def run_dir(self, runs: Path) -> Path:
        """Return the run's folder."""
        recipe = self.variant.replace(",", "").replace(" ", "_")
        return runs / f"{self.model}-{self.epochs}-{recipe}-fold{self.fold}-{self.seed}"

    def report(self, runs: Path) -> Path:
        """Return the file that marks a finished run."""
        return self.run_dir(runs) / "FINISHED"


def main() -> None:
    """Run what is missing of the chosen recipes and models, then write the tables over all finished runs."""
    parser = build_parser(__doc__, "recipes", seeds=(0,))
    parser.add_argument("--recipes", nargs="*", choices=RECIPES, default=list(RECIPES), help="of the first table")
    parser.add_argument("--models", nargs="*", choices=MODELS, default=["RGB", "mid"], help="of the second table")
    parser.add_argument("--folds", type=int, default=FOLDS, help="use the first of the four folds only")
    args = parser.parse_args()
    write_folds(args.data_root.resolve(), args.runs / "folds")
    cells = [(seed, fold) for seed in args.seeds for fold in range(args.folds)]
    wanted = [Trial(DATA, recipe, seed, "mid", SHORT, fold) for seed, fold in cells for recipe in args.recipes]
    wanted += [Trial(DATA, REFERENCE, seed, model, LONG, fold) for seed, fold in cells for model in args.models]
    run_missing(wanted, run_trial, args)
    every = [(seed, fold) for seed in args.seeds for fold in range(FOLDS)]
    short = [Trial(DATA, recipe, seed, "mid", SHORT, fold) for recipe in RECIPES for seed, fold in every]
    long = [Trial(DATA, REFERENCE, seed, model, LONG, fold) for model in MODELS for seed, fold in every]
    rows = [row for run in short if run.report(args.runs).exists() for row in read_epochs(run, args.runs)]
    mixed = [row for run in long if run.report(args.runs).exists() for row in mix_with_start(run, args.runs)]
    write_report(args.out, "recipes", rows + mixed, format_page(rows, mixed))


def _row(run: Trial, epoch: str, keep_start: float, metrics: dict[str, float]) -> Row:
    return {
        "model": run.model,
        "recipe": run.variant,
        "fold": str(run.fold),
        "seed": str(run.seed),
        "epoch": epoch,
        "keep_start": str(keep_start),
        "AP": f"{metrics['AP']:.4f}",
        "AP50": f"{metrics['AP50']:.4f}",
    }


def read_epochs(run: Trial, runs: Path) -> list[Row]:
    """Return the evaluated epochs of a run: the start, if it was evaluated, and the last."""
    with (run.run_dir(runs) / "results.csv").open() as file:
        epochs = [row for row in csv.DictReader(file) if row["epoch"] in ("0", str(run.epochs))]
    return [
        _row(run, row["epoch"], 0.0, {name: float(row[f"val/{name}"]) for name in ("AP", "AP50")}) for row in epochs
    ]


def mix_with_start(run: Trial, runs: Path) -> Iterator[Row]:
    """Yield the metrics of a run that keeps nothing of its start, as if it had kept each of the shares.

    The average of mixtures with the start is the mixture of the average with the start, so one run has them all.
    """
    file = run.run_dir(runs) / "shares.json"
    if not file.exists():
        loaded = load_detector(run.run_dir(runs) / "weights" / "last.pt")
        start = build_start(loaded.config, loaded.names).detector.state_dict()
        end = {name: tensor.clone() for name, tensor in loaded.detector.state_dict().items()}
        found = {}
        with join_ranks("cpu") as ranks:
            pairs = load_split(loaded.config, loaded.config.data.val_split, ranks)
            for share in SHARES:
                mixed = {
                    name: tensor.lerp(start[name], share) if tensor.is_floating_point() else tensor
                    for name, tensor in end.items()
                }
                loaded.detector.load_state_dict(mixed)
                evaluation = evaluate_split(loaded.detector.eval(), pairs, loaded.config, ranks, with_slices=False)
                assert evaluation is not None, "one rank"
                found[str(share)] = evaluation.result.metrics()
        save_json(file, found)
    for share, metrics in json.loads(file.read_text()).items():
        yield _row(run, str(run.epochs), float(share), metrics)


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
        f"train.epochs={run.epochs}", "data.root=null",
        f"data.descriptor={args.runs / 'folds' / f'fold{run.fold}'}.yaml",
        f"weights.pretrained={args.weights.resolve()}", f"train.seed={run.seed}", f"train.run={folder}",
    )  # fmt: skip


def format_page(rows: Sequence[Row], mixed: Sequence[Row]) -> str:
    """Format both tables."""
    return join_blocks(
        f"## {DATA} train, {FOLDS} folds: mid fusion of yolov5n, {SHORT} epochs at 320 px, batch 8",
        markdown_table(recipe_table(rows)),
        f"## The same: how much of the start to keep, {LONG} epochs",
        markdown_table(share_table(mixed)),
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


def share_table(mixed: Sequence[Row]) -> list[list[str]]:
    """Return AP50 / AP of each model by the share of the start that is kept, means over the folds."""
    table = [["AP50 / AP by keep_start", "folds", *map(str, SHARES)]]
    for model in dict.fromkeys(row["model"] for row in mixed):
        cells = []
        for share in SHARES:
            mine = [row for row in mixed if (row["model"], row["keep_start"]) == (model, str(share))]
            cells.append(" / ".join(f"{fmean(float(row[metric]) for row in mine):.3f}" for metric in ("AP50", "AP")))
        table.append([model, str(len({(row["fold"], row["seed"]) for row in mixed if row["model"] == model})), *cells])
    return table


if __name__ == "__main__":
    main()
