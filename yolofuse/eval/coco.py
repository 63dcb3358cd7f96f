"""The one metric: cocoapi's AP and AR, computed from exactly what the JSON files hold."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from yolofuse.types import Detections, FloatArray, IntArray, PairRecord

CocoJson = dict[str, Any]
Labels = Callable[[int], tuple[FloatArray, IntArray]]

FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""Names of the twelve figures, in cocoapi's order."""

_AREA_ALL, _MAX_DETS_100, _IOU_50 = 0, -1, 0


@dataclass(frozen=True, slots=True)
class CocoResult:
    """cocoapi's twelve figures, 0..1; -1 where there is no box that could have been found.

    ``AP`` is the mean over IoU 0.50:0.05:0.95; s, m and l are boxes below 32 x 32, below 96 x 96 and above, in original
    pixels; ``AR1`` is the recall with one detection per image and class. ``per_class`` has (AP, AP50) by name.
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

    def figures(self) -> dict[str, float]:
        """The twelve by name."""
        return {name: getattr(self, name) for name in FIGURES}

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain JSON values."""
        return {**asdict(self), "per_class": {n: {"AP": ap, "AP50": ap50} for n, (ap, ap50) in self.per_class.items()}}


def ground_truth(records: Sequence[PairRecord], labels: Labels, names: Sequence[str]) -> CocoJson:
    """What there is to be found, as a COCO annotation file.

    Images keep the record's id, which is unique even where two folders share a stem. Categories count from 1,
    classes from 0.

    Args:
        records: The pairs of one split.
        labels: Gives boxes_xywhn (N, 4) and class_ids (N,) of the pair at a position of ``records``.
        names: Class names, by class id.
    """
    annotations: list[dict[str, Any]] = []
    for position, record in enumerate(records):
        boxes_xywhn, class_ids = labels(position)
        boxes = _xywhn_to_corner(boxes_xywhn, record.size_hw)
        for box, class_id in zip(boxes.tolist(), class_ids.tolist(), strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": record.image_id,
                    "category_id": class_id + 1,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    images = [
        {"id": r.image_id, "file_name": r.key + r.rgb.suffix, "width": r.size_hw[1], "height": r.size_hw[0]}
        for r in records
    ]
    categories = [{"id": class_id, "name": name} for class_id, name in enumerate(names, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def prediction_rows(detections: Iterable[Detections]) -> list[dict[str, Any]]:
    """What was found, as the rows of a COCO result file; each float32 becomes the same Python float."""
    rows: list[dict[str, Any]] = []
    for found in detections:
        boxes = found.boxes_xyxy.astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        for box, score, class_id in zip(boxes.tolist(), found.scores.tolist(), found.class_ids.tolist(), strict=True):
            rows.append({"image_id": found.image_id, "category_id": class_id + 1, "bbox": box, "score": score})
    return rows


def evaluate(
    ground_truth: CocoJson, predictions: Sequence[Mapping[str, Any]], image_ids: Sequence[int] | None = None
) -> CocoResult:
    """cocoapi's figures for these predictions; neither argument is changed.

    Args:
        ground_truth: As :func:`ground_truth` makes it.
        predictions: As :func:`prediction_rows` makes them.
        image_ids: Score these images only. None: all.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # cocoapi reports its progress by print
        truth = _index(ground_truth, ground_truth["annotations"])
        # loadRes, which computes areas, stumbles over an empty list.
        found = truth.loadRes([dict(row) for row in predictions]) if predictions else _index(ground_truth, [])
        scorer = COCOeval(truth, found, "bbox")
        if image_ids is not None:
            scorer.params.imgIds = sorted(image_ids)
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    scored = {int(image_id) for image_id in scorer.params.imgIds}
    names = {category["id"]: category["name"] for category in ground_truth["categories"]}
    # precision: (IoU thresholds, recall steps, classes, areas, detection limits)
    precision = scorer.eval["precision"][:, :, :, _AREA_ALL, _MAX_DETS_100]
    per_class = {
        names[category_id]: (_mean(precision[:, :, column]), _mean(precision[_IOU_50, :, column]))
        for column, category_id in enumerate(scorer.params.catIds)
    }
    return CocoResult(
        **dict(zip(FIGURES, scorer.stats.tolist(), strict=True)),
        per_class=per_class,
        num_images=len(scored),
        num_boxes=sum(annotation["image_id"] in scored for annotation in ground_truth["annotations"]),
    )


def _xywhn_to_corner(boxes_xywhn: FloatArray, size_hw: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Normalised centre boxes (N, 4), clipped to the image, to left, top, width, height in pixels (N, 4)."""
    height, width = size_hw
    centres, halves = np.split(boxes_xywhn.astype(np.float64).reshape(-1, 4), [2], axis=1)
    halves = halves / 2
    low, high = (centres - halves).clip(0, 1), (centres + halves).clip(0, 1)
    boxes = np.concatenate([low, high - low], axis=1)
    return boxes * np.array([width, height, width, height], dtype=np.float64)


def _index(ground_truth: CocoJson, annotations: Sequence[Mapping[str, Any]]) -> COCO:
    """A cocoapi data set in memory; rows are copied, for cocoapi writes into them."""
    coco = COCO()
    coco.dataset = {**ground_truth, "annotations": [dict(annotation) for annotation in annotations]}
    coco.createIndex()
    return coco


def _mean(precision: npt.NDArray[np.float64]) -> float:
    """Mean of what is defined, -1 where nothing is; the same operations as in cocoapi's summary."""
    defined = precision[precision > -1]
    return float(np.mean(defined)) if defined.size else -1.0
