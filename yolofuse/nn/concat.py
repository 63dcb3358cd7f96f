"""Fusion by concatenation and a 1x1 convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConcatFusion(nn.Module):
    """A learnt linear mix of all channels of both streams: ``conv1x1([rgb, ir])``.

    It starts as the average ``[I/2, I/2]``, so that a pretrained trunk sees what it knows from the first step on; a
    random start triples the first loss.

    Shapes:
        rgb, ir: (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * channels, channels, 1)
        with torch.no_grad():
            half = 0.5 * torch.eye(channels)
            self.conv.weight.copy_(torch.cat([half, half], 1)[..., None, None])
            nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, rgb: Tensor, ir: Tensor) -> Tensor:
        """Fuse two feature maps."""
        return self.conv(torch.cat([rgb, ir], 1))  # type: ignore[no-any-return]
