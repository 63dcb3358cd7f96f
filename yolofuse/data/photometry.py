"""Random colour of the visible half and random gain, offset and noise of the thermal half: separate draws for each."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from yolofuse.config.schema import AugmentConfig
from yolofuse.types import ByteArray

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, of R, G, B
_NOISE_STD = 32.0  # of the stored table, in levels; its mean is 128
_NOISE_SEED = 114


def jitter(image: ByteArray, augment: AugmentConfig, rng: np.random.Generator) -> None:
    """Change the photometry of a sample in place.

    Every draw is made whatever the options are, so that changing one does not change the others' values.

    Shapes:
        image: uint8 (H, W, 4): R, G, B, IR.
    """
    hue, saturation, value, gain, bias = rng.uniform(-1.0, 1.0, size=5) * [
        *(augment.hsv_h, augment.hsv_s, augment.hsv_v),
        *(augment.ir_gain, augment.ir_bias),
    ]
    noise = rng.uniform(0.0, augment.ir_noise)
    noise_start = rng.random()
    ir = np.asarray(cv2.extractChannel(image, 3), np.uint8)
    if hue or saturation or value:
        rgb = cv2.cvtColor(image, cv2.COLOR_RGBA2RGB)
        rgb = cv2.transform(rgb, color_matrix(hue, 1.0 + saturation, 1.0 + value))
        cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA, dst=image)
    if gain or bias or noise:
        _jitter_ir(ir, 1.0 + gain, 255.0 * bias, 255.0 * noise, noise_start)
    cv2.insertChannel(ir, image, 3)


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


def _jitter_ir(ir: ByteArray, gain: float, bias: float, noise: float, noise_start: float) -> None:
    """``ir * gain + bias`` plus Gaussian noise of standard deviation ``noise`` levels, in one saturating pass."""
    table = _noise_table(ir.size)
    start = int(noise_start * (table.size - ir.size))
    grain = table[start : start + ir.size].reshape(ir.shape)
    weight = noise / _NOISE_STD
    cv2.addWeighted(ir, gain, grain, weight, bias - 128.0 * weight, dst=ir)


@lru_cache(maxsize=4)
def _noise_table(size: int) -> ByteArray:
    """Gaussian noise to cut a frame of ``size`` pixels from, anywhere: drawing it anew takes longer than all the rest.

    It is the same table in every process; which part a sample uses is the sample's own draw.
    """
    noise = np.random.default_rng(_NOISE_SEED).standard_normal(2 * size, dtype=np.float32)
    return (noise * _NOISE_STD + 128.0).round().clip(0, 255).astype(np.uint8)
