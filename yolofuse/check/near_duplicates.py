"""Find pairs that show the same picture, among hundreds of thousands: describe each in 126 numbers, compare, verify.

Re-encoding, scaling and brightening hardly change the slow waves of an image. All descriptions are compared with each
other as products of matrices, which takes minutes for 40,000 against 160,000 pairs on two cores and, unlike buckets of
hashes, loses no candidate to a flipped bit. What looks alike is then compared pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from yolofuse.types import ByteArray, FloatArray, IntArray

_SIDE = 32
_WAVES = 8
_ROWS, _COLUMNS = 1024, 16384


def describe(luma: ByteArray, ir: ByteArray) -> FloatArray:
    """Slow waves of both images, together of length 1: (126,).

    Waves are weighted by their frequency, because slow ones are strong in any street; those that change sign in a
    mirror stand where ``mirrored`` finds them.
    """
    return np.concatenate([_waves(luma), _waves(ir)]) * np.float32(np.sqrt(0.5))


def _waves(grey: ByteArray) -> FloatArray:
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    waves = cv2.dct(small)[:_WAVES, :_WAVES] * _WEIGHT
    flat = waves.reshape(-1)[1:]
    length = float(np.linalg.norm(flat))
    return np.asarray(flat / length if length > 1e-3 else flat * 0, np.float32)


_WEIGHT = np.hypot(*np.meshgrid(np.arange(_WAVES), np.arange(_WAVES))).astype(np.float32)
_MIRROR = np.tile(np.where(np.arange(_WAVES) % 2, -1.0, 1.0), _WAVES)[1:].astype(np.float32)


def mirrored(descriptions: FloatArray) -> FloatArray:
    """Descriptions (N, 126) of the same pairs, left and right exchanged."""
    return np.asarray(descriptions * np.tile(_MIRROR, 2), np.float32)


@dataclass(frozen=True, slots=True)
class Nearest:
    """For each query the pair that looks most like it.

    Attributes:
        index: int64 (Q,): its position.
        score: float32 (Q,): 1 for the same picture, about 0 for any other.
        flipped: bool (Q,): whether it is the mirror image that looks so.
    """

    index: IntArray
    score: FloatArray
    flipped: IntArray


def nearest(queries: FloatArray, among: FloatArray, own: IntArray | None = None) -> Nearest:
    """The pair of ``among`` that looks most like each query.

    Args:
        queries: Descriptions (Q, 126).
        among: Descriptions (N, 126).
        own: Position (Q,) of each query in ``among``, which is not its own partner; None where it is not in there.
    """
    count = len(queries)
    best = np.full(count, -np.inf, np.float32)
    index, flipped = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for rows, columns in _tiles(count, len(among)):
        candidates = among[columns].T
        for turned in (0, 1):
            asked = mirrored(queries[rows]) if turned else queries[rows]
            scores = asked @ candidates
            if own is not None:
                self_at = own[rows] - columns.start
                inside = np.flatnonzero((self_at >= 0) & (self_at < scores.shape[1]))
                scores[inside, self_at[inside]] = -np.inf
            place = scores.argmax(axis=1)
            top = scores[np.arange(len(place)), place]
            better = np.flatnonzero(top > best[rows]) + rows.start
            best[better] = top[better - rows.start]
            index[better] = place[better - rows.start] + columns.start
            flipped[better] = turned
    return Nearest(index, best, flipped)


def _tiles(num_rows: int, num_columns: int) -> Iterator[tuple[slice, slice]]:
    for top in range(0, num_rows, _ROWS):
        for left in range(0, num_columns, _COLUMNS):
            yield slice(top, min(top + _ROWS, num_rows)), slice(left, min(left + _COLUMNS, num_columns))
