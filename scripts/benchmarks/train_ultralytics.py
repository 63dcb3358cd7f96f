"""Run ultralytics' trainer on the RGB half of a paired data set, in turns; a worker of benchmarks/train.py.

One process, offline, with the same optimizer, batch, workers and threads as our loop, and without validation, plots and
checkpoints. ``deterministic`` is off, since our loop does not request it either.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from scripts.benchmarks.turns import Turns, take_stdout
from yolofuse import upstream  # noqa: F401 - sets the offline environment up before ultralytics is imported
from yolofuse.engine.diagnostics.profiler import Profile, profile_span


def main() -> None:
    """Train until the parent process sends ``quit``."""
    args = _parse_args()
    answers = take_stdout()

    from ultralytics.models.yolo.detect import DetectionTrainer

    device = torch.device(args.device)
    scratch = args.root / f"ultralytics-{args.base}"
    profile = Profile(scratch, args.profile, device)
    turns = Turns(device, args.settle, args.steps, answers, facts=lambda: {"profile": str(scratch)})
    trainer: Any = DetectionTrainer(overrides=_options(args, scratch))
    _time_steps(trainer, turns, profile, None if device.type == "cuda" else args.threads)
    with profile:
        trainer.train()


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="data set written by benchmarks/train.py")
    parser.add_argument("--base", required=True)
    for name in ("--imgsz", "--batch", "--workers", "--threads", "--epochs", "--settle", "--steps", "--profile"):
        parser.add_argument(name, type=int, required=True)
    for name in ("--device", "--precision", "--compile", "--cache"):
        parser.add_argument(name, required=True)
    return parser.parse_args()


def _options(args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Return the trainer's options: those of our loop, and no work that our loop does not do."""
    return {
        "model": f"{args.base}.yaml",
        "data": str(args.root / "ultralytics.yaml"),
        "project": str(scratch),
        "imgsz": args.imgsz,
        "batch": args.batch,
        "nbs": args.batch,
        "epochs": args.epochs,
        "workers": args.workers,
        "device": args.device.removeprefix("cuda:"),
        "amp": {"fp32": False, "bf16": "bf16"}[args.precision],
        "compile": args.compile != "none",
        "cache": False if args.cache == "none" else args.cache,
        "optimizer": "SGD",
        "lr0": 1e-4,
        **dict.fromkeys(("warmup_epochs", "close_mosaic", "patience"), 0),
        **dict.fromkeys(("deterministic", "val", "save", "plots", "pretrained", "verbose"), False),
    }


def _time_steps(trainer: Any, turns: Turns, profile: Profile, threads: int | None) -> None:
    """Make the trainer tell ``turns`` of each step, and how long it waited for data; set its threads on the CPU."""
    waiting_since = 0.0
    preprocess = trainer.preprocess_batch

    def timed_preprocess(batch: Any) -> Any:
        """Count the copy to the device as data time, as for our loop."""
        started = time.perf_counter()
        with profile_span("data"):
            on_device = preprocess(batch)
        turns.data_s += time.perf_counter() - started
        return on_device

    def started(_: Any) -> None:
        nonlocal waiting_since
        if threads is not None:
            torch.set_num_threads(threads)
        waiting_since = time.perf_counter()

    def batch_ready(_: Any) -> None:
        turns.data_s += time.perf_counter() - waiting_since

    def step_done(_: Any) -> None:
        nonlocal waiting_since
        profile.step()
        turns.step_done()
        waiting_since = time.perf_counter()

    trainer.preprocess_batch = timed_preprocess
    trainer.add_callback("on_train_start", started)
    trainer.add_callback("on_train_batch_start", batch_ready)
    trainer.add_callback("on_train_batch_end", step_done)


if __name__ == "__main__":
    main()
