"""TorchScript, torch.export and OpenVINO files find what torch finds, at any size; TensorRT says what it lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.exports import SHA, loaded_detector, random_pairs
from yolofuse.backends import Backend, open_export
from yolofuse.backends.tensorrt_engine import MAGIC, read_engine
from yolofuse.errors import ConfigError, WeightsError
from yolofuse.exporters.export import describe_export
from yolofuse.exporters.module import export_module
from yolofuse.exporters.openvino_file import write_openvino
from yolofuse.exporters.options import ExportOptions
from yolofuse.exporters.self_check import TOLERANCES, compare_batch, random_batches
from yolofuse.exporters.torch_file import write_torch


def _check(loaded: Any, backend: Backend, bits: int = 8) -> None:
    for number, height, width in ((1, 64, 64), (3, 96, 128)):
        found = compare_batch(loaded.model, backend, random_pairs(number, height, width, bits))
        assert found.px < 0.5
        assert found.score < 1e-3
        assert found.boxes > 0
        assert found.lost == 0


@pytest.mark.parametrize(
    ("options", "model", "bits"),
    [
        ({"format": "torchscript"}, {"base": "yolov8n", "cut": "mid"}, 8),
        ({"format": "torchscript", "inputs": "stacked"}, {"base": "yolo26n", "cut": "decision"}, 16),
        pytest.param({"format": "pt2"}, {"base": "yolov8n", "cut": "mid"}, 8, marks=pytest.mark.soak),
    ],
    ids=["torchscript", "end2end-16", "pt2"],
)
def test_torch_file__finds_the_boxes_of_torch(
    options: dict[str, Any], model: dict[str, Any], bits: int, tmp_path: Path
) -> None:
    chosen = ExportOptions(**options)
    loaded, metadata = describe_export(loaded_detector(bits=bits, **model), chosen, SHA)
    file = tmp_path / f"model{chosen.suffix}"
    write_torch(export_module(loaded.model, metadata), metadata, file)
    _check(loaded, open_export(file, trust=True), bits)


@pytest.mark.parametrize(
    "options",
    [{}, pytest.param({"nms": True, "conf": 0.3, "inputs": "stacked"}, marks=pytest.mark.soak)],
    ids=["plain", "nms"],
)
def test_openvino__finds_the_boxes_of_torch(options: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the extra 'openvino' is not installed")
    chosen = ExportOptions(format="openvino", **options)
    loaded, metadata = describe_export(loaded_detector(base="yolo11n", cut="decision"), chosen, SHA)
    write_openvino(export_module(loaded.model, metadata), metadata, chosen, tmp_path / "model.xml")
    backend = open_export(tmp_path / "model.xml")
    assert backend.runtime.startswith("openvino ")
    assert backend.precision == "fp32"
    _check(loaded, backend)


def test_openvino__says_which_precision_it_computes_in(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the extra 'openvino' is not installed")
    chosen = ExportOptions(format="openvino", precision="bf16", size_hw=(64, 64))
    loaded, metadata = describe_export(loaded_detector(base="yolov8n", cut="mid"), chosen, SHA)
    write_openvino(export_module(loaded.model, metadata), metadata, chosen, tmp_path / "model.xml")
    backend = open_export(tmp_path / "model.xml")
    assert backend.precision in {"bf16", "fp32: no bf16 on this CPU"}
    found = compare_batch(loaded.model, backend, random_pairs(1, 64, 64))
    assert found.score < TOLERANCES["bf16"].score


@pytest.mark.soak
def test_int8__quantises_the_layers_and_not_what_decodes(tmp_path: Path) -> None:
    pytest.importorskip("nncf", reason="the extra 'int8' is not installed")
    import openvino

    chosen = ExportOptions(format="openvino", precision="int8")
    loaded, metadata = describe_export(loaded_detector(base="yolov8n", cut="mid"), chosen, SHA)
    module = export_module(loaded.model, metadata)
    write_openvino(module, metadata, chosen, tmp_path / "model.xml", random_batches(loaded)[:1])
    graph = openvino.Core().read_model(tmp_path / "model.xml")
    quantised = [
        operator.get_friendly_name() for operator in graph.get_ops() if operator.get_type_name() == "FakeQuantize"
    ]
    assert len(quantised) > 50
    in_head = [name for name in quantised if "/layers.22/" in name]
    assert in_head
    assert all("/cv2." in name or "/cv3." in name for name in in_head)


def test_engine__without_tensorrt_says_so(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    from yolofuse.exporters.tensorrt_file import write_engine

    chosen = ExportOptions(format="engine")
    loaded, metadata = describe_export(loaded_detector(base="yolov8n", cut="mid"), chosen, SHA)
    with pytest.raises(ConfigError, match=r"needs TensorRT|needs a GPU"):
        write_engine(export_module(loaded.model, metadata), metadata, chosen, tmp_path / "model.engine")
    text = metadata.model_dump_json().encode()
    (tmp_path / "good.engine").write_bytes(MAGIC + len(text).to_bytes(4, "little") + text + b"engine")
    assert read_engine(tmp_path / "good.engine") == (metadata, b"engine")
    for content in (b"", MAGIC, MAGIC + b"\xff\xff\xff\xff", b"TRT engine"):
        (tmp_path / "bad.engine").write_bytes(content)
        with pytest.raises(WeightsError):
            read_engine(tmp_path / "bad.engine")


@pytest.mark.gpu
def test_engine__finds_the_boxes_of_torch(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    from yolofuse.exporters.tensorrt_file import write_engine

    chosen = ExportOptions(format="engine")
    loaded, metadata = describe_export(loaded_detector(base="yolov8n", cut="mid", imgsz=128), chosen, SHA)
    write_engine(export_module(loaded.model, metadata), metadata, chosen, tmp_path / "model.engine")
    _check(loaded, open_export(tmp_path / "model.engine", trust=True))
