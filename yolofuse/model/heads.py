"""Give a single-stream model the head that a config asks for, in place of the one it was built with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from yolofuse.config.parts import check_name
from yolofuse.config.schema import ModelConfig
from yolofuse.errors import ConfigError
from yolofuse.nn.anchor_head import AnchorDetect, Anchors
from yolofuse.nn.registries import HEADS, OWN_HEADS
from yolofuse.upstream import Detect, set_num_classes

HEAD_TYPES = (Detect, AnchorDetect)

DEFAULT_ANCHORS: dict[int, Anchors] = {
    3: (
        ((10, 13), (16, 30), (33, 23)),
        ((30, 61), (62, 45), (59, 119)),
        ((116, 90), (156, 198), (373, 326)),
    ),
    4: (
        ((19, 27), (44, 40), (38, 94)),
        ((96, 68), (86, 152), (180, 137)),
        ((140, 301), (303, 264), (238, 542)),
        ((436, 615), (739, 380), (925, 792)),
    ),
}
"""Anchors of YOLOv5's releases by number of levels: COCO at 640 px with three, at 1280 px with four."""


def set_head(layers: list[nn.Module], config: ModelConfig, num_classes: int) -> None:
    """Replace the last layer by the config's head, or give its class branch another number of classes.

    Args:
        layers: Of a single-stream model as built by :func:`yolofuse.upstream.build_layers`; the last is changed.
        config: The model section; ``head: auto`` is ``dfl`` here.
        num_classes: Number of classes of the data set; the head scores the kept ones after them.

    Raises:
        ConfigError: If there is no such head, the model has not as many levels as there are anchors, or there are no
            anchors for it.
    """
    check_name("model.head", config.head, [*OWN_HEADS, *HEADS])
    head: Any = layers[-1]
    outputs = num_classes + len(config.kept_classes)
    head.num_kept = len(config.kept_classes)
    if config.head != "anchors":
        if head.nc != outputs:
            set_num_classes(head, outputs)
        if config.head in HEADS:
            layers[-1] = _with_place_of(head, HEADS[config.head](head, outputs))
        return
    given = None if config.anchors == "fit" else config.anchors
    anchors = given or DEFAULT_ANCHORS.get(len(head.stride))
    channels = [branch[0].conv.in_channels for branch in head.cv2]
    if anchors is None or len(anchors) != len(channels):
        known = "3 or 4" if anchors is None else str(len(anchors))
        raise ConfigError(f"model.head: {config.base} has {len(channels)} levels, but there are anchors for {known}")
    layers[-1] = _with_place_of(head, AnchorDetect(outputs, anchors, channels, head.stride.clone()))


def _with_place_of(head: Any, other: Any) -> nn.Module:
    """Put another head in a head's place: its number, the layers it reads, and how many of its classes are kept."""
    other.i, other.f, other.num_kept = head.i, head.f, head.num_kept
    return other  # type: ignore[no-any-return]


def num_trained_classes(head: Any) -> int:
    """Return the number of classes of a head that the loss and the evaluation look at: the first ones."""
    return int(head.nc) - int(getattr(head, "num_kept", 0))


def hide_kept_classes(head: Any, predictions: Tensor) -> Tensor:
    """Return a head's predictions in eval mode without those of kept classes.

    Shapes:
        predictions: (B, 4 + classes, A) -> (B, 4 + trained classes, A); of an end-to-end head (B, K, 6) -> the same,
        with a score of 0 for boxes of kept classes.
    """
    trained = num_trained_classes(head)
    if trained == head.nc:
        return predictions
    if not head.end2end:
        return predictions[:, : 4 + trained]
    scores = torch.where(predictions[..., 5] < trained, predictions[..., 4], 0.0)
    return torch.cat([predictions[..., :4], scores[..., None], predictions[..., 5:]], -1)
