from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from tests.support.detectors import build
from yolofuse.config import ModelConfig
from yolofuse.errors import ConfigError
from yolofuse.model import check_fusion
from yolofuse.model.fusion import fusion_factory
from yolofuse.nn import FUSIONS, GatedFusion


class NewFusion(nn.Module):
    """A block as a user would add it: one required option, and values that it checks itself."""

    def __init__(self, channels: int, mode: Literal["max", "min"], gain: float = 1.0) -> None:
        super().__init__()
        if gain <= 0:
            raise ValueError(f"gain: must be positive (got {gain})")
        self.mode, self.gain = mode, gain

    def forward(self, rgb: Tensor, ir: Tensor) -> Tensor:
        return self.gain * (torch.maximum(rgb, ir) if self.mode == "max" else torch.minimum(rgb, ir))


@pytest.fixture
def _new_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FUSIONS, "new", NewFusion)


@pytest.mark.parametrize(
    "fusion", [*FUSIONS, {"name": "gated", "reduction": 8}, {"name": "attention", "kernel_size": 3}]
)
def test_check__accepts_blocks_and_their_options(fusion: Any) -> None:
    state = torch.get_rng_state()
    check_fusion(ModelConfig(fusion=fusion))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("fusion", "message"),
    [
        ("gatd", r"model.fusion: unknown name 'gatd'; did you mean gated\? \(known: add, concat, gated, attention\)"),
        ({"name": "median", "size": 3}, r"unknown name 'median' \(known: add, "),
        ({"name": "gated", "redction": 8}, r"redction: unknown key; did you mean reduction\?\n.*gated: reduction=4"),
        ({"name": "gated", "a": 1, "b": 2}, r"model.fusion: 2 wrong values\n  a: unknown key.*\n  b: unknown key"),
        ({"name": "gated", "reduction": "8"}, r"reduction: input should be a valid integer \(got '8'\)"),
        ({"name": "gated", "reduction": True}, r"reduction: input should be a valid integer \(got True\)"),
        ({"name": "gated", "reduction": None}, r"reduction: input should be a valid integer \(got None\)"),
        ({"name": "gated", "reduction": 0}, r"reduction: must be at least 1 \(got 0\)"),
        ({"name": "attention", "kernel_size": 4}, r"kernel_size: must be odd.*\n.*reduction=4, kernel_size=7"),
        ({"name": "attention", "kernel_size": 101}, r"kernel_size: must be odd and between 1 and 31 \(got 101\)"),
        ({"name": "add", "reduction": 4}, r"reduction: unknown key; known here: nothing\n  add has no options"),
        ({"name": "gated", "channels": 4}, r"channels: unknown key; known here: reduction"),
    ],
)
def test_check__names_what_is_wrong_and_what_is_known(fusion: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_fusion(ModelConfig(fusion=fusion))


@pytest.mark.usefixtures("_new_block")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "mode: is missing"),
        ({"mode": "mean"}, "mode: input should be 'max' or 'min'"),
        ({"mode": "max", "gain": -1}, r"gain: must be positive \(got -1\)\n  options of new: mode, gain=1.0"),
        ({"mode": "max", "gain": "1"}, "gain: input should be a valid number"),
    ],
)
def test_check__reads_the_signature_of_any_block(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_fusion(ModelConfig.model_validate({"fusion": {"name": "new", **options}}))


@pytest.mark.usefixtures("_new_block")
def test_factory__builds_a_block_that_is_only_in_the_dict() -> None:
    made = fusion_factory(ModelConfig.model_validate({"fusion": {"name": "new", "mode": "min", "gain": 2}}))(8)
    assert isinstance(made, NewFusion)
    assert (made.mode, made.gain) == ("min", 2)


def test_detector__has_blocks_with_the_options() -> None:
    plain, narrow = (
        build(base="yolov5n", cut="mid", fusion=fusion).parts["fusion"]
        for fusion in ("gated", {"name": "gated", "reduction": 8})
    )
    assert isinstance(narrow, nn.ModuleDict)
    assert all(isinstance(block, GatedFusion) for block in narrow.values())
    assert sum(p.numel() for p in narrow.parameters()) < sum(p.numel() for p in plain.parameters())
