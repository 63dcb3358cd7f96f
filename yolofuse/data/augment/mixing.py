"""Make one sample of two: a blend of both (mixup), or the first with a rectangle of the second (cutmix)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from yolofuse.boxes import clip_xyxy
from yolofuse.config.schema import AugmentConfig
from yolofuse.data.augment.geometry import MIN_VISIBLE, Window, clip_boxes
from yolofuse.types import FloatArray, IntArray, PixelArray

_MIXUP_BETA = 32.0  # as in YOLO: nearly even blends

Labels = tuple[FloatArray, IntArray]
"""Boxes (N, 4) as ``xyxy`` and class ids (N,)."""


@dataclass(frozen=True, slots=True)
class Mixing:
    """How two samples become one.

    Attributes:
        share: Of the first in the blend.
        window: The pixels of the second that replace those of the first; None: all are blended.
    """

    share: float
    window: Window | None = None


def draw_mixing(augment: AugmentConfig, rng: np.random.Generator, imgsz: int) -> Mixing | None:
    """Draw whether and how a sample is mixed with another; a sample gets mixup or cutmix, never both.

    Reference:
        mixup: arXiv:1710.09412, CutMix: arXiv:1905.04899.
    """
    draw, share = rng.random(), float(rng.beta(_MIXUP_BETA, _MIXUP_BETA))
    side = round(math.sqrt(rng.random()) * imgsz)  # the area is uniform
    x, y = (rng.random(2) * imgsz).astype(int).tolist()
    if draw < augment.mixup:
        return Mixing(share)
    if draw < augment.mixup + augment.cutmix:
        left, top = x - side // 2, y - side // 2
        window = Window(max(left, 0), max(top, 0), min(left + side, imgsz), min(top + side, imgsz))
        return None if window.is_empty else Mixing(1.0, window)
    return None


def mix_pixels(image: PixelArray, other: PixelArray, mixing: Mixing) -> None:
    """Change the first sample's pixels (H, W, 4) in place; both modalities alike."""
    if mixing.window is None:
        cv2.addWeighted(image, mixing.share, other, 1.0 - mixing.share, 0.0, dst=image)
    else:
        mixing.window.view(image)[:] = mixing.window.view(other)


def mix_labels(labels: Labels, other: Labels, mixing: Mixing) -> Labels:
    """Return the labels of both; with a window those of the first that it leaves visible, of the second what it shows.

    Boxes of the first stay whole where the window hides a part: the object goes on behind it.
    """
    window = mixing.window
    if window is not None:
        boxes_xyxy, class_ids = labels
        corner = np.array([window.x0, window.y0] * 2, np.float32)
        hidden = clip_xyxy(boxes_xyxy - corner, window.size_wh[::-1])
        visible = 1.0 - _areas(hidden) / np.maximum(_areas(boxes_xyxy), 1e-9)
        kept = visible > MIN_VISIBLE
        labels = boxes_xyxy[kept], class_ids[kept]
        shown, shown_ids = clip_boxes(other[0] - corner, other[1], window.size_wh[::-1])
        other = shown + corner, shown_ids
    return np.concatenate([labels[0], other[0]]), np.concatenate([labels[1], other[1]])


def _areas(boxes_xyxy: FloatArray) -> FloatArray:
    return (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1)  # type: ignore[no-any-return]
