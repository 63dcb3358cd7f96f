"""Base model, class names and number of classes from the content of a file."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from yolofuse.upstream import build_layers, resolve_base
from yolofuse.weights.source_metadata import base_of, class_rows, read_names


@pytest.mark.parametrize(
    ("description", "base"),
    [
        ({"yaml_file": "yolov8n.yaml", "scale": "n"}, "yolov8n"),
        ({"yaml_file": "yolo11.yaml", "scale": "s"}, "yolo11s"),
        ({"yaml_file": "/a/yolov8-p2.yaml", "scale": "m"}, "yolov8m-p2"),
        ({"yaml_file": r"C:\a\yolov9t.yaml"}, "yolov9t"),
        ({"yaml_file": "yolov8.yaml", "scale": ""}, None),  # ultralytics would guess n
        ({"yaml_file": "yolov8.yaml"}, None),
        ({"yaml_file": "yolov8n-seg.yaml", "scale": "n"}, None),
        ({"yaml_file": "mine.yaml", "scale": "n"}, None),
        ({"yaml_file": 3}, None),
        ("{'yaml_file': 'yolo11n.yaml'}", "yolo11n"),
        ("{'yaml_file': [", None),
        (None, None),
    ],
)
def test_base__from_what_ultralytics_writes(description: Any, base: str | None) -> None:
    assert base_of(description) == base


def test_base__of_yolov5_by_its_layers() -> None:
    ours = resolve_base("yolov5s").read()
    theirs = {"depth_multiple": 0.33, "width_multiple": 0.5, "backbone": ours["backbone"], "head": ours["head"]}
    assert base_of(theirs) == "yolov5s"
    assert base_of(theirs | {"head": [*ours["head"][:-1], [[17, 20, 23], 1, "Detect", ["nc", "anchors"]]]}) == "yolov5s"
    assert base_of(theirs | {"width_multiple": 0.55}) is None
    focus = [[-1, 1, "Focus", [64, 3]], *ours["backbone"][1:]]  # as in its releases before 6.0
    assert base_of(theirs | {"backbone": focus}) is None
    assert base_of(theirs | {"backbone": None}) is None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a", "b"], ("a", "b")),
        ({0: "a", 1: "b"}, ("a", "b")),
        ({"1": "b", "0": "a"}, ("a", "b")),
        ({0: "0", 1: "1"}, None),
        (["0", "2"], ("0", "2")),
        ({1: "a", 2: "b"}, None),
        ({"x": "a"}, None),
        ([], None),
        ([["a"]], None),
        ("ab", None),
        (None, None),
    ],
)
def test_names__forms(names: Any, expected: tuple[str, ...] | None) -> None:
    assert read_names(names) == expected


@pytest.mark.parametrize(
    "base",
    [
        "yolov8n",
        "yolov10n",
        *(
            pytest.param(base, marks=pytest.mark.soak)
            for base in ("yolov5n", "yolov9t", "yolo11n", "yolo12n", "yolo26n")
        ),
    ],
)
def test_class_rows__of_every_family(base: str) -> None:
    family = nn.Sequential(*build_layers(resolve_base(base), channels=3, num_classes=7))
    assert class_rows(family.state_dict()) == 7


def test_class_rows__of_an_anchor_head() -> None:
    head = {f"24.m.{i}.bias": torch.ones(3 * 12) for i in range(3)}
    assert class_rows(head | {"24.anchors": torch.ones(3, 3, 2)}) == 7
    assert class_rows(head) is None  # unknown without anchors
    assert class_rows(head | {"24.anchors": torch.ones(3, 3, 2), "24.proto.cv1.conv.weight": torch.ones(1)}) is None
