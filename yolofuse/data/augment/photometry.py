"""Change the colours of the visible image and the gain, offset and noise of the thermal channel, in NumPy and in torch.

Each change is here twice, side by side: for one sample on the CPU (uint8 or uint16, rounded after every step), and for
a batch on any device (float32, rounded once per modality). A new thermal change is a field of :class:`Photometry`, its
draw in :func:`draw_photometry` after all others, a condition in ``changes_ir``, and a line in both versions of
:func:`_change_ir`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from yolofuse.config.schema import AugmentConfig
from yolofuse.types import CHANNELS, ByteArray, Modality, PixelArray

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, of R, G, B
_NOISE_STD, _NOISE_MEAN = 32.0, 128.0  # of the stored table, in its levels
_NOISE_SEED = 114

_Table = TypeVar("_Table", ByteArray, Tensor)


@dataclass(frozen=True, slots=True)
class Photometry:
    """The photometric changes of one sample."""

    color: npt.NDArray[np.float32] | None  # (3, 3) for R, G, B columns; None: no change
    ir_gain: float  # factor of the thermal channel, applied first
    ir_bias: float  # offset of the thermal channel, as a share of full scale
    ir_noise: float  # standard deviation of Gaussian noise on the thermal channel, as a share of full scale
    noise_start: float  # position in the noise table, 0..1
    dropped: Modality | None = None  # the camera whose image is black, applied last

    @property
    def changes_ir(self) -> bool:
        """Whether the thermal channel changes at all."""
        return self.ir_gain != 1.0 or self.ir_bias != 0.0 or self.ir_noise != 0.0


def draw_photometry(augment: AugmentConfig, rng: np.random.Generator) -> Photometry:
    """Draw the photometric changes of one sample.

    Every draw is made for any options, so that changing one option does not change the values of the others.
    """
    ranges = [augment.hsv_h, augment.hsv_s, augment.hsv_v, augment.ir_gain, augment.ir_bias]
    hue, saturation, value, gain, bias = rng.uniform(-1.0, 1.0, size=5) * ranges
    noise = rng.uniform(0.0, augment.ir_noise)
    noise_start = rng.random()
    color = color_matrix(hue, 1.0 + saturation, 1.0 + value) if hue or saturation or value else None
    drop, which = rng.random(2)
    dropped: Modality | None = None
    if drop < augment.drop_camera:
        dropped = "rgb" if which < 0.5 else "ir"  # a fair coin
    return Photometry(color, 1.0 + float(gain), float(bias), float(noise), float(noise_start), dropped)


def keep_one_camera(photometry: Photometry, missing: Sequence[Modality | None]) -> Photometry:
    """Never black out the only image of a tile; a camera that all tiles lack stays black whatever was drawn.

    Args:
        photometry: As drawn.
        missing: The camera whose image each tile lacks.
    """
    lacking = set(missing)
    if lacking in ({"rgb"}, {"ir"}):
        return replace(photometry, dropped=missing[0])
    other = {"rgb": "ir", "ir": "rgb"}
    if photometry.dropped is not None and other[photometry.dropped] in lacking:
        return replace(photometry, dropped=None)
    return photometry


def apply_photometry(image: PixelArray, photometry: Photometry) -> None:
    """Change the colours of one sample in place, on the CPU.

    Shapes:
        image: uint8 or uint16 (H, W, 4): R, G, B, IR.
    """
    if photometry.dropped == "rgb":
        photometry = replace(photometry, color=None)
    elif photometry.dropped == "ir":
        photometry = replace(photometry, ir_gain=1.0, ir_bias=0.0, ir_noise=0.0)
    _change(image, photometry)
    if photometry.dropped is not None:
        image[..., CHANNELS[photometry.dropped]] = 0


def _change(image: PixelArray, photometry: Photometry) -> None:
    if photometry.color is None and not photometry.changes_ir:
        return
    ir = _buffers.get("ir", image.shape[:2], image.dtype)
    cv2.extractChannel(image, 3, dst=ir)
    if photometry.color is not None:
        _recolor(image, photometry.color)  # overwrites the fourth channel
    if photometry.changes_ir:
        _change_ir(ir, photometry)
    cv2.insertChannel(ir, image, 3)


def apply_photometry_batch(pixels: Tensor, photometry: Sequence[Photometry], full_scale: float) -> None:
    """Change the colours of a batch in place, on the device of its pixels and without waiting for it.

    Shapes:
        pixels: float32 (n, 4, S, S): R, G, B, IR, in levels 0..full_scale, which is 255 or 65535.
    """
    _recolor_batch(pixels[:, :3], photometry, full_scale)
    _change_ir_batch(pixels[:, 3], photometry, full_scale)
    for number, one in enumerate(photometry):
        if one.dropped is not None:
            pixels[number, CHANNELS[one.dropped]] = 0


def _recolor(image: PixelArray, color: npt.NDArray[np.float32]) -> None:
    """Apply a colour matrix to R, G, B in place; the fourth channel is lost."""
    before, after = (_buffers.get(name, (*image.shape[:2], 3), image.dtype) for name in ("before", "after"))
    cv2.cvtColor(image, cv2.COLOR_RGBA2RGB, dst=before)
    cv2.transform(before, color, dst=after)
    cv2.cvtColor(after, cv2.COLOR_RGB2RGBA, dst=image)


def _recolor_batch(rgb: Tensor, photometry: Sequence[Photometry], full_scale: float) -> None:
    """Apply the colour matrix of each sample in place.

    Written out, because a matrix product may be computed in TF32, which has too few digits for 16 bits.

    Shapes:
        rgb: (n, 3, S, S)
    """
    matrices = np.stack([np.eye(3) if one.color is None else one.color for one in photometry])
    color = _upload(matrices.tolist(), rgb.device)  # (n, 3, 3)
    red, green, blue = (color[:, :, channel, None, None] * rgb[:, channel, None] for channel in range(3))
    rgb.copy_(red.add_(green).add_(blue).round_().clamp_(0, full_scale))


def _change_ir(ir: PixelArray, photometry: Photometry) -> None:
    """Apply gain, bias and noise to a thermal image (H, W) in place."""
    full_scale = float(np.iinfo(ir.dtype).max)
    weight = full_scale * photometry.ir_noise / _NOISE_STD
    shift = full_scale * photometry.ir_bias - _NOISE_MEAN * weight
    noise = _cut_noise(_noise_table(ir.size), photometry.noise_start).reshape(ir.shape)
    cv2.addWeighted(ir, photometry.ir_gain, noise.astype(ir.dtype, copy=False), weight, shift, dst=ir)


def _change_ir_batch(ir: Tensor, photometry: Sequence[Photometry], full_scale: float) -> None:
    """Apply gain, bias and noise to thermal images (n, S, S) in place."""
    values = [[one.ir_gain, one.ir_bias, one.ir_noise] for one in photometry]
    gain, bias, std = _upload(values, ir.device).T[..., None, None]  # (n, 1, 1) each
    weight = full_scale / _NOISE_STD * std
    shift = full_scale * bias - _NOISE_MEAN * weight
    table = _noise_table_on(ir[0].numel(), ir.device)
    # The positions are known on the CPU, so that the cuts are views and nothing is indexed.
    noise = torch.stack([_cut_noise(table, one.noise_start) for one in photometry]).view(ir.shape).to(ir.dtype)
    ir.mul_(gain).add_(noise.mul_(weight)).add_(shift).round_().clamp_(0, full_scale)


def color_matrix(hue: float, saturation: float, value: float) -> npt.NDArray[np.float32]:
    """Return one matrix that rotates hue and scales saturation and brightness.

    It takes a fifth of the time of a conversion to HSV and back. Grey stays grey: hue rotates about the grey axis and
    saturation stretches away from the pixel's own luma. That differs from the HSV cone of YOLO's jitter, which
    stretches away from the brightest channel. ``hue`` is a share of a whole turn, the others are factors.

    Shapes:
        -> (3, 3), for R, G, B columns
    """
    angle = 2 * math.pi * hue
    third = (1.0 - math.cos(angle)) / 3.0
    across = math.sin(angle) / math.sqrt(3.0)
    rotation = math.cos(angle) * np.eye(3) + third + across * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    grey = np.tile(_LUMA, (3, 1))
    stretch = grey + saturation * (np.eye(3) - grey)
    return np.asarray(value * stretch @ rotation, np.float32)


def _upload(values: Sequence[Any], device: torch.device) -> Tensor:
    """Copy numbers to a device as float32; from page-locked memory, so that nothing waits for a GPU."""
    pin = device.type == "cuda"
    return torch.tensor(values, dtype=torch.float32, pin_memory=pin).to(device, non_blocking=True)


@lru_cache(maxsize=4)
def _noise_table(size: int) -> ByteArray:
    """Return Gaussian noise, mean 128 and standard deviation 32, from which ``size`` values are cut at any position.

    Drawing noise for each sample takes longer than all other changes. The table is the same in every process; which
    part a sample uses is the sample's own draw.

    Shapes:
        -> uint8 (2 * size,)
    """
    noise = np.random.default_rng(_NOISE_SEED).standard_normal(2 * size, dtype=np.float32)
    return (noise * _NOISE_STD + _NOISE_MEAN).round().clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=4)
def _noise_table_on(size: int, device: torch.device) -> Tensor:
    """Return the noise table on a device."""
    return torch.from_numpy(_noise_table(size)).to(device)


def _cut_noise(table: _Table, start: float) -> _Table:
    """Return the half of a noise table that starts at a position 0..1: a view."""
    size = len(table) // 2
    first = int(start * size)
    return table[first : first + size]


class _Buffers(threading.local):
    """Arrays that each thread reuses: the page faults of new ones take longer than the changes themselves."""

    def __init__(self) -> None:
        self._arrays: dict[str, PixelArray] = {}

    def get(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> PixelArray:
        """Return an array of that shape, with the values of its last use."""
        array = self._arrays.get(name)
        if array is None or array.shape != shape or array.dtype != dtype:
            array = self._arrays[name] = np.empty(shape, dtype)
        return array


_buffers = _Buffers()
