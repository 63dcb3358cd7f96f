"""ONNX files find what torch finds, at any size and batch, in all forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.exports import SHA, loaded_detector, random_pairs
from yolofuse.backends import open_export
from yolofuse.exporters.export import describe_export
from yolofuse.exporters.module import export_module
from yolofuse.exporters.options import ExportOptions
from yolofuse.exporters.self_check import compare_batch

onnx_file = pytest.importorskip("yolofuse.exporters.onnx_file")
pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")

MID: dict[str, Any] = {"base": "yolov8n", "cut": "mid"}
ANCHORS: dict[str, Any] = {"base": "yolov5n", "cut": "mid", "head": "anchors"}
END2END: dict[str, Any] = {"base": "yolo26n", "cut": "decision"}
DECISION: dict[str, Any] = {"base": "yolo11n", "cut": "decision"}


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (MID, {}),
        (MID, {"dynamo": True}),
        pytest.param(END2END, {"dynamo": True, "nms": True, "conf": 0.06}, marks=pytest.mark.soak),
        pytest.param(MID, {"inputs": "stacked", "pixels": "float32"}, marks=pytest.mark.soak),
        pytest.param(MID, {"nms": True, "conf": 0.06}, marks=pytest.mark.soak),
        (ANCHORS, {}),
        pytest.param(END2END, {"inputs": "stacked"}, marks=pytest.mark.soak),
        (END2END, {"nms": True, "conf": 0.06}),
        (DECISION, {"nms": True, "conf": 0.06, "inputs": "stacked"}),
        ({"base": "yolov8n", "streams": "ir"}, {}),
    ],
    ids=["mid", "dynamo", "dynamo-nms", "stacked", "nms", "anchors", "end2end", "end2end-nms", "decision-nms", "ir"],
)
def test_onnx__finds_the_boxes_of_torch(model: dict[str, Any], options: dict[str, Any], tmp_path: Path) -> None:
    loaded = loaded_detector(**model)
    chosen = ExportOptions(**options)
    loaded, metadata = describe_export(loaded, chosen, SHA)
    file = tmp_path / "model.onnx"
    onnx_file.write_onnx(export_module(loaded.model, metadata), metadata, chosen, file)
    backend = open_export(file)
    for number, height, width in ((1, 128, 128), (3, 192, 96), (8, 96, 192)):  # of more than max_det anchors
        found = compare_batch(loaded.model, backend, random_pairs(number, height, width))
        assert found.px < 0.5
        assert found.score < 1e-3
        assert found.boxes > 0
        assert found.lost == 0


def test_onnx__takes_thermal_images_of_16_bits(tmp_path: Path) -> None:
    loaded = loaded_detector(bits=16, **MID)
    loaded, metadata = describe_export(loaded, ExportOptions(), SHA)
    assert metadata.pixels == "uint16"
    file = tmp_path / "model.onnx"
    onnx_file.write_onnx(export_module(loaded.model, metadata), metadata, ExportOptions(), file)
    found = compare_batch(loaded.model, open_export(file), random_pairs(2, 64, 96, bits=16))
    assert found.px < 0.5
    assert found.boxes > 0


def test_export__leaves_the_detector_as_it_was() -> None:
    loaded = loaded_detector(**MID)
    before = [name for name, _ in loaded.model.named_modules()]
    loaded, metadata = describe_export(loaded, ExportOptions(), SHA)
    export_module(loaded.model, metadata)
    assert [name for name, _ in loaded.model.named_modules()] == before
    assert not any(head.export for head in loaded.model.heads.values())
