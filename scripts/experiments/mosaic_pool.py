"""What mosaic partners from a pool do to AP: `train.augment.mosaic_pool` of 0, the whole set, against the batch's size.

    python scripts/pool_pays.py --data-root ../shared/data --weights ../shared/weights/yolov5n.pt

Mid fusion of yolov5n from COCO weights, with the budgets of configs/small; everything else is equal in both arms.
Judged once, after the last epoch. A finished run is not repeated.
"""

from __future__ import annotations

import argparse

from scripts.experiments.fusion_levels import Cell, parser_of, read_rows, run_missing, spread_of, train_and_judge, write_csv

ARMS = {"whole": 0, "pool": 8}
DATA = ("roadscene-flir", "llvip-256")


def main() -> None:
    """Run what is missing, then write the table."""
    args = parser_of(__doc__, "pool").parse_args()
    cells = [Cell(data, arm, seed) for seed in args.seeds for data in DATA for arm in ARMS]
    run_missing(cells, run_cell, args)
    rows = [row for cell in cells for row in read_rows(cell, args.runs)]
    write_csv(args.out / "mosaic_pool.csv", rows)
    (args.out / "mosaic_pool.md").write_text(format_table(rows), encoding="utf-8")
    print(format_table(rows))


def run_cell(cell: Cell, args: argparse.Namespace) -> None:
    """Train and judge one run."""
    pool = f"train.augment.mosaic_pool={ARMS[cell.model]}"
    train_and_judge(cell, args, "train.batch=8", f"weights.pretrained={args.weights.resolve()}", pool)


def format_table(rows: list[dict[str, str]]) -> str:
    """Mean and standard deviation over the seeds of both arms, for each set."""
    lines = ["# Mosaic partners from the whole set or from a pool of the batch's size (8)", ""]
    for data in DATA:
        whole = [row for row in rows if row["slice"] == "all" and row["data"] == data]
        first = whole[0]
        lines += [
            f"## {data} val, mid fusion of yolov5n, {first['epochs']} epochs at {first['imgsz']} px",
            "",
            "| mosaic partners from | seeds | AP50 | AP |",
            "| --- | --- | --- | --- |",
        ]
        for arm in ARMS:
            mine = [row for row in whole if row["model"] == arm]
            ap50, ap = ([float(row[name]) for row in mine] for name in ("AP50", "AP"))
            lines.append(f"| {arm} | {len(mine)} | {spread_of(ap50)} | {spread_of(ap)} |")
        lines.append("")
    lines.append("Mean ± standard deviation over the seeds, by pycocotools. Made by scripts/pool_pays.py.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
