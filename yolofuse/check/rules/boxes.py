"""Check boxes: over the border, too small to be detected, two around one object."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from yolofuse.check.finding_images import draw_boxes
from yolofuse.check.findings import Finding, ReportImage, first_examples
from yolofuse.check.pair_stats import Split
from yolofuse.data.index.border import SLACK_PX, fit_as_corners, over_border
from yolofuse.errors import plural
from yolofuse.eval.limits import crowded_classes
from yolofuse.types import FloatArray, IntArray

_MIN_SIDE, _MIN_TRAIN_SIDE = 3.0, 2.0
_DUPLICATE_IOU = 0.9
_WHOLE = 0.98
_DRAWN = 2

BoolArray = npt.NDArray[np.bool_]


def check_boxes(split: Split, imgsz: int) -> list[Finding]:
    """Find boxes that are readable but wrong; ``imgsz`` is the longest side of an image in training, in pixels."""
    boxes, pair_of = flat_boxes(split)
    if not len(boxes):
        text, advice = "no pair has a box", "check the labels' folder"
        return [Finding("no-boxes", "error", split.name, text, advice, total=len(split.pairs))]
    sizes_wh = split.pairs.sizes_hw[pair_of][:, ::-1].astype(np.float64)
    sides = boxes[:, 2:] * sizes_wh
    over = over_border(boxes, split.pairs.sizes_hw[pair_of])
    shrink = np.minimum(imgsz / sizes_wh.max(axis=1), 1.0)
    shortest = sides.min(axis=1)
    tiny = (shortest < _MIN_SIDE) | (shortest * shrink < _MIN_TRAIN_SIDE)
    findings = [*_duplicate_boxes(split), *_crowded(split)]
    if over.any():
        text = f"reaching more than {SLACK_PX} px over the border; what lies outside is cut off"
        advice = "clip such boxes, and check that the labels belong to these images"
        if fit_as_corners(boxes):
            advice = "all boxes fit as corners: are the labels x1 y1 x2 y2? A line is 'class x y w h', x y the centre"
        findings.append(_finding(split, "box-over-border", boxes, pair_of, over, text, advice))
    whole = boxes[:, 2:].min(axis=1) >= _WHOLE
    if whole.any():
        text = "covering the whole image"
        advice = "look at such boxes: a label of the image is none of an object in it"
        findings.append(_finding(split, "whole-image", boxes, pair_of, whole, text, advice))
    if tiny.any():
        text = (
            f"with a side below {_MIN_SIDE:.0f} px, or below {_MIN_TRAIN_SIDE:.0f} px at imgsz {imgsz} (the smallest "
            f"has {(shortest * shrink)[tiny].min():.1f} px there), too small for a detector to learn"
        )
        findings.append(_finding(split, "tiny-box", boxes, pair_of, tiny, text, "raise imgsz, or remove such boxes"))
    return findings


def flat_boxes(split: Split) -> tuple[npt.NDArray[np.float64], IntArray]:
    """Return all true boxes (N, 4) as ``xywhn``, and the position (N,) of the pair that each belongs to."""
    scan = split.pairs.scan
    pair_of = np.repeat(np.arange(len(split.pairs)), np.diff(scan.offsets))
    kept = ~scan.crowd
    return scan.boxes_xywhn[kept].astype(np.float64), pair_of[kept].astype(np.int64)


def _finding(
    split: Split,
    kind: str,
    boxes: npt.NDArray[np.float64],
    pair_of: IntArray,
    wrong: BoolArray,
    text: str,
    advice: str,
) -> Finding:
    """Return a finding on the boxes that are ``wrong`` (N,); ``text`` is what follows "3 boxes"."""
    count = int(wrong.sum())
    text = f"{plural(count, 'box')} {text}"
    pairs, each = np.unique(pair_of[wrong], return_counts=True)
    order = np.argsort(-each, kind="stable")
    worst = list(zip(pairs[order].tolist(), each[order].tolist(), strict=True))
    keys = [f"{split.pairs.records[index].key} ({plural(number, 'box')})" for index, number in worst]
    images = tuple(_draw(split, index, boxes[wrong & (pair_of == index)]) for index, _ in worst[:_DRAWN])
    return Finding(kind, "warning", split.name, text, advice, count, len(boxes), first_examples(keys), images)


def _draw(split: Split, index: int, boxes: npt.NDArray[np.float64]) -> ReportImage:
    record = split.pairs.records[index]
    every, class_ids = split.pairs.labels(index)
    chosen = [int(np.abs(every - box).sum(axis=1).argmin()) for box in boxes]
    caption = plural(len(chosen), "box") + " affected"
    return draw_boxes(record, every[chosen], class_ids[chosen], split.pairs.names, caption)


def _duplicate_boxes(split: Split) -> list[Finding]:
    """Find boxes that occur twice, exactly or nearly, with the same class or with two."""
    same, other = [str(problem.where) for problem in split.warnings if problem.kind == "twin-box"], []
    num_boxes = np.diff(split.pairs.scan.offsets)
    for index in np.flatnonzero(num_boxes > 1).tolist():
        boxes, class_ids = split.pairs.labels(index)
        first, second = np.nonzero(np.triu(_pairwise_iou(boxes), 1) >= _DUPLICATE_IOU)
        agree = class_ids[first] == class_ids[second]
        key = split.pairs.records[index].key
        same += [key] * int(agree.sum())
        other += [key] * int((~agree).sum())
    twins = f"{plural(len(same), 'box')} occurring twice: the same class and an IoU of {_DUPLICATE_IOU} or more"
    both = f"{plural(len(other), 'object')} with boxes of two classes"
    found = (("twin-box", same, twins, "keep one of the two"), ("two-classes", other, both, "decide for one class"))
    return [
        Finding(kind, "warning", split.name, text, advice, len(keys), examples=first_examples([*dict.fromkeys(keys)]))
        for kind, keys, text, advice in found
        if keys
    ]


def _crowded(split: Split) -> list[Finding]:
    """Find classes with more objects in an image than cocoapi counts."""
    advice = "cut such images into tiles, or don't compare AP with that of other sets"
    return [Finding("crowded", "warning", split.name, text, advice) for text in crowded_classes(split.pairs)]


def _pairwise_iou(boxes_xywhn: FloatArray) -> npt.NDArray[np.float64]:
    """Return the IoU of each two boxes, (N, N)."""
    boxes = boxes_xywhn.astype(np.float64)
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    sides = np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None])
    shared = sides.clip(min=0).prod(axis=2)
    areas = boxes[:, 2:].prod(axis=1)
    return np.asarray(shared / (areas[:, None] + areas[None] - shared), np.float64)
