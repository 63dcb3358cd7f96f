"""Build the layers of the detection models of ultralytics."""

from __future__ import annotations

from typing import Any

from torch import nn
from ultralytics.nn.tasks import DetectionModel

from yolofuse.base_models import Base


def build_layers(base: Base, *, channels: int, num_classes: int) -> list[nn.Module]:
    """Build the layers of a single-stream model, initialised by ultralytics.

    Each layer carries its number ``.i`` and its sources ``.f``; the first one reads an image of ``channels``; the last
    one is the detection head, with strides and prior biases set.
    """
    content = base.read() | {"nc": num_classes}
    model: Any = DetectionModel(content, ch=channels, nc=num_classes, verbose=False)  # type: ignore[no-untyped-call]
    head = model.model[-1]
    if getattr(head, "one2one_cv2", None) is not None:
        head.end2end = True  # else ultralytics infers through the branch whose loss fades out
    return list(model.model)
