"""The layers that are built from a base model."""

from __future__ import annotations

import pytest
from torch import nn

from yolofuse.upstream import Detect, build_layers, resolve_base


@pytest.mark.parametrize("base", ["yolov8n", "yolo26n"])
def test_build_layers__are_numbered_and_end_in_the_head(base: str) -> None:
    layers = build_layers(resolve_base(base), channels=1, num_classes=4)
    assert [layer.i for layer in layers] == list(range(len(layers)))
    stem = next(module for module in layers[0].modules() if isinstance(module, nn.Conv2d))
    assert stem.in_channels == 1
    head = layers[-1]
    assert isinstance(head, Detect)
    assert head.nc == 4
    assert head.stride.tolist() == [8, 16, 32]
    is_end_to_end = getattr(head, "one2one_cv2", None) is not None
    assert is_end_to_end == (base == "yolo26n")
    assert bool(head.end2end) == is_end_to_end
