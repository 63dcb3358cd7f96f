"""Score detectors of two cameras before any training: results/start_scores.md.

    python -m scripts.experiments.start_scores --weights ../shared/weights/yolov5n.pt

Every model is built from one single-stream checkpoint and evaluated as it is loaded, by val_dual.py --cfg. The best
start is chosen on the training pairs, which no model here has seen either; the validation pairs are there to report.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmarks.results_table import short_commit
from scripts.experiments.real_runs import (
    DATA_SETS,
    Row,
    RunSpec,
    build_parser,
    join_blocks,
    run_command,
    run_missing,
    write_report,
)
from scripts.paths import REPO
from yolofuse.tables import markdown_table
from yolofuse.viz.axes import BLUE, LIGHT_BLUE, NEUTRAL, new_figure, save_figure, style_axes

MODELS: dict[str, tuple[str, ...]] = {
    "RGB alone": ("model.streams=rgb",),
    "IR alone": ("model.streams=ir",),
    "input": ("model.cut=input",),
    "early": ("model.cut=early",),
    "3, after the block at P2": ("model.cut=3",),
    "mid": ("model.cut=mid",),
    "late": ("model.cut=late",),
    "decision, nms": ("model.cut=decision", "model.merge=nms"),
    "decision, proben": ("model.cut=decision", "model.merge=proben"),
    "mid, starts as RGB": ("model.cut=mid", "init.fusion=rgb"),
    "mid, starts as IR": ("model.cut=mid", "init.fusion=ir"),
    "mid, gated": ("model.cut=mid", "model.fusion=gated"),
}
_DRAWN = ("RGB alone", "IR alone", "early", "mid", "late", "decision, nms")


def main() -> None:
    """Evaluate what is missing, then write table and picture."""
    args = build_parser(__doc__, "start_scores", seeds=(), trains=False).parse_args()
    starts = [Start(data, model, 0, split) for data in DATA_SETS for split in ("train", "val") for model in MODELS]
    run_missing(starts, _evaluate, args)
    rows = [row for start in starts for row in _read(start, args.runs)]
    write_report(args.out, "start_scores", rows, format_page(rows))
    draw(rows, REPO / "docs" / "start_scores.png")


@dataclass(frozen=True)
class Start(RunSpec):
    """An evaluation of a model that is not trained."""

    split: str

    def run_dir(self, runs: Path) -> Path:
        """Return the folder of the evaluation."""
        return runs / f"{self.data}-{self.split}-{self.variant.replace(', ', '-').replace(' ', '_')}"

    def report(self, runs: Path) -> Path:
        """Return the file of the evaluation."""
        return self.run_dir(runs) / "report.json"


def _evaluate(start: RunSpec, args: argparse.Namespace) -> None:
    assert isinstance(start, Start)
    run_command(
        "val_dual.py", "--cfg", f"configs/small/{start.data}.yaml", "--split", start.split,
        "--out", str(start.run_dir(args.runs)), *MODELS[start.variant],
        f"data.root={args.data_root.resolve() / start.data}", f"weights.pretrained={args.weights.resolve()}",
        "val.precision=fp32", "val.iou=0.6",
    )  # fmt: skip


def _read(start: Start, runs: Path) -> list[Row]:
    report = json.loads(start.report(runs).read_text())
    settings = report["settings"]
    return [
        {
            "data": start.data,
            "split": start.split,
            "model": start.variant,
            "slice": name.removeprefix("daynight="),
            **{metric: f"{metrics[metric]:.4f}" for metric in ("AP50", "AP")},
            "pairs": str(metrics["num_images"]),
            "imgsz": str(settings["imgsz"]),
            "commit": short_commit(settings["commit"]),
            "date": settings["date"][:10],
        }
        for name, metrics in {"all": report, **report["slices"]}.items()
    ]


def format_page(rows: Sequence[Row]) -> str:
    """Format AP50 and AP of every model, with a column for each set and split."""
    columns = list(dict.fromkeys((row["data"], row["split"]) for row in rows))
    header = [f"{data} {split}, {_of(rows, data, split)[0]['pairs']} pairs" for data, split in columns]
    table = [["AP50 / AP", *header]]
    for model in MODELS:
        cells = []
        for data, split in columns:
            (row,) = [row for row in _of(rows, data, split) if row["model"] == model]
            cells.append(f"{row['AP50']} / {row['AP']}")
        table.append([model, *cells])
    sizes = ", ".join(f"{data} at {_of(rows, data, split)[0]['imgsz']} px" for data, split in columns if split == "val")
    return join_blocks(
        "## Two cameras from one single-stream checkpoint, before any training",
        markdown_table(table),
        f"YOLOv5n of COCO; {sizes}; fp32, NMS at IoU 0.6. Fusion starts as the mean unless said. No model has seen "
        "these pairs. Made by `python -m scripts.experiments.start_scores`.",
    )


def _of(rows: Sequence[Row], data: str, split: str) -> list[Row]:
    return [row for row in rows if (row["data"], row["split"], row["slice"]) == (data, split, "all")]


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw AP50 on the validation pairs of each set as bars, a single camera in grey."""
    figure = new_figure(9, 3.2, dpi=150)
    axes = figure.subplots(1, len(DATA_SETS), sharey=True)
    for axis, data in zip(axes, DATA_SETS, strict=True):
        of_set = {row["model"]: float(row["AP50"]) for row in _of(rows, data, "val")}
        values = [of_set[model] for model in _DRAWN]
        best = max(values[2:])
        colours = [NEUTRAL, NEUTRAL, *(BLUE if value == best else LIGHT_BLUE for value in values[2:])]
        bars = axis.bar(range(len(_DRAWN)), values, color=colours)
        axis.bar_label(bars, fmt="%.3f", fontsize=8)
        axis.set_xticks(range(len(_DRAWN)), [name.replace(", ", "\n").replace(" alone", "\nalone") for name in _DRAWN])
        style_axes(axis, title=f"{data} val, AP50 before training")
    save_figure(figure, path)


if __name__ == "__main__":
    main()
