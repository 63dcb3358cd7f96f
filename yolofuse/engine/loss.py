"""Compute the loss of a detector: the sum of its heads' losses, as ultralytics defines each, over all ranks' batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from yolofuse.batch import PairedBatch
from yolofuse.config import LossConfig
from yolofuse.config.field_types import part_name
from yolofuse.config.parts import make_part
from yolofuse.engine.anchor_loss import AnchorLoss
from yolofuse.engine.loss_terms import LOSS_TERMS
from yolofuse.engine.tal_loss import BranchLoss, Targets, pad_targets, target_bounds
from yolofuse.model import Detector
from yolofuse.nn.anchor_head import AnchorDetect
from yolofuse.upstream import E2ELoss, detection_loss


@dataclass(frozen=True)
class BranchSums:
    """Losses of all branches on this rank, before they are normalised over the ranks.

    Shapes:
        terms: (branches, 3), sums over the rank's pairs; differentiable
        counts: (branches, 3), in the rank's batch

    Attributes:
        terms: Loss terms of each branch; each level of an anchor head is a branch.
        counts: What the terms are divided by, once summed over the ranks: the assigned scores, or matches and cells.
        shares: Share of each branch in its head's loss.
        num_pairs: Pairs of the rank's batch.
        extra: Further terms per pair, by name; differentiable.
    """

    terms: Tensor
    counts: Tensor
    shares: tuple[float, ...]
    num_pairs: int
    extra: Mapping[str, Tensor]


class LossResult(NamedTuple):
    """A reduced loss.

    Attributes:
        total: This rank's part of the loss to differentiate, summed over pairs; the parts of all ranks add up to the
            loss of their common batch.
        terms: The loss terms per pair, by name, detached; the mean over ranks is that of the common batch.
        non_finite: One bool: whether the loss was not finite on any rank. It stays on the device.
    """

    total: Tensor
    terms: dict[str, Tensor]
    non_finite: Tensor


_HeadLoss = BranchLoss | E2ELoss | AnchorLoss


class DetectionLoss:
    """The loss over all heads. End-to-end heads shift weight from one-to-many to one-to-one with every epoch.

    A branch's loss is divided by the scores assigned, or the boxes matched, in the whole batch, not in a rank's part of
    it, so that several ranks learn what one would have. For that the ranks exchange a few numbers per step, in
    :meth:`reduce`.
    """

    def __init__(self, detector: Detector, gains: LossConfig, epochs: int) -> None:
        """Create the loss of each head.

        Args:
            detector: The model, on its final device.
            gains: Weights of the terms.
            epochs: Length of the run, over which end-to-end heads move their balance.
        """
        self._losses: dict[str, _HeadLoss] = {
            name: _loss_of(head, gains, epochs) for name, head in detector.heads.items()
        }
        self._extra = {part_name(part): make_part("train.loss.extra", part, LOSS_TERMS) for part in gains.extra}

    def __call__(self, outputs: dict[str, Any], batch: PairedBatch) -> LossResult:
        """Compute the loss where there is one rank."""
        return self.reduce(self.branch_sums(outputs, batch))

    def branch_sums(self, outputs: dict[str, Any], batch: PairedBatch) -> BranchSums:
        """Compute the loss terms of every branch on this rank; nothing is sent.

        Args:
            outputs: What the detector returned in training mode.
            batch: The batch it was given.
        """
        terms: list[Tensor] = []
        counts: list[Tensor] = []
        shares: list[float] = []
        targets: Targets | None = None
        for name, loss in self._losses.items():
            if isinstance(loss, AnchorLoss):
                boxes = (batch.boxes_xyxy, batch.class_ids, batch.batch_index)
                by_level, counts_by_level = loss(_as_float(outputs[name]), *boxes)
                terms += by_level
                counts += counts_by_level
                shares += [1.0] * len(by_level)
                continue
            for branch, raw, share in _branches(loss, outputs[name]):
                targets = targets or _pad(batch, branch)
                values, score = branch(_as_float(raw), targets)
                terms.append(values)
                counts.append(score.expand(3))
                shares.append(share)
        extra = {name: term(outputs, batch) for name, term in self._extra.items()}
        return BranchSums(torch.stack(terms), torch.stack(counts), tuple(shares), len(batch), extra)

    def reduce(
        self, sums: BranchSums, sum_over_ranks: Callable[[Tensor], Tensor] = lambda tensor: tensor
    ) -> LossResult:
        """Normalise the branches' sums by the counts of all ranks and add them up.

        Args:
            sums: From :meth:`branch_sums`.
            sum_over_ranks: Returns the sum of a small tensor over the ranks, each of which has as many pairs.
        """
        whole = sum((value.detach() for value in sums.extra.values()), start=sums.terms.detach().sum())
        not_finite = (~whole.isfinite()).to(sums.counts.dtype)
        flags = torch.stack([not_finite, torch.ones_like(not_finite)])
        message = sum_over_ranks(torch.cat([sums.counts.flatten(), flags]))
        normalisers = message[:-2].clamp(min=1).view(sums.counts.shape) / message[-1]  # the mean over ranks
        per_pair = sums.terms / normalisers  # (branches, 3)
        total = torch.zeros((), device=per_pair.device)
        for values, share in zip(per_pair, sums.shares, strict=True):
            total = total + values.sum() * (share * sums.num_pairs)
        for value in sums.extra.values():
            total = total + value * sums.num_pairs
        extra = {name: value.detach() for name, value in sums.extra.items()}
        return LossResult(total, self._terms(per_pair.detach()) | extra, message[-2] > 0)

    def _terms(self, per_pair: Tensor) -> dict[str, Tensor]:
        """Return the terms by name, summed over heads and levels; only the one-to-one branch of heads that have one."""
        terms: dict[str, Tensor] = {}
        rows = iter(per_pair)
        for loss in self._losses.values():
            if isinstance(loss, E2ELoss):
                next(rows)
            reported = loss.one2one if isinstance(loss, E2ELoss) else loss
            for _ in range(loss.num_levels if isinstance(loss, AnchorLoss) else 1):
                for name, value in zip(reported.loss_names, next(rows), strict=True):
                    key = name.removesuffix("_loss")
                    terms[key] = terms[key] + value if key in terms else value
        return terms

    def end_epoch(self) -> None:
        """Move the balance of end-to-end heads by one epoch."""
        for loss in self._losses.values():
            if isinstance(loss, E2ELoss):
                loss.update()

    def set_epoch(self, epoch: int) -> None:
        """Set the balance of end-to-end heads to that at the start of ``epoch`` (0 is the first)."""
        for loss in self._losses.values():
            if isinstance(loss, E2ELoss):
                loss.updates = epoch - 1
                loss.update() if epoch else setattr(loss, "updates", 0)


def _loss_of(head: Any, gains: LossConfig, epochs: int) -> _HeadLoss:
    if isinstance(head, AnchorDetect):
        return AnchorLoss(head, gains)
    return detection_loss(head, {"box": gains.box_of("dfl"), "cls": gains.cls, "dfl": gains.dfl}, epochs, BranchLoss)


def _pad(batch: PairedBatch, branch: BranchLoss) -> Targets:
    """Pad a batch's boxes for the branches of every head."""
    on_host = batch.on_host or (batch.boxes_xyxy.cpu(), batch.batch_index.cpu())
    size_hw = (int(batch.pixels.shape[2]), int(batch.pixels.shape[3]))
    bounds = target_bounds(*on_host, size_hw, branch.assigner.stride, branch.assigner.stride_val)
    return pad_targets(batch.boxes_xyxy, batch.class_ids, batch.batch_index, len(batch), bounds)


def _branches(loss: BranchLoss | E2ELoss, output: Any) -> list[tuple[BranchLoss, Any, float]]:
    """List the branches of a head's loss with their raw outputs and their shares of the head's loss."""
    if isinstance(loss, E2ELoss):
        return [(loss.one2many, output["one2many"], loss.o2m), (loss.one2one, output["one2one"], loss.o2o)]
    return [(loss, output, 1.0)]


def _shapes_only(features: list[Tensor]) -> list[Tensor]:
    """Return stand-ins without memory: the loss reads shape, device and dtype, and makes its anchors in that dtype."""
    return [torch.zeros((), device=feature.device).expand(feature.shape) for feature in features]


def _as_float(output: Any) -> Any:
    """Cast raw outputs to float32 at least: half precision is for the network, not for the loss."""
    if isinstance(output, Tensor):
        return output.to(torch.promote_types(output.dtype, torch.float32))
    if isinstance(output, dict):
        return {key: _shapes_only(value) if key == "feats" else _as_float(value) for key, value in output.items()}
    return [_as_float(value) for value in output] if isinstance(output, list) else output
