"""Measure what training adds to the model it starts from, on real pairs: results/gain.md.

    python -m scripts.experiments.gain --weights ../shared/weights/yolov5n.pt

Each camera alone and both in mid fusion, before the first step and after the last, on the validation pairs: once, so
that nothing is selected on them. Recipe and options are the defaults, chosen by scripts/experiments/recipes.py within
the training pairs. Differences have a paired-bootstrap interval over the images. A finished run is not repeated.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scripts.experiments.real_runs import (
    Row,
    RunSpec,
    build_parser,
    join_blocks,
    load_real_pairs,
    read_rows,
    run_command,
    run_missing,
    train_and_evaluate,
    write_report,
)
from scripts.experiments.stats import format_mean_std
from yolofuse.eval.bootstrap import Difference, Predictions, compare
from yolofuse.eval.coco import CocoJson
from yolofuse.eval.report import read_predictions
from yolofuse.tables import markdown_table

MODELS: dict[str, tuple[str, ...]] = {
    "RGB": ("model.streams=rgb",),
    "IR": ("model.streams=ir",),
    "mid": ("model.cut=mid",),
}
EVALUATION = ("val.iou=0.6", "val.precision=fp32")
"""As YOLOv5 evaluates: its NMS threshold, not ultralytics' 0.7."""
START = -1
"""Seed of the row of a model that is not trained."""


@dataclass(frozen=True)
class Setting:
    """A data set, an image size and a budget; each has its own table."""

    data: str
    imgsz: int
    epochs: int
    seeds: int  # 0, 1, ...

    @property
    def overrides(self) -> tuple[str, ...]:
        """Options of the config that are the setting's."""
        return f"train.imgsz={self.imgsz}", f"train.epochs={self.epochs}", "train.batch=8"

    def spec(self, model: str, seed: int) -> RunSpec:
        """Return the run of a model; of its start with the seed ``START``."""
        return RunSpec(self.data, f"{model}-{self.imgsz}px", seed)


SETTINGS = {
    "roadscene-flir": Setting("roadscene-flir", 320, 60, 5),
    "roadscene-flir-640": Setting("roadscene-flir", 640, 20, 1),
    "llvip-256": Setting("llvip-256", 256, 20, 1),
}


def main() -> None:
    """Run what is missing of the chosen settings, then write the tables over all finished ones."""
    parser = build_parser(__doc__, "gain", seeds=())
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    args = parser.parse_args()
    for name in args.settings:
        setting = SETTINGS[name]
        seeds = (START, *range(setting.seeds))
        specs = [setting.spec(model, seed) for seed in seeds for model in MODELS]
        run_missing(specs, partial(run, setting), args)
    rows: list[Row] = []
    pages = []
    for setting in SETTINGS.values():
        runs = finished_runs(setting, args.runs)
        if runs:
            rows += [
                {**row, "seed": "start" if spec.seed == START else row["seed"]}
                for specs in runs.values()
                for spec in specs
                for row in read_rows(spec, args.runs)
            ]
            pages.append(format_setting(setting, runs, args))
    write_report(args.out, "gain", rows, "\n".join(pages))


def run(setting: Setting, spec: RunSpec, args: argparse.Namespace, *more: str) -> None:
    """Train a model and evaluate it, or evaluate its start; ``more`` are further overrides."""
    model = spec.variant.partition("-")[0]
    overrides = (*MODELS[model], *setting.overrides, f"weights.pretrained={args.weights.resolve()}", *more)
    if spec.seed == START:
        run_command(
            "val_dual.py", "--cfg", f"configs/small/{spec.data}.yaml", "--out", str(spec.report(args.runs).parent),
            *overrides, *EVALUATION, f"data.root={args.data_root.resolve() / spec.data}",
        )  # fmt: skip
    else:
        train_and_evaluate(spec, args, *overrides, evaluation=EVALUATION)


def finished_runs(setting: Setting, runs: Path) -> dict[str, list[RunSpec]]:
    """Return the evaluated runs of each model, its start first; nothing before each has one of both."""
    found = {
        model: [
            spec for seed in (START, *range(setting.seeds)) if (spec := setting.spec(model, seed)).report(runs).exists()
        ]
        for model in MODELS
    }
    complete = all(len(specs) > 1 and specs[0].seed == START for specs in found.values())
    return found if complete else {}


