"""Compare all fusion levels on real pairs, from the same pretrained weights: results/real_pairs.md.

    python -m scripts.experiments.fusion_levels --weights ../shared/weights/yolov5n_state_dict.pt

Every run is trained by train_dual.py and evaluated by val_dual.py. An evaluated run is not repeated, so the script can
be stopped and started again. All runs on a data set share initial weights, budget, augmentation and seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from scripts.experiments.real_runs import (
    DATA_SETS,
    Row,
    RunSpec,
    build_parser,
    join_blocks,
    metric_values,
    read_rows,
    run_missing,
    train_and_evaluate,
    write_report,
)
from scripts.experiments.stats import format_mean_std
from yolofuse.tables import markdown_table

MODELS: dict[str, list[str]] = {
    "rgb": ["model.streams=rgb"],
    "ir": ["model.streams=ir"],
    "mid": ["model.cut=mid"],
    "early": ["model.cut=early"],
    "late": ["model.cut=late"],
    "decision": ["model.cut=decision"],
}
SEEDED = ("rgb", "ir", "mid")
"""Models that are run with every seed; the others are run with the first only."""
_MAX_SEED = 100


def main() -> None:
    """Run what is missing, then write the table over all evaluated runs."""
    parser = build_parser(__doc__, "real")
    parser.add_argument("--data", nargs="+", choices=DATA_SETS, default=list(DATA_SETS))
    args = parser.parse_args()
    specs = [
        RunSpec(data, model, seed)
        for data in args.data
        for seed in args.seeds
        for model in MODELS
        if seed == args.seeds[0] or model in SEEDED
    ]
    run_missing(specs, run_model, args)
    possible = [RunSpec(data, model, seed) for data in DATA_SETS for model in MODELS for seed in range(_MAX_SEED)]
    rows = [row for spec in possible if spec.report(args.runs).exists() for row in read_rows(spec, args.runs)]
    write_report(args.out, "real_pairs", rows, format_page(rows))


def run_model(spec: RunSpec, args: argparse.Namespace) -> None:
    """Train and evaluate one run."""
    train_and_evaluate(spec, args, *MODELS[spec.variant], f"weights.pretrained={args.weights.resolve()}")


def format_page(rows: Sequence[Row]) -> str:
    """Format mean and standard deviation over the seeds, by data set, model and slice."""
    blocks = []
    for data in dict.fromkeys(row["data"] for row in rows):
        mine = [row for row in rows if row["data"] == data]
        slices = list(dict.fromkeys(row["slice"] for row in mine))
        columns = [(metric, part) for part in slices for metric in ("AP50", "AP")]
        table = [["model", "seeds", *(f"{metric} {part}" for metric, part in columns)]]
        for model in dict.fromkeys(row["model"] for row in mine):
            count = len({row["seed"] for row in mine if row["model"] == model})
            cells = [format_mean_std(metric_values(mine, model, metric, part)) for metric, part in columns]
            table.append([model, str(count), *cells])
        title = f"## {data} val: {mine[0]['epochs']} epochs at {mine[0]['imgsz']} px, yolov5n from COCO weights"
        blocks += [title, markdown_table(table)]
    return join_blocks(
        *blocks,
        "Mean ± standard deviation over the seeds; a single seed has none. "
        "Made by `python -m scripts.experiments.fusion_levels`.",
    )


if __name__ == "__main__":
    main()
