"""Define the schemes that weights are filled by: their options, the weights they fit, their mean and deviation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

from torch import Tensor, nn

from yolofuse.config.weights_schema import FanMode, SchemeName
from yolofuse.errors import ConfigError, did_you_mean, listing
from yolofuse.weights.init.fans import HAVE_TORCH_DEFAULT, fans_of, groups_of, torch_fan_in

SCHEMES: tuple[SchemeName, ...] = get_args(SchemeName)

OPTIONS: dict[str, frozenset[str]] = {
    "kaiming_normal": frozenset({"mode", "gain"}),
    "kaiming_uniform": frozenset({"mode", "gain"}),
    "xavier_normal": frozenset({"gain"}),
    "xavier_uniform": frozenset({"gain"}),
    "orthogonal": frozenset({"gain"}),
    "normal": frozenset({"mean", "std"}),
    "uniform": frozenset({"low", "high"}),
    "trunc_normal": frozenset({"mean", "std", "cut"}),
    "constant": frozenset({"value"}),
    "zeros": frozenset(),
    "ones": frozenset(),
    "eye": frozenset({"gain"}),
    "dirac": frozenset(),
    "sparse": frozenset({"std", "sparsity"}),
    "torch_default": frozenset(),
}
"""Options that each scheme reads; the others of a Scheme have no effect, so a config should refuse them."""

_FROM_FANS = frozenset({"kaiming_normal", "kaiming_uniform", "xavier_normal", "xavier_uniform"})
_NEEDS_MATRIX = _FROM_FANS | {"orthogonal", "sparse", "torch_default"}


@dataclass(frozen=True)
class Scheme:
    """A scheme with its options. Those that ``OPTIONS`` does not list for it are ignored.

    Attributes:
        mode: Which fan Kaiming's rule divides by. Xavier's always takes both.
        gain: Factor of the standard deviation (kaiming, xavier, orthogonal) or of the ones (eye).
        std: Standard deviation of normal and trunc_normal, and of the non-zero values of sparse.
        sparsity: Share of zeros in each column, rounded up to a whole number of rows.
        cut: Where trunc_normal ends, in standard deviations of the normal before the cut. The cut narrows it (to 0.8796
            at 2), and the draw is scaled up again until its standard deviation is ``std``; it then ends at 2.27
            ``std``.

    Raises:
        ConfigError: If the name or the mode is unknown, or a number is out of its bounds.
    """

    name: SchemeName
    mode: FanMode = "fan_in"
    gain: float = 1.0
    mean: float = 0.0
    std: float = 0.02
    low: float = -0.05
    high: float = 0.05
    value: float = 0.0
    sparsity: float = 0.9
    cut: float = 2.0

    def __post_init__(self) -> None:
        if self.name not in SCHEMES:
            hint = did_you_mean(str(self.name), SCHEMES, cutoff=0.5) or "."
            raise ConfigError(f"unknown init scheme {self.name!r}{hint} Known: {', '.join(SCHEMES)}")
        bounds = [
            ("mode", self.mode in get_args(FanMode), f"be one of {', '.join(get_args(FanMode))}"),
            ("gain", self.gain > 0, "be above 0"),
            ("std", self.std > 0, "be above 0; for equal values use constant"),
            ("high", self.high > self.low, f"be above low, {self.low}"),
            ("sparsity", 0 <= self.sparsity < 1, "be at least 0 and below 1; for zeros alone use zeros"),
            ("cut", self.cut >= 0.1, "be at least 0.1; for a flat distribution use uniform"),
        ]
        problems = [f"{key} must {rule} (got {getattr(self, key)})" for key, is_met, rule in bounds if not is_met]
        for key in ("gain", "mean", "std", "low", "high", "value", "cut"):
            if not math.isfinite(getattr(self, key)):
                problems.append(f"{key} must be a finite number (got {getattr(self, key)})")
        if problems:
            raise ConfigError(listing(f"init scheme {self.name}", problems, "wrong value"))

    def num_zeros(self, weight: Tensor) -> int:
        """Number of zeros that ``sparse`` puts into each column, as torch counts them."""
        return math.ceil(self.sparsity * weight.shape[0])


def misfit(scheme: Scheme, module: nn.Module, weight: Tensor) -> str | None:
    """Explain in one sentence why a scheme cannot fill a weight and what to use instead; None if it can."""
    name, shape = scheme.name, tuple(weight.shape)
    where = f"init scheme {name} cannot fill a weight of shape {shape} of a {type(module).__name__}"
    if name in _NEEDS_MATRIX and weight.ndim < 2:
        return f"{where}: it needs at least 2 dimensions; use constant, ones, zeros, normal, uniform or trunc_normal"
    if name == "torch_default" and not isinstance(module, HAVE_TORCH_DEFAULT):
        return f"{where}: it is known for convolutions and linear layers; use another scheme or leave the weight out"
    if name == "eye" and (weight.ndim < 2 or math.prod(shape[2:]) != 1):
        other = "dirac" if 3 <= weight.ndim <= 5 else "constant"
        return f"{where}: it needs 2 dimensions or a kernel of one pixel; use {other}"
    if name == "dirac" and not 3 <= weight.ndim <= 5:
        return f"{where}: it needs a convolution's 3 to 5 dimensions; use {'eye' if weight.ndim == 2 else 'constant'}"
    if name == "sparse" and weight.numel() and scheme.num_zeros(weight) == shape[0]:
        return (
            f"{where}: a sparsity of {scheme.sparsity:g} of {shape[0]} row(s) leaves nothing but zeros; use a smaller "
            "sparsity, normal, or zeros if all are to be zero"
        )
    return None


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
    if name in _FROM_FANS:
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


def std_from_fans(scheme: Scheme, module: nn.Module, weight: Tensor) -> float:
    """Return Kaiming's or Xavier's standard deviation: ``gain / sqrt(fan)``."""
    fans = fans_of(module, weight)
    assert fans is not None, "misfit() lets no weight without fans through"
    mode = scheme.mode if scheme.name.startswith("kaiming") else "fan_avg"
    return scheme.gain / math.sqrt(getattr(fans, mode))


def truncated_std(cut: float) -> float:
    """Return the standard deviation of a standard normal that is cut at +-``cut``: 0.8796 at 2."""
    # The boundary term that integrating by parts leaves in E[z^2].
    edge = 2 * cut * math.exp(-cut * cut / 2) / math.sqrt(2 * math.pi) / math.erf(cut / math.sqrt(2))
    return math.sqrt(1 - edge)
