"""Convert, transform and clip boxes; pure functions on NumPy arrays."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from yolofuse.types import FloatArray

FloatLike = npt.NDArray[np.floating]


def xywhn_to_xyxy(boxes_xywhn: FloatLike, size_hw: tuple[int, int]) -> FloatArray:
    """Convert boxes to corners in pixels of an image of ``size_hw``, clipped to the image.

    A label may reach past the border by rounding; the part outside is not visible.

    Shapes:
        boxes_xywhn: (N, 4), centre and size as shares of the image -> (N, 4)
    """
    height, width = size_hw
    centre, half = boxes_xywhn[:, :2], boxes_xywhn[:, 2:] / 2
    corners = np.concatenate([centre - half, centre + half], axis=1).clip(0, 1)
    return np.asarray(corners * np.array([width, height, width, height]), np.float32)


def xyxy_to_xywhn(boxes_xyxy: FloatLike, size_hw: tuple[int, int]) -> FloatArray:
    """Convert corners in pixels to centre and size as shares of an image of ``size_hw``.

    Shapes:
        boxes_xyxy: (N, 4) -> (N, 4)
    """
    low, high = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    size_wh = np.array(size_hw[::-1] * 2)
    return np.asarray(np.concatenate([(low + high) / 2, high - low], axis=1) / size_wh, np.float32)


def clip_xyxy(boxes_xyxy: FloatLike, size_hw: tuple[int, int]) -> FloatArray:
    """Clip boxes to an image of ``size_hw``.

    Shapes:
        boxes_xyxy: (N, 4) -> (N, 4)
    """
    height, width = size_hw
    limits = np.array([width, height, width, height], dtype=np.float32)
    return boxes_xyxy.clip(0, limits).astype(np.float32)


def transform_xyxy(boxes_xyxy: FloatLike, matrix: npt.NDArray[np.float64]) -> FloatArray:
    """Return the axis-aligned hull of each box after a map, affine or with perspective.

    Args:
        boxes_xyxy: Boxes in pixels.
        matrix: Maps (x, y, 1) of the old image to (x, y, 1) of the new one, up to a positive factor; one for all boxes,
            or one for each.

    Shapes:
        boxes_xyxy: (N, 4), matrix: (3, 3) or (N, 3, 3) -> (N, 4)
    """
    corners = boxes_xyxy[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)  # (N, 4 corners, x y)
    moved = corners @ matrix[..., :2, :2].swapaxes(-1, -2) + matrix[..., None, :2, 2]
    if matrix[..., 2, :2].any():
        moved = moved / (corners @ matrix[..., 2:, :2].swapaxes(-1, -2) + matrix[..., None, 2:, 2])
    return np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1).astype(np.float32)


def turn_box(x: float, y: float, width: float, height: float, degrees: float) -> tuple[float, float, float, float]:
    """Return the upright box, as ``x, y, width, height``, around a box that is turned about its centre."""
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    outer_w, outer_h = width * cos + height * sin, width * sin + height * cos
    return x + (width - outer_w) / 2, y + (height - outer_h) / 2, outer_w, outer_h
