"""How many weights an output, and an input, is connected to."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Fans:
    """Mean numbers of weights: that one output sums over (``fan_in``), that one input's gradient sums over."""

    fan_in: float
    fan_out: float

    @property
    def fan_avg(self) -> float:
        """The compromise between both directions, as Xavier's rule takes it."""
        return (self.fan_in + self.fan_out) / 2


def groups_of(module: nn.Module) -> int:
    """The groups of a convolution; 1 for everything else. The first dimension of its weight is what is grouped."""
    return module.groups if isinstance(module, CONVOLUTIONS + TRANSPOSED) else 1


def fans_of(module: nn.Module, weight: Tensor) -> Fans | None:
    """The fans of a weight away from the image's border, or None for one with fewer than two dimensions.

    ``torch.nn.init`` sees a shape only and so misses three things: an input channel of a grouped convolution reaches
    out/groups output channels instead of all; a stride of s lets an input of a convolution reach (and an output of a
    transposed convolution come from) one in s positions of the kernel on average; and a transposed convolution's
    weight has its input channels first.

    Args:
        module: The weight's owner.
        weight: Only its shape is read. Convolution (out, in/groups, \\*kernel), transposed (in, out/groups, \\*kernel),
            anything else (out, in, \\*rest).
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
    """What ``torch.nn.init`` calls fan_in, for the sake of drawing what torch's constructors draw."""
    return math.prod(weight.shape[1:])
