"""What one pass over a split measures of every pair: brightness, colour, sameness, depth, and a short description."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from yolofuse.check.near_duplicates import describe
from yolofuse.data.images.decode import decode, open_image, reduction_for
from yolofuse.data.images.read_pair import fitted_hw, luma_and_ir, read_thumbnail
from yolofuse.errors import DataError
from yolofuse.types import ByteArray, FloatArray, PairRecord

THUMB_SIDE = 320
"""Pairs are looked at with their longest side brought down to this, in pixels."""

_DETAIL = 4.0
"""Standard deviation in pixels of the blur whose rest is called detail."""
_FLAT = 1e-3
_ONE_CHANNEL = ("1", "L", "I", "I;16", "I;16B", "F")


@dataclass(frozen=True, slots=True)
class PairFacts:
    """What was measured of one pair; brightness and spread are those of 8 bits.

    Attributes:
        rgb_digest: Of the visible file's bytes.
        ir_digest: Of the thermal file's bytes.
        brightness: Mean of the visible image.
        sky: Median of its upper third.
        rgb_spread: Standard deviation of the visible image's brightness.
        ir_spread: Standard deviation of the thermal image.
        rgb_range: From the 1st to the 99th percentile of the visible image's brightness.
        ir_range: From the 1st to the 99th percentile of the thermal image.
        rgb_clipped: Share of visible pixels at the end of the scale.
        ir_clipped: Share of thermal pixels at either end of the scale.
        rgb_colour: How far the channels of the visible file lie apart, 99th percentile.
        ir_colour: How far those of the thermal file do.
        likeness: Correlation of the thermal image with the channel of the visible one that it is most like; its sign
            is dropped, so that an inverted copy counts.
        detail_likeness: The same for what a blur takes away.
        ir_levels: Lowest and highest count of a deep thermal file, and the greatest common step; (0, 0, 0) for 8 bits.
        description: Numbers whose dot product says how alike two pairs look, see ``lookalike``.
    """

    rgb_digest: bytes
    ir_digest: bytes
    brightness: float
    sky: float
    rgb_spread: float
    ir_spread: float
    rgb_range: float
    ir_range: float
    rgb_clipped: float
    ir_clipped: float
    rgb_colour: float
    ir_colour: float
    likeness: float
    detail_likeness: float
    ir_levels: tuple[int, int, int]
    description: FloatArray


def measure_pairs(
    records: Sequence[PairRecord], *, workers: int, where: str
) -> tuple[list[PairFacts | None], list[str]]:
    """The facts of all pairs, and what went wrong with those that have none."""
    faults: list[str] = []

    def safely(record: PairRecord) -> PairFacts | str:
        try:
            return measure(record)
        except DataError as error:  # told as a finding of its own
            return str(error)

    found: list[PairFacts | None] = []
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        results = pool.map(safely, records)
        for result in tqdm(results, f"measuring {where}", len(records), unit="pair", delay=3, disable=None):
            if isinstance(result, str):
                faults.append(result)
            found.append(None if isinstance(result, str) else result)
    return found, faults


def measure(record: PairRecord) -> PairFacts:
    """The facts of one pair.

    Raises:
        DataError: If a file can't be read any more.
    """
    pixels = read_thumbnail(record, THUMB_SIDE)
    rgb = pixels[..., :3]
    luma, ir = luma_and_ir(pixels)
    likeness, detail_likeness = _likeness(luma, rgb, ir)
    return PairFacts(
        rgb_digest=_digest(record.rgb),
        ir_digest=_digest(record.ir),
        brightness=float(luma.mean()),
        sky=float(np.median(luma[: max(len(luma) // 3, 1)])),
        rgb_spread=float(luma.std()),
        ir_spread=float(ir.std()),
        rgb_range=_range(luma),
        ir_range=_range(ir),
        rgb_clipped=float((luma >= 254).mean()),
        ir_clipped=max(float((ir >= 254).mean()), float((ir <= 1).mean())),
        rgb_colour=_colour(rgb),
        ir_colour=_ir_colour(record),
        likeness=likeness,
        detail_likeness=detail_likeness,
        ir_levels=_levels(record),
        description=describe(luma, ir),
    )


def _digest(path: Path) -> bytes:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error})") from None


def _range(grey: ByteArray) -> float:
    low, high = np.percentile(grey, (1, 99))
    return float(high - low)


def _colour(pixels: ByteArray) -> float:
    apart = pixels.max(axis=2) - pixels.min(axis=2)
    return float(np.percentile(apart, 99))


def _ir_colour(record: PairRecord) -> float:
    """How far the channels of the thermal file lie apart: 0 for a grey one, however many channels it has."""
    if record.format.ir_window is not None:
        return 0.0
    try:
        with open_image(record.ir) as image:
            if image.mode in _ONE_CHANNEL:
                return 0.0
    except OSError as error:
        raise DataError(f"{record.ir}: can't be read ({error})") from None
    scale = THUMB_SIDE / max(record.ir_hw)
    pixels = decode(record.ir, "rgb", reduction_for(scale, record.ir_hw), record.ir_hw)
    height, width = fitted_hw(record.ir_hw, THUMB_SIDE)
    return _colour(np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8))


def _levels(record: PairRecord) -> tuple[int, int, int]:
    if record.format.ir_window is None:
        return 0, 0, 0
    counts = decode(record.ir, "ir", 1, record.ir_hw)
    if counts.dtype != np.uint16:
        return 0, 0, 0
    used = np.unique(counts).astype(np.int64)
    step = int(np.gcd.reduce(np.diff(used))) if len(used) > 1 else 0
    return int(used[0]), int(used[-1]), step


def _likeness(luma: ByteArray, rgb: ByteArray, ir: ByteArray) -> tuple[float, float]:
    thermal = ir.astype(np.float32)
    whole, detail = 0.0, 0.0
    for grey in (luma, *(rgb[..., channel] for channel in range(3))):
        seen = grey.astype(np.float32)
        whole = max(whole, abs(correlation(seen, thermal)))
        detail = max(detail, abs(correlation(_detail(seen), _detail(thermal))))
    return whole, detail


def _detail(grey: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray(grey - cv2.GaussianBlur(grey, (0, 0), _DETAIL), np.float32)


def correlation(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """Pearson's, from -1 to 1; 0 where one of them is flat."""
    one, other = one - one.mean(), other - other.mean()
    power = float(np.sqrt(np.mean(one * one, dtype=np.float64) * np.mean(other * other, dtype=np.float64)))
    return float(np.mean(one * other, dtype=np.float64)) / power if power > _FLAT else 0.0
