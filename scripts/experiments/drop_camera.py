"""Choose in how many samples a camera is black, within the training split: results/drop_camera.md.

    python -m scripts.experiments.drop_camera --weights ../shared/weights/yolov5n.pt

Mid fusion by the default recipe is trained on three of four folds of the training pairs of roadscene-flir, for every
fold in turn (scripts/experiments/recipes.py), with the budget of scripts/experiments/gain.py, and evaluated once on the
fold left out: with both cameras, and with either one black. The validation split is never read. A finished run is not
repeated.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from scripts.experiments import gain
from scripts.experiments.keep_start import join_folds
from scripts.experiments.real_runs import (
    Row,
    RunSpec,
    build_parser,
    join_blocks,
    provenance,
    run_missing,
    train_and_evaluate,
    write_report,
)
from scripts.experiments.recipes import FOLDS, write_folds
from yolofuse.eval.bootstrap import Predictions, compare
from yolofuse.eval.coco import CocoJson
from yolofuse.eval.report import read_predictions
from yolofuse.tables import markdown_table

SETTING = gain.SETTINGS["roadscene-flir"]
SHARES = (0.0, 0.3)


@dataclass(frozen=True)
class Trial(RunSpec):
    """A run with a share of black images, evaluated on one fold."""

    fold: int


def main() -> None:
    """Run what is missing, then write the table."""
    parser = build_parser(__doc__, "drop_camera", seeds=())
    parser.add_argument("--folds", type=int, default=FOLDS, help="run the first of the four folds only")
    args = parser.parse_args()
    write_folds(args.data_root.resolve(), args.runs / "folds")
    trials = {share: [_trial(share, fold) for fold in range(args.folds)] for share in SHARES}
    run_missing([trials[share][fold] for fold in range(args.folds) for share in SHARES], _run, args)
    truth, none = join_folds([read_predictions(trial.report(args.runs).parent) for trial in trials[SHARES[0]]])
    rows = [_row(share, trials[share], truth, none, args.runs) for share in SHARES]
    write_report(args.out, "drop_camera", rows, format_page(rows))


def _row(share: float, trials: Sequence[Trial], truth: CocoJson, none: Predictions, runs: Path) -> Row:
    """Return the metrics of a share, and their differences from those without black images, ``none``."""
    _, predictions = join_folds([read_predictions(trial.report(runs).parent) for trial in trials])
    reports = [json.loads(trial.report(runs).read_text()) for trial in trials]
    row = {"drop_camera": str(share), "folds": str(len(trials))}
    for difference in compare(truth, [none], [predictions])[:2]:
        row |= {
            difference.name: f"{difference.b:.4f}",
            f"{difference.name} gain": gain.gain(difference) if share else "",
        }
    for modality in ("rgb", "ir"):
        row[f"AP50, {modality} black"] = f"{fmean(report['blanked'][modality]['AP50'] for report in reports):.4f}"
    return row | provenance(reports[0]["settings"], trials[0].run_dir(runs))


def _trial(share: float, fold: int) -> Trial:
    return Trial(SETTING.data, f"drop{share}-fold{fold}", 0, fold)


def _run(spec: RunSpec, args: argparse.Namespace) -> None:
    assert isinstance(spec, Trial)
    share = spec.variant.removeprefix("drop").partition("-")[0]
    train_and_evaluate(
        spec, args, *gain.MODELS["mid"], *SETTING.overrides, f"train.augment.drop_camera={share}", "data.root=null",
        f"data.descriptor={args.runs.resolve() / 'folds' / f'fold{spec.fold}'}.yaml",
        f"weights.pretrained={args.weights.resolve()}", evaluation=(*gain.EVALUATION, "val.blank=[rgb,ir]"),
    )  # fmt: skip


def format_page(rows: Sequence[Row]) -> str:
    """Format a line per share."""
    table = [["drop_camera", "AP50", "over none", "AP", "over none", "AP50, RGB black", "AP50, IR black"]]
    columns = ["drop_camera", "AP50", "AP50 gain", "AP", "AP gain", "AP50, rgb black", "AP50, ir black"]
    table += [[row[name] for name in columns] for row in rows]
    return join_blocks(
        f"## {SETTING.data} train, {rows[0]['folds']} of {FOLDS} folds: samples with a black camera, {SETTING.epochs} "
        f"epochs at {SETTING.imgsz} px, batch 8, one seed",
        markdown_table(table),
        "Metrics over the predictions of all folds, each by a run that has not seen it, with the 95 % interval of a "
        "paired bootstrap over the images; with a camera black, the mean over the folds. Made by `python -m "
        "scripts.experiments.drop_camera`.",
    )


if __name__ == "__main__":
    main()
