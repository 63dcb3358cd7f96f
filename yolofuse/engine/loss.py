"""The loss of a detector: the sum of its heads' losses, each as ultralytics defines it, over the batch of all ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from yolofuse.config import LossConfig
from yolofuse.engine.tal_loss import BranchLoss, pad_targets, target_bounds
from yolofuse.model import Detector
from yolofuse.types import PairedBatch
from yolofuse.upstream import E2ELoss, detection_loss


class DetectionLoss:
    """Loss over all heads. End-to-end heads shift weight from one-to-many to one-to-one with every epoch.

    A branch's loss is divided by the scores assigned in the whole batch, not in a rank's part of it, so that several
    ranks learn what one would have. For that the ranks exchange a few numbers per step.

    Attributes:
        bad: Whether the last loss was not finite, on any rank; a tensor, so that asking waits only who reads it.
    """

    def __init__(
        self,
        detector: Detector,
        gains: LossConfig,
        epochs: int,
        sum_over_ranks: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Take the heads.

        Args:
            detector: The model, on its final device.
            gains: Weights of the terms.
            epochs: Length of the run, over which end-to-end heads move their balance.
            sum_over_ranks: Sums a small tensor over the ranks, each of which has as many pairs; None: there is one.
        """
        self._losses: dict[str, BranchLoss | E2ELoss] = {
            name: detection_loss(head, gains.model_dump(), epochs, BranchLoss) for name, head in detector.heads.items()
        }
        self._sum = sum_over_ranks
        self.bad = torch.zeros((), dtype=torch.bool)

    def __call__(
        self, outputs: dict[str, Any], batch: PairedBatch, on_host: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """This rank's part of the loss to differentiate, summed over pairs, and its terms per pair (detached).

        The sum of all ranks' parts is the loss of their common batch; the mean of all ranks' terms is its terms.

        Args:
            outputs: What the detector returned in training mode.
            batch: The batch it was shown.
            on_host: ``batch.boxes_xyxy`` and ``batch.batch_index`` on the CPU, so that nobody waits for the device.
        """
        boxes, index = on_host if on_host is not None else (batch.boxes_xyxy.cpu(), batch.batch_index.cpu())
        branches = [branch for name, loss in self._losses.items() for branch in _branches(loss, outputs[name])]
        first = branches[0][0]
        size_hw = (int(batch.pixels.shape[2]), int(batch.pixels.shape[3]))
        room = target_bounds(boxes, index, size_hw, first.assigner.stride, first.assigner.stride_val)
        targets = pad_targets(batch.boxes_xyxy, batch.class_ids, batch.batch_index, len(batch), room)
        found = [branch(_as_float(raw), targets) for branch, raw, _ in branches]
        sums, scores = torch.stack([terms for terms, _ in found]), torch.stack([score for _, score in found])
        per_pair = sums / self._normalisers(sums, scores)  # (branches, 3)
        total = torch.zeros((), device=sums.device)
        for values, (_, _, share) in zip(per_pair, branches, strict=True):
            total = total + values.sum() * (share * len(batch))
        return total, self._terms(per_pair.detach())

    def _normalisers(self, sums: Tensor, scores: Tensor) -> Tensor:
        """What each branch's sums are divided by, (branches, 1): the ranks' mean of the assigned scores."""
        not_finite = (~sums.detach().sum().isfinite()).to(scores.dtype)
        message = torch.cat([scores, torch.stack([not_finite, torch.ones_like(not_finite)])])
        if self._sum is not None:
            message = self._sum(message)
        self.bad = message[-2] > 0
        return (message[:-2].clamp(min=1) / message[-1])[:, None]

    def _terms(self, per_pair: Tensor) -> dict[str, Tensor]:
        """The terms by name, summed over heads; of a one-to-one branch alone where a head has one."""
        terms: dict[str, Tensor] = {}
        number = -1
        for loss in self._losses.values():
            number += 2 if isinstance(loss, E2ELoss) else 1
            told = loss.one2one if isinstance(loss, E2ELoss) else loss
            for name, value in zip(told.loss_names, per_pair[number], strict=True):
                key = name.removesuffix("_loss")
                terms[key] = terms[key] + value if key in terms else value
        return terms

    def end_epoch(self) -> None:
        """Move the balance of end-to-end heads by one epoch."""
        for loss in self._losses.values():
            if isinstance(loss, E2ELoss):
                loss.update()

    def set_epoch(self, epoch: int) -> None:
        """Bring the balance to where it stands at the start of ``epoch`` (0 is the first)."""
        for loss in self._losses.values():
            if isinstance(loss, E2ELoss):
                loss.updates = epoch - 1
                loss.update() if epoch else setattr(loss, "updates", 0)


def _branches(loss: BranchLoss | E2ELoss, output: Any) -> list[tuple[BranchLoss, Any, float]]:
    """The branches of a head's loss, their raw outputs, and their shares of the head's loss."""
    if isinstance(loss, E2ELoss):
        return [(loss.one2many, output["one2many"], loss.o2m), (loss.one2one, output["one2one"], loss.o2o)]
    return [(loss, output, 1.0)]


def _shapes_only(features: list[Tensor]) -> list[Tensor]:
    """Stand-ins without memory: the loss reads shape, device and type, and makes its anchors of that type."""
    return [torch.zeros((), device=feature.device).expand(feature.shape) for feature in features]


def _as_float(output: Any) -> Any:
    """Raw outputs in float32 at least: half precision is for the network, not for the loss."""
    if isinstance(output, Tensor):
        return output.to(torch.promote_types(output.dtype, torch.float32))
    if isinstance(output, dict):
        return {key: _shapes_only(value) if key == "feats" else _as_float(value) for key, value in output.items()}
    return output
