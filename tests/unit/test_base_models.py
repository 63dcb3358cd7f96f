"""The catalogue of base models."""

from __future__ import annotations

import pytest

from yolofuse.base_models import list_bases, resolve_base
from yolofuse.errors import ConfigError


def test_list_bases__seven_families_and_detection_alone() -> None:
    bases = list_bases()
    for name in ("yolov5n", "yolov8x", "yolov9e", "yolov10b", "yolo11m", "yolo12l", "yolo26s", "yolov8n-p2"):
        assert name in bases
    assert not any("-seg" in name or "-pose" in name or "-cls" in name or "-obb" in name for name in bases)


def test_resolve_base__file_with_its_scale_filled_in() -> None:
    base = resolve_base("yolov8m-p2")
    assert (base.name, base.file.name, base.scale) == ("yolov8m-p2", "yolov8-p2.yaml", "m")
    assert base.read()["scale"] == "m"
    assert base.num_backbone_layers == 10


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("yolov8", "'yolov8' has no size; use one of yolov8n, "),
        ("yolov8q", "'yolov8q' has an unknown size 'q'; use one of yolov8n, "),
        ("yolo8n", r"unknown model 'yolo8n'; did you mean yolov8n or .* or .*\? Known: "),
        ("resnet50", r"unknown model 'resnet50'\. Known: the detection models"),
    ],
)
def test_resolve_base__unknown_names(name: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=f"model.base: {expected}"):
        resolve_base(name)
