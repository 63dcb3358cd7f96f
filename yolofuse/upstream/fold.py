"""Fold BatchNorm and re-parameterised branches of ultralytics' layers into convolutions, and ready heads for export."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn.modules.head import Detect
from ultralytics.nn.tasks import BaseModel


def fold_layers(model: nn.Module) -> None:
    """Fold the layers of a model in eval mode, in place and for good; outputs change by rounding only.

    An end-to-end head loses the branch that it does not infer with.
    """
    shim: Any = SimpleNamespace(model=model, modules=model.modules, is_fused=lambda: False, info=lambda **_: None)
    BaseModel.fuse(shim)  # type: ignore[no-untyped-call]


def set_export_mode(model: nn.Module, max_det: int) -> None:
    """Make heads compute their anchors from the size of each input, and return the decoded boxes alone.

    An end-to-end head then returns ``max_det`` rows for any size; where an image has fewer anchors, the last are 0.

    Args:
        model: Traced afterwards; anchors that it has kept from earlier calls are forgotten.
        max_det: Number of boxes that an end-to-end head returns.
    """
    for head in model.modules():
        if isinstance(head, Detect):
            values = {"export": True, "dynamic": True, "shape": None, "format": "onnx", "max_det": max_det}
            vars(head).update(values, postprocess=partial(_postprocess_padded, head))


def _postprocess_padded(head: Detect, predictions: Tensor) -> Tensor:
    """Choose boxes among (B, anchors, 4 + classes) and empty ones: a traced ``topk`` asks for a fixed number."""
    empty = predictions.new_zeros(predictions.shape[0], head.max_det, predictions.shape[2])
    rows: Tensor = type(head).postprocess(head, torch.cat([predictions, empty], 1))
    return rows
