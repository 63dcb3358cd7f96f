"""Run ultralytics' trainer on the RGB half of the pairs, in forked processes and offline, and inspect its runs."""

from __future__ import annotations

import importlib
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scripts.faults.lab import Job, difference, write_pairs
from yolofuse import upstream  # noqa: F401 - sets the offline environment up before ultralytics is imported

EPOCHS, STEPS, BATCH = 5, 4, 4
"""Budget of a run: five epochs of four steps of four images."""
MID = STEPS * 2 + 2
"""A step in the middle of the third epoch."""

Trainer = Any
"""ultralytics' trainer, which has no types."""
Hook = Callable[[Trainer], None]


def _restore_patches() -> None:
    """Restore ultralytics' own ``torch.save``, which retries failed writes: that is part of what is measured."""
    patches: Any = importlib.import_module("ultralytics.utils.patches")
    torch.save = patches.torch_save


@dataclass
class UltralyticsRuns:
    """Start runs on one small data set, each in its own folder."""

    root: Path

    def __post_init__(self) -> None:
        self.data = write_pairs(self.root / "data", STEPS * BATCH, 4).with_name("rgb.yaml")
        _restore_patches()

    def folder(self, name: str) -> Path:
        """Return the folder of a run."""
        return self.root / "runs" / name

    def last(self, name: str) -> Path:
        """Return the run's last checkpoint."""
        return self.folder(name) / "weights" / "last.pt"

    def start(
        self, name: str, inject: Hook | None = None, *, resume: bool = False, log: str = "", **changes: object
    ) -> Job:
        """Start or resume a run in its own process.

        Args:
            name: Of the run.
            inject: Gets the trainer before it starts, to set up a fault.
            resume: Resume from ``last.pt``.
            log: Name of the log; by default the run's.
            **changes: Options of the trainer.
        """
        options: dict[str, object] = {
            "model": "yolov8n.yaml",
            "data": str(self.data),
            "project": str(self.root / "runs"),
            "name": name,
            "exist_ok": True,
            "epochs": EPOCHS,
            "batch": BATCH,
            "nbs": BATCH,
            "imgsz": 64,
            "workers": 0,
            "device": "cpu",
            "optimizer": "SGD",
            "lr0": 0.01,
            "warmup_epochs": 1,
            "close_mosaic": 1,
            "plots": False,
            "amp": False,
            "deterministic": True,
            "seed": 0,
            "pretrained": False,
        }
        if resume:
            options = {"resume": str(self.last(name))}

        def work() -> None:
            enable_logging()
            detect: Any = importlib.import_module("ultralytics.models.yolo.detect")
            trainer = detect.DetectionTrainer(overrides=options | changes)
            trainer.add_callback("on_train_start", save_weights_to(self.root / f"{log or name}.begin.pt"))
            trainer.add_callback("on_fit_epoch_end", save_final_weights_to(self.root / f"{log or name}.end.pt"))
            if inject is not None:
                inject(trainer)
            trainer.train()

        return Job(work, self.root / f"{log or name}.log")

    def initial_weights(self, name: str) -> dict[str, torch.Tensor]:
        """Return the weights at the start of a process: EMA and model, in full precision."""
        return self._load_weights(f"{name}.begin.pt")

    def final_weights(self, name: str) -> dict[str, torch.Tensor]:
        """Return the weights at the end of a run: EMA and model, in full precision."""
        return self._load_weights(f"{name}.end.pt")

    def _load_weights(self, name: str) -> dict[str, torch.Tensor]:
        content: dict[str, torch.Tensor] = torch.load(self.root / name, weights_only=True)
        return {name: value for name, value in content.items() if value.is_floating_point()}


def enable_logging() -> None:
    """Let ultralytics print its warnings and messages; imported through ``upstream`` it is silent."""
    log = logging.getLogger("ultralytics")
    log.setLevel(logging.INFO)
    for handler in log.handlers:
        handler.setLevel(logging.INFO)


def finish(job: Job) -> None:
    """Wait for a run that must succeed."""
    if job.wait() != 0:
        raise SystemExit(f"a run expected to succeed ended with {job.code}:\n{job.output()[-3000:]}")


