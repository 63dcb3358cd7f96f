"""The plot of a probe: drawn from any values that a network can give."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import pytest

from yolofuse.viz.probe import LayerPoint, save_probe_plot

POINTS = [
    LayerPoint("model.0", "rgb", 1.0, 0.9, 0.01),
    LayerPoint("model.1", "ir", 0.0, math.inf, None, std_alarm=True),
    LayerPoint("model.2", "trunk", None, 1.0, math.nan, gradient_alarm=True),
]


@pytest.mark.parametrize("loss", [2.5, math.nan])
def test_save_probe_plot__draws_any_values(tmp_path: Path, loss: float) -> None:
    save_probe_plot(POINTS, {"box": loss}, {"box": 2.0}, "yolov8n mid", "1 finding", tmp_path / "probe.png")
    image = cv2.imread(str(tmp_path / "probe.png"))
    assert image is not None
    assert image.std() > 0
