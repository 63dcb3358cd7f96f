"""Heads that arrive whole: the detector scores before training what the source scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from ultralytics.nn.tasks import DetectionModel

from tests.support.weights import config_of, real_weights
from yolofuse.engine.build import Start, build_start
from yolofuse.errors import ConfigError

COCO = (
    "person", "bicycle", "car", "motorcycle", *(f"other {number}" for number in range(4, 80)),
)  # fmt: skip


class Yolov5:
    """YOLOv5 of release 6 as plain functions of its tensors, written from the description of its layers."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = {name.removeprefix("model."): tensor.double() for name, tensor in tensors.items()}

    def conv(self, name: str, x: Tensor, stride: int = 1, padding: int | None = None) -> Tensor:
        weight = self.tensors[f"{name}.conv.weight"]
        x = functional.conv2d(x, weight, stride=stride, padding=weight.shape[2] // 2 if padding is None else padding)
        mean, var, gamma, beta = (
            self.tensors[f"{name}.bn.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        x = (x - mean) / (var + 1e-3).sqrt() * gamma + beta
        return x * x.sigmoid()

    def c3(self, name: str, x: Tensor, shortcut: bool) -> Tensor:
        inner = self.conv(f"{name}.cv1", x)
        for number in range(
            sum(key.startswith(f"{name}.m.") and key.endswith("cv1.conv.weight") for key in self.tensors)
        ):
            out = self.conv(f"{name}.m.{number}.cv2", self.conv(f"{name}.m.{number}.cv1", inner))
            inner = inner + out if shortcut else out
        return self.conv(f"{name}.cv3", torch.cat([inner, self.conv(f"{name}.cv2", x)], 1))

    def sppf(self, name: str, x: Tensor) -> Tensor:
        steps = [self.conv(f"{name}.cv1", x)]
        for _ in range(3):
            steps.append(functional.max_pool2d(steps[-1], 5, 1, 2))
        return self.conv(f"{name}.cv2", torch.cat(steps, 1))

    def features(self, image: Tensor) -> dict[int, Tensor]:
        out = {0: self.conv("0", image, 2, 2)}
        for number, layer in enumerate(("conv", "c3", "conv", "c3", "conv", "c3", "conv", "c3"), start=1):
            x = out[number - 1]
            out[number] = self.conv(str(number), x, 2) if layer == "conv" else self.c3(str(number), x, True)
        out[9] = self.sppf("9", out[8])
        return out

    def neck(self, out: dict[int, Tensor]) -> list[Tensor]:
        out[10] = self.conv("10", out[9])
        out[13] = self.c3("13", torch.cat([functional.interpolate(out[10], scale_factor=2), out[6]], 1), False)
        out[14] = self.conv("14", out[13])
        out[17] = self.c3("17", torch.cat([functional.interpolate(out[14], scale_factor=2), out[4]], 1), False)
        out[20] = self.c3("20", torch.cat([self.conv("18", out[17], 2), out[14]], 1), False)
        out[23] = self.c3("23", torch.cat([self.conv("21", out[20], 2), out[10]], 1), False)
        return [out[17], out[20], out[23]]

    def detect(self, levels: list[Tensor]) -> Tensor:
        """Return (cells, 85): centre x and y, width, height in pixels, then the score of each class."""
        rows = []
        for number, feature in enumerate(levels):
            stride = 8 * 2**number
            raw = functional.conv2d(feature, self.tensors[f"24.m.{number}.weight"], self.tensors[f"24.m.{number}.bias"])
            for anchor in range(3):
                s = raw[0, anchor * 85 : anchor * 85 + 85].sigmoid()
                y, x = torch.meshgrid(torch.arange(s.shape[1]), torch.arange(s.shape[2]), indexing="ij")
                w, h = self.tensors["24.anchors"][number, anchor] * stride
                box = [
                    (2 * s[0] - 0.5 + x) * stride,
                    (2 * s[1] - 0.5 + y) * stride,
                    (2 * s[2]) ** 2 * w,
                    (2 * s[3]) ** 2 * h,
                ]
                rows.append(torch.cat([torch.stack(box), s[4] * s[5:]]).flatten(1).T)
        return torch.cat(rows)


def _pair(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    small = [torch.rand(1, channels, 12, 16, generator=generator) for channels in (3, 1)]
    rgb, ir = (functional.interpolate(image, size=(192, 256), mode="bicubic").clamp(0, 1) for image in small)
    return rgb, ir


def _start(names: tuple[str, ...], *words: str) -> Start:
    start = build_start(config_of(*words), names)
    start.detector.eval()
    return start


def _run(start: Start, rgb: Tensor, ir: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        return {name: output[0][0].T for name, output in start.detector(rgb, ir).items()}


@pytest.mark.real
@pytest.mark.parametrize("model", ["rgb", "ir", "mid"])
def test_yolov5__equals_an_independent_forward(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = torch.load(real_weights("yolov5n_state_dict.pt"), weights_only=True)
    if "state_dict" in tensors:
        tensors = tensors["state_dict"]
    stock, (rgb, ir) = Yolov5(tensors), _pair()
    words = ["model.base=yolov5n", f"weights.pretrained={real_weights('yolov5n.pt')}"]
    words.append("model.cut=mid" if model == "mid" else f"model.streams={model}")
    start = _start(("person", "people carrier", "Car"), *words)
    assert start.config.model.head == "anchors"
    assert start.config.train.recipe == "finetune"
    grey = ir.expand(-1, 3, -1, -1)
    images = {"rgb": [rgb], "ir": [grey], "mid": [rgb, grey]}[model]
    streams = [stock.features(image.double()) for image in images]
    mean = {layer: torch.stack([stream[layer] for stream in streams]).mean(0) for layer in streams[0]}
    expected = stock.detect(stock.neck(mean))
    monkeypatch.setattr("yolofuse.model.detectors._infer_in_float32", lambda head, features: head(features))
    start.detector.double()  # two float32 models differ by their own rounding, up to 1e-3 px
    found = _run(start, rgb.double(), ir.double())["trunk"].double()
    assert float(expected[:, 4].max()) > 1e-4
    torch.testing.assert_close(found[:, :4], expected[:, :4], rtol=0, atol=1e-4)
    torch.testing.assert_close(found[:, [4, 6]], expected[:, [4, 6]], rtol=0, atol=1e-5)
    kinds = [(match.source, match.kind) for match in start.report.classes]
    assert kinds == [("person", "name"), (None, "new"), ("car", "name")]


def _ultralytics_file(path: Path, base: str) -> tuple[Path, Any]:
    """Save a model of 80 classes as ultralytics does, with class rows that differ from class to class."""
    torch.manual_seed(1)
    model: Any = DetectionModel(f"{base}.yaml", nc=80, verbose=False)  # type: ignore[no-untyped-call]
    model.names = dict(enumerate(COCO))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.state_dict()["running_mean"], 0, 0.1)
            torch.nn.init.uniform_(module.state_dict()["running_var"], 0.5, 1.5)
    for name, parameter in model.model[-1].named_parameters():
        if "cv3" in name and name.endswith("2.bias"):
            torch.nn.init.normal_(parameter, -3.0, 2.0)
            parameter.data[0] = 4.0  # so that persons are among the best 300 of an end-to-end head
    if base == "yolo26n":
        model.model[-1].end2end = True  # as its trainer saves it
    torch.save({"model": model, "epoch": 0}, path)
    return path, model.eval()


@pytest.mark.parametrize("base", ["yolov8n", "yolo11n", "yolo26n"])
@pytest.mark.parametrize("cut", ["early", "mid", "late", "decision"])
@pytest.mark.parametrize("names", [("person",), ("Motorbike", "people", "lamp")], ids=["one", "three"])
def test_ultralytics__class_rows_keep_the_width_of_their_branch(
    tmp_path: Path, base: str, cut: str, names: tuple[str, ...]
) -> None:
    file, model = _ultralytics_file(tmp_path / "weights.pt", base)
    words = (f"model.base={base}", f"model.cut={cut}", "init.fusion=rgb", f"weights.pretrained={file}")
    start = _start(names, *words)
    assert start.config.model.branch_classes == 80
    rgb, ir = _pair()
    person = 1 if len(names) > 1 else 0
    with torch.no_grad():
        stock: Any = model(rgb)[0][0]
    found = next(iter(_run(start, rgb, ir).values()))
    if base == "yolo26n":  # the best 300 of all classes: x1, y1, x2, y2, score, class
        rows, ours = stock[stock[:, 5] == 0], found.T[found[5] == person]
        rows = rows[
            rows[:, 4] > torch.maximum(rows[:, 4].min(), ours[:, 4].min()) + 1e-5
        ]  # not the last, which may tie
        assert len(rows) > 10
        at = torch.cdist(rows[:, :5].double(), ours[:, :5].double()).argmin(1)
        torch.testing.assert_close(ours[at, :4], rows[:, :4], rtol=0, atol=1e-4)
        torch.testing.assert_close(ours[at, 4], rows[:, 4], rtol=0, atol=1e-5)
        return
    torch.testing.assert_close(found[:, :4], stock.T[:, :4], rtol=0, atol=1e-4)
    torch.testing.assert_close(found[:, 4 + person], stock[4], rtol=0, atol=1e-5)
    assert stock[4].max() > 0.01


def test_class_map__names_a_class_of_the_weights(tmp_path: Path) -> None:
    file, _ = _ultralytics_file(tmp_path / "weights.pt", "yolov8n")
    words = (f"weights.pretrained={file}", "weights.class_map={rider: person}")
    (match,) = _start(("rider",), *words).report.classes
    assert (match.source, match.kind) == ("person", "class_map")
    with pytest.raises(ConfigError, match="no class of the data"):
        _start(("person",), *words)


def test_report__tells_what_matched_and_what_is_new(tmp_path: Path) -> None:
    file, _ = _ultralytics_file(tmp_path / "weights.pt", "yolov8n")
    report = _start(("people", "lamp", "car"), f"weights.pretrained={file}").report
    assert "classes: people (from person, by alias), lamp (new), car" in report.format()
    assert report.plain()["classes"]["lamp"] == {"from": None, "by": "new", "row": None}


def test_no_class_in_common__starts_from_scratch(tmp_path: Path) -> None:
    file, _ = _ultralytics_file(tmp_path / "weights.pt", "yolov8n")
    start = _start(("lamp",), f"weights.pretrained={file}")
    assert start.config.model.branch_classes is None
    assert (start.config.train.recipe, start.config.train.lr0, start.config.train.score_start) == (
        "scratch",
        0.01,
        False,
    )


def test_recipe__leaves_what_the_user_gave(tmp_path: Path) -> None:
    file, _ = _ultralytics_file(tmp_path / "weights.pt", "yolov8n")
    train = _start(("person",), f"weights.pretrained={file}", "train.lr0=0.5").config.train
    assert (train.recipe, train.lr0, train.freeze_bn, train.score_start) == ("finetune", 0.5, True, True)
    train = _start(("person",), f"weights.pretrained={file}", "train.recipe=scratch").config.train
    assert (train.recipe, train.lr0, train.freeze_bn) == ("scratch", 0.01, False)
