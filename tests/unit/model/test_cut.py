from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.detectors import build, random_batch
from yolofuse.errors import ConfigError
from yolofuse.model.cut import CutPlan, plan_cut
from yolofuse.model.detectors import DualStreamDetector
from yolofuse.upstream import build_layers, resolve_base


@lru_cache
def layers_of(name: str) -> list[nn.Module]:
    return build_layers(resolve_base(name), channels=3, num_classes=1)


def plan(name: str, cut: Any) -> CutPlan:
    return plan_cut(layers_of(name), cut, resolve_base(name).num_backbone_layers)


@pytest.mark.parametrize(
    ("cut", "number", "taps"),
    [
        ("input", 0, ()),
        ("early", 2, (1,)),
        ("mid", 11, (4, 6, 10)),
        ("late", 23, (16, 19, 22)),
        ("decision", 24, ()),
        (7, 7, (4, 6)),
    ],
)
def test_taps__are_those_of_the_design(cut: Any, number: int, taps: tuple[int, ...]) -> None:
    found = plan("yolo11n", cut)
    assert (found.cut, found.taps, found.num_layers) == (number, taps, 24)
    assert len(found.tap_channels) == len(taps)


def test_cut__number_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="25 is out of range; this model has 24 layers"):
        plan("yolo11n", 25)


def test_cut__several_tensors_in_one_tap_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"layer 10.*several tensors"):
        plan("yolov9e", 13)


def test_cut__image_copy_of_yolov9e_is_a_tap() -> None:
    found = plan("yolov9e", "early")
    assert found.taps[0] == 0  # its layer 0 passes the image on
    assert found.tap_channels[0] == 3


@pytest.mark.soak
def test_cut__image_copy_of_yolov9e_is_fused() -> None:
    detector = build(base="yolov9e", cut="early")
    assert isinstance(detector, DualStreamDetector)
    assert detector.taps[0] == 0
    with torch.no_grad():
        batch = random_batch()
        assert detector(batch.rgb, batch.ir)["trunk"]["scores"].shape == (2, 3, 84)
