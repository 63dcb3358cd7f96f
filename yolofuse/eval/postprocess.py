"""Convert a YOLO head's output to boxes: candidates, non-maximum suppression, back to original pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import batched_nms, box_convert

from yolofuse.types import Detections

MAX_CANDIDATES = 30_000
"""Maximum number of boxes of one image that enter NMS, best first."""

_PREFIX = 2048
"""Number of rows of the first NMS pass."""


def postprocess(predictions: Tensor, *, conf: float, iou: float, max_det: int, end2end: bool) -> list[Tensor]:
    """Return the boxes of each image, best first, in pixels of the network's input.

    The result depends on the input alone: there is no time limit, and equal scores keep the order of the head.

    Args:
        predictions: Output of the head in eval mode.
        conf: A class whose score is above this is a candidate; one anchor can give candidates of several classes.
        iou: Overlap above which NMS drops the weaker box of a class. Unused when ``end2end``.
        max_det: Maximum number of rows per image.
        end2end: The head resolves duplicates itself and returns final boxes.

    Shapes:
        predictions: (B, 4 + nc, A), centre boxes and class probabilities; when ``end2end`` (B, K, 6) like the rows.
        returns: B x (N, 6) float32, each row x1, y1, x2, y2, score, class.
    """
    rows = [decode_candidates(prediction, conf=conf, end2end=end2end) for prediction in predictions]
    if end2end:
        return [image_rows[:max_det] for image_rows in rows]
    return [nms(image_rows, iou=iou, max_det=max_det) for image_rows in rows]


def decode_candidates(prediction: Tensor, *, conf: float, end2end: bool) -> Tensor:
    """Return every (box, class) of one image with a score above ``conf``, best first; drop rows that are not finite.

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
    return sort_by_score(rows[rows.isfinite().all(dim=1)])[:MAX_CANDIDATES]


def nms(rows: Tensor, *, iou: float, max_det: int) -> Tensor:
    """Apply per-class NMS to one image's rows.

    Shapes:
        rows: (N, 6), best first -> (M, 6), best first, M <= max_det
    """
    # Which of the strongest rows are kept does not depend on weaker ones, so that a prefix is mostly enough.
    size = _PREFIX
    keep = nms_indices(rows[:size], iou=iou)
    while len(keep) < max_det and size < len(rows):
        size *= 4
        keep = nms_indices(rows[:size], iou=iou)
    return rows[keep[:max_det]]


def nms_indices(rows: Tensor, *, iou: float) -> Tensor:
    """Return the ascending indices of the rows that per-class NMS keeps.

    Shapes:
        rows: (N, 6), best first -> (M,) int64
    """
    if not len(rows):
        return torch.zeros(0, dtype=torch.int64, device=rows.device)
    # batched_nms separates classes by an offset: that needs coordinates >= 0 and costs float32 precision.
    boxes = rows[:, :4].double()
    keep: Tensor = batched_nms(boxes - boxes.min(), rows[:, 4].double(), rows[:, 5].long(), iou)
    return keep.sort().values


def sort_by_score(rows: Tensor) -> Tensor:
    """Sort rows (N, 6) by descending score; equal scores keep their order."""
    return rows[torch.sort(rows[:, 4], descending=True, stable=True).indices]


def to_detections(
    rows: Tensor, *, image_id: int, size_hw: tuple[int, int], letterbox: tuple[float, float, float]
) -> Detections:
    """Convert one image's rows to original pixels, clipped to the image; drop boxes wholly in the padding.

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
