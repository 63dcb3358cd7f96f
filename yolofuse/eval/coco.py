"""Compute COCO metrics: AP and AR by cocoapi, from exactly what the JSON files of a report hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from yolofuse.config.schema import CocoBackend
from yolofuse.eval.coco_backends import gc_paused, make_scorer
from yolofuse.types import Detections, FloatArray, IntArray, PairRecord

CocoJson = dict[str, Any]
Labels = Callable[[int], tuple[FloatArray, IntArray]]

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""Names of the twelve metrics, in cocoapi's order."""

_AREA_ALL, _MAX_DETS_100, _IOU_50 = 0, -1, 0


@dataclass(frozen=True, slots=True)
class CocoResult:
    """The twelve metrics of cocoapi, 0..1; -1 where there is no box to find.

    ``AP`` is the mean over IoU 0.50:0.05:0.95; s, m and l are boxes below 32 x 32, below 96 x 96 and above, in original
    pixels; ``AR1`` is the recall with one detection per image and class. ``per_class`` has (AP, AP50) by name;
    ``num_boxes`` counts the true boxes, without ignore regions.
    """

    AP: float
    AP50: float
    AP75: float
    APs: float
    APm: float
    APl: float
    AR1: float
    AR10: float
    AR100: float
    ARs: float
    ARm: float
    ARl: float
    per_class: Mapping[str, tuple[float, float]]
    num_images: int
    num_boxes: int

    def metrics(self) -> dict[str, float]:
        """Return the twelve metrics by name."""
        return {name: getattr(self, name) for name in METRICS}

    def scores(self) -> dict[str, float | None]:
        """Return the twelve metrics by name, None where one is undefined: that is no score."""
        return {name: None if value < 0 else value for name, value in self.metrics().items()}

    def as_json(self) -> dict[str, Any]:
        """Return all fields as plain JSON values."""
        return {**asdict(self), "per_class": {n: {"AP": ap, "AP50": ap50} for n, (ap, ap50) in self.per_class.items()}}


def ground_truth(
    records: Sequence[PairRecord], labels: Labels, names: Sequence[str], ignored: Labels | None = None
) -> CocoJson:
    """Build the COCO annotation file of a split.

    Images keep the record's id, which is unique even where two folders share a stem. Category ids start at 1, class
    ids at 0.

    Args:
        records: The pairs of one split.
        labels: Returns boxes_xywhn (N, 4) and class_ids (N,) of the pair at a position of ``records``.
        names: Class names, by class id.
        ignored: Returns ignore regions in the same form: a detection of their class inside counts neither as true nor
            as false positive, such as in a crowd of people that nobody counted (``iscrowd: 1``).
    """
    annotations: list[dict[str, Any]] = []
    for position, record in enumerate(records):
        for iscrowd, source in ((0, labels), (1, ignored)):
            if source is None:
                continue
            boxes_xywhn, class_ids = source(position)
            boxes = _xywhn_to_corner(boxes_xywhn, record.size_hw)
            for box, class_id in zip(boxes.tolist(), class_ids.tolist(), strict=True):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": record.image_id,
                        "category_id": class_id + 1,
                        "bbox": box,
                        "area": box[2] * box[3],
                        "iscrowd": iscrowd,
                    }
                )
    images = [
        {
            "id": r.image_id,
            "file_name": r.frame_name,
            "width": r.size_hw[1],
            "height": r.size_hw[0],
        }
        for r in records
    ]
    categories = [{"id": class_id, "name": name} for class_id, name in enumerate(names, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


@gc_paused()
def prediction_rows(detections: Iterable[Detections]) -> list[dict[str, Any]]:
    """Build the rows of a COCO result file; each float32 becomes the same Python float."""
    rows: list[dict[str, Any]] = []
    for found in detections:
        boxes = found.boxes_xyxy.astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        for box, score, class_id in zip(boxes.tolist(), found.scores.tolist(), found.class_ids.tolist(), strict=True):
            rows.append({"image_id": found.image_id, "category_id": class_id + 1, "bbox": box, "score": score})
    return rows


class CocoMatches:
    """Match predictions to the ground truth once, then compute metrics on all images or on subsets of them.

    With pycocotools a subset costs only its curves, and its metrics equal those of an evaluation of the subset alone,
    to the last digit.

    Args:
        ground_truth: As :func:`ground_truth` builds it; not changed.
        predictions: As :func:`prediction_rows` builds them; not changed.
        backend: Library that computes; see ``val.backend``.

    Raises:
        ConfigError: If the backend's package is missing.
        ValueError: If a prediction has a number that is not finite, or its image or class is not in the ground truth.
    """

    def __init__(
        self,
        ground_truth: CocoJson,
        predictions: Sequence[Mapping[str, Any]],
        backend: CocoBackend = "pycocotools",
    ) -> None:
        self._image_ids = frozenset(image["id"] for image in ground_truth["images"])
        self._truth = ground_truth
        self._scorer = make_scorer(backend, ground_truth, predictions)

    def result(self, image_ids: Iterable[int] | None = None) -> CocoResult:
        """Return the metrics of these images. None: all.

        Raises:
            ValueError: If an image is not in the ground truth.
        """
        scored = self._image_ids if image_ids is None else frozenset(image_ids)
        if unknown := sorted(scored - self._image_ids):
            raise ValueError(f"cannot score {len(unknown)} images that were not matched: {unknown[:5]}")
        curves = self._scorer.curves(scored)
        precision = curves.precision[:, :, :, _AREA_ALL, _MAX_DETS_100]
        names = {category["id"]: category["name"] for category in self._truth["categories"]}
        per_class = {
            names[category_id]: (_mean(precision[:, :, column]), _mean(precision[_IOU_50, :, column]))
            for column, category_id in enumerate(sorted(names))
        }
        return CocoResult(
            **dict(zip(METRICS, curves.stats.tolist(), strict=True)),
            per_class=per_class,
            num_images=len(scored),
            num_boxes=sum(a["image_id"] in scored and not a["iscrowd"] for a in self._truth["annotations"]),
        )


def _xywhn_to_corner(boxes_xywhn: FloatArray, size_hw: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Convert normalised centre boxes (N, 4), clipped to the image, to left, top, width, height in pixels (N, 4)."""
    height, width = size_hw
    centres, halves = np.split(boxes_xywhn.astype(np.float64).reshape(-1, 4), [2], axis=1)
    halves = halves / 2
    low, high = (centres - halves).clip(0, 1), (centres + halves).clip(0, 1)
    boxes = np.concatenate([low, high - low], axis=1)
    return boxes * np.array([width, height, width, height], dtype=np.float64)


def _mean(precision: npt.NDArray[np.float64]) -> float:
    """Return the mean of all defined values, -1 if there is none; the same operations as in cocoapi's summary."""
    defined = precision[precision > -1]
    return float(np.mean(defined)) if defined.size else -1.0
