"""How a block says, beside its own code, which of its parameters begin in a way of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor, nn

ZERO_GAMMA_OFF = "init.zero_gamma: false"
FusionInit = Literal["average", "rgb", "ir", "scheme"]
Fill = Callable[[Tensor, Generator | None], Tensor]
"""From a parameter (its shape is read) and a generator to its first values, float32 on the CPU."""


@dataclass(frozen=True)
class InitOptions:
    """What a run wants of the blocks that have a say in how they begin.

    Attributes:
        fusion: What a fusion block hands on at first: the mean of both streams, one of them, or whatever the rules for
            ordinary weights make of it.
        head_std: Standard deviation of the last convolution of each head branch; None leaves it to the rules.
        prior_objects: Objects per image that the class biases of a fresh head expect.
        prior_imgsz: Side in pixels of the image that they are expected in.
        zero_gamma: Whether the last norm of every residual branch starts at zero.
    """

    fusion: FusionInit = "average"
    head_std: float | None = 0.01
    prior_objects: float = 5.0
    prior_imgsz: int = 640
    zero_gamma: bool = False


@dataclass(frozen=True)
class InitSpec:
    """How one parameter begins.

    Attributes:
        what: For the report, such as ``average of both streams``.
        fill: Makes the values; None where the parameter is fixed: neither drawn nor trained.
        disabled_by: The option that leaves the parameter to the rules instead; "" where none does.
        std: Standard deviation that the values are drawn with; None where they are not drawn.
    """

    what: str
    fill: Fill | None
    disabled_by: str = ""
    std: float | None = None


def fixed(what: str) -> InitSpec:
    """A parameter that stays as it was constructed, whatever is loaded or drawn."""
    return InitSpec(what, None)


def constant(value: float, what: str, freed_by: str = "") -> InitSpec:
    """A parameter that starts with one value everywhere."""
    return InitSpec(what, lambda like, _: torch.full(like.shape, value, dtype=torch.float32, device="cpu"), freed_by)


def normal(std: float, what: str, freed_by: str = "") -> InitSpec:
    """A parameter drawn from N(0, std^2); in float64, whose draws are the same on every kind of CPU."""

    def fill(like: Tensor, generator: Generator | None) -> Tensor:
        return torch.empty(like.shape, dtype=torch.float64, device="cpu").normal_(0.0, std, generator=generator).float()

    return InitSpec(what, fill, freed_by, std)


def exactly(values: Tensor, what: str, freed_by: str = "") -> InitSpec:
    """A parameter that starts with given values."""
    return InitSpec(what, lambda like, _: values.to("cpu", torch.float32).expand(like.shape).contiguous(), freed_by)


@torch.no_grad()
def apply_init(module: nn.Module, starts: Mapping[str, InitSpec]) -> None:
    """Give a block's parameters their declared starts, for whoever builds the block alone."""
    for name, start in starts.items():
        if start.fill is not None:
            parameter = module.get_parameter(name)
            parameter.copy_(start.fill(parameter, None))
