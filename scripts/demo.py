"""The whole main job on made-up scenes: draw pairs, train on RGB, on IR and on both, judge, compare, draw.

    make demo

Nothing is downloaded. A finished part is not done again; `make clean` starts from nothing.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from yolofuse.cli.common import run_command
from yolofuse.config import load_config
from yolofuse.data import PairSet
from yolofuse.distributed.ranks import Ranks
from yolofuse.engine.dataloaders import load_split
from yolofuse.engine.evaluate import evaluate_run, spread, view_pair
from yolofuse.engine.train import train
from yolofuse.errors import RunError
from yolofuse.eval.report import EvalReport
from yolofuse.run.folder import RunFolder
from yolofuse.synth import generate
from yolofuse.viz.pairs import Column, save_comparison_image

REPO = Path(__file__).resolve().parents[1]
CONFIG = REPO / "configs" / "demo.yaml"
DATA = REPO / "data" / "demo"
NUM_TRAIN, NUM_VAL, SEED = 320, 120, 0


@dataclass(frozen=True)
class Contender:
    """A row of the comparison."""

    title: str
    name: str
    overrides: tuple[str, ...]
    shown: Literal["rgb", "ir", "both"]


CONTENDERS = (
    Contender("RGB only", "rgb", ("model.streams=rgb",), "rgb"),
    Contender("IR only", "ir", ("model.streams=ir",), "ir"),
    Contender("both, mid fusion", "mid", (), "both"),
)


def demo(overrides: Sequence[str]) -> None:
    """Do it all, and print the comparison."""
    started = time.perf_counter()
    generate(DATA, num_train=NUM_TRAIN, num_val=NUM_VAL, seed=SEED)
    reports: list[EvalReport] = []
    columns: list[Column] = []
    pairs: PairSet | None = None
    runs = Path()
    for contender in CONTENDERS:
        config = load_config(CONFIG, [*contender.overrides, *overrides])
        runs = config.run_dir.parent
        config = load_config(CONFIG, [*contender.overrides, *overrides, f"train.run={runs / contender.name}"])
        print(f"\n=== {contender.title} ===", flush=True)
        run = RunFolder(config.run_dir)
        if run.config.exists() and run.load_config() != config:
            raise RunError(f"{run.path}: made with another config; remove {runs}, or run `make clean`")
        train(config, resume=run.config.exists())
        judged = evaluate_run(config.run_dir)
        assert judged is not None
        reports.append(judged.report)
        pairs = pairs or load_split(config, config.data.val_split, Ranks(0, 1, torch.device("cpu")))
        shown = spread(len(pairs), 6)
        columns.append(Column(contender.title, contender.shown, [judged.evaluation.detections[i] for i in shown]))
    assert pairs is not None
    picture = runs / "comparison.png"
    save_comparison_image([view_pair(pairs, i) for i in spread(len(pairs), 6)], columns, pairs.names, picture)
    _write_csv(runs / "comparison.csv", reports)
    print(_comparison(reports))
    print(f"\n{(time.perf_counter() - started) / 60:.1f} minutes. Look at {picture}")


def _comparison(reports: Sequence[EvalReport]) -> str:
    slices = list(reports[0].slices)
    head = f"\n{'':<18}{'AP50':>8}{'AP':>8}" + "".join(f"{'AP50 ' + s.rpartition('=')[2]:>13}" for s in slices)
    lines = [head]
    for contender, report in zip(CONTENDERS, reports, strict=True):
        parts = "".join(f"{report.slices[s].AP50:>13.3f}" for s in slices)
        lines.append(f"{contender.title:<18}{report.result.AP50:>8.3f}{report.result.AP:>8.3f}{parts}")
    best_single = max(report.result.AP50 for report in reports[:-1])
    gain = reports[-1].result.AP50 - best_single
    lines.append(f"fusion finds {abs(gain):.3f} AP50 {'more' if gain > 0 else 'LESS'} than the better single camera")
    return "\n".join(lines)


def _write_csv(path: Path, reports: Sequence[EvalReport]) -> None:
    """The comparison with where it is from, a row per model."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        slices = list(reports[0].slices)
        parts = [f"AP50 {name.rpartition('=')[2]}" for name in slices]
        writer.writerow(["model", "AP50", "AP", *parts, "pairs", "seed", "data_hash", "commit", "date", "torch"])
        for contender, report in zip(CONTENDERS, reports, strict=True):
            figures = [report.result.AP50, report.result.AP, *(report.slices[name].AP50 for name in slices)]
            origin = [str(report.settings[key])[:12] for key in ("seed", "data_hash", "commit", "date", "torch")]
            writer.writerow([contender.title, *(f"{f:.4f}" for f in figures), report.num_images, *origin])


def main() -> int:
    """Run the demo; words such as train.epochs=2 change its config."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    args = parser.parse_args()
    return run_command(lambda: demo(args.overrides), on_interrupt="; make demo goes on from here")


if __name__ == "__main__":
    sys.exit(main())
