"""Match detections to true boxes at one IoU threshold, for drawing."""

from __future__ import annotations

import numpy as np
import torch
from torchvision.ops import box_iou

from yolofuse.types import Detections, FloatArray, IntArray


def match_detections(detections: Detections, boxes_xyxy: FloatArray, class_ids: IntArray, iou: float = 0.5) -> IntArray:
    """Return the index of the box that each detection matches, -1 for a false positive.

    The strongest detections choose first, as in cocoapi.

    Args:
        detections: Of one pair.
        boxes_xyxy: The pair's true boxes, in the same pixels.
        class_ids: Their classes.
        iou: Overlap from which a detection of the same class matches a box.

    Shapes:
        boxes_xyxy: (M, 4), class_ids: (M,) -> (N,)
    """
    found = np.full(len(detections), -1, dtype=np.int64)
    if not len(detections) or not len(boxes_xyxy):
        return found
    overlap = box_iou(torch.from_numpy(detections.boxes_xyxy).double(), torch.from_numpy(boxes_xyxy).double()).numpy()
    overlap[detections.class_ids[:, None] != class_ids] = 0.0
    for index in np.argsort(-detections.scores, kind="stable"):
        best = int(overlap[index].argmax())
        if overlap[index, best] >= iou:
            found[index] = best
            overlap[:, best] = 0.0
    return found
