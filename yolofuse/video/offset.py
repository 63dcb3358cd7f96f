"""Estimate the time between two recordings from what moves in both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from yolofuse.errors import DataError
from yolofuse.video.reader import VideoReader

_RATE_HZ = 50.0
_GRID_HW = (6, 8)  # parts of the picture whose changes are compared
_PIXELS_HW = (48, 64)
_TREND_S = 2.0
_MAX_DEVIATIONS = 4.0  # a cut, a flash or the shutter of a thermal camera counts no more than this
_MIN_OVERLAP_S = 5.0
_PEAK_S = 0.5  # half the width of a peak
_MIN_CORRELATION = 0.2
_MIN_CONFIDENCE = 1.5

Series = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Offset:
    """The time between two recordings.

    Attributes:
        seconds: What is added to the times of the thermal recording, as ``offset_s`` of :class:`VideoPairs`.
        correlation: Of the changes in both recordings at this offset, -1..1.
        confidence: How many times larger that is than the best elsewhere; from 1.5 on it is accepted.
    """

    seconds: float
    correlation: float
    confidence: float


def estimate_offset(
    rgb: str | Path, ir: str | Path, *, max_offset_s: float = 30.0, max_read_s: float = 120.0
) -> Offset:
    """Estimate the offset of two recordings of one scene, by correlating how much each part of the picture changes.

    Both cameras must stand still, see about the same view, and see something move. The accuracy is about half the time
    between frames of the slower recording.

    Args:
        rgb: Video of the visible camera.
        ir: Video of the thermal camera.
        max_offset_s: Largest offset that is considered, in seconds.
        max_read_s: How much of each recording is read, in seconds.

    Raises:
        DataError: If a recording is damaged or short, or no offset stands out.
    """
    first_start_s, first = _changes(Path(rgb), max_read_s)
    second_start_s, second = _changes(Path(ir), max_read_s)
    shift_s = first_start_s - second_start_s  # offset at which both would start together
    correlation, lags = _correlate(first, second)
    offsets_s = shift_s + lags / _RATE_HZ
    allowed = np.abs(offsets_s) <= max_offset_s
    correlation, offsets_s = correlation[allowed], offsets_s[allowed]
    if not len(correlation):
        raise DataError(f"{rgb} and {ir}: less than {_MIN_OVERLAP_S:g} s in common within {max_offset_s:g} s; set it")
    best = int(correlation.argmax())
    elsewhere = correlation[np.abs(offsets_s - offsets_s[best]) > _PEAK_S]
    peak, rival = float(correlation[best]), float(elsewhere.max(initial=0.0))
    confidence = peak / max(rival, 1e-3)
    seconds = float(offsets_s[best]) + _vertex(correlation, best) / _RATE_HZ
    if peak < _MIN_CORRELATION or confidence < _MIN_CONFIDENCE:
        raise DataError(
            f"{rgb} and {ir}: the offset is undecided (best {seconds:.2f} s with correlation {peak:.2f}, elsewhere "
            f"{rival:.2f}); take a part in which something moves in both views, or set the offset"
        )
    return Offset(seconds, peak, confidence)


def _changes(path: Path, max_read_s: float) -> tuple[float, Series]:
    """Return the first time, and how much each part of the picture changes, at 50 Hz.

    Shapes:
        -> (T, parts), of mean 0 and variance 1 over all
    """
    reader = VideoReader(path)
    height, width = _PIXELS_HW
    times_s: list[float] = []
    energies: list[npt.NDArray[np.float32]] = []
    before: npt.NDArray[np.float32] | None = None
    try:
        for time_s, frame, _ in reader:
            small = frame.reformat(width=width, height=height, format="gray", interpolation="AREA")
            image = small.to_ndarray().astype(np.float32)
            if before is not None:
                blocks = np.abs(image - before).reshape(_GRID_HW[0], height // _GRID_HW[0], _GRID_HW[1], -1)
                times_s.append(time_s)
                energies.append(blocks.mean((1, 3)).ravel())
            before = image
            if times_s and time_s - times_s[0] > max_read_s:
                break
    finally:
        reader.close()
    if len(times_s) < 2 or times_s[-1] - times_s[0] < _MIN_OVERLAP_S:
        raise DataError(f"{path}: shorter than {_MIN_OVERLAP_S:g} s, too short to estimate an offset; set it")
    at_s = np.arange(times_s[0], times_s[-1], 1 / _RATE_HZ)
    # a change lies between two frames, half the time between them before the second
    middles_s = np.array(times_s) - reader.interval.seconds / 2
    series = np.stack([np.interp(at_s, middles_s, part) for part in np.sqrt(energies).T], 1)
    return float(at_s[0]), _standardised(series)


def _standardised(series: Series) -> Series:
    """Remove slow changes, give every part the same weight, and limit what stands out."""
    window = np.ones(round(_TREND_S * _RATE_HZ)) / round(_TREND_S * _RATE_HZ)
    weight = np.convolve(np.ones(len(series)), window, "same")
    trend = np.stack([np.convolve(part, window, "same") for part in series.T], 1) / weight[:, None]
    series = series - trend
    deviation = series.std(0)
    scaled = series / np.where(deviation > 1e-6, deviation, np.inf)
    return np.clip(scaled, -_MAX_DEVIATIONS, _MAX_DEVIATIONS)


def _correlate(first: Series, second: Series) -> tuple[Series, npt.NDArray[np.int64]]:
    """Return the correlation of two series at each lag, in steps that ``second`` is moved, where enough overlaps."""
    size = len(first) + len(second) - 1
    points = 1 << (size - 1).bit_length()

    def cross(a: Series, b: Series) -> Series:
        spectrum = np.fft.rfft(a, points, axis=0) * np.conj(np.fft.rfft(b, points, axis=0))
        values = np.fft.irfft(spectrum.sum(1), points)
        return np.concatenate([values[points - len(b) + 1 :], values[: len(a)]])

    lags = np.arange(1 - len(second), len(first))
    overlap = cross(np.ones((len(first), 1)), np.ones((len(second), 1)))
    power = np.sqrt(cross(first**2, np.ones_like(second)) * cross(np.ones_like(first), second**2).clip(0))
    correlation = cross(first, second) / np.maximum(power, 1e-6)
    enough = overlap >= _MIN_OVERLAP_S * _RATE_HZ
    return correlation[enough], lags[enough]


def _vertex(values: Series, best: int) -> float:
    """Return where the parabola through a peak and its neighbours is highest, in steps from the peak."""
    if not 0 < best < len(values) - 1:
        return 0.0
    left, middle, right = values[best - 1 : best + 2]
    bend = left - 2 * middle + right
    return float(0.5 * (left - right) / bend) if bend < 0 else 0.0
