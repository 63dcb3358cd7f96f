"""Hold the further metrics that a config may name in ``val.metrics``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from yolofuse.errors import ConfigError, did_you_mean
from yolofuse.eval.coco import CocoJson

Metric = Callable[[CocoJson, Sequence[Mapping[str, Any]]], float]
"""From labels and predictions as a report's ground_truth.json and predictions.json hold them."""

METRICS: dict[str, Metric] = {}
"""By the names of ``val.metrics``; add your own before a config names it."""


def check_metrics(names: Sequence[str]) -> None:
    """Check that there are metrics of these names.

    Raises:
        ConfigError: If not.
    """
    for name in names:
        if name not in METRICS:
            known = ", ".join(METRICS) or "none; your own code adds them"
            raise ConfigError(f"val.metrics: unknown name {name!r}{did_you_mean(name, METRICS)} (known: {known})")
