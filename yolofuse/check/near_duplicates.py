"""Find the most similar pair for each of hundreds of thousands of pairs, by 126 low-frequency features of each.

Re-encoding, scaling and brightening hardly change the low frequencies of an image. All features are compared with each
other as matrix products, which takes minutes for 40,000 against 160,000 pairs on two cores and, unlike buckets of
hashes, loses no candidate to a flipped bit. Candidates are then compared pixel by pixel in ``verify_duplicate``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from yolofuse.types import ByteArray, FloatArray, IntArray

_SIDE = 32
_NUM_FREQUENCIES = 8
_ROWS, _COLUMNS = 1024, 16384
"""Size of one block of the similarity matrix."""


def dct_features(luma: ByteArray, ir: ByteArray) -> FloatArray:
    """Return the low DCT coefficients of both images, together of length 1: (126,).

    They are weighted by frequency, because the lowest are strong in any street scene. Their order is that of
    :func:`mirror_features`.
    """
    return np.concatenate([_low_frequencies(luma), _low_frequencies(ir)]) * np.float32(np.sqrt(0.5))


def _low_frequencies(grey: ByteArray) -> FloatArray:
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    coefficients = cv2.dct(small)[:_NUM_FREQUENCIES, :_NUM_FREQUENCIES] * _WEIGHT
    flat = coefficients.reshape(-1)[1:]
    length = float(np.linalg.norm(flat))
    return np.asarray(flat / length if length > 1e-3 else flat * 0, np.float32)


_WEIGHT = np.hypot(*np.meshgrid(np.arange(_NUM_FREQUENCIES), np.arange(_NUM_FREQUENCIES))).astype(np.float32)
_MIRROR = np.tile(np.where(np.arange(_NUM_FREQUENCIES) % 2, -1.0, 1.0), _NUM_FREQUENCIES)[1:].astype(np.float32)
"""Sign of each coefficient in the mirror image."""


def mirror_features(features: FloatArray) -> FloatArray:
    """Return the features (N, 126), or (N, 63) of one camera, of the same images with left and right exchanged."""
    return np.asarray(features * np.tile(_MIRROR, features.shape[1] // len(_MIRROR)), np.float32)


@dataclass(frozen=True, slots=True)
class Nearest:
    """The most similar pair of each query."""

    index: IntArray  # int64 (Q,): its position
    score: FloatArray  # float32 (Q,): 1 for the same image, about 0 for any other
    flipped: IntArray  # bool (Q,): whether its mirror image is the more similar one


def nearest(queries: FloatArray, among: FloatArray, own: IntArray | None = None) -> Nearest:
    """Return the pair of ``among`` that is most similar to each query.

    Args:
        queries: Features (Q, 126), or (Q, 63) of one camera, each of length 1.
        among: Features (N, 126) or (N, 63).
        own: Position (Q,) of each query in ``among``, which is left out for it; None if no query is in there.
    """
    count = len(queries)
    best = np.full(count, -np.inf, np.float32)
    index, flipped = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for rows, columns in _blocks(count, len(among)):
        candidates = among[columns].T
        for mirrored in (0, 1):
            features = mirror_features(queries[rows]) if mirrored else queries[rows]
            scores = features @ candidates
            if own is not None:
                self_at = own[rows] - columns.start
                inside = np.flatnonzero((self_at >= 0) & (self_at < scores.shape[1]))
                scores[inside, self_at[inside]] = -np.inf
            place = scores.argmax(axis=1)
            top = scores[np.arange(len(place)), place]
            better = np.flatnonzero(top > best[rows]) + rows.start
            best[better] = top[better - rows.start]
            index[better] = place[better - rows.start] + columns.start
            flipped[better] = mirrored
    return Nearest(index, best, flipped)


def _blocks(num_rows: int, num_columns: int) -> Iterator[tuple[slice, slice]]:
    """Cut the similarity matrix into blocks that fit into memory."""
    for top in range(0, num_rows, _ROWS):
        for left in range(0, num_columns, _COLUMNS):
            yield slice(top, min(top + _ROWS, num_rows)), slice(left, min(left + _COLUMNS, num_columns))
