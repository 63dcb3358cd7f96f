"""The table of results/real_pairs.md: every fusion level on real pairs, from one start, judged by cocoapi.

    python scripts/real_table.py --data-root ../shared/data --weights ../shared/weights/yolov5n_state_dict.pt

Each cell is a run of train_dual.py and one of val_dual.py. A run that was already judged is not repeated, so the script
can be stopped and started again. Every run of a data set has the same start, budget, augmentation and seeds.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

REPO = Path(__file__).resolve().parents[1]
DATA_SETS = ("roadscene-flir", "llvip-256")
MODELS: dict[str, list[str]] = {
    "rgb": ["model.streams=rgb"],
    "ir": ["model.streams=ir"],
    "mid": ["model.cut=mid"],
    "early": ["model.cut=early"],
    "late": ["model.cut=late"],
    "decision": ["model.cut=decision"],
}
SEEDED = ("rgb", "ir", "mid")
"""Models that are run with every seed; the others with the first."""


@dataclass(frozen=True)
class Cell:
    """One run of the table."""

    data: str
    model: str
    seed: int

    def run_dir(self, runs: Path) -> Path:
        """Folder of the run."""
        return runs / f"{self.data}-{self.model}-{self.seed}"

    def report(self, runs: Path) -> Path:
        """The run's evaluation."""
        return self.run_dir(runs) / "eval-val" / "report.json"


def main() -> None:
    """Run what is missing, then write the table."""
    parser = parser_of(__doc__, "real")
    parser.add_argument("--data", nargs="+", choices=DATA_SETS, default=list(DATA_SETS))
    args = parser.parse_args()

    cells = [
        Cell(data, model, seed)
        for data in args.data
        for seed in args.seeds
        for model in MODELS
        if seed == args.seeds[0] or model in SEEDED
    ]
    run_missing(cells, run_cell, args)
    everything = [Cell(data, model, seed) for data in DATA_SETS for model in MODELS for seed in range(100)]
    rows = [row for cell in everything if cell.report(args.runs).exists() for row in read_rows(cell, args.runs)]
    write_csv(args.out / "real_pairs.csv", rows)
    (args.out / "real_pairs.md").write_text(format_table(rows), encoding="utf-8")
    print(format_table(rows))


def parser_of(about: str | None, runs: str) -> argparse.ArgumentParser:
    """The options that every table of real runs has; its runs go to ``runs/RUNS``."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    default_root = os.environ.get("YOLOFUSE_REAL_DATA", str(REPO / ".." / "shared" / "data"))
    parser.add_argument("--data-root", type=Path, default=Path(default_root), help="folder with the data sets")
    parser.add_argument("--weights", type=Path, required=True, help="single-stream yolov5n, pretrained on COCO")
    parser.add_argument("--runs", type=Path, default=REPO / "runs" / runs)
    parser.add_argument("--out", type=Path, default=REPO / "results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    return parser


def run_missing(
    cells: Sequence[Cell], run_cell: Callable[[Cell, argparse.Namespace], None], args: argparse.Namespace
) -> None:
    """Do the cells that have no report yet, ``args.jobs`` at a time; the first that fails ends the script."""
    missing = [cell for cell in cells if not cell.report(args.runs).exists()]
    with ThreadPoolExecutor(args.jobs) as pool:
        for done in tqdm([pool.submit(run_cell, cell, args) for cell in missing], desc="runs", unit="run"):
            done.result()


def run_cell(cell: Cell, args: argparse.Namespace) -> None:
    """Train and judge one cell."""
    train_and_judge(cell, args, *MODELS[cell.model], f"weights.pretrained={args.weights.resolve()}")


def train_and_judge(cell: Cell, args: argparse.Namespace, *words: str) -> None:
    """Train a cell with its set's small config, changed by ``words``, and judge it; a run that was killed goes on."""
    run = cell.run_dir(args.runs)
    if (run / "config.yaml").exists():
        run_python("train_dual.py", "--resume", str(run))
    else:
        run_python(
            "train_dual.py", "--cfg", f"configs/small/{cell.data}.yaml", *words,
            f"data.root={args.data_root.resolve() / cell.data}", f"train.seed={cell.seed}", f"train.run={run}",
        )  # fmt: skip
    run_python("val_dual.py", "--run", str(run))


def run_python(script: str, *arguments: str) -> None:
    """Run one of the project's commands with one thread.

    Raises:
        SystemExit: With the end of its error text, if it fails.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(REPO / script), *arguments], cwd=REPO, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{script} {' '.join(arguments)} failed:\n{done.stderr[-2000:]}")


def read_rows(cell: Cell, runs: Path) -> Iterator[dict[str, str]]:
    """A row for the whole split and one for each slice."""
    report = json.loads(cell.report(runs).read_text())
    settings = report["settings"]
    with (cell.run_dir(runs) / "results.csv").open() as file:
        seconds = sum(float(row["seconds"]) for row in csv.DictReader(file))
    for part, figures in {"all": report, **report["slices"]}.items():
        yield {
            "data": cell.data,
            "model": cell.model,
            "seed": str(cell.seed),
            "slice": part.removeprefix("daynight="),
            **{name: f"{figures[name]:.4f}" for name in ("AP", "AP50", "AP75")},
            "epochs": str(settings["epoch"]),
            "imgsz": str(settings["imgsz"]),
            "train_seconds": f"{seconds:.0f}",
            "data_hash": settings["data_hash"][:12],
            "commit": settings["commit"][:12],
            "date": settings["date"][:10],
            "device": f"{settings['device']}, torch {settings['torch']}",
        }


def write_csv(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """All rows, one a run and slice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def format_table(rows: Sequence[dict[str, str]]) -> str:
    """Mean and standard deviation over the seeds, per data set, model and slice."""
    lines = []
    for data in dict.fromkeys(row["data"] for row in rows):
        mine = [row for row in rows if row["data"] == data]
        slices = list(dict.fromkeys(row["slice"] for row in mine))
        lines += [f"## {data} val: {mine[0]['epochs']} epochs at {mine[0]['imgsz']} px, yolov5n from COCO weights", ""]
        lines.append("| model | seeds | " + " | ".join(f"AP50 {s} | AP {s}" for s in slices) + " |")
        lines.append("| --- | --- |" + " --- |" * (2 * len(slices)))
        for model in dict.fromkeys(row["model"] for row in mine):
            cells = []
            for part in slices:
                these = [row for row in mine if row["model"] == model and row["slice"] == part]
                cells += [spread_of([float(row[name]) for row in these]) for name in ("AP50", "AP")]
            count = len({row["seed"] for row in mine if row["model"] == model})
            lines.append(f"| {model} | {count} | " + " | ".join(cells) + " |")
        lines.append("")
    lines.append("Mean ± standard deviation over the seeds; a single seed has none. Made by scripts/real_table.py.")
    return "\n".join(lines) + "\n"


def spread_of(values: list[float]) -> str:
    """Mean and standard deviation; a single value has none."""
    mean = f"{statistics.mean(values):.3f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.3f}"


if __name__ == "__main__":
    main()
