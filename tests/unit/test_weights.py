"""What of a checkpoint arrives, and what a file on disk survives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from yolofuse.config import ModelConfig
from yolofuse.errors import WeightsError
from yolofuse.model import build_detector
from yolofuse.upstream import build_layers, resolve_base
from yolofuse.weights import load_checkpoint, load_single_stream, save_checkpoint, transfer


def single_stream_file(path: Path, base: str = "yolo11n", num_classes: int = 3) -> Path:
    """A state_dict as ultralytics names it."""
    torch.manual_seed(11)
    layers = torch.nn.Sequential(*build_layers(resolve_base(base), channels=3, num_classes=num_classes))
    torch.save({f"model.{name}": tensor for name, tensor in layers.state_dict().items()}, path)
    return path


@pytest.mark.parametrize("cut", ["input", "early", "mid", "late", "decision"])
def test_transfer__every_tensor_equals_its_source(cut: str, tmp_path: Path) -> None:
    weights = load_single_stream(single_stream_file(tmp_path / "w.pt"))
    detector = build_detector(ModelConfig(cut=cut), num_classes=3)  # type: ignore[arg-type]
    fused_before = {name: t.clone() for name, t in detector.state_dict().items() if name.startswith("fusion")}
    report = transfer(detector, weights)
    for name, tensor in detector.state_dict().items():
        part, _, rest = name.partition(".layers.")
        if part.startswith("fusion"):
            assert torch.equal(tensor, fused_before[name])
            continue
        source = weights.tensors[rest]
        if source.shape == tensor.shape:
            assert torch.equal(tensor, source), name
        else:
            assert report.fates[name] == "inflated"
            expected = source.sum(1, keepdim=True)
            if tensor.shape[1] == 4:
                expected = torch.cat([source, source.mean(1, keepdim=True)], 1)
            assert torch.equal(tensor, expected), name
    missing = {name for name, fate in report.fates.items() if fate == "missing"}
    assert missing == {name for name in fused_before if fused_before[name].is_floating_point()}


def test_transfer__inflated_stem_sees_grey_as_rgb_saw_it(tmp_path: Path) -> None:
    weights = load_single_stream(single_stream_file(tmp_path / "w.pt"))
    rgb, ir = (build_detector(ModelConfig(streams=s), num_classes=3).eval() for s in ("rgb", "ir"))
    transfer(rgb, weights)
    transfer(ir, weights)
    grey = torch.rand(1, 1, 64, 64)
    image = grey.expand(-1, 3, -1, -1)
    with torch.no_grad():
        torch.testing.assert_close(ir(image, grey)["trunk"][0], rgb(image, grey)["trunk"][0])


def test_transfer__other_class_count_leaves_the_class_branch(tmp_path: Path) -> None:
    weights = load_single_stream(single_stream_file(tmp_path / "w.pt", num_classes=80))
    detector = build_detector(ModelConfig(), num_classes=3)
    report = transfer(detector, weights)
    missing = [name for name, fate in report.fates.items() if fate == "missing" and not name.startswith("fusion")]
    assert missing
    assert all(".cv3." in name for name in missing)
    assert report.count("rgb")["missing"] == 0


def test_transfer__wrong_family_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    torch.save({"model.0.weight": torch.ones(3)}, tmp_path / "w.pt")
    detector = build_detector(ModelConfig(), num_classes=3)
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    with pytest.raises(WeightsError, match="none of its 1 tensors fits"):
        transfer(detector, load_single_stream(tmp_path / "w.pt"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in detector.state_dict().items())


def test_transfer__not_finite_is_refused(tmp_path: Path) -> None:
    file = single_stream_file(tmp_path / "w.pt")
    state = torch.load(file, weights_only=True)
    state["model.4.cv1.conv.weight"][0] = torch.nan
    torch.save(state, file)
    with pytest.raises(WeightsError, match=r"not finite: rgb\.layers\.4"):
        transfer(build_detector(ModelConfig(), num_classes=3), load_single_stream(file))


def test_single_stream__checkpoint_that_ultralytics_saved(tmp_path: Path) -> None:
    """A pickled model opens through the allow-list, and its moving average wins over its live weights."""
    from ultralytics.nn.tasks import DetectionModel

    live, averaged = (DetectionModel("yolov8n.yaml", nc=3, verbose=False) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.save({"model": live.half(), "ema": averaged.half(), "epoch": 3}, tmp_path / "w.pt")
    weights = load_single_stream(tmp_path / "w.pt")
    name = "4.cv1.conv.weight"
    assert torch.equal(weights.tensors[name], averaged.float().state_dict()[f"model.{name}"])
    report = transfer(build_detector(ModelConfig(base="yolov8n"), num_classes=3), weights)
    assert report.count("trunk")["missing"] == report.count("rgb")["missing"] == 0


@pytest.mark.real
@pytest.mark.parametrize("cut", ["early", "mid", "late"])
def test_single_stream__real_yolov5n_fills_backbone_and_neck(cut: str) -> None:
    file = _real_weights("yolov5n_state_dict.pt")
    detector = build_detector(ModelConfig(base="yolov5n", cut=cut), num_classes=3)  # type: ignore[arg-type]
    report = transfer(detector, load_single_stream(file))
    missing = [name for name, fate in report.fates.items() if fate == "missing" and not name.startswith("fusion")]
    assert all(".layers.24." in name for name in missing)  # the head is anchor-based there
    assert sum(report.count("rgb").values()) == report.count("rgb")["loaded"]


@pytest.mark.real
def test_single_stream__foreign_pickle_is_refused() -> None:
    with pytest.raises(WeightsError, match="not opened"):
        load_single_stream(_real_weights("yolov5n.pt"))


def _real_weights(name: str) -> Path:
    root = Path(os.environ.get("YOLOFUSE_REAL_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
    file = root / ".." / "weights" / name
    if not file.is_file():
        pytest.skip(f"no real weights at {file}; set YOLOFUSE_REAL_DATA")
    return file


def test_save__failure_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"step": 1})

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(WeightsError, match="No space left"):
        save_checkpoint(path, {"step": 2})
    assert load_checkpoint(path)["step"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_load__foreign_file_is_refused(tmp_path: Path) -> None:
    torch.save({"a": 1}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="not a yolofuse checkpoint"):
        load_checkpoint(tmp_path / "a.pt")
