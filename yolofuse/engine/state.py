"""Everything a run needs to go on as if it had never stopped."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolofuse.engine.runs import History
from yolofuse.model import Detector
from yolofuse.upstream import ModelEMA
from yolofuse.weights import load_state


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        epoch: Finished epochs; also the number, from 0, of the one that is running or comes next.
        epoch_step: Batches of the running epoch already used.
        step: Batches used since the start.
        last_update: Step after which the weights last changed.
        last_save: Step after which ``last`` was saved.
        best_ap: Best AP so far; -1 before the first evaluation.
        best_epoch: The epoch, counted from 1, that had it; 0 before the first evaluation.
        loss_sums: Sums of the loss terms over the running epoch's batches.
        history: A row per finished epoch.
    """

    epoch: int = 0
    epoch_step: int = 0
    step: int = 0
    last_update: int = 0
    last_save: int = 0
    best_ap: float = -1.0
    best_epoch: int = 0
    loss_sums: dict[str, float] = field(default_factory=dict)
    history: History = field(default_factory=list)

    def finish_epoch(self, row: dict[str, float | None], ap: float | None) -> None:
        """Close the running epoch with its row of results and, where it was evaluated, its AP."""
        self.epoch += 1
        self.epoch_step = 0
        self.loss_sums = {}
        self.history.append(row)
        if ap is not None and (ap > self.best_ap or not self.best_epoch):
            self.best_ap, self.best_epoch = ap, self.epoch

    def is_stale(self, patience: int) -> bool:
        """Whether AP has not risen for ``patience`` epochs (0: never)."""
        return patience > 0 and self.best_epoch > 0 and self.epoch - self.best_epoch >= patience


class LossMeter:
    """Running sums of the loss terms, kept on the device in float64: no step waits for them."""

    def __init__(self, sums: dict[str, float], device: torch.device) -> None:
        self._device = device
        self._sums = {name: self._scalar(value) for name, value in sums.items()}

    def add(self, terms: dict[str, Tensor]) -> None:
        """Add the terms of one batch."""
        for name, value in terms.items():
            if name not in self._sums:
                self._sums[name] = self._scalar(0.0)
            self._sums[name] += value

    def plain(self) -> dict[str, float]:
        """The sums as numbers; waits for the device."""
        return {name: float(value) for name, value in self._sums.items()}

    def _scalar(self, value: float) -> Tensor:
        return torch.tensor(value, dtype=torch.float64, device=self._device)


def capture(
    detector: Detector,
    ema: ModelEMA,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    progress: Progress,
) -> dict[str, Any]:
    """The state as tensors and plain data. Taken right after an update, so that no gradients are pending."""
    return {
        "model": detector.state_dict(),
        "ema": ema.ema.state_dict(),
        "ema_updates": ema.updates,
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
        "progress": asdict(progress),
    }


RESTORED = ("data_hash", "model", "ema", "ema_updates", "optimizer", "scaler", "progress")
"""What a checkpoint must hold to go on from."""


def restore(
    path: Path,
    content: dict[str, Any],
    detector: Detector,
    ema: ModelEMA,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> Progress:
    """Put a captured state back; returns where the run stood.

    Raises:
        WeightsError: If the tensors are not those of this model.
    """
    load_state(detector, content["model"], path)
    load_state(ema.ema, content["ema"], path)
    ema.updates = content["ema_updates"]
    optimizer.load_state_dict(content["optimizer"])
    scaler.load_state_dict(content["scaler"])
    return Progress(**content["progress"])
