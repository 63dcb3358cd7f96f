"""Schemes: what values a weight is filled with, and the spread that they must then show."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import get_args

import torch
from torch import Tensor, nn

from yolofuse.config.weights_schema import FanMode, SchemeName
from yolofuse.errors import ConfigError, listing
from yolofuse.weights.init.fans import CONVOLUTIONS, TRANSPOSED, fans_of, groups_of, torch_fan_in

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
"""Which options each scheme reads; the others of a Scheme are then without effect, so a config should refuse them."""


@dataclass(frozen=True)
class Scheme:
    """A scheme with its options. Those that ``OPTIONS`` does not name for it are not read.

    Attributes:
        name: One of ``SCHEMES``.
        mode: Which fan Kaiming's rule divides by. Xavier's always takes both.
        gain: Factor of the spread (kaiming, xavier, orthogonal) or of the ones (eye).
        mean: Of normal and trunc_normal.
        std: Spread that is asked for, of normal and trunc_normal; of the non-zero values of sparse.
        low: Lower end of uniform.
        high: Upper end of uniform.
        value: Of constant.
        sparsity: Share of zeros in each column, rounded up to a whole number of rows.
        cut: Where trunc_normal ends, in standard deviations of the normal before the cut. The cut narrows it (to 0.8796
            at 2), and the draw is widened again until its spread is ``std``; it ends at 2.27 ``std`` then.

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
            near = get_close_matches(str(self.name), SCHEMES, 1, 0.5)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise ConfigError(f"unknown init scheme {self.name!r}{hint} Known: {', '.join(SCHEMES)}")
        bounds = [
            ("mode", self.mode in get_args(FanMode), f"be one of {', '.join(get_args(FanMode))}"),
            ("gain", self.gain > 0, "be above 0"),
            ("std", self.std > 0, "be above 0; for no spread use constant"),
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


def misfit(scheme: Scheme, module: nn.Module, weight: Tensor) -> str | None:
    """Why a scheme cannot fill a weight and what to use instead, in one sentence; None if it can."""
    name, shape = scheme.name, tuple(weight.shape)
    where = f"init scheme {name} cannot fill a weight of shape {shape} of a {type(module).__name__}"
    if name in _NEEDS_MATRIX and weight.ndim < 2:
        return f"{where}: it needs at least 2 dimensions; use constant, ones, zeros, normal, uniform or trunc_normal"
    if name == "torch_default" and not isinstance(module, (*CONVOLUTIONS, *TRANSPOSED, nn.Linear)):
        return f"{where}: it is known for convolutions and linear layers; use another scheme or leave the weight out"
    if name == "eye" and (weight.ndim < 2 or math.prod(shape[2:]) != 1):
        other = "dirac" if 3 <= weight.ndim <= 5 else "constant"
        return f"{where}: it needs 2 dimensions or a kernel of one pixel; use {other}"
    if name == "dirac" and not 3 <= weight.ndim <= 5:
        return f"{where}: it needs a convolution's 3 to 5 dimensions; use {'eye' if weight.ndim == 2 else 'constant'}"
    if name == "sparse" and weight.numel() and _num_zeros(scheme, weight) == shape[0]:
        return (
            f"{where}: a sparsity of {scheme.sparsity:g} of {shape[0]} row(s) leaves nothing but zeros; use a smaller "
            "sparsity, normal, or zeros if that is meant"
        )
    return None


def fill(scheme: Scheme, module: nn.Module, weight: Tensor, generator: torch.Generator) -> Tensor:
    """Values for a weight: contiguous, float32, on the CPU, whatever the weight itself is.

    They follow from the generator bit by bit; for orthogonal the last bits are up to the machine's LAPACK as well.

    Args:
        scheme: What to draw.
        module: The weight's owner, for groups, stride and kind.
        weight: Only its shape is read; it may be on the meta device.
        generator: The only source of randomness.

    Raises:
        ConfigError: If the scheme cannot be applied to the shape.
    """
    problem = misfit(scheme, module, weight)
    if problem:
        raise ConfigError(problem)
    # In float64: torch draws float32 numbers by other algorithms on other kinds of CPU.
    values = torch.empty(tuple(weight.shape), dtype=torch.float64, device="cpu")
    if values.numel():
        with torch.no_grad():
            _FILLERS[scheme.name](values, scheme, module, generator)
    return values.float()


def fill_bias_default(module: nn.Module, bias: Tensor, weight: Tensor, generator: torch.Generator) -> Tensor:
    """The bias that torch's own constructor draws: uniform within ``1 / sqrt(fan_in)``, by torch's reading of fan_in.

    Args:
        module: The owner of both.
        bias: Only its shape is read.
        weight: The weight beside it; only its shape is read.
        generator: The only source of randomness.

    Raises:
        ConfigError: If the module is neither a convolution nor a linear layer.
    """
    if not isinstance(module, (*CONVOLUTIONS, *TRANSPOSED, nn.Linear)):
        raise ConfigError(f"torch's default bias is known for convolutions and linear layers, not for {module}")
    bound = 1 / math.sqrt(max(torch_fan_in(weight), 1))
    values = torch.empty(tuple(bias.shape), dtype=torch.float64, device="cpu")
    return values.uniform_(-bound, bound, generator=generator).float()


def expected_mean(scheme: Scheme) -> float:
    """The value that ``expected_std`` and ``measured_std`` measure deviations from: the distribution's mean.

    For eye and dirac it is 0, the value of nearly all their elements.
    """
    if scheme.name in {"normal", "trunc_normal"}:
        return scheme.mean
    return {"uniform": (scheme.low + scheme.high) / 2, "constant": scheme.value, "ones": 1.0}.get(scheme.name, 0.0)


def expected_std(scheme: Scheme, module: nn.Module, weight: Tensor) -> float | None:
    """Theory's root mean square deviation from ``expected_mean``; None where the scheme cannot be applied."""
    if misfit(scheme, module, weight) or not weight.numel():
        return None
    name = scheme.name
    if name in _FROM_FANS:
        return _std_from_fans(scheme, module, weight)
    if name == "torch_default":
        return 1 / math.sqrt(3 * torch_fan_in(weight))
    if name in {"normal", "trunc_normal"}:
        return scheme.std
    if name == "uniform":
        return (scheme.high - scheme.low) / math.sqrt(12)
    if name == "sparse":
        return scheme.std * math.sqrt(1 - _num_zeros(scheme, weight) / weight.shape[0])
    if name in {"constant", "zeros", "ones"}:
        return 0.0
    rows, cols = weight.shape[0] // groups_of(module), torch_fan_in(weight)
    if name == "orthogonal":
        return scheme.gain / math.sqrt(max(rows, cols))
    # eye and dirac: as many ones per group as the smaller side has channels.
    share = min(rows, weight.shape[1]) / (rows * cols)
    return (scheme.gain if name == "eye" else 1.0) * math.sqrt(share)


def measured_std(scheme: Scheme, values: Tensor) -> float:
    """The root mean square deviation of drawn values from ``expected_mean``, in float64."""
    return (values.double() - expected_mean(scheme)).square().mean().sqrt().item()


def standard_error(scheme: Scheme, sigma: float, n: int) -> float:
    """The standard deviation of ``measured_std`` over draws: ``sigma * sqrt((kurtosis - 1) / 4n)``.

    It is the first term in 1/n, good from some hundreds of elements on. Schemes with no chance in their spread get
    what float32 may round.

    Args:
        scheme: What was drawn.
        sigma: Its spread by theory, as ``expected_std`` tells it.
        n: Number of elements.
    """
    name = scheme.name
    if name in {"constant", "zeros", "ones", "eye", "dirac", "orthogonal"}:
        return 1e-5 * sigma + 1e-7 * abs(expected_mean(scheme))
    if name == "sparse":
        # The number of zeros is fixed, so the chance is in the n * (sigma / std)^2 other values alone.
        return sigma * math.sqrt(2 / (4 * n * (sigma / scheme.std) ** 2))
    if name == "trunc_normal":
        kurtosis = _truncated_moments(scheme.cut)[1]
    else:
        kurtosis = 1.8 if name in {"kaiming_uniform", "xavier_uniform", "uniform", "torch_default"} else 3.0
    return sigma * math.sqrt((kurtosis - 1) / (4 * n))


_FROM_FANS = frozenset({"kaiming_normal", "kaiming_uniform", "xavier_normal", "xavier_uniform"})
_NEEDS_MATRIX = _FROM_FANS | {"orthogonal", "sparse", "torch_default"}


def _std_from_fans(scheme: Scheme, module: nn.Module, weight: Tensor) -> float:
    fans = fans_of(module, weight)
    assert fans is not None, "misfit() lets no weight without fans through"
    mode = scheme.mode if scheme.name.startswith("kaiming") else "fan_avg"
    return scheme.gain / math.sqrt(getattr(fans, mode))


def _num_zeros(scheme: Scheme, weight: Tensor) -> int:
    """Zeros in each column, as torch counts them."""
    return math.ceil(scheme.sparsity * weight.shape[0])


def _truncated_moments(cut: float) -> tuple[float, float]:
    """Spread and kurtosis of a standard normal cut at +-``cut``: 0.8796 and 2.366 at 2."""
    # The boundary term that integrating by parts leaves in E[z^2] and E[z^4].
    edge = 2 * cut * math.exp(-cut * cut / 2) / math.sqrt(2 * math.pi) / math.erf(cut / math.sqrt(2))
    variance = 1 - edge
    return math.sqrt(variance), (3 * variance - cut * cut * edge) / variance**2


def _from_fans(values: Tensor, scheme: Scheme, module: nn.Module, generator: torch.Generator) -> None:
    std = _std_from_fans(scheme, module, values)
    if scheme.name.endswith("normal"):
        nn.init.normal_(values, 0.0, std, generator=generator)
    else:
        bound = math.sqrt(3) * std
        nn.init.uniform_(values, -bound, bound, generator=generator)


def _orthogonal(values: Tensor, scheme: Scheme, module: nn.Module, generator: torch.Generator) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # LAPACK's last bits depend on the number of threads, which ranks may differ in
    try:
        for block in values.chunk(groups_of(module)):
            nn.init.orthogonal_(block, scheme.gain, generator=generator)
    finally:
        torch.set_num_threads(threads)


def _trunc_normal(values: Tensor, scheme: Scheme, _: nn.Module, generator: torch.Generator) -> None:
    # Not torch's trunc_normal_, whose algorithm (and with it the values of a seed) differs between releases of torch.
    mass = math.erf(scheme.cut / math.sqrt(2))
    normal = values.uniform_(-mass, mass, generator=generator).erfinv_().mul_(math.sqrt(2))
    normal.clamp_(-scheme.cut, scheme.cut).mul_(scheme.std / _truncated_moments(scheme.cut)[0]).add_(scheme.mean)


def _eye(values: Tensor, scheme: Scheme, module: nn.Module, _: torch.Generator) -> None:
    for block in values.flatten(1).chunk(groups_of(module)):
        block.zero_().fill_diagonal_(scheme.gain)


def _sparse(values: Tensor, scheme: Scheme, _: nn.Module, generator: torch.Generator) -> None:
    # Not torch's sparse_, which takes the places of its zeros from the global generator.
    matrix = nn.init.normal_(values, 0.0, scheme.std, generator=generator).flatten(1)
    rows, cols = matrix.shape
    noise = torch.rand((cols, rows), generator=generator, dtype=torch.float64, device="cpu")
    order = noise.argsort(dim=1, stable=True)
    matrix.t().scatter_(1, order[:, : _num_zeros(scheme, values)], 0.0)


_FILLERS: dict[SchemeName, Callable[[Tensor, Scheme, nn.Module, torch.Generator], object]] = {
    "kaiming_normal": _from_fans,
    "kaiming_uniform": _from_fans,
    "xavier_normal": _from_fans,
    "xavier_uniform": _from_fans,
    "orthogonal": _orthogonal,
    "normal": lambda values, s, _, generator: nn.init.normal_(values, s.mean, s.std, generator=generator),
    "uniform": lambda values, s, _, generator: nn.init.uniform_(values, s.low, s.high, generator=generator),
    "trunc_normal": _trunc_normal,
    "constant": lambda values, s, _, __: values.fill_(s.value),
    "zeros": lambda values, *_: values.zero_(),
    "ones": lambda values, *_: values.fill_(1.0),
    "eye": _eye,
    "dirac": lambda values, _, module, __: nn.init.dirac_(values, groups_of(module)),
    "sparse": _sparse,
    "torch_default": lambda values, _, __, generator: nn.init.kaiming_uniform_(
        values, math.sqrt(5), generator=generator
    ),
}
