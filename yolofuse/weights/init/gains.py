"""Compute the gain that keeps a signal's power through an activation: ``1 / sqrt(E[f(z)^2])`` for z ~ N(0, 1)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from yolofuse.errors import ConfigError, did_you_mean

_ACTIVATIONS: dict[str, Callable[[float], nn.Module]] = {
    "linear": lambda _: nn.Identity(),
    "relu": lambda _: nn.ReLU(),
    "leaky_relu": nn.LeakyReLU,
    "silu": lambda _: nn.SiLU(),
    "gelu": lambda _: nn.GELU(),
    "mish": lambda _: nn.Mish(),
    "hardswish": lambda _: nn.Hardswish(),
    "selu": lambda _: nn.SELU(),
    "elu": lambda _: nn.ELU(),
    "tanh": lambda _: nn.Tanh(),
    "sigmoid": lambda _: nn.Sigmoid(),
}
NONLINEARITIES: tuple[str, ...] = tuple(_ACTIVATIONS)
_known_gains: dict[str, float] = {}


def named_gain(name: str, slope: float = 0.01) -> float:
    """Return the gain of an activation by its name; ``slope`` is the negative slope of ``leaky_relu`` alone.

    All of them follow the one definition of this module. For tanh (1.59) and sigmoid (1.85) that differs from
    ``torch.nn.init.calculate_gain``, whose 5/3 and 1 are empirical.

    Raises:
        ConfigError: If the name is unknown or the slope is not finite.
    """
    if name not in _ACTIVATIONS:
        hint = did_you_mean(name, NONLINEARITIES, cutoff=0.5) or "."
        raise ConfigError(f"unknown nonlinearity {name!r}{hint} Known: {', '.join(NONLINEARITIES)}")
    if not math.isfinite(slope):
        raise ConfigError(f"the slope of a nonlinearity must be a finite number (got {slope})")
    return gain_of(_ACTIVATIONS[name](slope))


def gain_of(activation: nn.Module) -> float:
    """Return the gain of any elementwise activation in evaluation mode. The module itself is neither run nor changed.

    A PReLU counts with the mean square of its slopes.

    Raises:
        ConfigError: If the module is not elementwise, cannot run on float64 numbers, or has no finite power.
    """
    if isinstance(activation, nn.PReLU):
        slope = activation.weight.detach().double().square().mean().sqrt().item()
        return gain_of(nn.LeakyReLU(slope))
    if type(activation).__module__ != "torch.nn.modules.activation":
        return _integrate(activation)  # a user's class may keep an option out of its repr; torch's own do not
    key = repr(activation)
    if key not in _known_gains:
        _known_gains[key] = _integrate(activation)
    return _known_gains[key]


def _integrate(activation: nn.Module) -> float:
    """Compute the gain by quadrature, on a copy of the module."""
    nodes, weights = _normal_quadrature()
    failure = f"the gain of {activation} cannot be computed"
    try:
        copied = copy.deepcopy(activation).to("cpu", torch.float64).eval()
        with torch.no_grad():
            values = copied(nodes.clone())  # a copy, for activations that work in place
            alone = copied(nodes[: len(nodes) // 3].clone())
    except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
        raise ConfigError(f"{failure}: it does not run on a vector ({error}); give the rule a gain") from error
    is_like_nodes = isinstance(values, Tensor) and values.shape == nodes.shape
    if not is_like_nodes or not torch.allclose(values[: len(alone)], alone, rtol=1e-9):
        raise ConfigError(f"{failure}: it is not elementwise; give the rule a gain")
    power = float((weights * values.double().square()).sum())
    if not (math.isfinite(power) and power > 0):
        raise ConfigError(f"{failure}: the mean square of its output is {power}; give the rule a gain")
    return 1 / math.sqrt(power)


@lru_cache(maxsize=1)
def _normal_quadrature() -> tuple[Tensor, Tensor]:
    """Return nodes and weights for expectations over N(0, 1): Gauss-Legendre, 16 nodes in each quarter of [-12, 12].

    Panels end at every multiple of 1/4, so that the kinks of torch's activations (0, +-1/2, +-1, +-3, 6) lie on an
    end, where they cost no accuracy. Beyond 12 there is 1e-32 of the mass.
    """
    unit_nodes, unit_weights = np.polynomial.legendre.leggauss(16)
    left = np.arange(-12, 12, 0.25)[:, None]
    nodes = torch.from_numpy((left + (unit_nodes + 1) / 8).ravel())
    widths = torch.from_numpy(np.tile(unit_weights / 8, len(left)))
    return nodes, widths * torch.exp(-nodes.square() / 2) / math.sqrt(2 * math.pi)
