"""Declare initial values of parameters beside the block that owns them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from yolofuse.types import FusionInit

ZERO_GAMMA_OFF = "init.zero_gamma: false"
FUSION_OFF = "init.fusion: scheme"
Fill = Callable[[Tensor, Generator | None], Tensor]
"""From a parameter (only its shape is read) and a generator to its initial values, float32 on the CPU."""


@dataclass(frozen=True)
class InitOptions:
    """Options of a run that blocks read when they declare initial values.

    Attributes:
        fusion: Output of a fresh fusion block: the mean of both streams, one of them, or the result of the ordinary
            rules (``scheme``).
        head_std: Standard deviation of the last convolution of each head branch; None leaves it to the rules.
        prior_objects: Objects per image that the class biases of a fresh head expect.
        prior_imgsz: Side in pixels of that image.
        zero_gamma: Whether the last norm of every residual branch starts at zero.
    """

    fusion: FusionInit = "average"
    head_std: float | None = 0.01
    prior_objects: float = 5.0
    prior_imgsz: int = 640
    zero_gamma: bool = False


@dataclass(frozen=True)
class InitSpec:
    """Initial values of one parameter.

    Attributes:
        description: For the report, such as ``average of both streams``.
        fill: Makes the values; None where the parameter is fixed: neither drawn nor trained.
        disabled_by: The option that leaves the parameter to the rules instead; "" where none does.
        std: Standard deviation that the values are drawn with; None where they are not drawn.
    """

    description: str
    fill: Fill | None
    disabled_by: str = ""
    std: float | None = None


def fixed(description: str) -> InitSpec:
    """Declare a parameter that always stays as constructed."""
    return InitSpec(description, None)


def constant(value: float, description: str, disabled_by: str = "") -> InitSpec:
    """Declare a parameter that starts with one value everywhere."""

    def fill(like: Tensor, _: Generator | None) -> Tensor:
        return torch.full(like.shape, value, dtype=torch.float32, device="cpu")

    return InitSpec(description, fill, disabled_by)


def normal(std: float, description: str, disabled_by: str = "") -> InitSpec:
    """Declare a parameter drawn from N(0, std^2); in float64, whose draws are the same on every kind of CPU."""

    def fill(like: Tensor, generator: Generator | None) -> Tensor:
        return torch.empty(like.shape, dtype=torch.float64, device="cpu").normal_(0.0, std, generator=generator).float()

    return InitSpec(description, fill, disabled_by, std)


def from_tensor(values: Tensor, description: str, disabled_by: str = "") -> InitSpec:
    """Declare a parameter that starts with the given values."""

    def fill(like: Tensor, _: Generator | None) -> Tensor:
        return values.to("cpu", torch.float32).expand(like.shape).contiguous()

    return InitSpec(description, fill, disabled_by)


@torch.no_grad()
def apply_init(module: nn.Module, specs: Mapping[str, InitSpec]) -> None:
    """Write declared initial values into a block, for code that builds the block by itself."""
    for name, spec in specs.items():
        if spec.fill is not None:
            parameter = module.get_parameter(name)
            parameter.copy_(spec.fill(parameter, None))