def start_and_kill(runs: UltralyticsRuns, name: str) -> Path:
    """Start a run and kill it in its third epoch; return its ``last.pt``, which holds two epochs."""
    job = runs.start(name, at_step(MID, kill_self()))
    if job.wait() != -signal.SIGKILL:
        raise SystemExit(f"a run expected to be killed ended with {job.code}:\n{job.output()[-3000:]}")
    if saved_epochs(runs.last(name)) != 2:
        raise SystemExit(f"{name}: expected two saved epochs, got {saved_epochs(runs.last(name))}")
    return runs.last(name)


def weight_difference(runs: UltralyticsRuns, name: str, reference: str = "whole") -> str:
    """Return the largest difference between the final EMA weights of two runs."""
    a, b = (
        {key: value for key, value in runs.final_weights(run).items() if key.startswith("ema.")}
        for run in (reference, name)
    )
    return f"{difference(a, b):.3g}"


def save_weights_to(file: Path) -> Hook:
    """Return a callback that saves the weights of EMA and model."""

    def save(trainer: Trainer) -> None:
        state = {f"ema.{name}": value for name, value in trainer.ema.ema.state_dict().items()}
        torch.save(state | {f"model.{name}": value for name, value in trainer.model.state_dict().items()}, file)

    return save


def save_final_weights_to(file: Path) -> Hook:
    """Return a callback that saves the weights of the last epoch; ``last.pt`` has them in half precision only."""

    def save(trainer: Trainer) -> None:
        if trainer.epoch == trainer.epochs - 1 and not file.exists():  # called again by the final evaluation
            save_weights_to(file)(trainer)

    return save


def at_step(step: int, action: Hook) -> Hook:
    """Return a hook that runs ``action`` right before a step, counted from 0 over the epochs of the process."""

    def install(trainer: Trainer) -> None:
        num_steps = 0

        def count(trainer: Trainer) -> None:
            nonlocal num_steps
            if num_steps == step:
                action(trainer)
            num_steps += 1

        trainer.add_callback("on_train_batch_start", count)

    return install


def kill_self(number: int = signal.SIGKILL) -> Hook:
    """Return a hook that sends a signal to the training process."""
    return lambda _: os.kill(os.getpid(), number)


def poison_pixels(step: int) -> Hook:
    """Return a hook that puts NaN into the pixels of one batch, counted from 0 over the epochs of the process."""

    def install(trainer: Trainer) -> None:
        prepare, num_batches = trainer.preprocess_batch, 0

        def poisoned(batch: dict[str, Any]) -> dict[str, Any]:
            nonlocal num_batches
            batch = prepare(batch)
            if num_batches == step:
                batch["img"] = batch["img"] * float("nan")
            num_batches += 1
            return batch

        trainer.preprocess_batch = poisoned

    return install


def run_out_of_memory(step: int, *, backward: bool) -> Hook:
    """Return a hook that simulates one out-of-memory error, in a step counted from 0 over all started steps."""

    def install(trainer: Trainer) -> None:
        prepare, num_batches = trainer.preprocess_batch, 0

        def fail(_: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory (simulated)")

        def failing(batch: dict[str, Any]) -> dict[str, Any]:
            nonlocal num_batches
            batch = prepare(batch)
            num_batches += 1
            if num_batches - 1 == step:
                if not backward:
                    fail(None)
                batch["img"] = batch["img"].requires_grad_()  # its gradient is the last that backward computes
                batch["img"].register_hook(fail)
            return batch

        trainer.preprocess_batch = failing

    return install


def with_workers(trainer: Trainer, workers: int) -> None:
    """Set the number of loader workers, which the trainer would use with GPUs only."""
    trainer.args.workers = workers


def kill_worker(trainer: Trainer) -> None:
    """Kill a worker of the training loader."""
    os.kill(trainer.train_loader.iterator._workers[0].pid, signal.SIGKILL)


def saved_epochs(checkpoint: Path) -> int | None:
    """Return the number of finished epochs in a checkpoint of ultralytics; None if it does not load."""
    load: Any = importlib.import_module("ultralytics.nn.tasks").load_checkpoint
    try:
        _, content = load(checkpoint)
    except Exception:  # a damaged pickle can raise anything
        return None
    return int(content["epoch"]) + 1


def count_zeroed(checkpoint: Path) -> tuple[int, int]:
    """Return how many of a checkpoint's weight tensors are all zeros, and how many there are."""
    load: Any = importlib.import_module("ultralytics.nn.tasks").load_checkpoint
    model, _ = load(checkpoint)
    weights = [value for value in model.parameters() if value.dim() > 1]
    return sum(not bool(value.any()) for value in weights), len(weights)