def format_setting(setting: Setting, runs: dict[str, list[RunSpec]], args: argparse.Namespace) -> str:
    """Format the tables of a setting: all models before and after, then the classes and the parts of the split."""
    truth: CocoJson = {}
    before: dict[str, list[Predictions]] = {}
    after: dict[str, list[Predictions]] = {}
    for model, specs in runs.items():
        read = [read_predictions(spec.report(args.runs).parent) for spec in specs]
        truth = read[0][0]
        assert all(one == truth for one, _ in read), "evaluated on different labels"
        before[model], after[model] = [read[0][1]], [rows for _, rows in read[1:]]
    gains = {model: compare(truth, before[model], after[model]) for model in MODELS}
    better = max(("RGB", "IR"), key=lambda model: gains[model][1].b)
    fusion = compare(truth, after[better], after["mid"])
    table = [["model", "seeds", "before: AP50 / AP", "after: AP50 / AP", "gain of AP50", "gain of AP"]]
    for model, (ap, ap50, *_) in gains.items():
        table.append([
            model, str(len(after[model])), f"{ap50.a:.3f} / {ap.a:.3f}", f"**{ap50.b:.3f} / {ap.b:.3f}**",
            gain(ap50), gain(ap),
        ])  # fmt: skip
    return join_blocks(
        f"## {setting.data} val, {len(truth['images'])} pairs: yolov5n of COCO, {setting.epochs} epochs at "
        f"{setting.imgsz} px, batch 8",
        markdown_table(table),
        f"Mid fusion after training over {better}, the better camera: AP50 {gain(fusion[1])}, AP {gain(fusion[0])}.",
        markdown_table(gains_by_class(truth, gains)),
        markdown_table(parts_table(setting, truth, before, after, args)),
        "Means over the seeds; in brackets the 95 % interval of the difference, by a paired bootstrap over the images. "
        "Made by `python -m scripts.experiments.gain`.",
    )


def gains_by_class(truth: CocoJson, gains: Mapping[str, Sequence[Difference]]) -> list[list[str]]:
    """Return the gain of AP50 of each class with its interval: few boxes decide little."""
    table = [["gain of AP50", "boxes", *MODELS]]
    for of_class in zip(*(gains[model] for model in MODELS), strict=True):
        name, _, metric = of_class[0].name.rpartition(" ")
        if name and metric == "AP50":
            table.append([name, str(_num_boxes(truth, name)), *map(gain, of_class)])
    return table


def parts_table(
    setting: Setting,
    truth: CocoJson,
    before: dict[str, list[Predictions]],
    after: dict[str, list[Predictions]],
    args: argparse.Namespace,
) -> list[list[str]]:
    """Return AP50 before and after of each class, and of each part of the split by its tags; one seed a number."""
    table = [["AP50 of", "boxes", *(f"{model}: before, after (seeds)" for model in MODELS)]]
    rows: dict[str, list[list[str]]] = {}
    tags = [record.tags.get("daynight", "") for record in load_real_pairs(setting.data, args.data_root, "val").records]
    ids = [image["id"] for image in truth["images"]]
    parts = {"all": set(ids)} | {
        tag: {number for number, of_pair in zip(ids, tags, strict=True) if of_pair == tag} for tag in sorted({*tags})
    }
    for part, inside in parts.items():
        if part != "all" and (not part or len(inside) == len(ids)):
            continue
        cut = _only(truth, inside)
        for model in MODELS:
            runs = [[row for row in run if row["image_id"] in inside] for run in (*before[model], *after[model])]
            found = [compare(cut, [runs[0]], [one], resamples=1) for one in runs[1:]]
            for i, first in enumerate(found[0]):
                if not first.name.endswith("AP50"):
                    continue
                name = first.name.removesuffix(" AP50").replace("AP50", "all classes")
                key = name if part == "all" else f"{name}, {part}"
                values = [one[i].b for one in found]
                cells = rows.setdefault(key, [[str(_num_boxes(cut, name))]])
                cells.append([f"{first.a:.3f}, {format_mean_std(values)}"])
    return table + [[key, *(cell for (cell,) in cells)] for key, cells in rows.items()]


def _only(truth: CocoJson, image_ids: set[int]) -> CocoJson:
    """Return the labels of some images."""
    return {
        **truth,
        "images": [image for image in truth["images"] if image["id"] in image_ids],
        "annotations": [box for box in truth["annotations"] if box["image_id"] in image_ids],
    }


def _num_boxes(truth: CocoJson, name: str) -> int:
    wanted = {row["id"] for row in truth["categories"] if name in (row["name"], "all classes")}
    return sum(box["category_id"] in wanted and not box["iscrowd"] for box in truth["annotations"])


def gain(difference: Difference) -> str:
    """Format a difference with its interval."""
    return f"{difference.b - difference.a:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"


if __name__ == "__main__":
    main()
