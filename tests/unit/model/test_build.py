from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.support.detectors import build
from yolofuse.config import ModelConfig
from yolofuse.errors import ConfigError
from yolofuse.model import build_detector


def test_build__same_seed_same_weights_and_global_state_untouched() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = build_detector(ModelConfig(base="yolov5n"), num_classes=2, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    second = build_detector(ModelConfig(base="yolov5n"), num_classes=2, seed=3)
    other = build_detector(ModelConfig(base="yolov5n"), num_classes=2, seed=4)
    name = "trunk.layers.13.cv1.conv.weight"
    assert torch.equal(first.get_parameter(name), second.get_parameter(name))
    assert not torch.equal(first.get_parameter(name), other.get_parameter(name))


def test_build__without_norms_has_none_and_sets_momentum_otherwise() -> None:
    plain, bare = build(base="yolov8n"), build(base="yolov8n", norm="none")
    norms = [module for module in plain.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert {norm.momentum for norm in norms} == {0.03}
    assert not [module for module in bare.modules() if isinstance(module, nn.BatchNorm2d)]


def test_build__wrong_fusion_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown name 'gatd'; did you mean gated"):
        build(base="yolov5n", cut="mid", fusion="gatd")


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("yolo11", "has no size; use one of yolo11n, yolo11s"),
        ("yolov8q", "unknown size 'q'"),
        ("yolov9n", "unknown size 'n'; use one of yolov9c"),
        ("yolo11n-seg", "did you mean"),
        ("resnet50", "unknown model"),
    ],
)
def test_base__wrong_name_is_refused(base: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(base=base)
