"""Fuse two streams by their mean."""

from __future__ import annotations

from torch import Tensor, nn


class AddFusion(nn.Module):
    """Average the two streams: ``(rgb + ir) / 2``. No parameters.

    A plain sum would give a pretrained trunk activations at twice the scale that it was trained on.

    Shapes:
        rgb, ir: (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, rgb: Tensor, ir: Tensor) -> Tensor:
        """Fuse two feature maps."""
        return (rgb + ir) * 0.5
