"""Heat maps: each camera has its own, in every kind of model, also after an inference at the same size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.support.detectors import build, random_batch
from yolofuse.batch import PairedBatch
from yolofuse.reports.heat_maps import compute_heat_maps

MODELS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "mid": ({"base": "yolov8n", "cut": "mid"}, {"rgb", "ir"}),
    "shared": ({"base": "yolov8n", "cut": "mid", "share": True}, {"rgb", "ir"}),
    "anchors": ({"base": "yolov5n", "cut": "early", "head": "anchors"}, {"rgb", "ir"}),
    "end2end": ({"base": "yolo26n", "cut": "late"}, {"rgb", "ir"}),
    "decision": ({"base": "yolov8n", "cut": "decision"}, {"rgb", "ir"}),
    "decision-shared": ({"base": "yolov8n", "cut": "decision", "share": True}, {"rgb", "ir"}),
    "input": ({"base": "yolov8n", "cut": "input"}, {"rgb", "ir"}),
    "ir": ({"base": "yolov8n", "streams": "ir"}, {"ir"}),
}


def _one_pair() -> PairedBatch:
    return random_batch().split(2)[0]


@pytest.mark.parametrize("name", MODELS)
def test_compute_heat_maps__of_each_camera(name: str) -> None:
    options, cameras = MODELS[name]
    detector, batch = build(**options).eval(), _one_pair()
    with torch.inference_mode():  # leaves anchors in the heads that no gradient may pass
        detector(batch.rgb, batch.ir)
    found = compute_heat_maps(detector, batch, options.get("streams", "both"))
    assert set(found.maps) == cameras
    for heat in found.maps.values():
        assert heat.shape == (64, 64)
        assert np.isfinite(heat).all()
        assert heat.min() >= 0
    assert sum(found.shares.values()) == pytest.approx(1)
    with torch.inference_mode():
        detector(batch.rgb, batch.ir)


def test_compute_heat_maps__a_black_camera_has_no_heat_of_its_image() -> None:
    batch = _one_pair()
    batch.pixels[:, 3:] = 0
    found = compute_heat_maps(build(base="yolov8n", cut="input").eval(), batch)
    assert found.maps["ir"].max() == 0
    assert found.shares["rgb"] == pytest.approx(1)


def test_compute_heat_maps__changes_no_weight() -> None:
    detector = build(base="yolov8n", cut="mid").eval()
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    compute_heat_maps(detector, _one_pair())
    assert all(torch.equal(before[name], tensor) for name, tensor in detector.state_dict().items())
    assert all(parameter.grad is None for parameter in detector.parameters())
