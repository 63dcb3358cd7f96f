"""Match boxes and compute precision and recall with pycocotools, or with faster-coco-eval, its C++ equivalent.

Both get the same rows, trimmed to the fields they need: a stray ``ignore``, ``is_crowd`` or ``lvis_mark`` would change
the metrics of either, each in its own way.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import importlib.util
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from yolofuse.config.schema import CocoBackend
from yolofuse.errors import ConfigError
from yolofuse.eval.limits import MAX_COUNTED
from yolofuse.extras import install_line

Row = Mapping[str, Any]

_PACKAGES: Mapping[CocoBackend, str] = {"pycocotools": "pycocotools", "faster": "faster-coco-eval"}


@dataclass(frozen=True, slots=True)
class Curves:
    """What cocoapi accumulates; -1 where there is no box to find.

    Shapes:
        precision: (10 IoU thresholds, 101 recall steps, classes, 4 areas, 3 detection limits)
        recall: (10, classes, 4, 3)
        stats: (12,), in cocoapi's order
    """

    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    stats: npt.NDArray[np.float64]


class Scorer(Protocol):
    """Computes the curves of any subset of the images."""

    def curves(self, image_ids: Collection[int]) -> Curves:
        """Return precision and recall over these images."""
        ...


def require_backend(backend: CocoBackend) -> None:
    """Check, before any work is done, that the backend's package is installed.

    Raises:
        ConfigError: If it is missing.
    """
    if backend == "faster" and importlib.util.find_spec("faster_coco_eval") is None:
        raise ConfigError(
            "val.backend: 'faster' needs the package faster-coco-eval, which is not installed; "
            f"{install_line('fast-coco')}, or set val.backend=pycocotools for the same metrics"
        )


def backend_version(backend: CocoBackend) -> str:
    """Return package and version that compute the metrics, for reports: ``pycocotools 2.0.11``."""
    package = _PACKAGES[backend]
    return f"{package} {metadata.version(package)}"


@contextlib.contextmanager
def gc_paused() -> Iterator[None]:
    """Pause the garbage collector's cycle detection while many rows are built.

    Rows hold no cycles, and scanning a million of them repeatedly would take most of the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@gc_paused()
def make_scorer(backend: CocoBackend, ground_truth: Mapping[str, Any], predictions: Sequence[Row]) -> Scorer:
    """Create a scorer of the rows of a COCO result file; changes no argument.

    Raises:
        ConfigError: If the backend's package is missing.
        ValueError: If a prediction has a number that is not finite, or its image or class is not in the ground truth.
    """
    require_backend(backend)
    return (_FasterScorer if backend == "faster" else _PycocotoolsScorer)(*_prepared(ground_truth, predictions))


