"""Fuse two streams by a channel gate."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolofuse.param_init import FUSION_OFF, InitOptions, InitSpec, apply_init, constant, normal

_OPEN_LOGIT = 4.0  # logit of a gate at 98 % of one stream; a gate at 100 % would get no gradient
_GATE_LOGIT = {"average": 0.0, "rgb": _OPEN_LOGIT, "ir": -_OPEN_LOGIT}


class ChannelGate(nn.Module):
    """Compute logits per channel from the global means of both streams.

    The last layer's weights start near zero (standard deviation 0.01), so that a gate starts at its bias, half open by
    default, yet every weight gets a gradient in the first step.

    Shapes:
        rgb, ir: (B, C, H, W) -> (B, C, 1, 1)
    """

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        if reduction < 1:
            raise ValueError(f"reduction: must be at least 1 (got {reduction})")
        hidden = max(channels // reduction, 8)
        self.squeeze = nn.Conv2d(2 * channels, hidden, 1)
        self.act = nn.SiLU()
        self.excite = nn.Conv2d(hidden, channels, 1)
        apply_init(self, self.init_specs(InitOptions()))

    def init_specs(self, options: InitOptions) -> dict[str, InitSpec]:
        """Declare the initial values of the last layer; the first follows the ordinary rules."""
        if options.fusion == "scheme":
            return {}
        logit = _GATE_LOGIT[options.fusion]
        description = f"gate at {torch.tensor(logit).sigmoid():.2f}"
        return {
            "excite.weight": normal(0.01, description, FUSION_OFF),
            "excite.bias": constant(logit, description, FUSION_OFF),
        }

    def forward(self, rgb: Tensor, ir: Tensor) -> Tensor:
        """Compute the gate's logits."""
        means = torch.cat([rgb.mean((2, 3), keepdim=True), ir.mean((2, 3), keepdim=True)], 1)
        return self.excite(self.act(self.squeeze(means)))  # type: ignore[no-any-return]


class GatedFusion(nn.Module):
    """Weigh the two streams per channel, then sum: ``w * rgb + (1 - w) * ir``.

    The gate starts at ``w = 1/2``, or at 0.98 for one of the streams.

    Reference:
        Squeeze-and-Excitation Networks, arXiv:1709.01507, for the gate; one gate that divides two streams between them
        is what differs here.

    Shapes:
        rgb, ir: (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, channels: int, reduction: int = 4) -> None:
        """Build the block.

        Args:
            channels: Of each input.
            reduction: The gate's hidden layer has ``channels / reduction`` channels, but at least 8.
        """
        super().__init__()
        self.gate = ChannelGate(channels, reduction)

    def forward(self, rgb: Tensor, ir: Tensor) -> Tensor:
        """Fuse two feature maps."""
        return torch.lerp(ir, rgb, self.gate(rgb, ir).sigmoid().to(rgb.dtype))
