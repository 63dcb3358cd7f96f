"""Hold, capture and restore everything a run needs to resume as if it had never stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolofuse.errors import WeightsError
from yolofuse.model import Detector
from yolofuse.nn.ema import ModelEma
from yolofuse.run.folder import History
from yolofuse.weights import load_state


@dataclass
class TrainState:
    """The changing state of a run, beside weights, EMA and optimizer."""

    epoch: int = 0  # finished epochs; also the index, from 0, of the current or next one
    epoch_step: int = 0  # batches of the current epoch already used
    step: int = 0  # batches used since the start
    last_update: int = 0  # step after which the weights last changed
    last_save: int = 0  # step after which ``last.pt`` was saved
    best_ap: float = -1.0  # -1 before the first score
    best_epoch: int = 0  # its epoch, counted from 1, the newest of equals; 0 before the first score, and for the start
    loss_sums: list[dict[str, float]] = field(default_factory=list)  # for each rank, over the current epoch's batches
    history: History = field(default_factory=list)  # a row per finished epoch
    skipped: list[int] = field(default_factory=list)  # steps to skip: their loss or gradients were not finite
    rollbacks: int = 0  # to a checkpoint, because of such steps

    def begin(self, row: dict[str, float | None], ap: float | None) -> None:
        """Record the evaluation before the first step: its row of results and its AP, None where it is undefined."""
        self.history.append(row)
        if ap is not None:
            self.best_ap, self.best_epoch = ap, 0

    def finish_epoch(self, row: dict[str, float | None], ap: float | None) -> None:
        """Close the current epoch with its row of results and, if it was evaluated and has one, its AP."""
        self.epoch += 1
        self.epoch_step = 0
        self.loss_sums = []
        self.history.append(row)
        if ap is not None and ap >= self.best_ap:
            self.best_ap, self.best_epoch = ap, self.epoch

    def sums_of(self, rank: int, world: int) -> dict[str, float]:
        """Return the sums that a rank resumes from; the mean over ranks if their number changed."""
        if len(self.loss_sums) == world:
            return self.loss_sums[rank]
        return mean_sums(self.loss_sums)

    def is_stale(self, patience: int) -> bool:
        """Return whether AP has not risen for ``patience`` epochs (0: never), at the last epoch that has a score."""
        scores = [
            (self.epoch - ago, ap) for ago, row in enumerate(reversed(self.history))
            if (ap := row.get("val/AP")) is not None and ap >= 0  # yolofuse 0.1.0 wrote -1 where there is no box
        ]  # fmt: skip
        if not scores or not patience:
            return False
        rose_at, _ = max(scores, key=lambda score: (score[1], -score[0]))
        return scores[0][0] - rose_at >= patience


def mean_sums(sums: list[dict[str, float]]) -> dict[str, float]:
    """Average each term over the ranks; empty if there are none."""
    return {name: sum(rank_sums[name] for rank_sums in sums) / len(sums) for name in sums[0]} if sums else {}


_COUNT = "num"  # key of the number of batches, among the sums


class LossMeter:
    """Sums the loss terms on the device in float64, so that no step waits for a copy to the host."""

    def __init__(self, sums: Mapping[str, float], device: torch.device) -> None:
        """Start from sums that :meth:`plain` returned, or from an empty mapping."""
        self._device = device
        self._sums = {name: self._scalar(value) for name, value in sums.items() if name != _COUNT}
        self._count = sums.get(_COUNT, 0.0)

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """Add the terms of one batch."""
        self._count += 1
        for name, value in terms.items():
            if name not in self._sums:
                self._sums[name] = self._scalar(0.0)
            self._sums[name] += value

    def plain(self) -> dict[str, float]:
        """Return the sums and the number of batches as floats; waits for the device."""
        return {**{name: float(value) for name, value in self._sums.items()}, _COUNT: self._count}

    def means(self) -> dict[str, float]:
        """Return the mean of each term over the batches; waits for the device."""
        return {name: float(value) / self._count for name, value in self._sums.items()}

    def _scalar(self, value: float) -> Tensor:
        return torch.tensor(value, dtype=torch.float64, device=self._device)


def capture(
    detector: Detector,
    ema: ModelEma[Detector],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    progress: TrainState,
) -> dict[str, Any]:
    """Return the state as tensors and plain data; call right after an update, when no gradients are pending."""
    start = {} if ema.start is None else {"start": ema.start.state_dict()}
    return start | {
        "model": detector.state_dict(),
        "ema": ema.ema.state_dict(),
        "ema_updates": ema.updates,
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
        "progress": asdict(progress),
    }


RESTORED = ("data_hash", "model", "ema", "ema_updates", "optimizer", "scaler", "progress")
"""Keys that a checkpoint must have to resume from it."""


def restore(
    path: Path,
    content: dict[str, Any],
    detector: Detector,
    ema: ModelEma[Detector],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> TrainState:
    """Load a captured state into model, EMA, optimizer and scaler; return its ``TrainState``.

    Raises:
        WeightsError: If the tensors do not fit this model or optimizer.
    """
    load_state(detector, content["model"], path)
    load_state(ema.ema, content["ema"], path)
    ema.updates = content["ema_updates"]
    if ema.start is not None:
        load_state(ema.start, content.get("start"), path)
    _restore_optimizer(path, optimizer, content["optimizer"])
    if content["scaler"]:  # empty without AMP
        scaler.load_state_dict(content["scaler"])
    return progress_of(content)


def progress_of(content: Mapping[str, Any]) -> TrainState:
    """Return the counters that a checkpoint holds."""
    values = dict(content["progress"])
    if isinstance(values["loss_sums"], dict):  # yolofuse 0.1.0 wrote the mean over ranks
        sums = values["loss_sums"]
        values["loss_sums"] = [{**sums, _COUNT: float(values["epoch_step"])}] if sums else []
    return TrainState(**values)


def _restore_optimizer(path: Path, optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Load an optimizer's state but keep the options of the config, which may have changed with --force."""
    options = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    if [_shape(group) for group in saved["param_groups"]] != [_shape(group) for group in optimizer.param_groups]:
        raise WeightsError(
            f"{path}: its optimizer state is of another train.optimizer or train.freeze; neither may change when a run "
            "resumes; set them back or start a new run"
        )
    optimizer.load_state_dict(saved)
    for group, own in zip(optimizer.param_groups, options, strict=True):
        group.update(own)


def _shape(group: Mapping[str, Any]) -> tuple[int, bool, bool]:
    return len(group["params"]), "betas" in group, bool(group.get("use_muon"))
