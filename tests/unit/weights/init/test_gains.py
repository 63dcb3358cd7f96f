"""Gains of activations, against an independent integral and published values."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from yolofuse.errors import ConfigError
from yolofuse.weights.init.gains import NONLINEARITIES, gain_of, named_gain


def _erf(z: np.ndarray) -> np.ndarray:
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(z), dtype=float)


_FORMULAS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "silu": lambda z: z / (1 + np.exp(-z)),
    "gelu": lambda z: z * (1 + _erf(z / math.sqrt(2))) / 2,
    "mish": lambda z: z * np.tanh(np.log1p(np.exp(z))),
    "hardswish": lambda z: z * np.clip(z + 3, 0, 6) / 6,
    "selu": lambda z: 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * (np.exp(z) - 1)),
    "elu": lambda z: np.where(z > 0, z, np.exp(z) - 1),
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
}
_PUBLISHED = {"relu": 1.4142, "leaky_relu": 1.4141, "silu": 1.6765, "gelu": 1.5335, "mish": 1.4868, "selu": 1.0}


@pytest.mark.parametrize("name", NONLINEARITIES)
def test_named_gain__equals_an_independent_integral(name: str) -> None:
    z = np.linspace(-10, 10, 40_001)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    power = float((density * _FORMULAS[name](z) ** 2).sum() * (z[1] - z[0]))
    assert named_gain(name) == pytest.approx(1 / math.sqrt(power), abs=1e-6)
    if name in _PUBLISHED:
        assert named_gain(name) == pytest.approx(_PUBLISHED[name], abs=1e-4)


@pytest.mark.parametrize(
    ("activation", "gain"),
    [
        (nn.LeakyReLU(0.3), math.sqrt(2 / 1.09)),
        (nn.PReLU(3, init=0.3), math.sqrt(2 / 1.09)),
        (nn.RReLU(0.2, 0.4), math.sqrt(2 / 1.09)),
        (nn.SiLU(inplace=True), 1.67653),
        (nn.Hardswish(), 1.73667),
        (nn.Sequential(nn.SiLU(), nn.Dropout(0.5)), 1.67653),
    ],
    ids=str,
)
def test_gain_of__a_module_in_evaluation_mode(activation: nn.Module, gain: float) -> None:
    for _ in range(2):  # the second time may come from the cache
        assert gain_of(activation) == pytest.approx(gain, abs=1e-4)
    assert activation.training
    assert all(p.dtype == torch.float32 for p in activation.parameters())


def test_gain_of__a_class_that_hides_its_options_from_repr() -> None:
    class Scaled(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, x: Tensor) -> Tensor:
            return x * self.factor

    assert [gain_of(Scaled(2)), gain_of(Scaled(4))] == pytest.approx([0.5, 0.25])


@pytest.mark.parametrize("module", [nn.Softmax(0), nn.GLU(0), nn.Linear(3, 3), nn.Threshold(20, 0)], ids=str)
def test_gain_of__a_module_without_one_is_refused(module: nn.Module) -> None:
    with pytest.raises(ConfigError, match=type(module).__name__):
        gain_of(module)


def test_named_gain__unknown_name_lists_the_nearest_and_all() -> None:
    with pytest.raises(ConfigError, match=r"'slu'; did you mean (silu|selu|elu)\?.*linear, .*sigmoid"):
        named_gain("slu")
    with pytest.raises(ConfigError, match=r"'qqqq'\. Known: linear, "):
        named_gain("qqqq")
    with pytest.raises(ConfigError, match="must be a finite number"):
        named_gain("leaky_relu", math.nan)
