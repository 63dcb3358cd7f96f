"""Find boxes that reach over the border of their image: rounding does not, labels of another form do."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from yolofuse.data.index.scan_result import ScanResult
from yolofuse.errors import plural
from yolofuse.types import IntArray

SLACK_PX = 1.5
_MANY = 0.1  # of the boxes of a split; fewer are objects that labellers have completed


def over_border(boxes_xywhn: npt.NDArray[np.floating], sizes_hw: IntArray) -> npt.NDArray[np.bool_]:
    """Return which boxes reach more than ``SLACK_PX`` over the border of their image.

    Shapes:
        boxes_xywhn: (N, 4), sizes_hw: (N, 2), of the image of each -> (N,)
    """
    boxes = boxes_xywhn.astype(np.float64)
    edges = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, 1 - boxes[:, :2] - boxes[:, 2:] / 2], axis=1)
    return np.asarray((edges * np.tile(sizes_hw[:, ::-1], 2)).min(axis=1, initial=0) < -SLACK_PX, np.bool_)


def fit_as_corners(boxes: npt.NDArray[np.floating]) -> bool:
    """Return whether centre and size, or corner and size, of all boxes (N, 4) would be two corners as well."""
    return bool(len(boxes) and (boxes[:, 2:] > boxes[:, :2]).all())


def describe_border(scan: ScanResult, sizes_hw: IntArray) -> str:
    """Return a sentence with the number of boxes over the border where they are many; else an empty text.

    Corners that are read as centre and size are told by the second point, which lies right of and below the first.
    """
    boxes = scan.boxes_xywhn[~scan.crowd]
    over = over_border(boxes, np.repeat(sizes_hw, np.diff(scan.offsets), axis=0)[~scan.crowd])
    if not len(boxes) or over.mean() < _MANY:
        return ""
    text = f"{over.sum()} of {plural(len(boxes), 'box')} reach more than {SLACK_PX} px over the border of their image"
    if fit_as_corners(boxes):
        return f"{text}, and all fit as corners: are the labels x1 y1 x2 y2? A line is 'class x y w h', x y the centre"
    return f"{text}; the part inside is used; check that they are 'class x y w h' with x y the centre, of these images"
