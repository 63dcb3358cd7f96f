"""All fusion blocks of ``yolofuse.nn.FUSIONS``: shape, start, inputs, gradients."""

from __future__ import annotations

import pytest
import torch

from yolofuse.nn import FUSIONS


@pytest.mark.parametrize("name", FUSIONS)
def test_fusion__keeps_shape_and_starts_near_the_mean(name: str) -> None:
    torch.manual_seed(0)
    rgb, ir = torch.randn(2, 2, 16, 8, 6).unbind(0)
    fused = FUSIONS[name](16)(rgb, ir)
    assert fused.shape == rgb.shape
    assert (fused - (rgb + ir) / 2).abs().max() < 0.25


@pytest.mark.parametrize("name", FUSIONS)
def test_fusion__both_inputs_count(name: str) -> None:
    torch.manual_seed(0)
    rgb, ir = torch.randn(2, 2, 16, 8, 6).unbind(0)
    block = FUSIONS[name](16)
    assert not torch.equal(block(rgb, ir), block(rgb, ir.flip(0)))
    assert not torch.equal(block(rgb, ir), block(rgb.flip(0), ir))


@pytest.mark.parametrize("name", [name for name in FUSIONS if name != "add"])
def test_fusion__every_parameter_gets_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    rgb, ir = torch.randn(2, 2, 16, 8, 6).unbind(0)
    block = FUSIONS[name](16)
    block(rgb, ir).square().sum().backward()
    assert len(list(block.parameters())) >= 2
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in block.parameters())
