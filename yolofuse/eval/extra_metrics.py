"""Hold the further metrics that a config may name in ``val.metrics``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from yolofuse.registry import Registry

if TYPE_CHECKING:
    from yolofuse.eval.coco import CocoJson

Metric = Callable[["CocoJson", Sequence[Mapping[str, Any]]], float]
"""From labels and predictions as a report's ground_truth.json and predictions.json hold them."""

METRICS: Registry[Metric] = Registry()
"""By the names of ``val.metrics``; add your own before a config names it."""
