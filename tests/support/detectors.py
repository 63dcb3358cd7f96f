"""Build detectors for tests, once per config, and step them on a random batch."""

from __future__ import annotations

import copy
import json
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from yolofuse.batch import PairedBatch
from yolofuse.config import LossConfig, ModelConfig
from yolofuse.engine.loss import DetectionLoss
from yolofuse.model import Detector, build_detector


def build(num_classes: int = 3, **model: Any) -> Detector:
    """Return a fresh detector; ``model`` holds options of the config's model section."""
    return copy.deepcopy(_build_once(num_classes, json.dumps(model)))


@lru_cache(maxsize=16)
def _build_once(num_classes: int, model: str) -> Detector:
    return build_detector(ModelConfig(**json.loads(model)), num_classes=num_classes)


def random_batch(side: int = 64) -> PairedBatch:
    """Return two random pairs with three boxes of classes 0 to 2, always the same."""
    generator = torch.Generator().manual_seed(1)
    return PairedBatch(
        pixels=torch.rand(2, 4, side, side, generator=generator),
        boxes_xyxy=torch.tensor([[4.0, 4, 40, 44], [10, 20, 30, 60], [2, 2, 60, 60]]),
        class_ids=torch.tensor([0, 2, 1]),
        batch_index=torch.tensor([0, 0, 1]),
        image_ids=torch.tensor([1, 2]),
        sizes_hw=torch.tensor([[side, side]] * 2),
        letterboxes=torch.tensor([[1.0, 0, 0]] * 2),
    )


def loss_and_gradients(detector: Detector) -> tuple[float, dict[str, Tensor | None]]:
    """Run one forward and backward pass; return the loss and the gradients by parameter name."""
    detector.train()
    batch = random_batch()
    total = DetectionLoss(detector, LossConfig(), epochs=3)(detector(batch.rgb, batch.ir), batch).total
    total.backward()  # type: ignore[no-untyped-call]
    return float(total.detach()), {n: p.grad for n, p in detector.named_parameters() if p.requires_grad}
