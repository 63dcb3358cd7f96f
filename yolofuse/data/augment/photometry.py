"""Random colour of the visible half and random gain, offset and noise of the thermal half: separate draws for each."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from yolofuse.config.schema import AugmentConfig
from yolofuse.types import ByteArray, PixelArray

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, of R, G, B
NOISE_STD, NOISE_MEAN = 32.0, 128.0  # of the stored table, in its levels
_NOISE_SEED = 114


@dataclass(frozen=True, slots=True)
class Photometry:
    """What is done to a sample's colours.

    Attributes:
        color: (3, 3) for R, G, B columns; None: nothing.
        ir_gain: The thermal half is multiplied by this,
        ir_bias: then shifted by this share of full scale,
        ir_noise: then given Gaussian noise of this standard deviation, as a share of full scale.
        noise_start: Where in the table of noise, 0..1.
    """

    color: npt.NDArray[np.float32] | None
    ir_gain: float
    ir_bias: float
    ir_noise: float
    noise_start: float

    @property
    def changes_ir(self) -> bool:
        """Whether anything is done to the thermal half."""
        return self.ir_gain != 1.0 or self.ir_bias != 0.0 or self.ir_noise != 0.0


def draw_photometry(augment: AugmentConfig, rng: np.random.Generator) -> Photometry:
    """Random colours of one sample.

    Every draw is made whatever the options are, so that changing one does not change the others' values.
    """
    hue, saturation, value, gain, bias = rng.uniform(-1.0, 1.0, size=5) * [
        *(augment.hsv_h, augment.hsv_s, augment.hsv_v),
        *(augment.ir_gain, augment.ir_bias),
    ]
    noise = rng.uniform(0.0, augment.ir_noise)
    noise_start = rng.random()
    color = color_matrix(hue, 1.0 + saturation, 1.0 + value) if hue or saturation or value else None
    return Photometry(color, 1.0 + float(gain), float(bias), float(noise), float(noise_start))


def apply_photometry(image: PixelArray, photometry: Photometry) -> None:
    """Change the colours of a sample in place.

    Shapes:
        image: uint8 or uint16 (H, W, 4): R, G, B, IR.
    """
    if photometry.color is None and not photometry.changes_ir:
        return
    size_hw = image.shape[:2]
    ir = cv2.extractChannel(image, 3, dst=_buffers.of("ir", size_hw, image.dtype))
    if photometry.color is not None:
        before, after = (_buffers.of(name, (*size_hw, 3), image.dtype) for name in ("before", "after"))
        cv2.cvtColor(image, cv2.COLOR_RGBA2RGB, dst=before)
        cv2.transform(before, photometry.color, dst=after)
        cv2.cvtColor(after, cv2.COLOR_RGB2RGBA, dst=image)
    if photometry.changes_ir:
        full_scale = float(np.iinfo(image.dtype).max)
        weight = full_scale * photometry.ir_noise / NOISE_STD
        grain = noise_grain(ir.size, photometry.noise_start).reshape(ir.shape).astype(ir.dtype, copy=False)
        shift = full_scale * photometry.ir_bias - NOISE_MEAN * weight
        cv2.addWeighted(ir, photometry.ir_gain, grain, weight, shift, dst=ir)
    cv2.insertChannel(ir, image, 3)


class _Buffers(threading.local):
    """Arrays that are used again: the page faults of fresh ones take longer than all that is done with them."""

    def __init__(self) -> None:
        self._kept: dict[str, PixelArray] = {}

    def of(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> PixelArray:
        """An array of that shape; what it holds is left over from its last use."""
        kept = self._kept.get(name)
        if kept is None or kept.shape != shape or kept.dtype != dtype:
            kept = self._kept[name] = np.empty(shape, dtype)
        return kept


_buffers = _Buffers()


def noise_grain(size: int, start: float) -> ByteArray:
    """``size`` values of Gaussian noise, mean 128 and standard deviation 32, from a place 0..1 of the table."""
    table = _noise_table(size)
    first = int(start * (table.size - size))
    return table[first : first + size]


def color_matrix(hue: float, saturation: float, value: float) -> npt.NDArray[np.float32]:
    """Turn hue, stretch saturation and brightness as one matrix, a fifth of the time of a way through HSV and back.

    Grey stays grey: hue turns about the grey axis and saturation stretches away from the pixel's own luma. That is
    where it differs from the HSV cone of YOLO's jitter, which stretches away from the brightest channel.

    Args:
        hue: Share of a whole turn of the colour circle.
        saturation: Factor; 1 keeps it.
        value: Factor; 1 keeps it.

    Shapes:
        -> (3, 3), for R, G, B columns
    """
    angle = 2 * math.pi * hue
    third = (1.0 - math.cos(angle)) / 3.0
    across = math.sin(angle) / math.sqrt(3.0)
    turn = math.cos(angle) * np.eye(3) + third + across * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    grey = np.tile(_LUMA, (3, 1))
    stretch = grey + saturation * (np.eye(3) - grey)
    return np.asarray(value * stretch @ turn, np.float32)


@lru_cache(maxsize=4)
def _noise_table(size: int) -> ByteArray:
    """Gaussian noise to cut a frame of ``size`` pixels from, anywhere: drawing it anew takes longer than all the rest.

    It is the same table in every process; which part a sample uses is the sample's own draw.
    """
    noise = np.random.default_rng(_NOISE_SEED).standard_normal(2 * size, dtype=np.float32)
    return (noise * NOISE_STD + NOISE_MEAN).round().clip(0, 255).astype(np.uint8)
