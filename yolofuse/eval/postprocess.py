"""From a YOLO head's output to boxes: candidates, non-maximum suppression, back to original pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import batched_nms, box_convert

from yolofuse.types import Detections

MAX_CANDIDATES = 30_000
"""Boxes of one image that go into NMS at most, best first."""

_PREFIX = 2048
"""Rows that NMS looks at first."""


def postprocess(predictions: Tensor, *, conf: float, iou: float, max_det: int, end2end: bool) -> list[Tensor]:
    """Boxes of each image, best first, in pixels of the network's input.

    The same input gives the same rows whatever else the machine does: there is no time limit, and equal scores keep
    the order in which the head lists them.

    Args:
        predictions: What the head returns in evaluation.
        conf: A class whose score is above this is a candidate; one anchor can stand for several classes.
        iou: Overlap above which NMS drops the weaker box of a class. Unused when ``end2end``.
        max_det: Rows per image at most.
        end2end: The head has settled duplicates itself and returns finished boxes.

    Shapes:
        predictions: (B, 4 + nc, A), centre boxes and class probabilities; when ``end2end`` (B, K, 6) like the rows.
        returns: B x (N, 6) float32, each row x1, y1, x2, y2, score, class.
    """
    rows = [candidates(prediction, conf=conf, end2end=end2end) for prediction in predictions]
    if end2end:
        return [image_rows[:max_det] for image_rows in rows]
    return [suppress(image_rows, iou=iou, max_det=max_det) for image_rows in rows]


def candidates(prediction: Tensor, *, conf: float, end2end: bool) -> Tensor:
    """Every (box, class) of one image whose score is above ``conf``, best first; rows that are not finite are dropped.

    Shapes:
        prediction: (4 + nc, A), or (K, 6) when ``end2end`` -> (N, 6) float32
    """
    prediction = prediction.float()
    if end2end:
        rows = prediction[prediction[:, 4] > conf]
    else:
        scores = prediction[4:].T  # (A, nc)
        anchors, classes = torch.where(scores > conf)
        boxes = box_convert(prediction[:4].T[anchors], "cxcywh", "xyxy")
        rows = torch.cat((boxes, scores[anchors, classes, None], classes[:, None].to(boxes)), dim=1)
    return best_first(rows[rows.isfinite().all(dim=1)])[:MAX_CANDIDATES]


def suppress(rows: Tensor, *, iou: float, max_det: int) -> Tensor:
    """What per-class NMS leaves of one image's rows; they come and go best first.

    Shapes:
        rows: (N, 6) -> (M, 6), M <= max_det
    """
    # What the strongest rows leave of each other does not depend on weaker ones, so that a prefix mostly settles it.
    size = _PREFIX
    keep = survivors(rows[:size], iou=iou)
    while len(keep) < max_det and size < len(rows):
        size *= 4
        keep = survivors(rows[:size], iou=iou)
    return rows[keep[:max_det]]


def survivors(rows: Tensor, *, iou: float) -> Tensor:
    """Row numbers that per-class NMS keeps, rising: a box falls to a stronger one of its class that overlaps it more.

    Shapes:
        rows: (N, 6), best first -> (M,) int64
    """
    if not len(rows):
        return torch.zeros(0, dtype=torch.int64, device=rows.device)
    # batched_nms keeps classes apart by shifting them: that needs coordinates from 0 on and costs float32 digits.
    boxes = rows[:, :4].double()
    keep: Tensor = batched_nms(boxes - boxes.min(), rows[:, 4].double(), rows[:, 5].long(), iou)
    return keep.sort().values


def best_first(rows: Tensor) -> Tensor:
    """Rows (N, 6) by falling score; equal scores keep their order."""
    return rows[torch.sort(rows[:, 4], descending=True, stable=True).indices]


def to_detections(
    rows: Tensor, *, image_id: int, size_hw: tuple[int, int], letterbox: tuple[float, float, float]
) -> Detections:
    """One image's rows in original pixels, clipped to the image; what lies wholly in the padding is dropped.

    Args:
        rows: (N, 6) as :func:`postprocess` returns them.
        image_id: The record's id.
        size_hw: Height and width of the original pair in pixels.
        letterbox: (gain, pad_left, pad_top): original pixel * gain + pad = pixel of the network's input.
    """
    gain, pad_left, pad_top = letterbox
    height, width = size_hw
    rows = rows.detach().cpu()
    boxes = (rows[:, :4].double() - torch.tensor([pad_left, pad_top, pad_left, pad_top], dtype=torch.float64)) / gain
    boxes[:, 0::2].clamp_(0, width)
    boxes[:, 1::2].clamp_(0, height)
    boxes = boxes.float()
    inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return Detections(
        image_id=image_id,
        boxes_xyxy=boxes[inside].numpy(),
        scores=rows[inside, 4].float().numpy(),
        class_ids=rows[inside, 5].long().numpy(),
    )
