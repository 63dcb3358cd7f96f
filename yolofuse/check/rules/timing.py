"""Find a camera whose images are a pair early or late: the boxes of a pair fit its images of another pair better."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from tqdm.contrib.concurrent import thread_map

from yolofuse.check.findings import Finding
from yolofuse.check.pair_stats import THUMB_SIDE, Split
from yolofuse.data.images.read_pair import luma_and_ir, read_thumbnail
from yolofuse.errors import DataError
from yolofuse.spacing import evenly_spaced
from yolofuse.types import ByteArray, FloatArray

_LAGS = (0, -1, 1)  # pairs, in the order of the split
_CAMERAS = ("RGB", "IR")
_MAX_PAIRS = 100
_FEWEST = 20  # pairs whose mean says something
_RATIO = 1.5  # of the contrast of boxes in images of other pairs to that in their own
_T = 5.0  # Student's t of that difference
_SMALLEST = 4.0  # px, side of a box


def check_timing(split: Split, sample: int, workers: int) -> list[Finding]:
    """Compare how much the boxes of up to ``sample`` pairs stand out in their own images and in those of the next."""
    labelled = [i for i in range(1, len(split.pairs) - 1) if len(split.pairs.labels(i)[1])]
    chosen = [labelled[i] for i in evenly_spaced(len(labelled), min(sample, _MAX_PAIRS))]
    if len(chosen) < _FEWEST:
        return []
    bar = f"looking for late images in {split.name}"
    rows = thread_map(
        lambda i: _contrasts(split, i), chosen, max_workers=workers, desc=bar, unit="pair", delay=3, disable=None
    )
    measured = [row for row in rows if row is not None]
    return list(_compare(split, np.stack(measured))) if len(measured) >= _FEWEST else []


def _compare(split: Split, contrasts: FloatArray) -> Iterator[Finding]:
    """Yield a finding for each camera whose boxes stand out more in other images; ``contrasts`` (N, lags, cameras)."""
    number = len(contrasts)
    for camera, name in enumerate(_CAMERAS):
        own = contrasts[:, 0, camera]
        for lag, where in ((1, "before"), (2, "after")):
            other = contrasts[:, lag, camera]
            gain = other - own
            t = gain.mean() * np.sqrt(number) / max(float(gain.std(ddof=1)), 1e-9)
            if t > _T and other.mean() > _RATIO * own.mean():
                text = (
                    f"boxes of {number} pairs stand out {other.mean():.2f} standard deviations in the {name} images of "
                )
                text += f"the pair {where}, but {own.mean():.2f} in those of their own pair"
                advice = (
                    "look at some pairs: that camera's files seem to be numbered one off; if RGB's are, too, the labels"
                )
                yield Finding("late-images", "warning", split.name, text, advice, number, len(split.pairs))


def _contrasts(split: Split, index: int) -> FloatArray | None:
    """Return the contrast of a pair's boxes in images of itself, of the one before and after: (lags, cameras).

    None if an image can't be read, or no box is large enough.
    """
    boxes_xywhn, _ = split.pairs.labels(index)
    try:
        pixels = [read_thumbnail(split.pairs.records[index + lag], THUMB_SIDE) for lag in _LAGS]
    except DataError:  # told by other rules
        return None
    found = np.array([[_contrast(image, boxes_xywhn) for image in luma_and_ir(each)] for each in pixels])
    return None if np.isnan(found).any() else found


def _contrast(image: ByteArray, boxes_xywhn: FloatArray) -> float:
    """Return how far the mean inside of boxes lies from that of a frame around them, in standard deviations; or nan.

    Shapes:
        image: (H, W); boxes_xywhn: (N, 4).
    """
    height, width = image.shape
    sides = boxes_xywhn[:, 2:] * (width, height)
    boxes = boxes_xywhn[sides.min(axis=1) >= _SMALLEST]
    values = []
    for x, y, w, h in boxes * (width, height, width, height):
        inner, outer = (_window(image, x, y, factor * w, factor * h) for factor in (1, 2))
        if outer.size > inner.size > 0:
            around = (float(outer.sum()) - float(inner.sum())) / (outer.size - inner.size)
            values.append(abs(float(inner.mean()) - around))
    return float(np.mean(values)) / max(float(image.std()), 1.0) if values else float("nan")


def _window(image: ByteArray, x: float, y: float, w: float, h: float) -> ByteArray:
    """Return the pixels of a box given by its centre and size."""
    left, top = max(round(x - w / 2), 0), max(round(y - h / 2), 0)
    return image[top : max(round(y + h / 2), 0), left : max(round(x + w / 2), 0)]
