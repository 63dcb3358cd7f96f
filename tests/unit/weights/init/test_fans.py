"""Fans of every kind of layer, by hand and by the variance of a signal."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from yolofuse.weights.init.fans import fans_of
from yolofuse.weights.init.fillers import fill
from yolofuse.weights.init.rng import generator_for
from yolofuse.weights.init.schemes import Scheme


@pytest.mark.parametrize(
    ("module", "fan_in", "fan_out"),
    [
        (nn.Conv2d(64, 64, 3, groups=64), 9, 9),
        (nn.Conv2d(16, 32, 3, stride=2), 144, 72),
        (nn.Conv2d(16, 32, 1, stride=2), 16, 8),
        (nn.Conv2d(16, 32, (3, 5), stride=(1, 2), groups=4, dilation=2), 60, 60),
        (nn.Conv1d(6, 12, 3, groups=3), 6, 12),
        (nn.ConvTranspose2d(16, 32, 2, stride=2), 16, 128),
        (nn.ConvTranspose2d(16, 32, 4, stride=2, groups=8), 8, 64),
        (nn.Linear(5, 7), 5, 7),
        (nn.Embedding(9, 4), 4, 9),
    ],
    ids=str,
)
def test_fans__by_hand(module: nn.Conv2d, fan_in: float, fan_out: float) -> None:
    fans = fans_of(module, module.weight)
    assert fans is not None
    assert (fans.fan_in, fans.fan_out, fans.fan_avg) == (fan_in, fan_out, (fan_in + fan_out) / 2)


def test_fans__none_for_a_vector() -> None:
    assert fans_of(nn.BatchNorm2d(4), torch.empty(4)) is None


_LAYERS = [
    nn.Conv2d(512, 512, 3, groups=512, bias=False),
    nn.Conv2d(256, 512, 3, stride=2, groups=64, bias=False),
    nn.ConvTranspose2d(128, 64, 3, stride=2, bias=False),
    nn.ConvTranspose2d(256, 512, 4, stride=2, groups=64, bias=False),
]


def _interior(maps: Tensor) -> Tensor:
    """Cut off the border, and keep whole periods of a stride of 2 (stride 1 has any)."""
    return maps[..., 4:20, 4:20]


@pytest.mark.parametrize("module", _LAYERS, ids=str)
def test_fan_in__keeps_the_variance_of_the_signal(module: nn.Conv2d) -> None:
    scheme = Scheme("kaiming_normal", mode="fan_in")
    module.weight.data = fill(scheme, module, module.weight, generator_for(0, "weight"))
    with torch.no_grad():
        maps = module(torch.randn(2, module.in_channels, 44, 44, generator=generator_for(0, "signal")))
    assert _interior(maps).var().item() == pytest.approx(1, rel=0.1)  # groups: no more than some thousand weights


@pytest.mark.parametrize("module", _LAYERS, ids=str)
def test_fan_out__keeps_the_variance_of_the_gradient(module: nn.Conv2d) -> None:
    scheme = Scheme("kaiming_normal", mode="fan_out")
    module.weight.data = fill(scheme, module, module.weight, generator_for(0, "weight"))
    images = torch.zeros(2, module.in_channels, 44, 44, requires_grad=True)
    maps = module(images)
    maps.backward(torch.randn(maps.shape, generator=generator_for(0, "gradient")))
    assert images.grad is not None
    assert _interior(images.grad).var().item() == pytest.approx(1, rel=0.1)
