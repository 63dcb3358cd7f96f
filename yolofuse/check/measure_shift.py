"""Measure the shift between RGB and IR of one pair: the shift at which their edges agree best.

RGB and IR disagree in brightness, in contrast and often in its sign, but where both see an edge they agree in its
direction. So each pixel becomes its gradient with the angle doubled, which removes the sign; its length is normalised
by that of the neighbourhood, so that a lamp or a warm engine does not dominate the scene. The two fields are correlated
over all shifts at once, by FFT.

Reference:
    Orientation Correlation, Fitch et al., BMVC 2002. What differs here: the doubled angle and the local normalisation;
    results/alignment.md compares with other methods.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from yolofuse.types import ByteArray, FloatArray

WORK_SIDE = 640
"""Pairs are measured at a size whose longest side is this, in pixels."""

_BLUR = 1.5
"""Standard deviation in pixels of the measured size: removes noise, mostly of JPEG blocks."""
_NEIGHBOURHOOD = 41
"""Side in pixels of the window of the local normalisation."""
_SOFT = 0.7
_FLOOR = 0.1
_REACH = 64
_NEAR = 5
"""A second maximum closer than this to the first is part of it."""
_MIN_HEIGHT, _MIN_LEAD = 5.0, 1.0
"""174 pairs of RGB and IR of different scenes reached a height of 3.9 and a lead of 0.75."""

Complex = npt.NDArray[np.float32]
"""(h, w, 2): real and imaginary part."""


@dataclass(frozen=True, slots=True)
class Shift:
    """The shift of IR against RGB, and how certain it is."""

    dx: float  # pixels of the frame to the right
    dy: float  # pixels of the frame down
    height: float  # of the peak above the mean of the surface, in its standard deviations
    lead: float  # of the peak above the highest value elsewhere, likewise

    @property
    def is_measured(self) -> bool:
        """Whether the peak is clearer than that of two images of different scenes."""
        return self.height >= _MIN_HEIGHT and self.lead >= _MIN_LEAD

    @property
    def length(self) -> float:
        """Length of the shift in pixels of the frame."""
        return math.hypot(self.dx, self.dy)


def estimate_shift(luma: ByteArray, ir: ByteArray, scale: float = 1.0) -> Shift:
    """Estimate the shift of IR against RGB; ``scale`` is pixels of the frame per pixel of these images.

    Shapes:
        luma, ir: (H, W)
    """
    return shift_at_peak(shift_surface(luma, ir), scale)


def shift_surface(luma: ByteArray, ir: ByteArray, inside: npt.NDArray[np.bool_] | None = None) -> FloatArray:
    """Compute how well the edges of both agree at each shift, with mean 0 and standard deviation 1.

    The sum of the surfaces of several pairs of one camera has a sharper peak.

    Args:
        luma: Brightness of the visible image.
        ir: Thermal image of the same size.
        inside: Which pixels of the thermal image count; None: all.

    Shapes:
        luma, ir, inside: (H, W) -> (2 R + 1, 2 R + 1), the shift (dx, dy) at [R + dy, R + dx]
    """
    height, width = luma.shape
    reach = reach_of(luma.shape)
    size_hw = (cv2.getOptimalDFTSize(height + reach), cv2.getOptimalDFTSize(width + reach))
    of_rgb, of_ir = _directions(luma), _directions(ir)
    if inside is not None:
        of_ir *= inside[..., None]
    product = cv2.mulSpectrums(_spectrum(of_ir, size_hw), _spectrum(of_rgb, size_hw), 0, conjB=True)
    around = cv2.dft(product, flags=cv2.DFT_INVERSE | cv2.DFT_SCALE)[..., 0]
    surface = np.roll(around, (reach, reach), (0, 1))[: 2 * reach + 1, : 2 * reach + 1]
    if inside is None:
        # Noise grows with the root of the number of overlapping pixels; dividing by it treats all shifts equally.
        lost = np.abs(np.arange(-reach, reach + 1))
        surface = surface / np.sqrt(np.outer(height - lost, width - lost))
    std = float(surface.std())
    return np.asarray((surface - surface.mean()) / std if std > 0 else surface * 0, np.float32)


def reach_of(size_hw: tuple[int, ...]) -> int:
    """Return the longest shift along an axis that is searched, in pixels of the measured size."""
    return min(_REACH, min(size_hw) // 5)


def shift_at_peak(surface: FloatArray, scale: float) -> Shift:
    """Return the shift at the peak of a surface, to a fraction of a pixel."""
    reach = surface.shape[0] // 2
    row, column = (int(place) for place in np.unravel_index(int(surface.argmax()), surface.shape))
    best, std = float(surface[row, column]), float(surface.std())
    if std == 0:  # a frame without any edge
        return Shift(0.0, 0.0, 0.0, 0.0)
    others = surface.copy()
    others[max(row - _NEAR, 0) : row + _NEAR + 1, max(column - _NEAR, 0) : column + _NEAR + 1] = -np.inf
    dx = column - reach + _vertex(surface[row], column)
    dy = row - reach + _vertex(surface[:, column], row)
    height = (best - float(surface.mean())) / std
    return Shift(dx * scale, dy * scale, height, (best - float(others.max())) / std)


def _vertex(values: FloatArray, at: int) -> float:
    """Return the vertex of the parabola through three neighbours, relative to the middle one."""
    if not 0 < at < len(values) - 1:
        return 0.0
    left, middle, right = (float(value) for value in values[at - 1 : at + 2])
    bend = left - 2 * middle + right
    return 0.5 * (left - right) / bend if bend < 0 else 0.0


def _directions(grey: ByteArray) -> Complex:
    """Return gradients with the angle doubled and the length normalised to 0..1, (H, W, 2)."""
    smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), _BLUR)
    gx = cv2.Scharr(smooth, cv2.CV_32F, 1, 0, scale=1 / 32)
    gy = cv2.Scharr(smooth, cv2.CV_32F, 0, 1, scale=1 / 32)
    for gradient in (gx, gy):  # the border of the frame is not an edge of the scene
        gradient[:2] = gradient[-2:] = 0
        gradient[:, :2] = gradient[:, -2:] = 0
    power = gx * gx + gy * gy
    length = np.sqrt(power)
    floor = _FLOOR * float(np.median(length[::4, ::4])) + 1e-3
    around = cv2.blur(length, (_NEIGHBOURHOOD, _NEIGHBOURHOOD)) + floor
    weight = 1 / (power + (_SOFT * around) ** 2)
    return np.asarray(np.dstack([(gx * gx - gy * gy) * weight, 2 * gx * gy * weight]), np.float32)


def _spectrum(field: Complex, size_hw: tuple[int, int]) -> Complex:
    height, width = field.shape[:2]
    padded = np.zeros((*size_hw, 2), np.float32)
    padded[:height, :width] = field
    return np.asarray(cv2.dft(padded, flags=cv2.DFT_COMPLEX_OUTPUT, nonzeroRows=height), np.float32)
