"""List initialisation schemes for tests to run over, and measure the values that they draw."""

from __future__ import annotations

import math

from torch import Tensor

from yolofuse.config.weights_schema import FanMode, SchemeName
from yolofuse.weights.init.schemes import OPTIONS, Scheme, expected_mean, truncated_std

_MODES: tuple[FanMode, ...] = ("fan_in", "fan_out", "fan_avg")
_KAIMING: tuple[SchemeName, ...] = ("kaiming_normal", "kaiming_uniform")
_GAIN = 1.6765  # SiLU's
RANDOM = [
    *(Scheme(name, mode=mode, gain=_GAIN) for name in _KAIMING for mode in _MODES),
    Scheme("xavier_normal"),
    Scheme("xavier_uniform", gain=_GAIN),
    Scheme("orthogonal", gain=_GAIN),
    Scheme("normal", mean=0.5, std=0.01),
    Scheme("uniform", low=-0.1, high=0.3),
    Scheme("trunc_normal", mean=0.1, std=0.02),
    Scheme("trunc_normal", std=0.02, cut=0.7),
    Scheme("sparse", std=0.01, sparsity=0.8),
    Scheme("torch_default"),
]
FIXED = [
    Scheme("constant", value=0.1),
    Scheme("zeros"),
    Scheme("ones"),
    Scheme("eye", gain=2.0),
    Scheme("dirac"),
]


def scheme_id(scheme: Scheme) -> str:
    """Return a test id with the options that distinguish the schemes above."""
    options = sorted(OPTIONS[scheme.name] & {"mode", "cut"})
    return "-".join([scheme.name, *(str(getattr(scheme, option)) for option in options)])


def measured_std(scheme: Scheme, values: Tensor) -> float:
    """Return the root mean square deviation of drawn values from ``expected_mean``, in float64."""
    return (values.double() - expected_mean(scheme)).square().mean().sqrt().item()


def standard_error(scheme: Scheme, sigma: float, n: int) -> float:
    """Return the standard deviation of ``measured_std`` over draws: ``sigma * sqrt((kurtosis - 1) / 4n)``.

    It is the first term in 1/n, good from some hundreds of elements on. For schemes whose deviation is not random it
    is a bound on float32 rounding. ``sigma`` is the ``expected_std``, n the number of elements.
    """
    name = scheme.name
    if name in {"constant", "zeros", "ones", "eye", "dirac", "orthogonal"}:
        return 1e-5 * sigma + 1e-7 * abs(expected_mean(scheme))
    if name == "sparse":
        # The number of zeros is fixed, so only the n * (sigma / std)^2 other values vary.
        return sigma * math.sqrt(2 / (4 * n * (sigma / scheme.std) ** 2))
    if name == "trunc_normal":
        kurtosis = _truncated_kurtosis(scheme.cut)
    else:
        kurtosis = 1.8 if name in {"kaiming_uniform", "xavier_uniform", "uniform", "torch_default"} else 3.0
    return sigma * math.sqrt((kurtosis - 1) / (4 * n))


def _truncated_kurtosis(cut: float) -> float:
    """Return the kurtosis of a standard normal that is cut at +-``cut``: 2.366 at 2."""
    variance = truncated_std(cut) ** 2
    return (3 * variance - cut * cut * (1 - variance)) / variance**2
