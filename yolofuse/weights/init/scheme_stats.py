"""Compute the mean and the standard deviation that a scheme's values should have, and do have."""

from __future__ import annotations

import math

from torch import Tensor, nn

from yolofuse.weights.init.fans import fans_of, groups_of, torch_fan_in
from yolofuse.weights.init.schemes import FROM_FANS, Scheme, misfit


def expected_mean(scheme: Scheme) -> float:
    """Return the mean of a scheme's distribution, which its standard deviation is measured from.

    For eye and dirac it is 0, the value of nearly all their elements.
    """
    if scheme.name in {"normal", "trunc_normal"}:
        return scheme.mean
    return {"uniform": (scheme.low + scheme.high) / 2, "constant": scheme.value, "ones": 1.0}.get(scheme.name, 0.0)


def expected_std(scheme: Scheme, module: nn.Module, weight: Tensor) -> float | None:
    """Return the root mean square deviation from ``expected_mean`` by theory; None where the scheme does not fit."""
    if misfit(scheme, module, weight) or not weight.numel():
        return None
    name = scheme.name
    if name in FROM_FANS:
        return std_from_fans(scheme, module, weight)
    if name == "torch_default":
        return 1 / math.sqrt(3 * torch_fan_in(weight))
    if name in {"normal", "trunc_normal"}:
        return scheme.std
    if name == "uniform":
        return (scheme.high - scheme.low) / math.sqrt(12)
    if name == "sparse":
        return scheme.std * math.sqrt(1 - scheme.num_zeros(weight) / weight.shape[0])
    if name in {"constant", "zeros", "ones"}:
        return 0.0
    rows, cols = weight.shape[0] // groups_of(module), torch_fan_in(weight)
    if name == "orthogonal":
        return scheme.gain / math.sqrt(max(rows, cols))
    # eye and dirac: as many ones per group as the smaller side has channels.
    share = min(rows, weight.shape[1]) / (rows * cols)
    return (scheme.gain if name == "eye" else 1.0) * math.sqrt(share)


def measured_std(scheme: Scheme, values: Tensor) -> float:
    """Return the root mean square deviation of drawn values from ``expected_mean``, in float64."""
    return (values.double() - expected_mean(scheme)).square().mean().sqrt().item()


def standard_error(scheme: Scheme, sigma: float, n: int) -> float:
    """Return the standard deviation of ``measured_std`` over draws: ``sigma * sqrt((kurtosis - 1) / 4n)``.

    It is the first term in 1/n, good from some hundreds of elements on. For schemes whose deviation is not random it
    is a bound on float32 rounding.

    Args:
        scheme: What was drawn.
        sigma: Its ``expected_std``.
        n: Number of elements.
    """
    name = scheme.name
    if name in {"constant", "zeros", "ones", "eye", "dirac", "orthogonal"}:
        return 1e-5 * sigma + 1e-7 * abs(expected_mean(scheme))
    if name == "sparse":
        # The number of zeros is fixed, so only the n * (sigma / std)^2 other values vary.
        return sigma * math.sqrt(2 / (4 * n * (sigma / scheme.std) ** 2))
    if name == "trunc_normal":
        kurtosis = truncated_moments(scheme.cut)[1]
    else:
        kurtosis = 1.8 if name in {"kaiming_uniform", "xavier_uniform", "uniform", "torch_default"} else 3.0
    return sigma * math.sqrt((kurtosis - 1) / (4 * n))


def std_from_fans(scheme: Scheme, module: nn.Module, weight: Tensor) -> float:
    """Return Kaiming's or Xavier's standard deviation: ``gain / sqrt(fan)``."""
    fans = fans_of(module, weight)
    assert fans is not None, "misfit() lets no weight without fans through"
    mode = scheme.mode if scheme.name.startswith("kaiming") else "fan_avg"
    return scheme.gain / math.sqrt(getattr(fans, mode))


def truncated_moments(cut: float) -> tuple[float, float]:
    """Return standard deviation and kurtosis of a standard normal cut at +-``cut``: 0.8796 and 2.366 at 2."""
    # The boundary term that integrating by parts leaves in E[z^2] and E[z^4].
    edge = 2 * cut * math.exp(-cut * cut / 2) / math.sqrt(2 * math.pi) / math.erf(cut / math.sqrt(2))
    variance = 1 - edge
    return math.sqrt(variance), (3 * variance - cut * cut * edge) / variance**2
