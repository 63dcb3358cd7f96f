"""Tell whether one evaluation is better than another: a paired bootstrap over the images of a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from yolofuse.errors import DataError
from yolofuse.eval.coco_backends import ClassMatches, check_ids, match_by_class

_RECALLS = np.linspace(0.0, 1.0, 101)
_TINY = np.spacing(1)  # as in cocoapi, so that no detection gives a precision of 0
_CHUNK = 100  # resamples that are computed at once
_CONFIDENCE = (2.5, 97.5)  # percentiles of the interval

Doubles = npt.NDArray[np.float64]
Predictions = Sequence[Mapping[str, Any]]
"""Rows of a COCO result file."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of two evaluations, A and B, and the 95 % interval of B - A.

    Attributes:
        name: ``AP``, ``AP50``, or these of a class: ``car AP50``.
        a: The metric of A on the whole split; the mean over its runs.
        b: The metric of B, likewise.
        low: Lower end of the interval.
        high: Upper end of the interval.
        num_images: Images with a box of these classes: with few of them the interval is too narrow.
        num_boxes: Boxes of these classes.
    """

    name: str
    a: float
    b: float
    low: float
    high: float
    num_images: int
    num_boxes: int

    @property
    def verdict(self) -> str:
        """Say which is better, if the interval leaves out zero."""
        if self.low > 0:
            return "B is better"
        return "A is better" if self.high < 0 else "undecided"


def compare(
    ground_truth: Mapping[str, Any],
    a: Sequence[Predictions],
    b: Sequence[Predictions],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> list[Difference]:
    """Compare two detectors, each by the predictions of one or more runs for the same images.

    Images are drawn with replacement, the same ones for all runs, and the metrics of a side's runs are averaged: the
    interval tells what other images would change, not other seeds. Metrics are cocoapi's, of all sizes and at most 100
    detections per image and class. A class without a box in a resample is left out of that resample's mean.

    Args:
        ground_truth: COCO JSON of the labels.
        a: The runs of A, such as one per seed.
        b: The runs of B.
        resamples: Number of draws of as many images as there are.
        seed: Of the draws.

    Raises:
        DataError: If there is no box in the ground truth.
    """
    sides = [[match_by_class(ground_truth, rows) for rows in side] for side in (a, b)]
    names = [name for name, matches in sides[0][0].items() if matches.num_truth.sum()]
    if not names:
        raise DataError("the ground truth has no boxes, so there is nothing to compare")
    num_images = len(sides[0][0][names[0]].num_truth)
    whole = np.ones((1, num_images))
    points = [_mean_metrics(side, names, whole) for side in sides]  # (2, metrics, 1)
    rng = np.random.default_rng(seed)
    draws = []
    for first in range(0, resamples, _CHUNK):
        count = min(_CHUNK, resamples - first)
        weights = rng.multinomial(num_images, np.full(num_images, 1 / num_images), size=count).astype(np.float64)
        before, after = (_mean_metrics(side, names, weights) for side in sides)
        draws.append(after - before)
    spread = np.concatenate(draws, axis=1)  # (metrics, resamples)
    by_class = {name: sides[0][0][name].num_truth for name in names}  # boxes in each image
    boxes = {"": np.sum([*by_class.values()], axis=0)} | {f"{name} ": counts for name, counts in by_class.items()}
    labels = [(prefix, metric) for prefix in boxes for metric in ("AP", "AP50")]
    return [
        Difference(
            prefix + metric,
            float(points[0][i, 0]),
            float(points[1][i, 0]),
            *_interval(spread[i]),
            num_images=int(np.count_nonzero(boxes[prefix])),
            num_boxes=int(boxes[prefix].sum()),
        )
        for i, (prefix, metric) in enumerate(labels)
    ]


def shared_classes(
    a: tuple[Mapping[str, Any], Predictions], b: tuple[Mapping[str, Any], Predictions]
) -> tuple[Mapping[str, Any], Predictions, Predictions]:
    """Return labels and both predictions of the classes that two evaluations have in common, numbered as in A.

    Args:
        a: COCO JSON of the labels, and rows of a result file.
        b: The same of the other evaluation.

    Raises:
        DataError: If the images, their labels of a class, or all classes differ.
        ValueError: If the image or class of a prediction is not among its labels.
    """
    (truth, rows), (truth_b, rows_b) = a, b
    if truth == truth_b:
        return truth, rows, rows_b
    files, files_b = (
        [(image["id"], image["file_name"]) for image in side.get("images", ())] for side in (truth, truth_b)
    )
    if files != files_b:
        raise DataError(f"not the same pairs ({len(files)} and {len(files_b)} images); evaluate both on one split")
    number, number_b = ({c["name"]: c["id"] for c in side.get("categories", ())} for side in (truth, truth_b))
    shared = [name for name in number if name in number_b]
    if not shared:
        raise DataError(f"no class in common ({', '.join(number)} and {', '.join(number_b)})")
    for name in shared:
        if _boxes_of(truth, number[name]) != _boxes_of(truth_b, number_b[name]):
            raise DataError(f"not the same labels of {name}; evaluate both on one split")
    for side in (a, b):
        check_ids(*side)
    ours = {number_b[name]: number[name] for name in shared}
    kept = {number[name] for name in shared}
    categories = [c for c in truth["categories"] if c["id"] in kept]
    annotations = [row for row in truth["annotations"] if row["category_id"] in kept]
    return (
        {**truth, "categories": categories, "annotations": annotations},
        [row for row in rows if row["category_id"] in kept],
        [{**row, "category_id": ours[row["category_id"]]} for row in rows_b if row["category_id"] in ours],
    )


def _boxes_of(truth: Mapping[str, Any], category_id: int) -> list[tuple[Any, ...]]:
    rows = (row for row in truth["annotations"] if row["category_id"] == category_id)
    return sorted((row["image_id"], *row["bbox"], row["iscrowd"]) for row in rows)


def _interval(differences: Doubles) -> tuple[float, float]:
    low, high = np.percentile(differences[np.isfinite(differences)], _CONFIDENCE)
    return float(low), float(high)


def _mean_metrics(runs: Sequence[Mapping[str, ClassMatches]], names: Sequence[str], weights: Doubles) -> Doubles:
    mean: Doubles = np.stack([_metrics(run, names, weights) for run in runs]).mean(axis=0)
    return mean


def _metrics(side: Mapping[str, ClassMatches], names: Sequence[str], weights: Doubles) -> Doubles:
    """Return AP and AP50 of all classes and of each, for each row of weights of the images.

    Shapes:
        weights: (R, images) -> (2 + 2 * classes, R)
    """
    by_class = np.stack([_precision(side[name], weights) for name in names])  # (classes, thresholds, R)
    rows = [np.nanmean(by_class, axis=(0, 1)), np.nanmean(by_class[:, 0], axis=0)]
    for values in by_class:
        rows += [values.mean(axis=0), values[0]]
    return np.stack(rows)


def _precision(matches: ClassMatches, weights: Doubles) -> Doubles:
    """Return the mean precision over 101 recalls of one class; NaN where its resample has no box.

    Shapes:
        weights: (R, images) -> (thresholds, R)
    """
    num_truth = weights @ matches.num_truth  # (R,)
    of_detection = weights[:, matches.image]  # (R, detections)
    result = np.full((len(matches.is_true), len(weights)), np.nan)
    for threshold, (is_true, is_false) in enumerate(zip(matches.is_true, matches.is_false, strict=True)):
        hits, misses = (np.cumsum(of_detection * flags, axis=1) for flags in (is_true, is_false))
        precision = hits / (hits + misses + _TINY)
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        for row in np.flatnonzero(num_truth):
            at = np.searchsorted(hits[row] / num_truth[row], _RECALLS, side="left")
            found = at[at < hits.shape[1]]
            result[threshold, row] = precision[row, found].sum() / len(_RECALLS)
    return result
