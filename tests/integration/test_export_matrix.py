"""Exports of trained detectors find what torch finds, in every format; random ones are as near to fp64 as torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import yolofuse
from tests.support.exports import SHA, loaded_detector, random_pairs
from tests.support.pairs import real_data
from tests.support.runs import REPO, without_plots
from yolofuse.backends import open_export
from yolofuse.engine.loaded_detector import load_detector
from yolofuse.exporters.export import describe_export
from yolofuse.exporters.module import export_module
from yolofuse.exporters.onnx_file import write_onnx
from yolofuse.exporters.options import ExportOptions
from yolofuse.exporters.self_check import compare_batch, split_batches

pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
pytest.importorskip("openvino", reason="the extra 'openvino' is not installed")

pytestmark = [pytest.mark.soak, pytest.mark.real, pytest.mark.timeout(3600)]

WEIGHTS = REPO / ".." / "shared" / "weights" / "yolov5n.pt"
MODELS: dict[str, dict[str, Any]] = {
    "anchors-mid": {"base": "yolov5n", "cut": "mid", "head": "anchors"},
    "anchors-decision": {"base": "yolov5n", "cut": "decision", "head": "anchors"},
    "dfl-mid": {"base": "yolov5n", "cut": "mid", "head": "dfl"},
    "dfl-decision": {"base": "yolov5n", "cut": "decision", "head": "dfl"},
    "yolo11n-mid": {"base": "yolo11n", "cut": "mid"},
    "yolov8n-decision": {"base": "yolov8n", "cut": "decision"},
    "end2end-mid": {"base": "yolo26n", "cut": "mid"},
    "end2end-decision": {"base": "yolo26n", "cut": "decision"},
}
FORMATS: dict[str, dict[str, Any]] = {
    "onnx": {},
    "onnx-stacked": {"inputs": "stacked"},
    "torchscript": {"format": "torchscript"},
    "openvino": {"format": "openvino"},
}


@pytest.fixture(scope="module", params=MODELS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a short run on real pairs, with real weights where there are some for the base."""
    data = real_data("llvip-256")
    model = MODELS[request.param]
    pretrained = str(WEIGHTS) if model["base"] == "yolov5n" and WEIGHTS.is_file() else None
    train: dict[str, Any] = {
        "epochs": 2 if pretrained else 12,
        "batch": 8,
        "imgsz": 256 if pretrained else 128,
        "device": "cpu",
    }
    if pretrained is None:
        train |= {"optimizer": "adamw", "lr0": 0.002, "warmup_bias_lr": 0.002, "nominal_batch": 8, "close_mosaic": 8}
    with without_plots():
        return yolofuse.train(
            REPO / "configs" / "small" / "llvip-256.yaml",
            data={"descriptor": str(REPO / "configs/data/llvip-256.yaml"), "root": str(data), "workers": 0},
            model=model,
            weights={"pretrained": pretrained},
            train={**train, "run": str(tmp_path_factory.mktemp("matrix") / request.param)},
        )


def test_export__of_trained_weights_is_torch(run: Path, tmp_path: Path) -> None:
    expected = yolofuse.evaluate(run, out=tmp_path / "torch")
    assert expected is not None
    loaded = load_detector(run)
    for name, options in FORMATS.items():
        file = yolofuse.export(run, out=tmp_path / f"{name}{ExportOptions(**options).suffix}", **options)
        backend = open_export(file, trust=True)
        batches = [*split_batches(loaded, "val", 8), random_pairs(8, 128, 192), random_pairs(1, 96, 64)]
        for batch in batches:
            found = compare_batch(loaded.model, backend, batch)
            assert found.px < 1e-3, (name, batch.pixels.shape, found)
            assert found.score < 1e-5, (name, batch.pixels.shape, found)
            assert found.lost == 0
        outcome = yolofuse.evaluate(
            file, data=REPO / "configs/data/llvip-256.yaml", out=tmp_path / name, trust=True,
            **{"data.root": str(real_data("llvip-256"))},
        )  # fmt: skip
        assert outcome is not None
        for metric in ("AP", "AP50"):
            ours, theirs = (found.report.result.metrics()[metric] for found in (outcome, expected))
            assert ours == pytest.approx(theirs, abs=1e-3), (name, metric)


@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith("end2end")])
def test_export__of_random_weights_is_as_near_to_fp64_as_torch(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of an end-to-end head come in another order in fp64, and are left to trained weights."""
    loaded = loaded_detector(**MODELS[name])
    loaded, metadata = describe_export(loaded, ExportOptions(), SHA)
    file = tmp_path / "model.onnx"
    write_onnx(export_module(loaded.model, metadata), metadata, ExportOptions(), file)
    backend = open_export(file)
    batch = random_pairs(2, 160, 224).to(torch.device("cpu"))
    exact = random_pairs(2, 160, 224).pixels.double() / 255
    with torch.no_grad():
        single = {head: output[0] for head, output in loaded.model(batch.rgb, batch.ir).items()}
        monkeypatch.setattr("yolofuse.model.detectors._infer_in_float32", lambda head, features: head(features))
        double = {head: output[0] for head, output in loaded.model.double()(exact[:, :3], exact[:, 3:]).items()}
    output = {head: output for head, (output, _) in backend(batch.rgb, batch.ir).items()}
    # Over both heads: in one of them, rounding of torch may happen to cancel.
    ours, theirs = (
        max(float((found[head].double() - double[head]).abs().max()) for head in double) for found in (output, single)
    )
    assert ours <= 2 * theirs
