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
from statistics import fmean

from scripts.experiments import gain
from scripts.experiments.keep_start import join_folds
from scripts.experiments.real_runs import (
    Row,
    RunSpec,
    build_parser,
    join_blocks,
    run_missing,
    train_and_evaluate,
    write_report,
)
from scripts.experiments.recipes import FOLDS, write_folds
from yolofuse.eval.bootstrap import compare
from yolofuse.eval.report import read_predictions
from yolofuse.tables import markdown_table

SETTING = gain.SETTINGS["roadscene-flir"]
SHARES = (0.0, 0.3, 0.5)


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
    pooled = {
        share: join_folds([read_predictions(t.report(args.runs).parent) for t in trials[share]]) for share in SHARES
    }
    reports = {share: [json.loads(t.report(args.runs).read_text()) for t in trials[share]] for share in SHARES}
    rows = []
    for share in SHARES:
        (truth, without), (_, found) = pooled[SHARES[0]], pooled[share]
        ap, ap50 = compare(truth, [without], [found])[:2]
        row = {"drop_camera": str(share), "folds": str(args.folds)}
        for name, difference in (("AP50", ap50), ("AP", ap)):
            row |= {name: f"{difference.b:.4f}", f"{name} gain": gain.gain(difference) if share else ""}
        for modality in ("rgb", "ir"):
            row[f"AP50, {modality} black"] = f"{fmean(r['blanked'][modality]['AP50'] for r in reports[share]):.4f}"
        rows.append(row)
    write_report(args.out, "drop_camera", rows, format_page(rows))


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
    table += [[value for name, value in row.items() if name != "folds"] for row in rows]
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
