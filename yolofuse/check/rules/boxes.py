"""Check boxes: over the border, too small to be detected, two around one object."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from yolofuse.check.finding_images import draw_boxes
from yolofuse.check.findings import Finding, ReportImage, first_examples, plural
from yolofuse.check.pair_stats import Split
from yolofuse.types import FloatArray, IntArray

_OVER_PX = 1.5
_MIN_SIDE, _MIN_TRAIN_SIDE = 3.0, 2.0
_DUPLICATE_IOU = 0.9
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
    edges = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, 1 - boxes[:, :2] - boxes[:, 2:] / 2], axis=1)
    over = (edges * np.tile(sizes_wh, 2)).min(axis=1) < -_OVER_PX
    shrink = np.minimum(imgsz / sizes_wh.max(axis=1), 1.0)
    shortest = sides.min(axis=1)
    tiny = (shortest < _MIN_SIDE) | (shortest * shrink < _MIN_TRAIN_SIDE)
    worst = min(float((shortest * shrink)[tiny].min()), 99.0) if tiny.any() else 0.0
    findings = [
        _finding(
            split, "box-over-border", boxes, pair_of, over, lambda count: (
                f"{plural(count, 'box')} reaching more than {_OVER_PX} px over the border; what lies outside is cut off"
            ), "clip them, and check that the labels belong to these images",
        ),
        _finding(
            split, "tiny-box", boxes, pair_of, tiny, lambda count: (
                f"{plural(count, 'box')} with a side below {_MIN_SIDE:.0f} px, or below {_MIN_TRAIN_SIDE:.0f} px at "
                f"imgsz {imgsz} (the smallest has {worst:.1f} px there); a detector cannot learn them"
            ), "raise imgsz, or remove them",
        ),
    ]  # fmt: skip
    return [*_duplicate_boxes(split), *(finding for finding in findings if finding is not None)]


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
    text: Callable[[int], str],
    advice: str,
) -> Finding | None:
    count = int(wrong.sum())
    if not count:
        return None
    pairs, each = np.unique(pair_of[wrong], return_counts=True)
    worst = pairs[np.argsort(-each, kind="stable")]
    numbers = np.sort(each)[::-1].tolist()
    keys = [
        f"{split.pairs.records[index].key} ({plural(number, 'box')})"
        for index, number in zip(worst.tolist(), numbers, strict=True)
    ]
    images = tuple(_draw(split, kind, int(index), boxes[wrong & (pair_of == index)]) for index in worst[:_DRAWN])
    return Finding(kind, "warning", split.name, text(count), advice, count, len(boxes), first_examples(keys), images)


def _draw(split: Split, kind: str, index: int, boxes: npt.NDArray[np.float64]) -> ReportImage:
    record = split.pairs.records[index]
    every, class_ids = split.pairs.labels(index)
    chosen = [int(np.abs(every - box).sum(axis=1).argmin()) for box in boxes]
    caption = plural(len(chosen), "box") + " affected"
    name = f"{kind}-{split.name}-{index}"
    return draw_boxes(name, record, every[chosen], class_ids[chosen], split.pairs.names, caption)


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
    findings = []
    if same:
        text = f"{plural(len(same), 'box')} occurring twice: the same class and an IoU of {_DUPLICATE_IOU} or more"
        advice, examples = "keep one of the two", _unique_examples(same)
        findings.append(Finding("twin-box", "warning", split.name, text, advice, len(same), examples=examples))
    if other:
        text = f"{plural(len(other), 'object')} with boxes of two classes"
        advice, examples = "decide for one class", _unique_examples(other)
        findings.append(Finding("two-classes", "warning", split.name, text, advice, len(other), examples=examples))
    return findings


def _unique_examples(keys: list[str]) -> tuple[str, ...]:
    return first_examples(list(dict.fromkeys(keys)))


def _pairwise_iou(boxes_xywhn: FloatArray) -> npt.NDArray[np.float64]:
    """Return the IoU of each two boxes, (N, N)."""
    boxes = boxes_xywhn.astype(np.float64)
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    sides = np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None])
    shared = sides.clip(min=0).prod(axis=2)
    areas = boxes[:, 2:].prod(axis=1)
    return np.asarray(shared / (areas[:, None] + areas[None] - shared), np.float64)
