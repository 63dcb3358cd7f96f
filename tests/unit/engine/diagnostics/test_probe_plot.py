"""The plot of a probe: drawn from any values that a network can give."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import pytest

from yolofuse.engine.diagnostics.init_probe import Probe
from yolofuse.engine.diagnostics.probe_plot import save_probe_plot
from yolofuse.engine.diagnostics.thresholds import Finding, LayerStats, Losses

LAYERS = (
    LayerStats("model.0", "rgb", "Conv2d", mean=0, std=1.0, eval_std=0.9, grad_rms=0.01),
    LayerStats("model.1", "ir", "Conv2d", mean=0, std=0.0, eval_std=math.inf),
    LayerStats("model.2", "trunk", "Conv2d", mean=0, std=2.0, eval_std=1.0, grad_rms=math.nan, judged=False),
)
FINDINGS = (
    Finding("std out of bounds", ("model.1",), 0.0, "of an output"),
    Finding("vanishing gradients", ("model.2",), math.nan, "of a gradient"),
)


@pytest.mark.parametrize("loss", [2.5, math.nan])
def test_save_probe_plot__draws_any_values(tmp_path: Path, loss: float) -> None:
    result = Probe(LAYERS, Losses({"box": loss}, {"box": 2.0}), {}, "cast", FINDINGS, ())
    save_probe_plot(result, "yolov8n mid", tmp_path / "probe.png")
    image = cv2.imread(str(tmp_path / "probe.png"))
    assert image is not None
    assert image.std() > 0
