"""Tiny runs of ultralytics' own trainer, on the RGB half of the pairs, in forked processes and off the network."""

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
"""Of the runs: four steps in each of five epochs."""
MID = STEPS * 2 + 2
"""A step in the middle of the third epoch."""

Trainer = Any
"""ultralytics' trainer; it has no types."""
Act = Callable[[Trainer], None]


def _restore_patches() -> None:
    """Give ultralytics its own ``torch.save`` back, which tries again when a write fails: it is its behaviour."""
    patches: Any = importlib.import_module("ultralytics.utils.patches")
    torch.save = patches.torch_save


@dataclass
class Stock:
    """A data set and the runs on it, each in a folder of its own."""

    root: Path

    def __post_init__(self) -> None:
        self.data = write_pairs(self.root / "data", STEPS * BATCH, 4).with_name("rgb.yaml")
        _restore_patches()

    def run(self, name: str) -> Path:
        """Folder of a run."""
        return self.root / "runs" / name

    def last(self, name: str) -> Path:
        """The run's checkpoint."""
        return self.run(name) / "weights" / "last.pt"

    def start(
        self, name: str, act: Act | None = None, *, resume: bool = False, log: str = "", **changes: object
    ) -> Job:
        """Begin or resume a run in a process of its own.

        Args:
            name: Of the run.
            act: Gets the trainer before it starts, to hang a fault on it.
            resume: Go on from ``last.pt``.
            log: Name of the log; the run's if empty.
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
            let_it_speak()
            detect: Any = importlib.import_module("ultralytics.models.yolo.detect")
            trainer = detect.DetectionTrainer(overrides=options | changes)
            trainer.add_callback("on_train_start", keep_begin(self.root / f"{log or name}.begin.pt"))
            trainer.add_callback("on_fit_epoch_end", keep_end(self.root / f"{log or name}.end.pt"))
            if act is not None:
                act(trainer)
            trainer.train()

        return Job(work, self.root / f"{log or name}.log")

    def begin(self, name: str) -> dict[str, torch.Tensor]:
        """The weights that a process began with, as in ``end``."""
        return self._kept(f"{name}.begin.pt")

    def end(self, name: str) -> dict[str, torch.Tensor]:
        """The weights that a run ended with, in full precision: the EMA's and the live model's."""
        return self._kept(f"{name}.end.pt")

    def _kept(self, name: str) -> dict[str, torch.Tensor]:
        content: dict[str, torch.Tensor] = torch.load(self.root / name, weights_only=True)
        return {name: value for name, value in content.items() if value.is_floating_point()}


def let_it_speak() -> None:
    """Have ultralytics print its warnings and notes; imported through ``upstream`` it is silent."""
    speaker = logging.getLogger("ultralytics")
    speaker.setLevel(logging.INFO)
    for handler in speaker.handlers:
        handler.setLevel(logging.INFO)


def finish(job: Job) -> None:
    """Wait for a run that has to end well."""
    if job.wait() != 0:
        raise SystemExit(f"a run that should end well ended with {job.code}:\n{job.said()[-3000:]}")


def killed(stock: Stock, name: str) -> Path:
    """A run killed in its third epoch; returns its ``last.pt``, which holds two."""
    job = stock.start(name, at_step(MID, kill_self()))
    if job.wait() != -signal.SIGKILL:
        raise SystemExit(f"a run that should be killed ended with {job.code}:\n{job.said()[-3000:]}")
    if epochs_of(stock.last(name)) != 2:
        raise SystemExit(f"{name}: two epochs should be saved, but there are {epochs_of(stock.last(name))}")
    return stock.last(name)


def off(stock: Stock, name: str, reference: str = "whole") -> str:
    """How far a run's final EMA is from another's."""
    a, b = (
        {key: value for key, value in stock.end(run).items() if key.startswith("ema.")} for run in (reference, name)
    )
    return f"{difference(a, b):.3g}"


def keep_begin(file: Path) -> Act:
    """A callback that keeps the weights."""

    def keep(trainer: Trainer) -> None:
        state = {f"ema.{name}": value for name, value in trainer.ema.ema.state_dict().items()}
        torch.save(state | {f"model.{name}": value for name, value in trainer.model.state_dict().items()}, file)

    return keep


def keep_end(file: Path) -> Act:
    """A callback that keeps what the last epoch ended with; ``last.pt`` holds it in half precision only."""

    def keep(trainer: Trainer) -> None:
        if trainer.epoch == trainer.epochs - 1 and not file.exists():  # the last evaluation calls it again
            keep_begin(file)(trainer)

    return keep


def at_step(step: int, action: Act) -> Act:
    """Do something right before a step, counted from 0 over the epochs of the process."""

    def act(trainer: Trainer) -> None:
        seen = 0

        def count(trainer: Trainer) -> None:
            nonlocal seen
            if seen == step:
                action(trainer)
            seen += 1

        trainer.add_callback("on_train_batch_start", count)

    return act


def kill_self(number: int = signal.SIGKILL) -> Act:
    """Send a signal to the training process."""
    return lambda _: os.kill(os.getpid(), number)


def poison_pixels(step: int) -> Act:
    """NaN in the pixels of one batch, counted from 0 over the epochs of the process."""

    def act(trainer: Trainer) -> None:
        prepare, seen = trainer.preprocess_batch, 0

        def poisoned(batch: dict[str, Any]) -> dict[str, Any]:
            nonlocal seen
            batch = prepare(batch)
            if seen == step:
                batch["img"] = batch["img"] * float("nan")
            seen += 1
            return batch

        trainer.preprocess_batch = poisoned

    return act


def run_out_of_memory(step: int, *, backward: bool) -> Act:
    """A pretended lack of memory, once, in a step counted from 0 over the steps that were begun."""

    def act(trainer: Trainer) -> None:
        prepare, seen = trainer.preprocess_batch, 0

        def fail(_: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory (pretended)")

        def short(batch: dict[str, Any]) -> dict[str, Any]:
            nonlocal seen
            batch = prepare(batch)
            seen += 1
            if seen - 1 == step:
                if not backward:
                    fail(None)
                batch["img"] = batch["img"].requires_grad_()  # the last gradient that backward comes to
                batch["img"].register_hook(fail)
            return batch

        trainer.preprocess_batch = short

    return act


def with_workers(trainer: Trainer, workers: int) -> None:
    """Loader workers, which the trainer takes for GPUs only."""
    trainer.args.workers = workers


def kill_worker(trainer: Trainer) -> None:
    """SIGKILL to a worker of the training loader."""
    os.kill(trainer.train_loader.iterator._workers[0].pid, signal.SIGKILL)


def epochs_of(checkpoint: Path) -> int | None:
    """Finished epochs in a checkpoint of ultralytics; None if it does not load."""
    load: Any = importlib.import_module("ultralytics.nn.tasks").load_checkpoint
    try:
        _, content = load(checkpoint)
    except Exception:  # whatever a damaged pickle raises
        return None
    return int(content["epoch"]) + 1


def zeroed_in(checkpoint: Path) -> tuple[int, int]:
    """How many of a checkpoint's weight tensors are nothing but zeros, of how many."""
    load: Any = importlib.import_module("ultralytics.nn.tasks").load_checkpoint
    model, _ = load(checkpoint)
    weights = [value for value in model.parameters() if value.dim() > 1]
    return sum(not bool(value.any()) for value in weights), len(weights)
