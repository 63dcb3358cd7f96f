"""Make random detections and labels, and compare COCO metrics with plain pycocotools."""

from __future__ import annotations

import contextlib
import copy
import io
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from yolofuse.config.schema import CocoBackend
from yolofuse.eval.coco import CocoMatches, CocoResult
from yolofuse.eval.coco_backends import make_scorer

Case = tuple[dict[str, Any], list[dict[str, Any]]]
BACKENDS: tuple[CocoBackend, ...] = ("pycocotools", "faster")
NAMES = ("person", "bicycle", "car", "dog", "bus", "train", "boat")
_SIDE = 200.0


def _plain_cocoapi(truth: dict[str, Any], rows: list[dict[str, Any]], image_ids: list[int] | None = None) -> COCOeval:
    """Run pycocotools as its own demo does: loadRes on every row, without any code of this package."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        scorer = COCOeval(coco, coco.loadRes(copy.deepcopy(rows)), "bbox")
        if image_ids is not None:
            scorer.params.imgIds = image_ids
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    return scorer


def evaluate(
    truth: dict[str, Any],
    rows: list[dict[str, Any]],
    image_ids: list[int] | None = None,
    *,
    backend: CocoBackend = "pycocotools",
) -> CocoResult:
    """Compute the metrics of a file cut down to these images. None: all."""
    if image_ids is not None:
        truth = truth | {
            "images": [image for image in truth["images"] if image["id"] in image_ids],
            "annotations": [a for a in truth["annotations"] if a["image_id"] in image_ids],
        }
        rows = [found for found in rows if found["image_id"] in image_ids]
    return CocoMatches(truth, rows, backend).result()


def assert_backends_agree(
    truth: dict[str, Any], rows: list[dict[str, Any]], image_ids: list[int] | None = None
) -> CocoResult:
    """Compare both backends with plain pycocotools: metrics, classes and whole curves, to the last digit or to 1e-9."""
    expected = _plain_cocoapi(truth, rows, image_ids)
    result, other = (CocoMatches(truth, rows, backend).result(image_ids) for backend in BACKENDS)
    scored = [image["id"] for image in truth["images"]] if image_ids is None else image_ids
    curves, curves_of_faster = (make_scorer(backend, truth, rows).curves(scored) for backend in BACKENDS)
    assert list(result.metrics().values()) == expected.stats.tolist()
    assert np.array_equal(curves.precision, expected.eval["precision"])
    assert np.array_equal(curves.recall, expected.eval["recall"])

    assert np.abs(curves_of_faster.precision - expected.eval["precision"]).max(initial=0) <= 1e-9
    assert np.abs(curves_of_faster.recall - expected.eval["recall"]).max(initial=0) <= 1e-9
    assert other.metrics() == pytest.approx(result.metrics(), rel=0, abs=1e-9)
    assert list(other.per_class) == list(result.per_class)
    for name, pair in result.per_class.items():
        assert other.per_class[name] == pytest.approx(pair, rel=0, abs=1e-9), name
    assert (other.num_images, other.num_boxes) == (result.num_images, result.num_boxes)
    return result


def dataset(image_ids: list[int], names: tuple[str, ...], boxes: list[dict[str, Any]]) -> dict[str, Any]:
    images = [{"id": i, "file_name": f"{i}.png", "width": int(_SIDE), "height": int(_SIDE)} for i in image_ids]
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    return {"images": images, "annotations": boxes, "categories": categories}


def annotation(number: int, image_id: int, class_id: int, bbox: list[float], iscrowd: int = 0) -> dict[str, Any]:
    area = bbox[2] * bbox[3]
    return {
        "id": number, "image_id": image_id, "category_id": class_id, "bbox": bbox, "area": area, "iscrowd": iscrowd,
    }  # fmt: skip


def row(image_id: int, class_id: int, bbox: list[float], score: float) -> dict[str, Any]:
    return {"image_id": image_id, "category_id": class_id, "bbox": bbox, "score": score}


def _random_box(rng: np.random.Generator) -> list[float]:
    """Draw a box, mostly ordinary, on whole pixels so that overlaps tie; some empty, tiny or huge."""
    kind = rng.random()
    if kind < 0.1:
        width, height = float(rng.integers(0, 2)) * 20, 0.0
    elif kind < 0.15:
        width, height = 1e5, 1.5e5
    elif kind < 0.2:
        width, height = 1e-4, 1e-4
    else:
        width, height = (float(side) for side in rng.integers(1, 150, 2))
    left, top = (float(edge) for edge in rng.integers(-20, int(_SIDE), 2))
    return [left, top, width, height]


def random_case(seed: int) -> Case:
    """Build a case with ties, crowds, images without labels or detections, absent and unknown classes, in no order."""
    rng = np.random.default_rng(seed)
    names = NAMES[: int(rng.integers(1, len(NAMES) + 1))]
    image_ids = rng.permutation(1000)[: int(rng.integers(1, 9))].tolist()
    numbers = (rng.permutation(500) + 1).tolist()
    boxes, rows = [], []
    present = int(rng.integers(1, len(names) + 1))  # classes above have no label
    for image_id in image_ids:
        own = []
        for _ in range(int(rng.choice([0, 1, 5, 12]))):
            own.append(
                annotation(
                    numbers.pop(),
                    image_id,
                    int(rng.integers(1, present + 1)),
                    _random_box(rng),
                    int(rng.random() < 0.2),
                )
            )
        boxes += own
        for _ in range(int(rng.choice([0, 3, 30, 260], p=[0.2, 0.3, 0.3, 0.2]))):
            label = own[int(rng.integers(len(own)))] if own and rng.random() < 0.6 else None
            bbox = _random_box(rng)
            if label is not None:
                bbox = [edge + float(shift) for edge, shift in zip(label["bbox"], rng.integers(-3, 4, 4), strict=True)]
                bbox[2:] = [max(side, 0.0) for side in bbox[2:]]
            class_id = label["category_id"] if label is not None else int(rng.integers(1, len(names) + 1))
            rows.append(row(image_id, class_id, bbox, round(float(rng.random()), int(rng.integers(1, 4)))))
    rng.shuffle(boxes)
    rng.shuffle(rows)
    return dataset(image_ids, names, boxes), rows or [row(image_ids[0], 1, [0.0, 0.0, 9.0, 9.0], 0.5)]
