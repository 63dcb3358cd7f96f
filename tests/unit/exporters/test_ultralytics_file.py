"""A detector as a model of ultralytics: stock ``YOLO(file)`` finds the same boxes, and holds no class of ours."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.exports import SHA, loaded_detector, random_pairs
from yolofuse.backends import Backend
from yolofuse.errors import ConfigError
from yolofuse.eval.postprocess import postprocess
from yolofuse.exporters.export import describe_export
from yolofuse.exporters.options import ExportOptions
from yolofuse.exporters.self_check import compare_batch
from yolofuse.exporters.ultralytics_file import write_ultralytics


def _write(file: Path, **model: Any) -> tuple[Any, Backend]:
    loaded, metadata = describe_export(loaded_detector(**model), ExportOptions(format="ultralytics"), SHA)
    return loaded, write_ultralytics(loaded, metadata, file)


@pytest.mark.parametrize(
    "model",
    [
        {"base": "yolov8n", "cut": "mid"},
        pytest.param({"base": "yolo11n", "cut": "late", "fusion": "add"}, marks=pytest.mark.soak),
        {"base": "yolo26n", "cut": "mid"},
        pytest.param({"base": "yolov8n", "cut": "mid", "share": True}, marks=pytest.mark.soak),
        pytest.param({"base": "yolov8n", "cut": "input"}, marks=pytest.mark.soak),
        {"base": "yolov8n", "streams": "ir"},
    ],
    ids=["mid", "late-add", "end2end", "shared", "input", "ir"],
)
def test_file__has_the_outputs_of_the_detector(model: dict[str, Any], tmp_path: Path) -> None:
    loaded, backend = _write(tmp_path / "model.pt", **model)
    found = compare_batch(loaded.model, backend, random_pairs(2, 64, 96))
    assert found.px < 0.5
    assert found.score < 1e-3
    assert found.boxes > 0


def test_file__opens_in_stock_ultralytics_with_the_same_boxes(tmp_path: Path) -> None:
    from ultralytics import YOLO  # type: ignore[attr-defined]

    file = tmp_path / "model.pt"
    loaded, _ = _write(file, base="yolov8n", cut="mid")
    pickled = next(name for name in zipfile.ZipFile(file).namelist() if name.endswith("data.pkl"))
    assert b"yolofuse" not in zipfile.ZipFile(file).read(pickled)
    pair = random_pairs(1, 64, 64)
    image = np.ascontiguousarray(pair.pixels[0].permute(1, 2, 0).numpy())  # R, G, B, IR
    limits: dict[str, Any] = {"conf": 0.3, "iou": 0.7, "max_det": 300}
    results: Any = YOLO(file).predict(image, imgsz=64, verbose=False, device="cpu", **limits)
    theirs = results[0].boxes
    batch = pair.to(torch.device("cpu"))
    with torch.no_grad():
        output = loaded.model(batch.rgb, batch.ir)["trunk"][0]
    (ours,) = postprocess(output, end2end=False, **limits)
    assert results[0].names == dict(enumerate(loaded.names))
    assert len(theirs) > 5
    for box, score, class_id in zip(theirs.xyxy, theirs.conf, theirs.cls, strict=True):  # the best class of each box
        same = ours[(ours[:, 5] == class_id) & ((ours[:, 4] - score).abs() < 1e-3)]
        assert (same[:, :4].clamp(0, 64) - box).abs().amax(1).min() < 0.1


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"base": "yolov8n", "cut": "mid", "fusion": "gated"}, "GatedFusion"),
        ({"base": "yolov8n", "cut": "decision"}, "fusion of decisions"),
        ({"base": "yolov5n", "cut": "mid", "head": "anchors"}, "the anchor head"),
    ],
    ids=["gated", "decision", "anchors"],
)
def test_parts__that_ultralytics_lacks_are_refused_by_name(model: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        _write(tmp_path / "model.pt", **model)
    assert list(tmp_path.glob("*.pt")) == []
