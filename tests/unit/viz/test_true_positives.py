"""Matching of detections to true boxes."""

from __future__ import annotations

import numpy as np

from yolofuse.types import Detections
from yolofuse.viz.true_positives import match_detections

NO_BOXES = np.zeros((0, 4), dtype=np.float32)
NO_CLASSES = np.zeros(0, dtype=np.int64)


def found(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.array(rows, dtype=np.float32).reshape(-1, 6)
    return Detections(1, table[:, :4].copy(), table[:, 4].copy(), table[:, 5].astype(np.int64))


def test_match_detections__the_best_chooses_first_and_classes_differ() -> None:
    boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60]], dtype=np.float32)
    detections = found(
        (0, 0, 10, 9, 0.5, 0), (0, 0, 10, 10, 0.9, 0), (50, 50, 60, 60, 0.8, 0), (50, 50, 60, 60, 0.7, 1)
    )
    assert match_detections(detections, boxes, np.array([0, 1])).tolist() == [-1, 0, -1, 1]
    assert match_detections(found(), boxes, np.array([0, 1])).tolist() == []
    assert match_detections(detections, NO_BOXES, NO_CLASSES).tolist() == [-1] * 4
