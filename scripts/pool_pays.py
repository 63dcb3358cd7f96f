"""What mosaic partners from a pool do to AP: `train.augment.mosaic_pool` of 0, the whole set, against the batch's size.

    python scripts/pool_pays.py --data-root ../shared/data --weights ../shared/weights/yolov5n.pt

Mid fusion of yolov5n from COCO weights, with the budgets of configs/small; everything else is equal in both arms.
Judged once, after the last epoch. A finished run is not repeated.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path

from real_table import REPO, Cell, read_rows, run_python, run_side_by_side, spread_of, write_csv

ARMS = {"whole": 0, "pool": 8}
DATA = ("roadscene-flir", "llvip-256")


def main() -> None:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default_root = os.environ.get("YOLOFUSE_REAL_DATA", str(REPO / ".." / "shared" / "data"))
    parser.add_argument("--data-root", type=Path, default=Path(default_root), help="folder of both sets")
    parser.add_argument("--weights", type=Path, required=True, help="single-stream yolov5n, pretrained on COCO")
    parser.add_argument("--runs", type=Path, default=REPO / "runs" / "pool")
    parser.add_argument("--out", type=Path, default=REPO / "results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    args = parser.parse_args()

    cells = [Cell(data, arm, seed) for seed in args.seeds for data in DATA for arm in ARMS]
    missing = [cell for cell in cells if not cell.report(args.runs).exists()]
    run_side_by_side([partial(run_cell, cell, args.runs, args.data_root, args.weights) for cell in missing], args.jobs)
    rows = [row for cell in cells for row in read_rows(cell, args.runs)]
    write_csv(args.out / "mosaic_pool.csv", rows)
    (args.out / "mosaic_pool.md").write_text(format_table(rows), encoding="utf-8")
    print(format_table(rows))


def run_cell(cell: Cell, runs: Path, data_root: Path, weights: Path) -> None:
    """Train and judge one run; one that was killed goes on."""
    run = cell.run_dir(runs)
    if (run / "config.yaml").exists():
        run_python("train_dual.py", "--resume", str(run))
    else:
        run_python(
            "train_dual.py", "--cfg", f"configs/small/{cell.data}.yaml", "train.batch=8",
            f"data.root={data_root.resolve() / cell.data}", f"train.seed={cell.seed}", f"train.run={run}",
            f"weights.pretrained={weights.resolve()}", f"train.augment.mosaic_pool={ARMS[cell.model]}",
        )  # fmt: skip
    run_python("val_dual.py", "--run", str(run))


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
