"""Fuse two streams by channel and spatial attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolofuse.nn.gated import ChannelGate
from yolofuse.param_init import FUSION_OFF, InitOptions, InitSpec, apply_init, constant, normal

_MAX_KERNEL = 31


class AttentionFusion(nn.Module):
    """Weigh the two streams per channel and per position: ``w * rgb + (1 - w) * ir`` with ``w`` of shape (B, C, H, W).

    The weight's logit is a channel logit plus a spatial one. Both start near zero, so the block starts as the average,
    or with the channel logit at 4, so that it starts as 98 % of one stream.

    Reference:
        CBAM: Convolutional Block Attention Module, arXiv:1807.06521, for the mean and max maps and the 7x7 convolution.
        There two masks are applied one after the other to one stream; here their logits add up to one mask that divides
        two streams between them.

    Shapes:
        rgb, ir: (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, channels: int, reduction: int = 4, kernel_size: int = 7) -> None:
        """Build the block.

        Args:
            channels: Of each input.
            reduction: The channel gate's hidden layer has ``channels / reduction`` channels, but at least 8.
            kernel_size: Side of the spatial convolution; odd, at most 31.
        """
        super().__init__()
        if kernel_size % 2 == 0 or not 1 <= kernel_size <= _MAX_KERNEL:
            raise ValueError(f"kernel_size: must be odd and between 1 and {_MAX_KERNEL} (got {kernel_size})")
        self.channel = ChannelGate(channels, reduction)
        self.spatial = nn.Conv2d(4, 1, kernel_size, padding=kernel_size // 2)
        apply_init(self, self.init_specs(InitOptions()))

    def init_specs(self, options: InitOptions) -> dict[str, InitSpec]:
        """Declare initial spatial logits close to zero, so that the channel gate alone sets the block's start."""
        if options.fusion == "scheme":
            return {}
        return {
            "spatial.weight": normal(0.001, "gate near zero", FUSION_OFF),
            "spatial.bias": constant(0.0, "gate near zero", FUSION_OFF),
        }

    def forward(self, rgb: Tensor, ir: Tensor) -> Tensor:
        """Fuse two feature maps."""
        maps = [
            rgb.mean(1, keepdim=True),
            rgb.amax(1, keepdim=True),
            ir.mean(1, keepdim=True),
            ir.amax(1, keepdim=True),
        ]
        logits = self.channel(rgb, ir) + self.spatial(torch.cat(maps, 1))  # (B, C, 1, 1) + (B, 1, H, W)
        return torch.lerp(ir, rgb, logits.sigmoid().to(rgb.dtype))
