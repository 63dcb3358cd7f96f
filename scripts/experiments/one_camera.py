"""Measure what is left when a camera fails, or never had an image: results/one_camera.md.

    python -m scripts.experiments.one_camera --weights ../shared/weights/yolov5n.pt

Mid fusion on roadscene-flir as in scripts/experiments/gain.py, whose runs are used: before training, by the default
recipe, with one camera black in 30 % of the training samples, and with 30 % of the thermal training images missing.
Each is evaluated on the validation pairs with both cameras, and with the images of either black. A finished run is not
repeated.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from scripts.experiments import gain
from scripts.experiments.gain import START
from scripts.experiments.real_runs import (
    Row,
    RunSpec,
    build_parser,
    join_blocks,
    load_real_pairs,
    provenance,
    run_command,
    run_missing,
    write_descriptor,
    write_report,
)
from scripts.experiments.stats import format_mean_std
from yolofuse.spacing import evenly_spaced
from yolofuse.tables import markdown_table

SETTING = gain.SETTINGS["roadscene-flir"]
MISSING = 0.3
"""Share of the training pairs without a thermal image."""
RECIPES: dict[str, tuple[str, tuple[str, ...]]] = {  # name of the runs' variant and overrides
    "before training": ("-start", ("val.blank=[rgb,ir]",)),
    "the recipe": ("", ()),
    "one camera black in 30 % of samples": ("-drop30", ("train.augment.drop_camera=0.3",)),
    "30 % of the thermal images missing": ("-missing", ("data.missing=allow",)),
}
SIGHTS = ("both", "rgb black", "ir black")


def main() -> None:
    """Run what is missing, then write the table."""
    args = build_parser(__doc__, "gain").parse_args()
    root = args.data_root.resolve()
    train, val = (load_real_pairs(SETTING.data, root, split) for split in ("train", "val"))
    lost = set(evenly_spaced(len(train), round(MISSING * len(train))))
    write_descriptor(args.runs / "missing.yaml", {"train": train.records, "val": val.records}, train.names, no_ir=lost)
    fusions = [spec for seed in (START, *args.seeds) for name in RECIPES if (spec := _spec(name, seed))]
    singles = [SETTING.spec(model, seed) for seed in args.seeds for model in ("RGB", "IR")]
    run_missing([*fusions, *singles], _train, args)
    blanked = [Blanked(spec.data, spec.variant, spec.seed) for spec in fusions]
    run_missing(blanked, _blank, args)
    rows = [row for spec in (*blanked, *singles) for row in _rows(spec, args)]
    write_report(args.out, "one_camera", rows, format_page(rows))


class Blanked(RunSpec):
    """The evaluation of a run with either camera black."""

    def report(self, runs: Path) -> Path:
        """Return the file of the evaluation; that of a model before training is its only one."""
        return super().report(runs) if self.seed == START else self.run_dir(runs) / "eval-blank" / "report.json"


def _spec(name: str, seed: int) -> RunSpec | None:
    """Return the run of a row of the table; None for a seed that it has not."""
    if (name == "before training") != (seed == START):
        return None
    spec = SETTING.spec("mid", seed)
    return RunSpec(spec.data, spec.variant + RECIPES[name][0], seed)


def _train(spec: RunSpec, args: argparse.Namespace) -> None:
    suffix = spec.variant.removeprefix(SETTING.spec("mid", spec.seed).variant)
    more = dict(RECIPES.values()).get(suffix, ())  # none for the detectors of one camera
    if suffix == "-missing":
        more += (f"data.descriptor={args.runs.resolve() / 'missing.yaml'}", "data.root=null")
    gain.run(SETTING, spec, args, *more)


def _blank(spec: RunSpec, args: argparse.Namespace) -> None:
    out = spec.report(args.runs).parent
    run_command(
        "val_dual.py", "--run", str(spec.run_dir(args.runs)), "--out", str(out), "val.blank=[rgb,ir]", *gain.EVALUATION
    )


def _rows(spec: RunSpec, args: argparse.Namespace) -> list[Row]:
    """Return a row per sight of an evaluation; of a detector of one camera there is one."""
    report = json.loads(spec.report(args.runs).read_text())
    found = {"both": report, **{f"{modality} black": metrics for modality, metrics in report["blanked"].items()}}
    return [
        {
            "data": spec.data,
            "model": spec.variant,
            "seed": str(spec.seed),
            "sight": sight,
            **{metric: f"{metrics[metric]:.4f}" for metric in ("AP50", "AP")},
            **provenance(report["settings"], spec.run_dir(args.runs)),
        }
        for sight, metrics in found.items()
    ]


def format_page(rows: Sequence[Row]) -> str:
    """Format AP50 of each recipe with both cameras and with one, beside the detectors of one camera."""

    def values(variant: str, sight: str) -> list[float]:
        """Return AP50 of a model, one per seed."""
        return [float(row["AP50"]) for row in rows if (row["model"], row["sight"]) == (variant, sight)]

    alone = {model: values(SETTING.spec(model, 0).variant, "both") for model in ("RGB", "IR")}
    table = [["AP50", "both", "RGB black", "IR black"]]
    table.append(["one camera alone", "", format_mean_std(alone["IR"]), format_mean_std(alone["RGB"])])
    for name, (suffix, _) in RECIPES.items():
        by_sight = [values(SETTING.spec("mid", 0).variant + suffix, sight) for sight in SIGHTS]
        cells = [format_mean_std(by_sight[0])]
        for found, other in zip(by_sight[1:], ("IR", "RGB"), strict=True):
            cells.append(f"{format_mean_std(found)} ({fmean(found) / fmean(alone[other]):.1%})")
        table.append([f"mid, {name}", *cells])
    return join_blocks(
        f"## {SETTING.data} val, {SETTING.epochs} epochs at {SETTING.imgsz} px: when a camera fails",
        markdown_table(table),
        "Mean ± standard deviation over the seeds; in brackets the share of what the detector of the other camera "
        "alone finds. Made by `python -m scripts.experiments.one_camera`.",
    )


if __name__ == "__main__":
    main()
