"""Count the weights that an output, and an input, of a layer is connected to (fan_in and fan_out)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
HAVE_TORCH_DEFAULT = (*CONVOLUTIONS, *TRANSPOSED, nn.Linear)


@dataclass(frozen=True)
class Fans:
    """Mean number of weights that one output sums over (``fan_in``), and that one input's gradient sums over."""

    fan_in: float
    fan_out: float

    @property
    def fan_avg(self) -> float:
        """Mean of both, for Xavier's rule."""
        return (self.fan_in + self.fan_out) / 2


def groups_of(module: nn.Module) -> int:
    """Return the groups of a convolution, in the first dimension of its weight; 1 for everything else."""
    return module.groups if isinstance(module, CONVOLUTIONS + TRANSPOSED) else 1


def fans_of(module: nn.Module, weight: Tensor) -> Fans | None:
    """Return the fans of a weight away from the image's border, or None for one with fewer than two dimensions.

    ``torch.nn.init`` reads a shape only and so misses three things: an input channel of a grouped convolution reaches
    out/groups output channels instead of all; with a stride of s an input of a convolution reaches (and an output of a
    transposed convolution comes from) one in s positions of the kernel on average; and a transposed convolution's
    weight has its input channels first.

    Shapes:
        weight: convolution (out, in/groups, *kernel), transposed (in, out/groups, *kernel), else (out, in, *rest)
    """
    if weight.ndim < 2:
        return None
    first, second, *kernel = weight.shape
    area = math.prod(kernel)
    if isinstance(module, TRANSPOSED):
        return Fans(first / module.groups * area / math.prod(module.stride), float(second * area))
    if isinstance(module, CONVOLUTIONS):
        return Fans(float(second * area), first / module.groups * area / math.prod(module.stride))
    return Fans(float(second * area), float(first * area))


def torch_fan_in(weight: Tensor) -> int:
    """Return the fan_in of ``torch.nn.init``, which torch's constructors draw by."""
    return math.prod(weight.shape[1:])
