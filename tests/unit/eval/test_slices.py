"""Metrics of parts of a split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.support.coco_cases import evaluate
from yolofuse.eval.coco import CocoMatches, ground_truth
from yolofuse.eval.slices import evaluate_slices
from yolofuse.types import FloatArray, IntArray, PairRecord

NAMES = ("person", "car")
BOX = (np.array([[0.25, 0.5, 0.125, 0.5]], dtype=np.float32), np.array([0]))
NOTHING = (np.zeros((0, 4), dtype=np.float32), np.zeros(0, dtype=np.int64))


def record(image_id: int, **tags: str) -> PairRecord:
    size_hw = (200, 400)
    return PairRecord(image_id, str(image_id), Path("a.png"), Path("b.png"), None, size_hw, size_hw, tags=tags)


def boxes(_: int) -> tuple[FloatArray, IntArray]:
    return BOX


def test_evaluate_slices__equals_an_evaluation_of_a_filtered_file() -> None:
    records = [record(1, daynight="day"), record(2, daynight="night"), record(3)]
    truth = ground_truth(records, boxes, NAMES)
    rows = [
        {"image_id": i, "category_id": 1, "bbox": [75.0 + 5 * i, 50.0, 50.0, 100.0], "score": 1 - 0.1 * i}
        for i in (1, 2, 3)
    ]
    slices = evaluate_slices(CocoMatches(truth, rows), records)
    assert list(slices) == ["daynight=day", "daynight=night"]
    assert slices["daynight=day"].AP > slices["daynight=night"].AP
    for (name, result), image_id in zip(slices.items(), (1, 2), strict=True):
        assert result == evaluate(truth, rows, [image_id]), name


def test_evaluate_slices__skips_tags_with_one_or_with_many_values() -> None:
    records = [record(i, camera="one", scene=f"s{i}", dozen=f"d{i % 12}") for i in range(1, 21)]
    matches = CocoMatches(ground_truth(records, lambda _: NOTHING, NAMES), [])
    slices = evaluate_slices(matches, records)
    assert len(slices) == 12
    assert all(name.startswith("dozen=") for name in slices)
