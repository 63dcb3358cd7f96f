"""What pretrained weights are worth on a user's own small set: fine-tuning against training from scratch.

    python scripts/finetune_pays.py --data-root ../shared/data --weights ../shared/weights/yolov5n.pt

Mid fusion of yolov5n on roadscene-flir, 60 epochs at 320 px, batch 8; everything else is as it stands in
configs/small/roadscene-flir.yaml, and equal in both arms. Judged once, after the last epoch. A finished run is not
repeated.
"""

from __future__ import annotations

import argparse

from scripts.experiments.fusion_levels import Cell, parser_of, read_rows, run_missing, spread_of, train_and_judge, write_csv

BUDGET = ("train.epochs=60", "train.imgsz=320", "train.batch=8", "train.close_mosaic=10")
ARMS = ("pretrained", "scratch")
RIVAL_AP50 = 0.104
"""From scratch, the same set and budget, by a hand-wired fork: the figure to beat three times over."""


def main() -> None:
    """Run what is missing, then write the table."""
    args = parser_of(__doc__, "finetune").parse_args()
    cells = [Cell("roadscene-flir", arm, seed) for seed in args.seeds for arm in ARMS]
    run_missing(cells, run_cell, args)
    rows = [row for cell in cells for row in read_rows(cell, args.runs)]
    write_csv(args.out / "finetune.csv", rows)
    (args.out / "finetune.md").write_text(format_table(rows), encoding="utf-8")
    print(format_table(rows))


def run_cell(cell: Cell, args: argparse.Namespace) -> None:
    """Train and judge one run."""
    source = [f"weights.pretrained={args.weights.resolve()}", "weights.require=0.99"]
    train_and_judge(cell, args, *BUDGET, *(source if cell.model == "pretrained" else []))


def format_table(rows: list[dict[str, str]]) -> str:
    """Mean and standard deviation over the seeds of both arms, beside the rival's figure."""
    whole = [row for row in rows if row["slice"] == "all"]
    first = whole[0]
    lines = [
        f"## {first['data']} val, mid fusion of yolov5n, {first['epochs']} epochs at {first['imgsz']} px, batch 8",
        "",
        "| start | seeds | AP50 | AP | AP50 over the rival's |",
        "| --- | --- | --- | --- | --- |",
    ]
    for arm in ARMS:
        mine = [row for row in whole if row["model"] == arm]
        ap50 = [float(row["AP50"]) for row in mine]
        ap = [float(row["AP"]) for row in mine]
        times = sum(ap50) / len(ap50) / RIVAL_AP50
        lines.append(f"| {arm} | {len(mine)} | {spread_of(ap50)} | {spread_of(ap)} | {times:.1f} x |")
    lines += [
        f"| a hand-wired fork, from scratch | | {RIVAL_AP50} | | 1 x |",
        "",
        "Mean ± standard deviation over the seeds, by pycocotools. Made by scripts/finetune_pays.py.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
