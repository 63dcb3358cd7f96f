"""Fill weights and biases by a scheme, from a given generator."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from yolofuse.config.weights_schema import SchemeName
from yolofuse.errors import ConfigError
from yolofuse.weights.init.fans import HAVE_TORCH_DEFAULT, groups_of, torch_fan_in
from yolofuse.weights.init.schemes import Scheme, misfit, std_from_fans, truncated_std


def fill(scheme: Scheme, module: nn.Module, weight: Tensor, generator: torch.Generator) -> Tensor:
    """Draw values for a weight: contiguous, float32, on the CPU, independent of the weight's own dtype and device.

    The generator determines every bit; for orthogonal the last bits depend on the machine's LAPACK as well. Only the
    weight's shape is read, so it may be on the meta device; its owner ``module`` gives groups, stride and kind.

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
    """Draw the bias of torch's own constructor: uniform within ``1 / sqrt(fan_in)``, with torch's fan_in of ``weight``.

    Raises:
        ConfigError: If the module is neither a convolution nor a linear layer.
    """
    if not isinstance(module, HAVE_TORCH_DEFAULT):
        raise ConfigError(f"torch's default bias is known for convolutions and linear layers, not for {module}")
    bound = 1 / math.sqrt(max(torch_fan_in(weight), 1))
    values = torch.empty(tuple(bias.shape), dtype=torch.float64, device="cpu")
    return values.uniform_(-bound, bound, generator=generator).float()


def _fill_from_fans(values: Tensor, scheme: Scheme, module: nn.Module, generator: torch.Generator) -> None:
    std = std_from_fans(scheme, module, values)
    if scheme.name.endswith("normal"):
        nn.init.normal_(values, 0.0, std, generator=generator)
    else:
        bound = math.sqrt(3) * std
        nn.init.uniform_(values, -bound, bound, generator=generator)


def _fill_orthogonal(values: Tensor, scheme: Scheme, module: nn.Module, generator: torch.Generator) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # LAPACK's last bits depend on the number of threads, which ranks may differ in
    try:
        for block in values.chunk(groups_of(module)):
            nn.init.orthogonal_(block, scheme.gain, generator=generator)
    finally:
        torch.set_num_threads(threads)


def _fill_trunc_normal(values: Tensor, scheme: Scheme, _: nn.Module, generator: torch.Generator) -> None:
    # Not torch's trunc_normal_, whose algorithm (and with it the values of a seed) differs between releases of torch.
    mass = math.erf(scheme.cut / math.sqrt(2))
    normal = values.uniform_(-mass, mass, generator=generator).erfinv_().mul_(math.sqrt(2))
    normal.clamp_(-scheme.cut, scheme.cut).mul_(scheme.std / truncated_std(scheme.cut)).add_(scheme.mean)


def _fill_eye(values: Tensor, scheme: Scheme, module: nn.Module, _: torch.Generator) -> None:
    for block in values.flatten(1).chunk(groups_of(module)):
        block.zero_().fill_diagonal_(scheme.gain)


def _fill_sparse(values: Tensor, scheme: Scheme, _: nn.Module, generator: torch.Generator) -> None:
    # Not torch's sparse_, which draws the places of its zeros from the global generator.
    matrix = nn.init.normal_(values, 0.0, scheme.std, generator=generator).flatten(1)
    rows, cols = matrix.shape
    noise = torch.rand((cols, rows), generator=generator, dtype=torch.float64, device="cpu")
    order = noise.argsort(dim=1, stable=True)
    matrix.t().scatter_(1, order[:, : scheme.num_zeros(values)], 0.0)


_FILLERS: dict[SchemeName, Callable[[Tensor, Scheme, nn.Module, torch.Generator], object]] = {
    "kaiming_normal": _fill_from_fans,
    "kaiming_uniform": _fill_from_fans,
    "xavier_normal": _fill_from_fans,
    "xavier_uniform": _fill_from_fans,
    "orthogonal": _fill_orthogonal,
    "normal": lambda values, s, _, generator: nn.init.normal_(values, s.mean, s.std, generator=generator),
    "uniform": lambda values, s, _, generator: nn.init.uniform_(values, s.low, s.high, generator=generator),
    "trunc_normal": _fill_trunc_normal,
    "constant": lambda values, s, _, __: values.fill_(s.value),
    "zeros": lambda values, *_: values.zero_(),
    "ones": lambda values, *_: values.fill_(1.0),
    "eye": _fill_eye,
    "dirac": lambda values, _, module, __: nn.init.dirac_(values, groups_of(module)),
    "sparse": _fill_sparse,
    "torch_default": lambda values, _, __, generator: nn.init.kaiming_uniform_(
        values, math.sqrt(5), generator=generator
    ),
}
