"""Fuse two streams by concatenation and a 1x1 convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolofuse.param_init import FUSION_OFF, InitOptions, InitSpec, apply_init, constant, from_tensor


class ConcatFusion(nn.Module):
    """Mix all channels of both streams linearly: ``conv1x1([rgb, ir])``.

    It starts as the average ``[I/2, I/2]`` or as one of the streams, ``[I, 0]`` or ``[0, I]``, so that a pretrained
    trunk gets the activations it was trained on from the first step; a random start triples the first loss.

    Shapes:
        rgb, ir: (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * channels, channels, 1)
        apply_init(self, self.init_specs(InitOptions()))

    def init_specs(self, options: InitOptions) -> dict[str, InitSpec]:
        """Declare the initial mix; empty where the ordinary rules apply."""
        if options.fusion == "scheme":
            return {}
        share = {"average": (0.5, 0.5), "rgb": (1.0, 0.0), "ir": (0.0, 1.0)}[options.fusion]
        eye = torch.eye(self.conv.out_channels)
        mix = torch.cat([eye * share[0], eye * share[1]], 1)[..., None, None]  # (C, 2C, 1, 1)
        description = "average of both streams" if options.fusion == "average" else f"the {options.fusion} stream alone"
        return {
            "conv.weight": from_tensor(mix, description, FUSION_OFF),
            "conv.bias": constant(0.0, description, FUSION_OFF),
        }

    def forward(self, rgb: Tensor, ir: Tensor) -> Tensor:
        """Fuse two feature maps."""
        return self.conv(torch.cat([rgb, ir], 1))  # type: ignore[no-any-return]
