"""Everything a run needs to go on as if it had never stopped."""

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
    """Where a run stands.

    Attributes:
        epoch: Finished epochs; also the number, from 0, of the one that is running or comes next.
        epoch_step: Batches of the running epoch already used.
        step: Batches used since the start.
        last_update: Step after which the weights last changed.
        last_save: Step after which ``last`` was saved.
        best_ap: Best AP so far; -1 before the first evaluation.
        best_epoch: The epoch, counted from 1, that had it; 0 before the first evaluation.
        loss_sums: For each rank, sums of the loss terms over the running epoch's batches.
        history: A row per finished epoch.
        skipped: Steps that are left out, since their loss or gradients were not finite.
        rollbacks: How often the run went back to a checkpoint because of such a step.
    """

    epoch: int = 0
    epoch_step: int = 0
    step: int = 0
    last_update: int = 0
    last_save: int = 0
    best_ap: float = -1.0
    best_epoch: int = 0
    loss_sums: list[dict[str, float]] = field(default_factory=list)
    history: History = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    rollbacks: int = 0

    def finish_epoch(self, row: dict[str, float | None], ap: float | None) -> None:
        """Close the running epoch with its row of results and, where it was evaluated, its AP."""
        self.epoch += 1
        self.epoch_step = 0
        self.loss_sums = []
        self.history.append(row)
        if ap is not None and (ap > self.best_ap or not self.best_epoch):
            self.best_ap, self.best_epoch = ap, self.epoch

    def sums_of(self, rank: int, world: int) -> dict[str, float]:
        """The sums that a rank goes on from; their mean where there were fewer or more ranks before."""
        if len(self.loss_sums) == world:
            return self.loss_sums[rank]
        return mean_sums(self.loss_sums)

    def is_stale(self, patience: int) -> bool:
        """Whether AP has not risen for ``patience`` epochs (0: never)."""
        return patience > 0 and self.best_epoch > 0 and self.epoch - self.best_epoch >= patience


def mean_sums(sums: list[dict[str, float]]) -> dict[str, float]:
    """The mean over ranks of each term; empty where there are none."""
    return {name: sum(part[name] for part in sums) / len(sums) for name in sums[0]} if sums else {}


_COUNT = "num"  # among the sums: how many batches went into them


class LossMeter:
    """Running sums of the loss terms, kept on the device in float64: no step waits for them."""

    def __init__(self, sums: Mapping[str, float], device: torch.device) -> None:
        """Go on from what :meth:`plain` once returned; empty to begin anew."""
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
        """The sums and the number of batches, as numbers; waits for the device."""
        return {**{name: float(value) for name, value in self._sums.items()}, _COUNT: self._count}

    def means(self) -> dict[str, float]:
        """The mean of each term over the batches; waits for the device."""
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
    ema: ModelEma[Detector],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> TrainState:
    """Put a captured state back; returns where the run stood.

    Raises:
        WeightsError: If the tensors are not those of this model.
    """
    load_state(detector, content["model"], path)
    load_state(ema.ema, content["ema"], path)
    ema.updates = content["ema_updates"]
    _restore_optimizer(path, optimizer, content["optimizer"])
    if content["scaler"]:  # empty where none was used
        scaler.load_state_dict(content["scaler"])
    known = dict(content["progress"])
    if isinstance(known["loss_sums"], dict):  # as yolofuse 0.1.0 wrote it: the mean over ranks
        sums = known["loss_sums"]
        known["loss_sums"] = [{**sums, _COUNT: float(known["epoch_step"])}] if sums else []
    return TrainState(**known)


def _restore_optimizer(path: Path, optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Put an optimizer's state back; its options stay those of the config, which may have been changed by force."""
    options = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    if [_shape(group) for group in saved["param_groups"]] != [_shape(group) for group in optimizer.param_groups]:
        raise WeightsError(
            f"{path}: its optimizer's state is of another train.optimizer or train.freeze; those can't change on the "
            "way"
        )
    optimizer.load_state_dict(saved)
    for group, own in zip(optimizer.param_groups, options, strict=True):
        group.update(own)


def _shape(group: Mapping[str, Any]) -> tuple[int, bool, bool]:
    return len(group["params"]), "betas" in group, bool(group.get("use_muon"))
