"""Compare mosaic partners from the whole set with partners from a pool of the batch's size: results/mosaic_pool.md.

    python -m scripts.experiments.mosaic_pool --weights ../shared/weights/yolov5n.pt

Mid fusion of yolov5n from COCO weights, with the budgets of configs/small; only ``train.augment.mosaic_pool`` differs
between the arms. Each run is evaluated once, after its last epoch. A finished run is not repeated.
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

ARMS = {"whole": 0, "pool": 8}


def main() -> None:
    """Run what is missing, then write the table."""
    args = build_parser(__doc__, "pool").parse_args()
    specs = [RunSpec(data, arm, seed) for seed in args.seeds for data in DATA_SETS for arm in ARMS]
    run_missing(specs, run_arm, args)
    rows = [row for spec in specs for row in read_rows(spec, args.runs)]
    write_report(args.out, "mosaic_pool", rows, format_page(rows))


def run_arm(spec: RunSpec, args: argparse.Namespace) -> None:
    """Train and evaluate one run."""
    pool = f"train.augment.mosaic_pool={ARMS[spec.variant]}"
    train_and_evaluate(spec, args, "train.batch=8", f"weights.pretrained={args.weights.resolve()}", pool)


def format_page(rows: Sequence[Row]) -> str:
    """Format mean and standard deviation over the seeds of both arms, by data set."""
    blocks = ["# Mosaic partners from the whole set or from a pool of the batch's size (8)"]
    for data in DATA_SETS:
        mine = [row for row in rows if row["data"] == data]
        table = [["mosaic partners from", "seeds", "AP50", "AP"]]
        for arm in ARMS:
            ap50, ap = (metric_values(mine, arm, metric) for metric in ("AP50", "AP"))
            table.append([arm, str(len(ap50)), format_mean_std(ap50), format_mean_std(ap)])
        title = f"## {data} val, mid fusion of yolov5n, {mine[0]['epochs']} epochs at {mine[0]['imgsz']} px"
        blocks += [title, markdown_table(table)]
    return join_blocks(
        *blocks,
        "Mean ± standard deviation over the seeds, by pycocotools. "
        "Made by `python -m scripts.experiments.mosaic_pool`.",
    )


if __name__ == "__main__":
    main()