def _prepared(ground_truth: Mapping[str, Any], predictions: Sequence[Row]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return labels and predictions as both backends take them."""
    truth = {
        **ground_truth,
        "annotations": [
            {name: row[name] for name in ("id", "image_id", "category_id", "bbox", "area", "iscrowd")}
            for row in ground_truth["annotations"]
        ],
    }
    return truth, {**ground_truth, "annotations": _result_annotations(truth, predictions)}


class _PycocotoolsScorer:
    """Scorer by pycocotools: matches all images once; each call accumulates a subset."""

    def __init__(self, truth: dict[str, Any], found: dict[str, Any], *, only_iou50: bool = False) -> None:
        with _silence():
            self._scorer = COCOeval(_index(truth), _index(found), "bbox")
            if only_iou50:
                self._scorer.params.iouThrs = self._scorer.params.iouThrs[:1]
                self._scorer.params.areaRng = self._scorer.params.areaRng[:1]
            self._scorer.evaluate()
        self._params = copy.copy(self._scorer.params)

    def matches_of(self, category_id: int) -> ClassMatches:
        """Return the matches of one class."""
        params = self._params
        column = params.catIds.index(category_id)
        num_images = len(params.imgIds)
        start = column * len(params.areaRng) * num_images  # the first range of areas is that of all sizes
        images = self._scorer.evalImgs[start : start + num_images]
        num_truth = np.zeros(num_images)
        scores, positions, matched, ignored = [np.zeros(0)], [np.zeros(0, np.int64)], [], []
        for position, image in enumerate(images):
            if image is None:
                continue
            num_truth[position] = np.count_nonzero(np.asarray(image["gtIgnore"]) == 0)
            scores.append(np.asarray(image["dtScores"], np.float64))
            positions.append(np.full(len(scores[-1]), position))
            matched.append(np.asarray(image["dtMatches"]) != 0)
            ignored.append(np.asarray(image["dtIgnore"]) != 0)
        order = np.argsort(-np.concatenate(scores), kind="mergesort")
        empty = np.zeros((len(params.iouThrs), 0), bool)
        is_match = np.concatenate([empty, *matched], axis=1)[:, order]
        counts = ~np.concatenate([empty, *ignored], axis=1)[:, order]
        return ClassMatches(
            np.concatenate(positions)[order],
            np.concatenate(scores)[order],
            is_match & counts,
            ~is_match & counts,
            num_truth,
        )

    def curves(self, image_ids: Collection[int]) -> Curves:
        selected = set(image_ids)
        params = copy.copy(self._params)
        # accumulate uses the matches at the positions whose id was matched: a None leaves that image out.
        params.imgIds = [image_id if image_id in selected else None for image_id in self._params.imgIds]
        with _silence():
            self._scorer.accumulate(params)
            self._scorer.summarize()
        result = self._scorer.eval
        return Curves(result["precision"], result["recall"], self._scorer.stats)


@dataclass(frozen=True, slots=True)
class ClassMatches:
    """Detections of one class over all images, best first, and what cocoapi matched them with.

    Shapes:
        image, scores: (D,), position of the detection's image and its score; is_true, is_false: (IoU thresholds, D),
        both false where a detection is ignored; num_truth: (images,)
    """

    image: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    is_true: npt.NDArray[np.bool_]
    is_false: npt.NDArray[np.bool_]
    num_truth: npt.NDArray[np.float64]


def match_by_class(
    ground_truth: Mapping[str, Any], predictions: Sequence[Row], *, only_iou50: bool = False
) -> dict[str, ClassMatches]:
    """Match predictions with pycocotools, for boxes of all sizes; return the matches of each class by its name.

    Args:
        ground_truth: COCO JSON of the labels.
        predictions: Rows of a COCO result file.
        only_iou50: Match at an IoU of 0.5 alone instead of at cocoapi's ten thresholds.

    Raises:
        ValueError: If a prediction has a number that is not finite, or its image or class is not in the ground truth.
    """
    scorer = _PycocotoolsScorer(*_prepared(ground_truth, predictions), only_iou50=only_iou50)
    names = {category["id"]: category["name"] for category in ground_truth["categories"]}
    return {names[category_id]: scorer.matches_of(category_id) for category_id in sorted(names)}


class _FasterScorer:
    """Scorer by faster-coco-eval: matches again in each call, which is faster than passing matches to Python."""

    def __init__(self, truth: dict[str, Any], found: dict[str, Any]) -> None:
        import faster_coco_eval  # optional, and cv2 comes with it

        self._make = faster_coco_eval.COCOeval_faster
        self._truth = faster_coco_eval.COCO(truth, print_function=_discard)
        self._found = faster_coco_eval.COCO(found, print_function=_discard)

    @gc_paused()
    def curves(self, image_ids: Collection[int]) -> Curves:
        scorer = self._make(self._truth, self._found, "bbox", print_function=_discard)
        scorer.params.imgIds = sorted(image_ids)
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
        return Curves(scorer.eval["precision"], scorer.eval["recall"], scorer.stats)


def _result_annotations(truth: Mapping[str, Any], predictions: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows that can count, as loadRes builds them, but without the outlines that only masks need."""
    check_ids(truth, predictions)
    num_rows = len(predictions)
    image_ids = np.fromiter((row["image_id"] for row in predictions), np.int64, num_rows)
    category_ids = np.fromiter((row["category_id"] for row in predictions), np.int64, num_rows)
    scores = np.fromiter((row["score"] for row in predictions), np.float64, num_rows)
    boxes = np.array([row["bbox"] for row in predictions], dtype=np.float64).reshape(-1, 4)
    _check_rows(image_ids, scores, boxes)
    kept = _best_positions(image_ids, category_ids, scores)
    areas = (boxes[kept, 2] * boxes[kept, 3]).tolist()
    return [
        {
            "id": number,
            "image_id": row["image_id"],
            "category_id": row["category_id"],
            "bbox": row["bbox"],
            "score": row["score"],
            "area": area,
        }
        for number, (row, area) in enumerate(zip((predictions[i] for i in kept.tolist()), areas, strict=True), start=1)
    ]


def check_ids(truth: Mapping[str, Any], predictions: Sequence[Row]) -> None:
    """Check that images and classes of the predictions are those of the labels; others would count for nothing.

    Raises:
        ValueError: If not.
    """
    for field, what in (("image_id", "images"), ("category_id", "categories")):
        known = {record["id"] for record in truth[what]}
        unknown = dict.fromkeys(row[field] for row in predictions if row[field] not in known)
        if unknown:
            raise ValueError(
                f"predictions for {len(unknown)} {what} that the ground truth does not have: "
                f"{', '.join(map(repr, [*unknown][:5]))}; are both of one split, with ids of one type?"
            )


def _check_rows(
    image_ids: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float64],
    boxes: npt.NDArray[np.float64],
) -> None:
    """Refuse rows that pycocotools and faster-coco-eval would evaluate differently, or accept silently."""
    broken = np.flatnonzero(~(np.isfinite(scores) & np.isfinite(boxes).all(axis=1)))
    if broken.size:
        first = int(broken[0])
        raise ValueError(
            f"{broken.size} of {len(scores)} predictions have a score or box that is not finite; the first is row "
            f"{first} (image {image_ids[first]}, score {scores[first]}, bbox {boxes[first].tolist()})"
        )


def _best_positions(
    image_ids: npt.NDArray[np.int64], category_ids: npt.NDArray[np.int64], scores: npt.NDArray[np.float64]
) -> npt.NDArray[np.intp]:
    """Return the positions of the best hundred rows of each image and class, ascending; of equal scores the first wins.

    cocoapi makes the same choice later; made here, it saves the index of two million rows when max_det is 300.
    """
    order = np.lexsort((-scores, category_ids, image_ids))
    groups = np.stack((image_ids[order], category_ids[order]))
    is_start = np.ones(len(order), dtype=bool)
    is_start[1:] = (groups[:, 1:] != groups[:, :-1]).any(axis=0)
    starts = np.flatnonzero(is_start)
    ranks = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    return np.sort(order[ranks < MAX_COUNTED])


def _index(dataset: dict[str, Any]) -> COCO:
    coco = COCO()
    coco.dataset = dataset
    coco.createIndex()
    return coco


def _silence() -> contextlib.redirect_stdout[io.StringIO]:
    """Suppress what pycocotools prints about its progress."""
    return contextlib.redirect_stdout(io.StringIO())


def _discard(*_message: object) -> None:
    """Drop the log lines of faster-coco-eval."""
