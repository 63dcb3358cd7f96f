"""Classify two similar pairs by their pixels: copies of one image, two images of one place, or neither."""

from __future__ import annotations

from typing import Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from yolofuse.check.pair_stats import pearson
from yolofuse.data.images.read_pair import luma_and_ir, read_thumbnail
from yolofuse.types import ByteArray, PairRecord

DuplicateKind = Literal["copy", "view", "other"]
"""The same image; the same place at another moment; neither."""


class Likeness(NamedTuple):
    """How alike two images of one camera are."""

    correlation: float
    residual: float  # of the worst block after a fit of gain and offset, as a share of the image's variance


_SIDE = 128
_BLOCK = 12
_MARGIN = 3
_ITERATIONS = 60
_MIN_COVER = 0.6
_VIEW_CORRELATION, _COPY_CORRELATION = 0.85, 0.95
_MAX_BLOCK_RESIDUAL = 0.5
"""Share of the image's variance: below it in every block of a copy, above it where a person has moved."""
_FLAT_STD = 1.0
_BLACK, _WHITE = 3, 250
_MIN_KEPT = 0.2


def classify_duplicate(one: PairRecord, other: PairRecord, *, flipped: bool) -> DuplicateKind:
    """Classify two pairs; a copy may be re-encoded, scaled, brightened, slightly cropped or, if ``flipped``, mirrored.

    Raises:
        DataError: If a file can no longer be read.
    """
    first, second = _read_small(one), _read_small(other)
    if flipped:
        second = np.ascontiguousarray(second[:, ::-1])
    second = cv2.resize(second, first.shape[1::-1], interpolation=cv2.INTER_AREA).astype(np.uint8)
    best: DuplicateKind = "other"
    for warp in _candidate_warps(first, second):
        kind = _compare(first, second, warp)
        if kind == "copy":
            return "copy"
        if kind == "view":
            best = "view"
    return best


def compare_cameras(one: PairRecord, other: PairRecord) -> list[Likeness | None]:
    """Compare the RGB images of two pairs, and their IR images, pixel by pixel; None where one is flat.

    Raises:
        DataError: If a file can no longer be read.
    """
    first, second = _read_small(one), _read_small(other)
    second = cv2.resize(second, first.shape[1::-1], interpolation=cv2.INTER_AREA).astype(np.uint8)
    everywhere = np.ones(first.shape[:2], bool)
    return [_compare_channel(first[..., channel], second[..., channel], everywhere) for channel in range(2)]


def _read_small(record: PairRecord) -> ByteArray:
    """Read brightness and thermal image, (h, w, 2)."""
    return np.dstack(luma_and_ir(read_thumbnail(record, _SIDE)))


def _candidate_warps(first: ByteArray, second: ByteArray) -> list[npt.NDArray[np.float32]]:
    """Return affine maps from the first to the second image to try: identity, and the ECC fit of each modality."""
    warps = [np.eye(2, 3, dtype=np.float32)]
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _ITERATIONS, 1e-4)
    for channel in range(2):
        template, moved = (np.ascontiguousarray(image[..., channel]) for image in (first, second))
        if min(template.std(), moved.std()) < _FLAT_STD:
            continue
        start = np.eye(2, 3, dtype=np.float32)
        try:
            _, warp = cv2.findTransformECC(template, moved, start, cv2.MOTION_AFFINE, criteria, None)
        except cv2.error:  # raised when two images have nothing in common
            continue
        warps.append(np.asarray(warp, np.float32))
    return warps


def _compare(first: ByteArray, second: ByteArray, warp: npt.NDArray[np.float32]) -> DuplicateKind:
    size_wh = (first.shape[1], first.shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = np.asarray(cv2.warpAffine(second, warp, size_wh, flags=flags), np.uint8)
    cover = cv2.warpAffine(np.full(second.shape[:2], 255, np.uint8), warp, size_wh, flags=flags)
    covered = cv2.erode(cover, np.ones((2 * _MARGIN + 1, 2 * _MARGIN + 1), np.uint8), borderValue=0) == 255
    if covered.mean() < _MIN_COVER:
        return "other"
    channels = [_compare_channel(first[..., channel], moved[..., channel], covered) for channel in range(2)]
    found = [likeness for likeness in channels if likeness is not None]
    if not found or min(likeness.correlation for likeness in found) < _VIEW_CORRELATION:
        return "other"
    is_copy = all(
        likeness.correlation >= _COPY_CORRELATION and likeness.residual <= _MAX_BLOCK_RESIDUAL for likeness in found
    )
    return "copy" if is_copy else "view"


def _compare_channel(first: ByteArray, second: ByteArray, covered: npt.NDArray[np.bool_]) -> Likeness | None:
    one, two = first.astype(np.float32), second.astype(np.float32)
    # Clipped pixels of a brightened copy can't be compared.
    kept = covered & (np.minimum(one, two) > _BLACK) & (np.maximum(one, two) < _WHITE)
    if kept.mean() < _MIN_KEPT or min(one[kept].std(), two[kept].std()) < _FLAT_STD:
        return None
    return Likeness(pearson(one[kept], two[kept]), _worst_block_residual(one, two, kept))


def _worst_block_residual(
    one: npt.NDArray[np.float32], two: npt.NDArray[np.float32], covered: npt.NDArray[np.bool_]
) -> float:
    """Fit ``two`` to ``one`` by gain and offset; return the residual of the worst block as a share of the variance."""
    gain, offset = np.polyfit(two[covered], one[covered], 1)
    left = np.where(covered, one - (gain * two + offset), 0.0).astype(np.float32)
    return float(cv2.blur(left * left, (_BLOCK, _BLOCK)).max() / one[covered].var())
