"""Load a checkpoint saved by ultralytics through every cut: each tensor is loaded, counted and equal to its source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from ultralytics.models.yolo.model import YOLO
from ultralytics.nn.tasks import DetectionModel

from tests.support.pairs import real_data
from tests.support.weights import CLASSES, initialised, real_weights
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.data.images.read_pair import read_pair
from yolofuse.data.index.pair_set import load_pairs
from yolofuse.model import Detector
from yolofuse.weights import WeightsReport, load_source

CUTS = ("early", "mid", "late", "decision")


def save_with_ultralytics(
    path: Path, base: str, names: tuple[str, ...], calibrated_on: Tensor | None = None
) -> dict[str, Tensor]:
    """Write a checkpoint with ultralytics' own ``save``; return its tensors by ``<layer>.<rest>``, rounded to half.

    With images to calibrate on, BatchNorm's statistics fit them, so that the output depends on the input.
    """
    torch.manual_seed(11)
    yolo: Any = YOLO(f"{base}.yaml", task="detect")
    yolo.model = DetectionModel(f"{base}.yaml", nc=len(names), verbose=False)  # type: ignore[no-untyped-call]
    yolo.model.names = dict(enumerate(names))
    with torch.no_grad():
        for name, tensor in yolo.model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                tensor.uniform_(0.5, 1.5)  # so that a statistic that was not loaded is detected
        for _ in range(0 if calibrated_on is None else 100):
            yolo.model.train()(calibrated_on)
        for branch in yolo.model.model[-1].cv2:
            branch[-1].weight.mul_(30)  # with initial weights, boxes hardly depend on the image
    yolo.save(path)
    state = yolo.model.half().float().state_dict()
    return {name.removeprefix("model."): tensor for name, tensor in state.items()}


def check_loaded(detector: Detector, report: WeightsReport, source: dict[str, Tensor], head: str) -> None:
    """Check that backbone and neck are loaded, with one inflated stem, and only fusion and head initialised."""
    records = {record.name: record for record in report.records}
    num_body = 0
    for name, tensor in detector.state_dict().items():
        if not tensor.is_floating_point():
            continue
        part, _, rest = name.partition(".layers.")
        if part.startswith("fusion"):
            assert records[name].status == "initialised", name
        elif rest.startswith(f"{head}."):
            if records[name].status == "loaded":
                assert torch.equal(tensor, source[rest]), name
        else:
            num_body += 1
            if source[rest].shape == tensor.shape:
                assert records[name].status == "loaded", name
                assert torch.equal(tensor, source[rest]), name
            else:
                assert records[name].status == "inflated", name
                assert torch.equal(tensor, source[rest].sum(1, keepdim=True)), name
    body = [e for e in report.records if not e.head and e.part != "fusion"]
    assert num_body == len(body) == sum(e.status in {"loaded", "inflated"} for e in body)
    assert sum(e.status == "inflated" for e in body) == 1
    assert report.share_loaded() == 1.0


@pytest.mark.parametrize("base", ["yolov8n", "yolov8s", "yolo11n", "yolo11s", "yolo26n", "yolo26s"])
def test_ultralytics_checkpoint__is_fully_loaded_through_every_cut(base: str, tmp_path: Path) -> None:
    names = ("car", "dog", "person")  # in another order: rows are matched by name, bicycle is new
    source = save_with_ultralytics(tmp_path / "w.pt", base, names)
    head = str(max(int(key.split(".")[0]) for key in source))
    for cut in CUTS:
        detector, report = initialised(
            f"model.base={base}", f"model.cut={cut}", f"weights.pretrained={tmp_path / 'w.pt'}"
        )
        check_loaded(detector, report, source, head)
        parts = ("rgb", "ir") if cut == "decision" else ("trunk",)
        state = detector.state_dict()
        branches = ("cv3", "one2one_cv3") if "26" in base else ("cv3",)
        for part in parts:
            for key in source:
                if not key.startswith(f"{head}."):
                    continue
                last = key.split(".")[1] in branches and key.split(".")[3] == "2" and len(key.split(".")) == 5
                name = f"{part}.layers.{key}"
                if not last:
                    expected = "fixed" if ".dfl." in key else "loaded"
                    assert report.statuses.get(name, expected) == expected, name
                    continue
                assert report.statuses[name] == "partial", name
                assert torch.equal(state[name][0], source[key][2]), name  # person
                assert torch.equal(state[name][2], source[key][0]), name  # car
                assert not any(torch.equal(state[name][1], row) for row in source[key]), name  # bicycle


def test_coco_checkpoint__of_a_small_model_initialises_only_the_class_branch(tmp_path: Path) -> None:
    """With 80 classes the class branch of size n is wider than with three, so it is not loaded, with a warning."""
    names = ("person", *(f"thing {i}" for i in range(79)))
    source = save_with_ultralytics(tmp_path / "w.pt", "yolov8n", names)
    detector, report = initialised("model.base=yolov8n", f"weights.pretrained={tmp_path / 'w.pt'}")
    check_loaded(detector, report, source, "22")
    initialised_names = [e.name for e in report.records if e.status == "initialised" and e.part != "fusion"]
    assert initialised_names
    assert all(".cv3." in name for name in initialised_names)
    assert any("class branch" in warning for warning in report.warnings)


@pytest.mark.real
@pytest.mark.parametrize("cut", CUTS)
def test_real_yolov5n__backbone_and_neck_are_loaded(cut: str) -> None:
    file = real_weights("yolov5n.pt")
    source = dict(load_source(file).parts["trunk"])
    detector, report = initialised("model.base=yolov5n", f"model.cut={cut}", f"weights.pretrained={file}")
    check_loaded(detector, report, source, "24")
    assert report.count("rgb")["loaded"] >= (165 if cut != "early" else 10)


def real_images(tmp_path: Path) -> tuple[Tensor, Tensor]:
    """Return four real pairs: (4, 3, 256, 256) RGB and (4, 1, 256, 256) IR."""
    repo = Path(__file__).parents[2]
    descriptor = load_descriptor(str(repo / "configs" / "data" / "llvip-256.yaml"), str(real_data("llvip-256")))
    pairs = load_pairs(descriptor, "val", cache_dir=tmp_path, verify=False, workers=1)
    stacked = np.stack([read_pair(pairs.records[i]) for i in range(4)])  # (4, 256, 256, 4): B G R IR
    pixels = torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255
    return pixels[:, :3].flip(1).contiguous(), pixels[:, 3:].contiguous()


def assert_same_boxes(found: Tensor, expected: Tensor) -> None:
    """Compare boxes to 1e-4 px and scores to 1e-6."""
    assert expected[:, :4].std() > 10  # px: the boxes differ from each other
    assert (found[:, :4] - expected[:, :4]).abs().max() < 1e-4
    assert (found[:, 4:] - expected[:, 4:]).abs().max() < 1e-6


@pytest.mark.real
@pytest.mark.parametrize("cut", ["early", "mid", "late"])
def test_fusion_rgb__boxes_equal_those_of_the_source(cut: str, tmp_path: Path) -> None:
    """Before training, ``init.fusion=rgb`` gives the boxes of ultralytics' own model, on real pairs."""
    rgb, ir = real_images(tmp_path)
    save_with_ultralytics(tmp_path / "w.pt", "yolov8n", CLASSES, calibrated_on=rgb[:, :, ::2, ::2])
    yolo: Any = YOLO(tmp_path / "w.pt")
    source = yolo.model.float().eval()
    dual, report = initialised(
        "model.base=yolov8n", f"model.cut={cut}", "init.fusion=rgb", f"weights.pretrained={tmp_path / 'w.pt'}"
    )
    assert report.count("trunk")["initialised"] == 0
    with torch.no_grad():
        expected = source(rgb)[0]
        assert_same_boxes(dual.eval()(rgb, ir)["trunk"][0], expected)
        without_rgb = dual(torch.zeros_like(rgb), ir)["trunk"][0]
        assert (without_rgb - expected)[:, :4].abs().max() > 1  # px: the boxes come from the RGB image


@pytest.mark.real
def test_fusion_rgb__with_real_weights_equals_the_single_stream(tmp_path: Path) -> None:
    """The same with COCO's yolov5n; its head does not fit, and both models draw the same one, seeded by its name."""
    rgb, ir = real_images(tmp_path)
    shared = ("model.base=yolov5n", "init.head_std=0.1", f"weights.pretrained={real_weights('yolov5n.pt')}")
    single, _ = initialised("model.streams=rgb", *shared)
    dual, _ = initialised("init.fusion=rgb", *shared)
    with torch.no_grad():
        assert_same_boxes(dual.eval()(rgb, ir)["trunk"][0], single.eval()(rgb, ir)["trunk"][0])
