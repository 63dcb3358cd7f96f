"""Declarations of ultralytics' blocks and heads: initial values, class rows, and losses."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from yolofuse.config import LossConfig
from yolofuse.param_init import ZERO_GAMMA_OFF, InitOptions
from yolofuse.upstream import (
    E2ELoss,
    build_layers,
    detection_loss,
    list_class_branch_tensors,
    resolve_base,
    shared_init_name,
    upstream_init_specs,
    v8DetectionLoss,
)
from yolofuse.upstream.heads import block  # type: ignore[attr-defined]  # by yolofuse, which wraps the import


@pytest.fixture(scope="module")
def plain_head() -> nn.Module:
    """A head with one branch, of three classes."""
    return build_layers(resolve_base("yolov8n"), channels=3, num_classes=3)[-1]


@pytest.fixture(scope="module")
def twin_head() -> nn.Module:
    """An end-to-end head, of three classes."""
    return build_layers(resolve_base("yolo26n"), channels=3, num_classes=3)[-1]


def test_init_specs__of_a_head(plain_head: nn.Module) -> None:
    specs = upstream_init_specs(plain_head, InitOptions(head_std=0.1, prior_objects=7.0, prior_imgsz=320))
    assert set(specs) == {f"cv{k}.{i}.2.{leaf}" for k in (2, 3) for i in range(3) for leaf in ("weight", "bias")}
    prior = specs["cv3.1.2.bias"].fill
    assert prior is not None
    assert prior(torch.empty(3), None).tolist() == pytest.approx([math.log(7 / 3 / (320 / 16) ** 2)] * 3)
    assert (specs["cv2.0.2.weight"].std, specs["cv2.0.2.weight"].disabled_by) == (0.1, "init.head_std: rules")
    biases = upstream_init_specs(plain_head, InitOptions(head_std=None))
    assert all(name.endswith(".bias") for name in biases)


def test_init_specs__of_an_end_to_end_head_are_twice_the_same(twin_head: nn.Module) -> None:
    specs = upstream_init_specs(twin_head, InitOptions())
    twins = {name for name in specs if name.startswith("one2one_")}
    assert {name.removeprefix("one2one_") for name in twins} == set(specs) - twins
    assert all(specs[name].description == specs[name.removeprefix("one2one_")].description for name in twins)


def test_init_specs__of_fixed_and_scaled_blocks() -> None:
    assert upstream_init_specs(block.DFL(16), InitOptions())["conv.weight"].fill is None
    gamma = upstream_init_specs(block.A2C2f(64, 64, residual=True), InitOptions())["gamma"].fill
    assert gamma is not None
    assert (gamma(torch.empty(64), None) == 0.01).all()
    attention = upstream_init_specs(block.ABlock(64, 2), InitOptions())
    weights = [spec for name, spec in attention.items() if name.endswith(".weight")]
    assert len(weights) > 3
    assert {spec.std for spec in weights} == {0.02}
    assert upstream_init_specs(nn.Conv2d(1, 1, 1), InitOptions()) == {}


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (block.Bottleneck(8, 8), {"cv2.bn.weight"}),
        (block.Bottleneck(8, 8, shortcut=False), set()),  # adds nothing, so zero would cut it off
        (block.GhostBottleneck(8, 8), {"conv.2.cv1.bn.weight", "conv.2.cv2.bn.weight"}),
        (block.PSABlock(64, num_heads=1), {"attn.proj.bn.weight", "ffn.1.bn.weight"}),
        (block.SPPF(8, 8, 5, 3, True), {"cv2.bn.weight"}),
        (block.C2f(8, 8), set()),
    ],
    ids=["bottleneck", "without-shortcut", "ghost", "attention", "pooling", "container"],
)
def test_init_specs__zero_gamma_of_residual_branches(module: nn.Module, names: set[str]) -> None:
    specs = upstream_init_specs(module, InitOptions(zero_gamma=True))
    assert set(specs) == names
    assert all(spec.disabled_by == ZERO_GAMMA_OFF for spec in specs.values())
    assert upstream_init_specs(module, InitOptions()) == {}


def test_init_specs__zero_gamma_needs_a_norm() -> None:
    module = block.Bottleneck(8, 8)
    module.cv2.bn = nn.Identity()  # type: ignore[assignment]
    assert upstream_init_specs(module, InitOptions(zero_gamma=True)) == {}


def test_class_branch_tensors__rows_have_one_per_class(plain_head: nn.Module, twin_head: nn.Module) -> None:
    for head, num_branches in ((plain_head, 3), (twin_head, 6)):
        state = head.state_dict()
        found = dict(list_class_branch_tensors(nn.ModuleDict({"head": head})))
        assert set(found) == {f"head.{name}" for name in state if "cv3." in name}
        rows = [name for name, kind in found.items() if kind == "rows"]
        assert len(rows) == 2 * num_branches
        assert all(state[name.removeprefix("head.")].shape[0] == 3 for name in rows)


def test_shared_init_name__of_twins() -> None:
    assert shared_init_name("trunk.layers.23.one2one_cv2.0.2.weight") == "trunk.layers.23.cv2.0.2.weight"
    assert shared_init_name("trunk.layers.23.cv2.0.2.weight") == "trunk.layers.23.cv2.0.2.weight"


def test_detection_loss__follows_the_head(plain_head: nn.Module, twin_head: nn.Module) -> None:
    gains = LossConfig().model_dump()
    assert isinstance(detection_loss(plain_head, gains, 3, v8DetectionLoss), v8DetectionLoss)
    assert isinstance(detection_loss(twin_head, gains, 3, v8DetectionLoss), E2ELoss)
