"""Measure how many labelled pairs training needs: results/learning_curve.md and docs/learning_curve.png.

    python -m scripts.experiments.learning_curve --weights ../shared/weights/yolov5n.pt

Each camera alone and both in mid fusion learn from 8, 16, 32, 64 and all training pairs of roadscene-flir, evenly
spaced, from the weights of the source and from scratch, by the default recipe of either. Budget and runs on all pairs
are those of scripts/experiments/gain.py. Each run is evaluated once, after its last epoch; a finished one is not
repeated.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from statistics import fmean

from scripts.experiments import gain
from scripts.experiments.gain import MODELS, START
from scripts.experiments.real_runs import (
    Row,
    RunSpec,
    build_parser,
    join_blocks,
    load_real_pairs,
    metric_values,
    read_rows,
    run_missing,
    train_and_evaluate,
    write_descriptor,
    write_report,
)
from scripts.experiments.stats import format_mean_std
from scripts.paths import REPO
from yolofuse.spacing import evenly_spaced
from yolofuse.tables import markdown_table
from yolofuse.viz.axes import BLUE, GREEN, ORANGE, add_legend, new_figure, save_figure, style_axes

SETTING = gain.SETTINGS["roadscene-flir"]
SIZES = (8, 16, 32, 64)
INITS = ("source", "scratch")
_COLOURS = {"RGB": ORANGE, "IR": GREEN, "mid": BLUE}


def main() -> None:
    """Run what is missing, then write table and picture."""
    args = build_parser(__doc__, "gain", seeds=(0,)).parse_args()
    pairs = load_real_pairs(SETTING.data, args.data_root.resolve(), "train")
    splits = {"val": load_real_pairs(SETTING.data, args.data_root.resolve(), "val").records}
    sizes = (*SIZES, len(pairs))
    for size in sizes:
        subset = [pairs.records[position] for position in evenly_spaced(len(pairs), size)]
        write_descriptor(args.runs / "subsets" / f"{size}.yaml", {"train": subset, **splits}, pairs.names)
    points = {(model, "source", 0): [SETTING.spec(model, START)] for model in MODELS}
    for model in MODELS:
        for init in INITS:
            for size in sizes:
                points[model, init, size] = [_spec(model, init, size, seed, len(pairs)) for seed in args.seeds]
    run_missing([spec for specs in points.values() for spec in specs], _run, args)
    rows = [
        {"init": init, "pairs": str(size), **row, "model": model}
        for (model, init, size), specs in points.items()
        for spec in specs
        for row in read_rows(spec, args.runs)
        if row["slice"] == "all"
    ]
    write_report(args.out, "learning_curve", rows, format_page(rows))
    draw(rows)


def _spec(model: str, init: str, size: int, seed: int, num_pairs: int) -> RunSpec:
    if (init, size) == ("source", num_pairs):
        return SETTING.spec(model, seed)
    return RunSpec(SETTING.data, f"{model}-{init}-{size}", seed)


def _run(spec: RunSpec, args: argparse.Namespace) -> None:
    model, *rest = spec.variant.split("-")
    if len(rest) == 1:
        gain.run(SETTING, spec, args)
        return
    init, size = rest
    weights = [f"weights.pretrained={args.weights.resolve()}"] if init == "source" else []
    data = (f"data.descriptor={args.runs.resolve() / 'subsets' / size}.yaml", "data.root=null")
    train_and_evaluate(spec, args, *MODELS[model], *SETTING.overrides, *weights, *data, evaluation=gain.EVALUATION)


def _values(rows: Sequence[Row], model: str, init: str, size: int, metric: str = "AP50") -> list[float]:
    return metric_values([row for row in rows if (row["init"], row["pairs"]) == (init, str(size))], model, metric)


def _sizes(rows: Sequence[Row]) -> list[int]:
    return sorted({int(row["pairs"]) for row in rows})


def format_page(rows: Sequence[Row]) -> str:
    """Format AP50 / AP by number of pairs, a row for each model and start."""
    table = [["AP50 / AP", *(f"{size} pairs" for size in _sizes(rows))]]
    for model in MODELS:
        for init in INITS:
            by_size = [[_values(rows, model, init, size, metric) for metric in ("AP50", "AP")] for size in _sizes(rows)]
            table.append([f"{model}, {init}", *(" / ".join(map(format_mean_std, both)) for both in by_size)])
    budget = f"{SETTING.epochs} epochs at {SETTING.imgsz} px, batch 8"
    return join_blocks(
        f"## {SETTING.data} val: AP by number of labelled pairs, {budget}",
        markdown_table(table),
        "Source: yolov5n of COCO; 0 pairs: before training. Made by `python -m scripts.experiments.learning_curve`.",
    )


def draw(rows: Sequence[Row]) -> None:
    """Draw AP50 over the number of pairs: whole lines from the source, dashed ones from scratch."""
    figure = new_figure(6, 3.4, dpi=150)
    axes = figure.subplots()
    sizes = _sizes(rows)
    for model, colour in _COLOURS.items():
        for init, style in zip(INITS, ("-", "--"), strict=True):
            known = [
                (at, fmean(values)) for at, size in enumerate(sizes) if (values := _values(rows, model, init, size))
            ]
            label = f"{model}, {'pretrained' if init == 'source' else 'from scratch'}"
            axes.plot(*zip(*known, strict=True), style, color=colour, marker="o", markersize=3, label=label)
    axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    axes.set_ylim(bottom=0)
    style_axes(axes, title=f"{SETTING.data} val, AP50", xlabel="labelled pairs; 0: before training")
    add_legend(axes, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    save_figure(figure, REPO / "docs" / "learning_curve.png")


if __name__ == "__main__":
    main()
