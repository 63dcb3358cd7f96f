"""Compare RGB, IR and mid fusion on generated scenes: generate pairs, train, evaluate, plot.

    make demo

Nothing is downloaded. A finished part is not repeated; `make clean` removes everything.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from yolofuse.cli.common import run_command
from yolofuse.config import Config, load_config
from yolofuse.distributed.ranks import Ranks
from yolofuse.engine.dataloaders import load_split
from yolofuse.engine.evaluate_checkpoint import evaluate_run, view_pair
from yolofuse.errors import RunError
from yolofuse.eval.report import EvalReport
from yolofuse.files import save_text
from yolofuse.spacing import evenly_spaced
from yolofuse.synth import generate
from yolofuse.tables import csv_text, text_table
from yolofuse.viz.pairs import Column, save_comparison_image

REPO = Path(__file__).resolve().parents[1]
CONFIG = REPO / "configs" / "demo.yaml"
DATA = REPO / "data" / "demo"
NUM_TRAIN, NUM_VAL, SEED = 320, 120, 0
_NUM_DRAWN = 6


@dataclass(frozen=True)
class Model:
    """One model of the comparison.

    Attributes:
        title: For the reader.
        name: Of its run folder.
        overrides: Of the demo's config.
        shown: Modality that its detections are drawn on.
    """

    title: str
    name: str
    overrides: tuple[str, ...]
    shown: Literal["rgb", "ir", "both"]


MODELS = (
    Model("RGB only", "rgb", ("model.streams=rgb",), "rgb"),
    Model("IR only", "ir", ("model.streams=ir",), "ir"),
    Model("both, mid fusion", "mid", (), "both"),
)


_TITLE_WIDTH = max(len(model.title) for model in MODELS)


def demo(overrides: Sequence[str]) -> None:
    """Generate the data, train and evaluate every model, write and print the comparison."""
    started = time.perf_counter()
    generate(DATA, num_train=NUM_TRAIN, num_val=NUM_VAL, seed=SEED)
    overrides = [f"train.precision={_precision()}", *overrides]
    runs = load_config(CONFIG, overrides).run_dir.parent
    words = [[*model.overrides, *overrides, f"train.run={runs / model.name}"] for model in MODELS]
    configs = [load_config(CONFIG, given) for given in words]
    _train_all(configs, words)
    reports: list[EvalReport] = []
    columns: list[Column] = []
    pairs = load_split(configs[0], configs[0].data.val_split, Ranks(0, 1, torch.device("cpu")))
    for model, config in zip(MODELS, configs, strict=True):
        print(f"\n=== {model.title} ===", flush=True)
        outcome = evaluate_run(config.run_dir)
        assert outcome is not None
        reports.append(outcome.report)
        drawn = evenly_spaced(len(pairs), _NUM_DRAWN)
        columns.append(Column(model.title, model.shown, [outcome.evaluation.detections[i] for i in drawn]))
    views = [view_pair(pairs, i) for i in evenly_spaced(len(pairs), _NUM_DRAWN)]
    image = runs / "comparison.png"
    save_comparison_image(views, columns, pairs.names, image)
    save_text(runs / "comparison.csv", csv_text(_comparison_rows(reports)))
    print(f"\n{_format_comparison(reports)}")
    print(f"\n{(time.perf_counter() - started) / 60:.1f} minutes. See {image}\n\n{_next_steps()}")


def _precision() -> str:
    """Return bf16 where the processor computes in it, which takes half the time of fp32."""
    known = getattr(torch.cpu, "get_capabilities", dict[str, Any])()
    return "bf16" if known.get("avx512_bf16") or known.get("amx_bf16") else "fp32"


def _train_all(configs: Sequence[Config], words: Sequence[Sequence[str]]) -> None:
    """Train the models at the same time, a process each: on images so small, one alone makes poor use of two cores.

    Raises:
        RunError: If a run fails, for example because it was started with another config.
    """
    threads = max(len(os.sched_getaffinity(0)) // len(MODELS), 1)
    with ThreadPoolExecutor(len(MODELS)) as pool:
        codes = list(pool.map(lambda model, given: _train(model, given, threads), MODELS, words))
    for config, code in zip(configs, codes, strict=True):
        if code:
            log = _log_file(config.run_dir)
            raise RunError(f"training ended with exit code {code}, see {log}; `make clean` removes all demo runs")


def _train(model: Model, words: Sequence[str], threads: int) -> int:
    """Train one model, print a line for each epoch, and return the exit code; all that it says goes into a log."""
    command = [sys.executable, str(REPO / "train_dual.py"), "--cfg", str(CONFIG), "--auto-resume", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    log = _log_file(load_config(CONFIG, words).run_dir)
    log.parent.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPO
    )
    assert process.stdout is not None
    with log.open("a", encoding="utf-8") as file:
        for line in process.stdout:
            file.write(line)
            if line.startswith(("epoch", "error", "warning", "stopped")):
                print(f"{model.title:<{_TITLE_WIDTH}}  {line.rstrip()}", flush=True)
    return process.wait()


def _log_file(run: Path) -> Path:
    return run.with_suffix(".log")


def _next_steps() -> str:
    """Return the two commands that begin with a user's own pairs."""
    python = Path(sys.executable)
    if python.is_relative_to(REPO):
        python = python.relative_to(REPO)
    return (
        "With your own pairs, after filling in copies of configs/data/custom.yaml and configs/custom.yaml:\n"
        f"  {python.with_name('yolofuse')} check --data my_data.yaml --out runs/check\n"
        f"  {python} train_dual.py --cfg my.yaml"
    )


def _format_comparison(reports: Sequence[EvalReport]) -> str:
    """Format AP and AP50 per model, and the gain of fusion over the better single modality."""
    slices = list(reports[0].slices)
    rows = [["", "AP50", "AP", *(f"AP50 {name.rpartition('=')[2]}" for name in slices)]]
    for model, report in zip(MODELS, reports, strict=True):
        values = [report.result.AP50, report.result.AP, *(report.slices[name].AP50 for name in slices)]
        rows.append([model.title, *(f"{value:.3f}" for value in values)])
    gain = reports[-1].result.AP50 - max(report.result.AP50 for report in reports[:-1])
    comparison = "more" if gain > 0 else "LESS"
    return f"{text_table(rows)}\nfusion reaches {abs(gain):.3f} AP50 {comparison} than the better single modality"


def _comparison_rows(reports: Sequence[EvalReport]) -> list[dict[str, object]]:
    """Return a CSV row per model: metrics and their provenance."""
    rows: list[dict[str, object]] = []
    for model, report in zip(MODELS, reports, strict=True):
        metrics = {"AP50": report.result.AP50, "AP": report.result.AP}
        metrics |= {f"AP50 {name.rpartition('=')[2]}": result.AP50 for name, result in report.slices.items()}
        rows.append(
            {
                "model": model.title,
                **{name: f"{value:.4f}" for name, value in metrics.items()},
                "pairs": report.result.num_images,
                "seed": report.settings["seed"],
                "data_hash": str(report.settings["data_hash"])[:12],
                **{key: report.settings[key] for key in ("commit", "date", "device", "torch")},
            }
        )
    return rows


def main() -> int:
    """Run the demo; overrides such as train.epochs=2 change its config."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    args = parser.parse_args()
    return run_command(lambda: demo(args.overrides), on_interrupt="; make demo continues from here")


if __name__ == "__main__":
    sys.exit(main())
