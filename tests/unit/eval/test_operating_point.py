"""Precision, recall, F1 and confusions: a worked example, and an independent reading of random predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from yolofuse.eval.operating_point import operating_points


def _truth(boxes: list[tuple[int, int, list[float], int]], num_images: int = 2) -> dict[str, Any]:
    return {
        "images": [{"id": number, "width": 100, "height": 100} for number in range(1, num_images + 1)],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "car"}, {"id": 3, "name": "dog"}],
        "annotations": [
            {"id": n, "image_id": image, "category_id": c, "bbox": box, "area": box[2] * box[3], "iscrowd": crowd}
            for n, (image, c, box, crowd) in enumerate(boxes, start=1)
        ],
    }


def _row(image: int, category: int, box: list[float], score: float) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


A, B, C, D = [0.0, 0, 10, 20], [50.0, 0, 20, 20], [0.0, 50, 20, 20], [70.0, 70, 20, 20]
FAR = [30.0, 30, 5, 5]


def test_worked_example() -> None:
    """Three people and a car.

    Person, best score first: .9 true, .8 false alarm, .7 true, .3 true: precision 1, 1/2, 2/3, 3/4 and recall 1/3, 1/3,
    2/3, 1: the best F1 is 6/7, from .3 on. Car: the only car is called a person at .8, and a false alarm of .4 is all.
    """
    truth = _truth([(1, 1, A, 0), (1, 1, B, 0), (2, 1, C, 0), (2, 2, D, 0)])
    rows = [
        _row(1, 1, A, 0.9),
        _row(2, 1, D, 0.8),
        _row(1, 1, B, 0.7),
        _row(2, 1, C, 0.3),
        _row(1, 2, FAR, 0.4),
    ]
    found = operating_points(truth, rows)
    assert set(found.best) == {"person", "car"}  # no dog to find
    person, car, both = found.best["person"], found.best["car"], found.mean
    assert both is not None
    assert (person.confidence, person.precision, person.recall) == (0.3, 0.75, 1.0)
    assert person.f1 == pytest.approx(6 / 7)
    assert (car.precision, car.recall, car.f1) == (0, 0, 0)
    assert both.f1 == pytest.approx(3 / 7)
    assert 0 <= both.confidence <= 0.3
    precision, recall = found.curves["person"]
    assert precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3, 3 / 4])
    assert recall.tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3, 1])
    assert found.confusion.tolist() == [
        [3, 1, 0, 0],  # called person: three people, the car
        [0, 0, 0, 1],  # called car: nothing
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]


def test_confusion__counts_misses_and_leaves_out_what_is_in_a_crowd() -> None:
    truth = _truth([(1, 1, A, 0), (1, 2, [40.0, 40, 50, 50], 1), (2, 2, C, 0)])
    rows = [_row(1, 2, [45.0, 45, 10, 10], 0.9), _row(2, 2, C, 0.9), _row(1, 2, FAR, 0.1)]
    found = operating_points(truth, rows)
    assert found.best["car"].confidence == 0.9
    assert (found.best["car"].precision, found.best["car"].recall) == (1, 1)
    assert found.confusion[1].tolist() == [0, 1, 0, 0]
    assert found.confusion[3].tolist() == [1, 0, 0, 0]


def test_one_box__is_found_once_and_equal_scores_go_together() -> None:
    found = operating_points(_truth([(1, 1, A, 0)]), [_row(1, 1, A, 0.5), _row(1, 1, [0.0, 0, 10, 19], 0.5)])
    assert found.best["person"].precision == 0.5
    assert found.confusion[0].tolist() == [1, 0, 0, 1]


def test_no_boxes_or_no_predictions() -> None:
    empty = operating_points(_truth([]), [_row(1, 1, A, 0.5)])
    assert empty.best == {}
    assert empty.confusion[0, -1] == 1
    missed = operating_points(_truth([(1, 1, A, 0)]), [])
    assert missed.mean is not None
    assert (missed.best["person"].f1, missed.mean.recall) == (0, 0)
    assert missed.confusion[-1, 0] == 1


def _independent(truth: dict[str, Any], rows: list[dict[str, Any]], category: int) -> tuple[float, float]:
    """Return the best F1 and its confidence, by trying every score, from the files alone."""
    boxes = [a for a in truth["annotations"] if a["category_id"] == category]
    best = (0.0, 1.0)
    for confidence in sorted({row["score"] for row in rows}, reverse=True):
        taken: set[int] = set()
        true = false = 0
        for row in sorted(rows, key=lambda r: -r["score"]):
            if row["category_id"] != category or row["score"] < confidence:
                continue
            overlaps = [
                (_iou(row["bbox"], a["bbox"]), a["id"])
                for a in boxes
                if a["image_id"] == row["image_id"] and a["id"] not in taken
            ]
            overlap, number = max(overlaps, default=(0.0, 0))
            if overlap >= 0.5:
                taken.add(number)
                true += 1
            else:
                false += 1
        f1 = 2 * true / (true + false + len(boxes))
        if f1 > best[0]:
            best = (f1, confidence)
    return best


def _iou(a: list[float], b: list[float]) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    inside = max(width, 0) * max(height, 0)
    return inside / (a[2] * a[3] + b[2] * b[3] - inside)


@pytest.mark.parametrize("seed", range(5))
def test_random_predictions__equal_an_independent_reading(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def box() -> list[float]:
        return [*rng.uniform(0, 60, 2).round(1).tolist(), *rng.uniform(15, 40, 2).round(1).tolist()]

    truth = _truth([(int(rng.integers(1, 9)), int(rng.integers(1, 4)), box(), 0) for _ in range(40)], 8)
    rows = [_row(int(rng.integers(1, 9)), int(rng.integers(1, 4)), box(), float(rng.random())) for _ in range(60)]
    for a in truth["annotations"]:
        if rng.random() < 0.6:
            moved = [value + shift for value, shift in zip(a["bbox"], rng.normal(0, 2, 4).tolist(), strict=True)]
            rows.append(_row(a["image_id"], a["category_id"], moved, float(rng.random())))
    found = operating_points(truth, rows)
    for category, name in ((1, "person"), (2, "car"), (3, "dog")):
        f1, confidence = _independent(truth, rows, category)
        assert found.best[name].f1 == pytest.approx(f1)
        assert found.best[name].confidence == pytest.approx(confidence)
    assert found.mean is not None
    kept = [row for row in rows if row["score"] >= found.mean.confidence]
    assert found.confusion[:-1].sum() == len(kept)
    assert found.confusion[:, :-1].sum() == 40
