"""COCO metrics: ids, values computed by hand, empty cases."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.coco_cases import evaluate
from yolofuse.eval.coco import METRICS, ground_truth, prediction_rows
from yolofuse.types import Detections, FloatArray, IntArray, Modality, PairFormat, PairRecord

NAMES = ("person", "car")
SIZE_HW = (200, 400)


def record(image_id: int, key: str, **tags: str) -> PairRecord:
    return PairRecord(
        image_id, key, Path("rgb") / f"{key}.png", Path("ir") / f"{key}.jpg", None, SIZE_HW, SIZE_HW, tags=tags
    )


@pytest.mark.parametrize(
    ("key", "rgb", "ir", "frame", "missing", "name"),
    [
        ("0001", "images/0001.jpg", "imagesIR/0001.png", "rgb", None, "0001.jpg"),
        ("0001", "images/0001.jpg", "imagesIR/0001.png", "ir", None, "0001.png"),
        ("night/a/0001", "images/a/0001.jpg", "imagesIR/a/0001.png", "ir", None, "night/a/0001.png"),
        ("0001", "images/0001.jpg", "imagesIR", "ir", "ir", "0001.jpg"),
        ("0001", "images", "imagesIR/0001.png", "rgb", "rgb", "0001.png"),
        ("visible/0001", "visible/0001.jpg", "thermal/7.tiff", "ir", None, "thermal/7.tiff"),  # a manifest's key
        ("visible/0001", "visible/0001.jpg", "thermal/7.tiff", "rgb", None, "visible/0001.jpg"),
        ("DJI_0001", "DJI_0001_RGB.JPG", "DJI_0001_T.tiff", "ir", None, "DJI_0001_T.tiff"),
        ("a.b", "x/a.b.jpg", "y/a.b.png", "ir", None, "a.b.png"),
    ],
)
def test_ground_truth__names_the_file_that_its_sizes_and_boxes_are_of(
    key: str, rgb: str, ir: str, frame: Modality, missing: Modality | None, name: str
) -> None:
    files, sizes = (Path("/d") / rgb, Path("/d") / ir), ((100, 200), (30, 40))
    pair = PairRecord(1, key, *files, None, *sizes, PairFormat(frame), missing=missing)
    (image,) = ground_truth([pair], lambda _: label(), NAMES)["images"]
    assert image["file_name"] == name
    assert (image["width"], image["height"]) == ((200, 100) if frame == "rgb" else (40, 30))


def label(*boxes: tuple[float, float, float, float, int]) -> tuple[FloatArray, IntArray]:
    """Normalised centre boxes and classes."""
    table = np.array(boxes, dtype=np.float32).reshape(-1, 5)
    return table[:, :4].copy(), table[:, 4].astype(np.int64)


RECORDS = [record(1, "a/0001", daynight="day"), record(2, "b/0001", daynight="night"), record(3, "b/0002")]
LABELS = [
    label((0.25, 0.5, 0.125, 0.5, 0), (0.75, 0.5, 0.25, 0.25, 1)),
    label((0.5, 0.5, 0.5, 0.5, 1)),
    label(),
]


def truth() -> dict[str, Any]:
    return ground_truth(RECORDS, LABELS.__getitem__, NAMES)


def perfect() -> list[dict[str, Any]]:
    """The ground truth as predictions, with scores that differ."""
    return [
        {"image_id": a["image_id"], "category_id": a["category_id"], "bbox": a["bbox"], "score": 0.9 - 0.1 * a["id"]}
        for a in truth()["annotations"]
    ]


def test_ground_truth__ids_names_and_pixels() -> None:
    coco = truth()
    assert [image["id"] for image in coco["images"]] == [1, 2, 3]
    # equal stems in two folders stay two images
    assert [image["file_name"] for image in coco["images"]] == ["a/0001.png", "b/0001.png", "b/0002.png"]
    assert (coco["images"][0]["width"], coco["images"][0]["height"]) == (400, 200)
    assert coco["categories"] == [{"id": 1, "name": "person"}, {"id": 2, "name": "car"}]
    assert [annotation["id"] for annotation in coco["annotations"]] == [1, 2, 3]
    first = coco["annotations"][0]
    assert (first["image_id"], first["category_id"], first["iscrowd"]) == (1, 1, 0)
    assert first["bbox"] == [75.0, 50.0, 50.0, 100.0]
    assert first["area"] == 5000.0


def test_ground_truth__ignore_regions_are_crowds_and_not_counted() -> None:
    def labels(_: int) -> tuple[FloatArray, IntArray]:
        return np.array([[0.5, 0.5, 0.2, 0.4]], dtype=np.float32), np.array([0])

    def ignored(position: int) -> tuple[FloatArray, IntArray]:
        regions = np.array([[0.25, 0.5, 0.5, 1.0]], dtype=np.float32)[: 1 - position]
        return regions, np.array([1])[: 1 - position]

    records = [record(7, "a"), record(9, "b")]
    truth = ground_truth(records, labels, NAMES, ignored)
    assert [(a["id"], a["image_id"], a["category_id"], a["iscrowd"]) for a in truth["annotations"]] == [
        (1, 7, 1, 0), (2, 7, 2, 1), (3, 9, 1, 0),
    ]  # fmt: skip
    assert truth["annotations"][1]["bbox"] == [0.0, 0.0, 200.0, 200.0]
    result = evaluate(truth, [])
    assert result.num_boxes == 2
    assert result.per_class["car"] == (-1.0, -1.0)  # only a crowd of it: nothing to be found
    assert ground_truth(records, labels, NAMES) == ground_truth(records, labels, NAMES, None)


def test_prediction_rows__floats_are_exact() -> None:
    boxes = np.array([[0.1, 0.2, 10.3, 20.7]], dtype=np.float32)
    found = Detections(4, boxes, np.array([0.3], dtype=np.float32), np.array([1]))
    (row,) = prediction_rows([found])
    assert row["score"] == float(np.float32(0.3))
    assert row["bbox"][2] == float(boxes[0, 2]) - float(boxes[0, 0])
    assert (row["image_id"], row["category_id"]) == (4, 2)
    assert all(type(number) is float for number in [*row["bbox"], row["score"]])


def test_evaluate__ground_truth_as_predictions_is_perfect() -> None:
    result = evaluate(truth(), perfect())
    assert pytest.approx((1.0, 1.0, 1.0, 1.0)) == (result.AP, result.AP50, result.AP75, result.AR100)
    # cocoapi adds an epsilon to each denominator
    assert all(figures == pytest.approx((1.0, 1.0)) for figures in result.per_class.values())
    assert list(result.per_class) == ["person", "car"]
    assert result.APs == -1.0  # no small box: nothing that could have been found
    assert (result.num_images, result.num_boxes) == (3, 3)


def test_evaluate__by_hand() -> None:
    coco = ground_truth([RECORDS[0]], lambda _: label((0.25, 0.5, 0.25, 0.5, 0), (0.75, 0.5, 0.25, 0.5, 0)), NAMES)
    predictions = [
        {"image_id": 1, "category_id": 1, "bbox": [50.0, 50.0, 100.0, 100.0], "score": 0.9},  # IoU 1 with the first
        {"image_id": 1, "category_id": 1, "bbox": [0.0, 0.0, 20.0, 20.0], "score": 0.8},  # false alarm
        {"image_id": 1, "category_id": 1, "bbox": [250.0, 50.0, 100.0, 62.0], "score": 0.7},  # IoU 0.62 with the second
    ]
    result = evaluate(coco, predictions)
    # Of 101 recall steps 51 (up to 0.50) have precision 1; the rest have 2/3 where the third counts: IoU 0.50 to 0.60.
    both, first = (51 + 50 * 2 / 3) / 101, 51 / 101
    close = partial(pytest.approx, abs=1e-9)
    assert close(both) == result.AP50
    assert close(first) == result.AP75
    assert close((3 * both + 7 * first) / 10) == result.AP
    assert close(0.5) == result.AR1
    assert result.per_class["person"] == (result.AP, result.AP50)
    assert result.per_class["car"] == (-1.0, -1.0)


def test_evaluate__changes_neither_argument_and_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    coco, predictions = truth(), perfect()
    before = copy.deepcopy((coco, predictions))
    evaluate(coco, predictions)
    assert (coco, predictions) == before
    assert capsys.readouterr().out == ""


def test_evaluate__no_predictions_is_zero() -> None:
    result = evaluate(truth(), [])
    assert (result.AP, result.AP50, result.AR100) == (0.0, 0.0, 0.0)
    assert result.per_class == {"person": (0.0, 0.0), "car": (0.0, 0.0)}


@pytest.mark.parametrize("with_predictions", [True, False])
def test_evaluate__no_boxes_stays_minus_one(with_predictions: bool) -> None:
    coco = ground_truth(RECORDS, lambda _: label(), NAMES)
    result = evaluate(coco, perfect() if with_predictions else [])
    assert set(result.metrics().values()) == {-1.0}
    assert list(result.metrics()) == list(METRICS)
    assert result.num_boxes == 0


def test_evaluate__no_images() -> None:
    result = evaluate(ground_truth([], LABELS.__getitem__, NAMES), [])
    assert result.AP == -1.0
    assert result.num_images == 0


def test_evaluate__a_false_alarm_on_a_background_image_costs() -> None:
    alarm = {"image_id": 3, "category_id": 1, "bbox": [0.0, 0.0, 50.0, 50.0], "score": 0.99}
    result = evaluate(truth(), [alarm, *perfect()])
    assert result.per_class["person"][0] == pytest.approx(0.5)
    assert result.per_class["car"][0] == pytest.approx(1.0)
