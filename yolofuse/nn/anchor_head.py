"""Detect with anchors: the head of YOLOv5, under the tensor names of its checkpoints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from yolofuse.param_init import InitOptions, InitSpec, fixed, from_tensor

Anchors = Sequence[Sequence[tuple[float, float]]]
"""Widths and heights in pixels, for each level from the smallest stride up."""

BOX_OUTPUTS = 5
"""Outputs of an anchor before its classes: centre x and y, width, height, objectness."""


class AnchorDetect(nn.Module):
    """Head with a few anchors per cell and level, each of which predicts a box, an objectness and class scores.

    With ``s`` the sigmoid of an output: centre ``(2 s - 0.5 + cell) * stride``, sides ``(2 s)^2 * anchor``, and score
    ``objectness * class``.

    Attributes:
        nc: Number of classes.
        stride: (levels,) in pixels.
        strides_px: The same on the host.
        anchors: (levels, anchors, 2), widths and heights in strides.
        end2end: False: boxes go through NMS.

    Shapes:
        features of a level: (B, C, H, W); in training -> (B, anchors, H, W, 5 + nc) per level, as logits; in inference
        -> (B, 4 + nc, sum of anchors * H * W), centre boxes in pixels and scores, with the former
    """

    end2end = False

    def __init__(self, num_classes: int, anchors: Anchors, channels: Sequence[int], stride: Tensor) -> None:
        """Build the head.

        Args:
            num_classes: Number of classes.
            anchors: Of each level, equally many.
            channels: Of each level's features.
            stride: (levels,) in pixels.

        Raises:
            ValueError: If the levels of the arguments differ in number.
        """
        super().__init__()
        if not len(anchors) == len(channels) == len(stride):
            raise ValueError(f"anchors of {len(anchors)} levels for a model with {len(channels)}")
        self.nc = num_classes
        self.stride = stride
        self.strides_px: tuple[float, ...] = tuple(stride.tolist())
        self.anchors: Tensor
        self.register_buffer("anchors", torch.tensor(anchors, dtype=torch.float32) / stride[:, None, None])
        outputs = self.anchors.shape[1] * (BOX_OUTPUTS + num_classes)
        self.m = nn.ModuleList(nn.Conv2d(width, outputs, 1) for width in channels)

    def init_specs(self, options: InitOptions) -> dict[str, InitSpec]:
        """Declare biases that expect a few objects per image, and the anchors, which are not initialised."""
        specs = {"anchors": fixed("the model's anchors")}
        for number, stride in enumerate(self.strides_px):
            prior = torch.zeros(self.anchors.shape[1], BOX_OUTPUTS + self.nc)
            cells = (options.prior_imgsz / stride) ** 2
            prior[:, 4] = math.log(options.prior_objects / cells)
            prior[:, 5:] = math.log(0.6 / max(self.nc - 1, 1e-5))
            description = f"prior: {options.prior_objects:g} objects per image"
            specs[f"m.{number}.bias"] = from_tensor(prior.flatten(), description)
        return specs

    def forward(self, features: Sequence[Tensor]) -> Any:
        """Return each level's logits; in inference the boxes with scores, and the logits."""
        levels = [self._arrange(layer(feature)) for layer, feature in zip(self.m, features, strict=True)]
        if self.training:
            return levels
        decoded = [self._decode(level, number) for number, level in enumerate(levels)]
        return torch.cat(decoded, 2), levels

    def _arrange(self, output: Tensor) -> Tensor:
        batch, _, height, width = output.shape
        return output.view(batch, self.anchors.shape[1], -1, height, width).permute(0, 1, 3, 4, 2)

    def _decode(self, logits: Tensor, level: int) -> Tensor:
        _, _, height, width, _ = logits.shape
        values = logits.sigmoid()
        rows = torch.arange(height, device=logits.device, dtype=values.dtype)
        columns = torch.arange(width, device=logits.device, dtype=values.dtype)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        stride = self.stride[level]
        centres = (values[..., :2] * 2 - 0.5 + torch.stack([x, y], -1)) * stride
        sides = (values[..., 2:4] * 2).square() * (self.anchors[level] * stride)[:, None, None]
        scores = values[..., 4:5] * values[..., 5:]
        return torch.cat([centres, sides, scores], -1).flatten(1, 3).transpose(1, 2)
