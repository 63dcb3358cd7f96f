"""Measure every pair of a split in one pass: brightness, colour, RGB-IR correlation, bit depth, DCT features."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tqdm.contrib.concurrent import thread_map

from yolofuse.check.near_duplicates import dct_features
from yolofuse.data.images.decode import decode, measured_pixels, reduction_for
from yolofuse.data.images.header import open_image
from yolofuse.data.images.read_pair import fitted_hw, luma_and_ir, read_thumbnail
from yolofuse.data.index.pair_set import PairSet
from yolofuse.data.problems import Problem
from yolofuse.errors import DataError
from yolofuse.types import ByteArray, FloatArray, IntArray, PairRecord

THUMB_SIDE = 320
"""Pairs are measured with their longest side reduced to this, in pixels."""

_DETAIL_BLUR = 4.0
"""Standard deviation in pixels of the blur that is subtracted to get the detail of an image."""
_FLAT = 1e-3
_NOISE, _MUCH_ROUGHER = 0.1, 3.0
"""Roughness of images whose bytes are swapped: at least this, and so many times that of the image itself."""
_ONE_CHANNEL = ("1", "L", "I", "I;16", "I;16B", "F")


@dataclass(frozen=True, slots=True)
class PairStats:
    """Statistics of one pair; brightness and standard deviation are those of 8 bits."""

    rgb_digest: bytes  # of the file's bytes
    ir_digest: bytes
    sky: float  # median brightness of the visible image's upper third
    rgb_std: float  # of the visible image's brightness
    ir_std: float
    ir_range: float  # from the 1st to the 99th percentile
    rgb_clipped: float  # share of pixels at the end of the scale
    ir_clipped: float  # share of pixels at either end of the scale
    rgb_colour: float  # difference between the channels of the file, 99th percentile over pixels
    ir_colour: float
    # Absolute, with the most similar channel of the visible image: an inverted copy counts too.
    correlation: float
    detail_correlation: float  # the same after a blur was subtracted from both
    # Lowest and highest count of a 16-bit thermal file, and the greatest common step; (0, 0, 0) for 8 bits.
    ir_levels: tuple[int, int, int]
    ir_swapped: bool  # a 16-bit thermal file is noise, and an image where the two bytes of each count change places
    ir_missing: float  # share of pixels that hold no measurement, see ``measured_pixels``
    features: FloatArray  # their dot product is the similarity of two pairs, see ``near_duplicates``


@dataclass(frozen=True, slots=True)
class Split:
    """What the rules need of one split."""

    name: str
    pairs: PairSet  # those whose files can be read
    stats: Sequence[PairStats | None]  # one per pair; None where a file could not be read a second time
    problems: Sequence[Problem]  # those with which training refuses to start
    warnings: Sequence[Problem]  # those that training only logs

    def measured(self) -> Iterator[tuple[PairRecord, PairStats]]:
        """Iterate over the pairs that have statistics."""
        for record, stats in zip(self.pairs.records, self.stats, strict=True):
            if stats is not None:
                yield record, stats

    def features(self) -> tuple[IntArray, FloatArray]:
        """Return the positions (N,) of the measured pairs, and their features (N, 126)."""
        kept = [(index, stats.features) for index, stats in enumerate(self.stats) if stats is not None]
        if not kept:
            return np.zeros(0, np.int64), np.zeros((0, 0), np.float32)
        return np.array([index for index, _ in kept], np.int64), np.stack([features for _, features in kept])


def measure_pairs(
    records: Sequence[PairRecord], *, workers: int, where: str
) -> tuple[list[PairStats | None], list[str]]:
    """Measure all pairs; return their statistics, None where a pair can't be read, and the errors of those."""

    def measure_or_error(record: PairRecord) -> PairStats | str:
        try:
            return measure(record)
        except DataError as error:  # becomes a finding of its own
            return str(error)

    bar = f"measuring {where}"
    results = thread_map(measure_or_error, records, max_workers=workers, desc=bar, unit="pair", delay=3, disable=None)
    stats = [None if isinstance(result, str) else result for result in results]
    return stats, [result for result in results if isinstance(result, str)]


