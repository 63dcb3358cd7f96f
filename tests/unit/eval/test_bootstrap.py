"""The paired bootstrap: point estimates of pycocotools, known intervals, and pairing."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from tests.support.coco_cases import evaluate
from yolofuse.errors import DataError
from yolofuse.eval.bootstrap import compare


def _truth(boxes_per_image: list[int], seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    for image, count in enumerate(boxes_per_image, start=1):
        for _ in range(count):
            x, y, w, h = rng.uniform([0, 0, 8, 8], [300, 200, 90, 90]).tolist()
            box = {"bbox": [x, y, w, h], "area": w * h, "category_id": int(rng.integers(1, 4))}
            crowd = int(rng.random() < 0.05)
            annotations.append({"id": len(annotations) + 1, "image_id": image, "iscrowd": crowd, **box})
    images = [{"id": i, "width": 400, "height": 300, "file_name": f"{i}"} for i in range(1, len(boxes_per_image) + 1)]
    categories = [{"id": i, "name": name} for i, name in enumerate(("person", "bicycle", "car"), start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _predictions(truth: dict[str, Any], noise: float, missed: float, seed: int = 1) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    rows = []
    for box in truth["annotations"]:
        if rng.random() > missed:
            moved = (np.array(box["bbox"]) + rng.normal(0, noise, 4)).clip(1).tolist()
            score = round(float(rng.random()), 2)  # ties
            rows.append({"image_id": box["image_id"], "category_id": box["category_id"], "bbox": moved, "score": score})
    for image in truth["images"]:
        for _ in range(int(rng.integers(0, 6))):
            box = rng.uniform([0, 0, 8, 8], [300, 200, 90, 90]).tolist()
            rows.append({"image_id": image["id"], "category_id": 1, "bbox": box, "score": float(rng.random()) * 0.6})
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_points__equal_pycocotools(seed: int) -> None:
    truth = _truth([4, 0, 7, 3, 12, 1], seed)
    a, b = _predictions(truth, 4, 0.3, seed), _predictions(truth, 2, 0.1, seed + 9)
    found = {difference.name: difference for difference in compare(truth, [a], [b], resamples=10)}
    for side, rows in (("a", a), ("b", b)):
        result = evaluate(truth, rows)
        expected = {"AP": result.AP, "AP50": result.AP50}
        for name, (ap, ap50) in result.per_class.items():
            expected |= {f"{name} AP": ap, f"{name} AP50": ap50}
        assert {name: getattr(d, side) for name, d in found.items()} == pytest.approx(expected, abs=1e-9)


def test_resample__equals_an_evaluation_of_the_drawn_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that is drawn twice counts as two images with the same content."""
    truth = _truth([4, 2, 7, 3])
    a, b = _predictions(truth, 4, 0.3), _predictions(truth, 2, 0.1, 5)
    counts = np.array([2, 0, 1, 1])

    class Draws:
        def multinomial(self, num: int, shares: Any, size: int) -> Any:
            assert (num, size) == (4, 1)
            return counts[None]

    monkeypatch.setattr("yolofuse.eval.bootstrap.np.random.default_rng", lambda seed: Draws())
    found = compare(truth, [a], [b], resamples=1)[0]
    monkeypatch.undo()
    copies = [(number, copy) for number, count in enumerate(counts, start=1) for copy in range(count)]
    drawn = {number_copy: new for new, number_copy in enumerate(copies, start=1)}

    def repeat(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {**row, "image_id": new} for (number, _), new in drawn.items() for row in rows if row["image_id"] == number
        ]

    annotations = [{**row, "id": i} for i, row in enumerate(repeat(truth["annotations"]), start=1)]
    images = [{"id": new, "width": 400, "height": 300, "file_name": f"{new}"} for new in drawn.values()]
    repeated = {**truth, "images": images, "annotations": annotations}
    difference = evaluate(repeated, repeat(b)).AP - evaluate(repeated, repeat(a)).AP
    assert found.low == found.high == pytest.approx(difference, abs=1e-9)


def test_interval__of_a_known_case() -> None:
    """A finds every box of every image; B finds none in half of the images: AP of B is the share of boxes it finds."""
    num = 40
    truth = _truth([1] * num)
    for box in truth["annotations"]:
        box |= {"category_id": 1, "iscrowd": 0}
    rows = [
        {"image_id": b["image_id"], "category_id": 1, "bbox": b["bbox"], "score": 0.9} for b in truth["annotations"]
    ]
    half = [row for row in rows if row["image_id"] % 2]
    found = compare(truth, [rows], [half], resamples=4000)[0]
    assert (found.a, found.b) == pytest.approx((1.0, 51 / 101), abs=1e-9)  # of 101 recalls, those up to 0.5
    spread = 1.96 * np.sqrt(0.25 / num)  # of a binomial share
    assert found.low == pytest.approx(-0.5 - spread, abs=0.03)
    assert found.high == pytest.approx(-0.5 + spread, abs=0.03)
    assert found.verdict == "A is better"


def test_interval__of_equal_predictions_is_zero() -> None:
    truth = _truth([3, 4, 5])
    rows = _predictions(truth, 3, 0.2)
    assert {(d.low, d.high, d.verdict) for d in compare(truth, [rows], [rows], resamples=50)} == {
        (0.0, 0.0, "undecided")
    }


def test_no_boxes__is_refused() -> None:
    with pytest.raises(DataError, match="no boxes"):
        compare(_truth([0, 0]), [[]], [[]])


def test_thousand_resamples__take_seconds() -> None:
    truth = _truth([9] * 60)
    rows = [_predictions(truth, noise, 0.2) for noise in (2, 4)]
    started = time.process_time()
    compare(truth, *([one] for one in rows), resamples=1000)
    assert time.process_time() - started < 20


def test_runs_of_a_side__are_averaged_draw_by_draw() -> None:
    truth = _truth([4, 2, 7, 3])
    one, two, other = (_predictions(truth, 4, 0.3, seed) for seed in (1, 2, 3))
    alone = [compare(truth, [other], [run], resamples=40) for run in (one, two)]
    both = compare(truth, [other], [one, two], resamples=40)
    for first, second, mean in zip(*alone, both, strict=True):
        assert mean.b == pytest.approx((first.b + second.b) / 2)
        assert mean.low < mean.b - mean.a < mean.high
    for single, repeated in zip(alone[0], compare(truth, [other] * 3, [one] * 2, resamples=40), strict=True):
        assert (repeated.low, repeated.high) == pytest.approx((single.low, single.high))
