"""Tell a copy of a picture from another picture of the same place, pixel by pixel at a small size."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from yolofuse.check.pair_stats import correlation
from yolofuse.data.images.read_pair import luma_and_ir, read_thumbnail
from yolofuse.types import ByteArray, PairRecord

Sameness = Literal["copy", "view", "other"]
"""The same picture; the same place at another moment; neither."""

_SIDE = 128
_BLOCK = 12
_MARGIN = 3
_ITERATIONS = 60
_MIN_COVER = 0.6
_SAME_VIEW, _SAME_PICTURE = 0.85, 0.95
_WORST_BLOCK = 0.5
"""Of the image's variance: the block in which a copy differs most stays below, a person who walked on lies above."""
_FLAT = 1.0
_BLACK, _WHITE = 3, 250
_MIN_KEPT = 0.2


def sameness(one: PairRecord, other: PairRecord, *, flipped: bool) -> Sameness:
    """Whether two pairs show the same picture, however it was encoded, scaled, brightened, or cropped a little.

    Raises:
        DataError: If a file can't be read any more.
    """
    first, second = _small(one), _small(other)
    if flipped:
        second = np.ascontiguousarray(second[:, ::-1])
    second = cv2.resize(second, first.shape[1::-1], interpolation=cv2.INTER_AREA).astype(np.uint8)
    best: Sameness = "other"
    for warp in _registrations(first, second):
        verdict = _compare(first, second, warp)
        if verdict == "copy":
            return "copy"
        if verdict == "view":
            best = "view"
    return best


def _small(record: PairRecord) -> ByteArray:
    """Brightness and thermal image, (h, w, 2)."""
    return np.dstack(luma_and_ir(read_thumbnail(record, _SIDE)))


def _registrations(first: ByteArray, second: ByteArray) -> list[npt.NDArray[np.float32]]:
    """Affine maps from the first to the second image to try: none, and the ones that each modality asks for."""
    warps = [np.eye(2, 3, dtype=np.float32)]
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _ITERATIONS, 1e-4)
    for channel in range(2):
        template, moved = (np.ascontiguousarray(image[..., channel]) for image in (first, second))
        if min(template.std(), moved.std()) < _FLAT:
            continue
        start = np.eye(2, 3, dtype=np.float32)
        try:
            _, warp = cv2.findTransformECC(template, moved, start, cv2.MOTION_AFFINE, criteria, None)
        except cv2.error:  # it says so when two pictures have nothing in common
            continue
        warps.append(np.asarray(warp, np.float32))
    return warps


def _compare(first: ByteArray, second: ByteArray, warp: npt.NDArray[np.float32]) -> Sameness:
    size_wh = (first.shape[1], first.shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(second, warp, size_wh, flags=flags)
    cover = cv2.warpAffine(np.full(second.shape[:2], 255, np.uint8), warp, size_wh, flags=flags)
    covered = cv2.erode(cover, np.ones((2 * _MARGIN + 1, 2 * _MARGIN + 1), np.uint8), borderValue=0) == 255
    if covered.mean() < _MIN_COVER:
        return "other"
    correlations, residuals = [], []
    for channel in range(2):
        one, two = (image[..., channel].astype(np.float32) for image in (first, moved))
        # A brightened copy has lost what was clipped.
        kept = covered & (np.minimum(one, two) > _BLACK) & (np.maximum(one, two) < _WHITE)
        if kept.mean() < _MIN_KEPT or min(one[kept].std(), two[kept].std()) < _FLAT:
            continue
        correlations.append(correlation(one[kept], two[kept]))
        residuals.append(_worst_block(one, two, kept))
    if not correlations or min(correlations) < _SAME_VIEW:
        return "other"
    is_copy = min(correlations) >= _SAME_PICTURE and max(residuals) <= _WORST_BLOCK
    return "copy" if is_copy else "view"


def _worst_block(one: npt.NDArray[np.float32], two: npt.NDArray[np.float32], covered: npt.NDArray[np.bool_]) -> float:
    """What is left of ``one`` in the worst block when ``two`` is fitted to it, as a share of its variance."""
    gain, offset = np.polyfit(two[covered], one[covered], 1)
    left = np.where(covered, one - (gain * two + offset), 0.0).astype(np.float32)
    return float(cv2.blur(left * left, (_BLOCK, _BLOCK)).max() / one[covered].var())
