"""Export of a run: names, nothing overwritten, a wrong file not kept, and the report of a file beside torch's."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

import yolofuse
from tests.support.runs import train_without_plots, write_config
from yolofuse.config import load_config
from yolofuse.errors import ConfigError, WeightsError
from yolofuse.exporters.export import export_detector
from yolofuse.exporters.module import export_module
from yolofuse.exporters.options import ExportOptions

pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    config = load_config(write_config(folder, train={"epochs": 1, "run": str(folder / "street-mid")}))
    return train_without_plots(config)


def test_export__is_named_after_the_run_and_replaces_nothing(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="yolofuse"):
        file = export_detector(run, ExportOptions())
    assert file == run / "weights" / "street-mid.onnx"
    assert "largest difference from torch" in caplog.text
    assert "split val" in caplog.text
    before = file.read_bytes()
    with pytest.raises(ConfigError, match="is there already"):
        export_detector(run, ExportOptions())
    assert file.read_bytes() == before
    assert export_detector(run, ExportOptions(force=True, inputs="stacked")) == file
    assert file.read_bytes() != before
    assert sorted(path.suffix for path in file.parent.iterdir() if path.name.startswith(".")) == []


def test_export__never_replaces_a_checkpoint(run: Path) -> None:
    for name in ("best.pt", "last.pt"):
        before = (run / "weights" / name).read_bytes()
        with pytest.raises(ConfigError, match="is a checkpoint, which an export does not replace"):
            export_detector(run, ExportOptions("ultralytics", out=run / "weights" / name, force=True))
        assert (run / "weights" / name).read_bytes() == before
    assert export_detector(run, ExportOptions("ultralytics")) == export_detector(
        run, ExportOptions("ultralytics", force=True)
    )


def test_export__that_differs_from_torch_is_not_kept(run: Path, tmp_path: Path) -> None:
    def broken(detector: Any, metadata: Any) -> Any:
        module = export_module(detector, metadata)
        module.full_scale = 100.0
        return module

    with (
        mock.patch("yolofuse.exporters.export.export_module", broken),
        mock.patch.dict("yolofuse.exporters.self_check.TOLERANCES", {"fp32": _strict()}),
        pytest.raises(WeightsError, match="it is not kept"),
    ):
        export_detector(run, ExportOptions(out=tmp_path / "model.onnx"))
    assert not list(tmp_path.glob("*model*"))


def _strict() -> Any:
    from yolofuse.exporters.self_check import Tolerance

    return Tolerance(px=1e-3, score=1e-5, lost=0.0)


def test_export__of_a_run_whose_data_are_gone_is_compared_on_random_pairs(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="yolofuse"):
        export_detector(run, ExportOptions(out=tmp_path / "m.onnx"), ["data.descriptor=/nowhere/data.yaml"])
    assert "compared on random pairs" in caplog.text


@pytest.mark.parametrize("nms", [False, True])
def test_evaluation__of_a_file_is_that_of_the_run(run: Path, tmp_path: Path, nms: bool) -> None:
    file = yolofuse.export(run, out=tmp_path / "model.onnx", nms=nms, conf=0.001)
    expected = yolofuse.evaluate(run, out=tmp_path / "torch")
    found = yolofuse.evaluate(file, out=tmp_path / "onnx")
    assert expected is not None
    assert found is not None
    assert found.report.settings["backend"].startswith("onnxruntime ")  # type: ignore[union-attr]
    assert ("inside the file" in str(found.report.settings["nms"])) == nms
    assert found.report.result.metrics() == pytest.approx(expected.report.result.metrics(), abs=1e-3)


def test_detector__from_a_file_detects_as_from_the_run(run: Path, tmp_path: Path) -> None:
    file = yolofuse.export(run, out=tmp_path / "model.onnx")
    folder = run.parent / "data"
    rgb = next(path for path in sorted(folder.rglob("*.png")) if len(list(folder.rglob(path.name))) == 2)
    ir = next(path for path in folder.rglob(rgb.name) if path != rgb)
    one, other = (yolofuse.load_detector(source, device="cpu") for source in (run, file))
    expected, found = (loaded.detect(loaded.preprocess([(rgb, ir)]))[0] for loaded in (one, other))
    assert len(found) == len(expected) > 0
    assert torch.allclose(torch.from_numpy(found.scores), torch.from_numpy(expected.scores), atol=1e-4)
    with pytest.raises(ConfigError, match="is an exported file"):
        _ = other.model


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "onxx"}, "did you mean onnx?"),
        ({"precision": "int8"}, "does not go with format=onnx"),
        ({"format": "torchscript", "nms": True}, "not inside a torchscript file"),
        ({"inputs": "both"}, "known: pair, stacked"),
        ({"conf": 1.5}, "conf: must be"),
        ({"opset": 9}, "opset: must be 13 to 23"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_options__that_do_not_go_together_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ExportOptions(**options)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("options", "overrides", "message"),
    [
        ({"size_hw": (60, 64)}, [], "multiples of 32"),
        ({"out": Path("model.xml")}, [], "ends with .onnx"),
        ({"out": Path("nowhere/model.onnx")}, [], "no such folder"),
        ({}, ["val.imgsz=50"], "multiple of 32"),
        ({}, ["model.cut=late"], "fixed by the checkpoint"),
    ],
    ids=["size", "suffix", "folder", "imgsz", "model"],
)
def test_export__refuses_what_does_not_fit(
    run: Path, options: dict[str, Any], overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        export_detector(run, ExportOptions(force=True, **options), overrides)
    assert message in str(raised.value)
