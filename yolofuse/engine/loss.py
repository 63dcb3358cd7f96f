"""The loss of a detector: the sum of its heads' losses, each as ultralytics defines it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from yolofuse.config import LossConfig
from yolofuse.model import Detector
from yolofuse.types import PairedBatch
from yolofuse.upstream import detection_loss


class DetectionLoss:
    """Loss over all heads. End-to-end heads shift weight from one-to-many to one-to-one with every epoch."""

    def __init__(self, detector: Detector, gains: LossConfig, epochs: int) -> None:
        """Take the heads.

        Args:
            detector: The model, on its final device.
            gains: Weights of the terms.
            epochs: Length of the run, over which end-to-end heads move their balance.
        """
        self._losses: dict[str, Any] = {
            name: detection_loss(head, gains.model_dump(), epochs) for name, head in detector.heads.items()
        }

    def __call__(self, outputs: dict[str, Any], batch: PairedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to differentiate, summed over the batch's pairs, and its terms per pair (detached).

        Args:
            outputs: What the detector returned in training mode.
            batch: The batch it was shown.
        """
        height, width = batch.pixels.shape[2:]
        x1, y1, x2, y2 = batch.boxes_xyxy.unbind(1)
        boxes_xywhn = torch.stack(
            [(x1 + x2) / (2 * width), (y1 + y2) / (2 * height), (x2 - x1) / width, (y2 - y1) / height], 1
        )
        targets = {"batch_idx": batch.batch_index, "cls": batch.class_ids, "bboxes": boxes_xywhn}
        total = torch.zeros((), device=batch.pixels.device)
        terms: dict[str, Tensor] = {}
        for name, loss in self._losses.items():
            values, named = loss(_as_float(outputs[name]), targets)
            total = total + values.sum()
            for term, value in named.items():
                key = term.removesuffix("_loss")
                terms[key] = terms[key] + value if key in terms else value
        return total, terms

    def end_epoch(self) -> None:
        """Move the balance of end-to-end heads by one epoch."""
        for loss in self._losses.values():
            if hasattr(loss, "update"):
                loss.update()

    def set_epoch(self, epoch: int) -> None:
        """Bring the balance to where it stands at the start of ``epoch`` (0 is the first)."""
        for loss in self._losses.values():
            if hasattr(loss, "update"):
                loss.updates = epoch - 1
                loss.update() if epoch else setattr(loss, "updates", 0)


def _shapes_only(features: list[Tensor]) -> list[Tensor]:
    """Stand-ins without memory: the loss reads shape, device and type, and makes its anchors of that type."""
    return [torch.zeros((), device=feature.device).expand(feature.shape) for feature in features]


def _as_float(output: Any) -> Any:
    """Raw outputs in float32: half precision is for the network, not for the loss."""
    if isinstance(output, Tensor):
        return output.float()
    if isinstance(output, dict):
        return {key: _shapes_only(value) if key == "feats" else _as_float(value) for key, value in output.items()}
    return output
