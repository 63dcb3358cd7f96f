"""Compute what a detector does at one confidence: precision, recall, F1 and confusions, at an IoU of 0.5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask

from yolofuse.eval.coco import CocoJson
from yolofuse.eval.coco_backends import ClassMatches, match_by_class

Doubles = npt.NDArray[np.float64]
IOU = 0.5
_NUM_CONFIDENCES = 1001


@dataclass(frozen=True, slots=True)
class Point:
    """Precision, recall and F1 of one class at a confidence: detections with at least this score count."""

    confidence: float
    precision: float
    recall: float
    f1: float

    def as_json(self) -> dict[str, float]:
        """Return the figures by the names of a report."""
        return {"confidence": self.confidence, "precision": self.precision, "recall": self.recall, "F1": self.f1}


@dataclass(frozen=True, slots=True)
class OperatingPoints:
    """Where each class has its best F1, and all of them together.

    Attributes:
        best: By class name, at the confidence at which its F1 is best; a class without boxes has none.
        mean: Of these classes, at the confidence at which their mean F1 is best; None without any box.
        curves: Precision and recall of each class after each of its detections, best score first.
        confusion: How often a box of the column's class was found as the row's, at the confidence of ``mean``. The
            last row counts missed boxes, the last column false alarms. (classes + 1, classes + 1)
        names: Of rows and columns, without the last.
    """

    best: Mapping[str, Point]
    mean: Point | None
    curves: Mapping[str, tuple[Doubles, Doubles]]
    confusion: npt.NDArray[np.int64]
    names: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return points and confusions as plain JSON values."""
        return {
            "points": {name: point.as_json() for name, point in self.best.items()},
            "points_mean": self.mean and self.mean.as_json(),
            "confusion": {"classes": list(self.names), "rows": self.confusion.tolist()},
        }


def operating_points(ground_truth: CocoJson, predictions: Sequence[Mapping[str, Any]]) -> OperatingPoints:
    """Compute precision, recall and F1 over the confidence, and the confusions at the best one.

    Matches are cocoapi's at an IoU of 0.5: the best score chooses first, one detection for a box, detections in a
    region to ignore count neither way. For confusions the class is left out of the matching, and the largest overlap
    goes first.

    Raises:
        ValueError: If a prediction has a number that is not finite, or its image or class is not in the ground truth.
    """
    matches = match_by_class(ground_truth, predictions, only_iou50=True)
    confidences = np.linspace(0, 1, _NUM_CONFIDENCES)
    best: dict[str, Point] = {}
    curves: dict[str, tuple[Doubles, Doubles]] = {}
    sampled = []
    for name, found in matches.items():
        num_truth = found.num_truth.sum()
        if not num_truth:
            continue
        precision, recall = _curve(found)
        curves[name] = precision, recall
        best[name] = _best(found.scores, precision, recall)
        kept = np.searchsorted(-found.scores, -confidences, side="right")  # detections from each confidence on
        sampled.append(np.stack([np.append(1.0, precision)[kept], np.append(0.0, recall)[kept]]))
    mean: Point | None = None
    if sampled:
        precisions, recalls = np.stack(sampled, axis=1)  # each (classes, confidences)
        f1 = _f1(precisions, recalls).mean(axis=0)
        place = int(f1.argmax())
        mean = Point(
            *map(float, (confidences[place], precisions[:, place].mean(), recalls[:, place].mean(), f1[place]))
        )
    confusion = _confusion(ground_truth, predictions, mean.confidence if mean else 0.0)
    return OperatingPoints(best, mean, curves, confusion, tuple(matches))


def _curve(found: ClassMatches) -> tuple[Doubles, Doubles]:
    true, false = (flags[0].cumsum().astype(float) for flags in (found.is_true, found.is_false))
    return true / np.maximum(true + false, 1.0), true / found.num_truth.sum()


def _f1(precision: Doubles, recall: Doubles) -> Doubles:
    return 2 * precision * recall / np.maximum(precision + recall, 1e-12)


def _best(scores: Doubles, precision: Doubles, recall: Doubles) -> Point:
    """Return the point of the best F1; of equal scores all count or none."""
    is_last = np.append(scores[1:] != scores[:-1], True)[: len(scores)]
    f1 = np.where(is_last, _f1(precision, recall), -1.0)
    if not len(f1) or f1.max() <= 0:
        return Point(1.0, 0.0, 0.0, 0.0)
    place = int(f1.argmax())
    return Point(*(float(values[place]) for values in (scores, precision, recall, f1)))


def _confusion(
    ground_truth: CocoJson, predictions: Sequence[Mapping[str, Any]], confidence: float
) -> npt.NDArray[np.int64]:
    columns = {category["id"]: column for column, category in enumerate(_by_id(ground_truth))}
    counts = np.zeros((len(columns) + 1, len(columns) + 1), np.int64)
    truth: dict[int, list[Mapping[str, Any]]] = {image["id"]: [] for image in ground_truth["images"]}
    found: dict[int, list[Mapping[str, Any]]] = {image_id: [] for image_id in truth}
    for row in ground_truth["annotations"]:
        truth[row["image_id"]].append(row)
    for row in predictions:
        if row["score"] >= confidence:
            found[row["image_id"]].append(row)
    for image_id, boxes in truth.items():
        _count_image(counts, columns, boxes, found[image_id])
    return counts


def _count_image(
    counts: npt.NDArray[np.int64],
    columns: Mapping[int, int],
    boxes: Sequence[Mapping[str, Any]],
    found: Sequence[Mapping[str, Any]],
) -> None:
    """Add an image's confusions to ``counts``."""
    is_crowd = np.array([box["iscrowd"] for box in boxes], dtype=np.uint8)
    overlaps = np.zeros((len(found), len(boxes)))
    if boxes and found:
        overlaps = mask.iou([row["bbox"] for row in found], [box["bbox"] for box in boxes], is_crowd.tolist())
    ignored: npt.NDArray[np.bool_] = np.any(overlaps[:, is_crowd == 1] >= IOU, axis=1)
    single = np.where(is_crowd == 1, 0.0, overlaps)
    rest_found, rest_boxes = set(range(len(found))), set(np.flatnonzero(is_crowd == 0).tolist())
    rows, cols = np.nonzero(single >= IOU)
    for place in np.argsort(-single[rows, cols], kind="stable"):
        row, column = int(rows[place]), int(cols[place])
        if row in rest_found and column in rest_boxes:
            rest_found.remove(row)
            rest_boxes.remove(column)
            counts[columns[found[row]["category_id"]], columns[boxes[column]["category_id"]]] += 1
    for column in rest_boxes:
        counts[-1, columns[boxes[column]["category_id"]]] += 1
    for row in rest_found:
        if not ignored[row]:
            counts[columns[found[row]["category_id"]], -1] += 1


def _by_id(ground_truth: CocoJson) -> list[Mapping[str, Any]]:
    return sorted(ground_truth["categories"], key=lambda category: category["id"])