def measure(record: PairRecord) -> PairStats:
    """Measure one pair.

    Raises:
        DataError: If a file can no longer be read.
    """
    pixels = read_thumbnail(record, THUMB_SIDE)
    rgb = pixels[..., :3]
    luma, ir = luma_and_ir(pixels)
    of_image, of_detail = _correlations(luma, rgb, ir)
    low, high = np.percentile(ir, (1, 99))
    levels, swapped, missing = _counts_of(record)
    return PairStats(
        rgb_digest=_digest(record.rgb),
        ir_digest=_digest(record.ir, b"ir" if record.format.stacked else b""),
        sky=float(np.median(luma[: max(len(luma) // 3, 1)])),
        rgb_std=float(luma.std()),
        ir_std=float(ir.std()),
        ir_range=float(high - low),
        rgb_clipped=float((luma >= 254).mean()),
        ir_clipped=max(float((ir >= 254).mean()), float((ir <= 1).mean())),
        rgb_colour=_colour(rgb),
        ir_colour=0.0 if record.format.ir_window or record.format.stacked else image_colour(record.ir),
        correlation=of_image,
        detail_correlation=of_detail,
        ir_levels=levels,
        ir_swapped=swapped,
        ir_missing=missing,
        features=dct_features(luma, ir),
    )


def _digest(path: Path, part: bytes = b"") -> bytes:
    """Return a hash of a file, or of the named part of it that is one of the images."""
    try:
        return hashlib.sha256(path.read_bytes() + part).digest()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error})") from None


def _colour(pixels: ByteArray) -> float:
    return float(np.percentile(np.ptp(pixels, axis=2), 99))


def image_colour(given: str | Path | ByteArray) -> float:
    """Measure the difference between the channels of a file or array, 99th percentile over pixels: 0 for a grey one.

    Raises:
        DataError: If it can't be read.
    """
    if isinstance(given, np.ndarray):
        return _colour(given) if given.ndim == 3 else 0.0
    path = Path(given)
    try:
        with open_image(path) as image:
            if image.mode in _ONE_CHANNEL:
                return 0.0
            size_hw = image.height, image.width
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error})") from None
    pixels = decode(path, "rgb", reduction_for(THUMB_SIDE / max(size_hw), size_hw), size_hw, "ignore")
    height, width = fitted_hw(size_hw, THUMB_SIDE)
    return _colour(np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8))


def _counts_of(record: PairRecord) -> tuple[tuple[int, int, int], bool, float]:
    """Return ``PairStats.ir_levels``, ``PairStats.ir_swapped`` and ``PairStats.ir_missing``."""
    if record.format.ir_window is None:
        return (0, 0, 0), False, 0.0
    counts = decode(record.ir, "ir", 1, record.ir_hw, record.format.orientation)
    missing = 1.0 - float(measured_pixels(record.ir, counts).mean())
    if counts.dtype != np.uint16:
        return (0, 0, 0), False, missing
    used = np.unique(counts).astype(np.int64)
    step = int(np.gcd.reduce(np.diff(used))) if len(used) > 1 else 0
    swapped = _roughness(counts) > max(_NOISE, _MUCH_ROUGHER * _roughness(counts.byteswap()))
    return (int(used[0]), int(used[-1]), step), swapped, missing


def _roughness(counts: npt.NDArray[np.uint16]) -> float:
    """Return the mean step between neighbours in a row over the standard deviation: 1.1 for noise, 0 for flat."""
    values = counts.astype(np.float32)
    std = float(values.std())
    return float(np.abs(np.diff(values, axis=1)).mean()) / std if std > 0 and values.shape[1] > 1 else 0.0


def _correlations(luma: ByteArray, rgb: ByteArray, ir: ByteArray) -> tuple[float, float]:
    """Return ``PairStats.correlation`` and ``PairStats.detail_correlation``."""
    thermal = ir.astype(np.float32)
    whole, detail = 0.0, 0.0
    for grey in (luma, *(rgb[..., channel] for channel in range(3))):
        visible = grey.astype(np.float32)
        whole = max(whole, abs(pearson(visible, thermal)))
        detail = max(detail, abs(pearson(_detail(visible), _detail(thermal))))
    return whole, detail


def _detail(grey: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray(grey - cv2.GaussianBlur(grey, (0, 0), _DETAIL_BLUR), np.float32)


def pearson(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """Return Pearson's correlation, -1..1; 0 if one of them is flat."""
    one, other = one - one.mean(), other - other.mean()
    power = float(np.sqrt(np.mean(one * one, dtype=np.float64) * np.mean(other * other, dtype=np.float64)))
    return float(np.mean(one * other, dtype=np.float64)) / power if power > _FLAT else 0.0
