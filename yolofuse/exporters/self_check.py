"""Compare an exported detector with the one of torch that it was made from."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchvision.ops import box_iou

from yolofuse.backends import Backend, NmsLimits
from yolofuse.backends.metadata import Precision
from yolofuse.batch import PairedBatch
from yolofuse.data import collate
from yolofuse.data.dataset import read_letterboxed, rect_hw
from yolofuse.distributed.ranks import Ranks
from yolofuse.engine.dataloaders import load_split, windows_in
from yolofuse.engine.loaded_detector import LoadedDetector
from yolofuse.errors import WeightsError, YolofuseError, plural
from yolofuse.eval.postprocess import decode_candidates
from yolofuse.model import Detector
from yolofuse.model.heads import hide_kept_classes
from yolofuse.spacing import evenly_spaced

log = logging.getLogger("yolofuse")

MIN_SCORE = 0.05
"""Boxes from this score on are compared; where there are none, the best ones."""
_NUM_PAIRS = 4
_NUM_BEST = 20
_NUM_CALIBRATION = 128
_IOU_ROUNDING = 0.01
"""An overlap this near to the limit of NMS may be on either side of it."""


@dataclass(frozen=True)
class Tolerance:
    """Largest differences between an export and torch that are accepted.

    Attributes:
        px: Of a box's corner, in pixels of the input.
        score: Of a score.
        lost: Share of the boxes that have no partner.
    """

    px: float
    score: float
    lost: float


TOLERANCES: Mapping[Precision, Tolerance] = {
    "fp32": Tolerance(0.5, 0.01, 0.0),  # rounding; a wrong export is wrong by far more
    "fp16": Tolerance(2.0, 0.05, 0.05),
    "bf16": Tolerance(16.0, 0.15, 0.10),
    "int8": Tolerance(128.0, 0.5, 0.25),
}


@dataclass(frozen=True)
class Difference:
    """Largest differences of an export from torch.

    Attributes:
        px: Between corners of a box, in pixels of the input.
        score: Between scores.
        boxes: Number of boxes that were compared.
        lost: Number of boxes that the export lacks.
        pairs: Name of the pairs.
    """

    px: float
    score: float
    boxes: int
    lost: int
    pairs: str

    def __str__(self) -> str:
        lost = f", {self.lost} without a partner" if self.lost else ""
        boxes = plural(self.boxes, "box", f"of {self.pairs}")
        return f"largest difference from torch {self.px:.2g} px, {self.score:.2g} in score ({boxes}{lost})"


def check_export(loaded: LoadedDetector, backend: Backend) -> Difference:
    """Compare an export with the detector that it was made from, on pairs of several sizes.

    Raises:
        WeightsError: If it differs by more than its precision explains.
    """
    name, batches = _find_pairs(loaded)
    if backend.metadata.size_hw is not None:
        batches = [_fitted(batch, backend.metadata.size_hw) for batch in batches]
    parts = [compare_batch(loaded.model, backend, batch) for batch in batches]
    found = Difference(
        px=max(part.px for part in parts),
        score=max(part.score for part in parts),
        boxes=sum(part.boxes for part in parts),
        lost=sum(part.lost for part in parts),
        pairs=name,
    )
    limit = TOLERANCES[backend.metadata.precision]
    if not (found.px <= limit.px and found.score <= limit.score and found.lost <= limit.lost * found.boxes):
        raise WeightsError(
            f"{backend.path.name}: wrong: {found}; {limit.px:g} px and {limit.score:g} are accepted for "
            f"{backend.metadata.precision}; it is not kept"
        )
    return found


def compare_batch(detector: Detector, backend: Backend, batch: PairedBatch) -> Difference:
    """Compare an export with a detector on a batch, with pixels as loaded."""
    moved = batch.to(detector.device)
    with torch.no_grad():
        found = detector(moved.rgb, moved.ir)
        expected = {
            name: hide_kept_classes(head, found[name][0].float()).cpu() for name, head in detector.heads.items()
        }
    on_host = batch.to(torch.device("cpu"))
    outputs = {name: output for name, (output, _) in backend(on_host.rgb, on_host.ir).items()}
    limits = backend.metadata.nms
    if limits is not None:
        (rows,) = outputs.values()
        tolerance = TOLERANCES[backend.metadata.precision]
        least = limits.conf - tolerance.score
        parts = [
            compare_nms(_candidates(expected, number, least, detector.end2end), found, limits, tolerance)
            for number, found in enumerate(_rows(rows))
        ]
    elif backend.end2end:
        parts = [
            _compare_rows(image, other)
            for name in outputs
            for image, other in zip(_rows(expected[name]), _rows(outputs[name]), strict=True)
        ]
    else:
        parts = [_compare_anchors(expected[name], outputs[name]) for name in outputs]
    return Difference(
        max(part.px for part in parts),
        max(part.score for part in parts),
        sum(part.boxes for part in parts),
        sum(part.lost for part in parts),
        "",
    )


def _rows(output: Tensor) -> list[Tensor]:
    return [decode_candidates(image, conf=0.0, end2end=True) for image in output]


def _candidates(outputs: Mapping[str, Tensor], image: int, conf: float, end2end: bool) -> Tensor:
    """Return the boxes of an image that enter NMS, of all heads, (N, 6)."""
    return torch.cat([decode_candidates(output[image], conf=conf, end2end=end2end) for output in outputs.values()])


def compare_nms(candidates: Tensor, found: Tensor, limits: NmsLimits, tolerance: Tolerance) -> Difference:
    """Compare the final boxes of an image with torch's candidates, (N, 6) and (M, 6).

    Of two boxes that score the same but for rounding NMS may keep either, and what they suppress differs then. So
    the boxes need not be those of torch, but a result of NMS: each is a candidate, none overlaps a better one, and each
    candidate is among them or overlaps a better one. Of those near the least score some may be missing. Boxes without
    an area, which untrained heads give and detection drops, are left out.
    """
    candidates, found = (rows[(rows[:, 2:4] > rows[:, :2]).all(1)] for rows in (candidates, found))
    if not len(candidates) or not len(found):
        lost = int((candidates[:, 4] > limits.conf + tolerance.score).sum()) + len(found)
        return Difference(0.0, 0.0, lost, lost, "")
    is_alike = candidates[:, 5:] == found[:, 5]
    is_better = is_alike & (found[:, 4] >= candidates[:, 4:5] - tolerance.score)
    is_explained = (is_better & (box_iou(candidates[:, :4], found[:, :4]) > limits.iou - _IOU_ROUNDING)).any(1)
    is_weak = candidates[:, 4] <= limits.conf + tolerance.score
    for kept in (is_alike, torch.ones_like(is_alike)):  # max_det is a limit per class, then per image
        worst = torch.where(kept, found[:, 4], torch.inf).amin(1)
        is_weak |= (kept.sum(1) >= limits.max_det) & (candidates[:, 4] <= worst + tolerance.score)
    is_above = box_iou(found[:, :4], found[:, :4]).triu(1) > limits.iou + _IOU_ROUNDING
    is_double = (is_above & (found[:, 5:] == found[:, 5])).any(0)

    gaps = torch.cdist(candidates[:, :4].double(), found[:, :4].double(), p=torch.inf)
    gaps[~is_alike | ((candidates[:, 4:5] - found[:, 4]).abs() > tolerance.score)] = torch.inf
    nearest = gaps.min(0)
    has_partner = nearest.values < (found[:, 2:4] - found[:, :2]).amax(1).clamp(min=8) / 2
    scores = (candidates[nearest.indices, 4] - found[:, 4]).abs()[has_partner]
    px = nearest.values[has_partner]
    return Difference(
        float(px.max()) if len(px) else 0.0,
        float(scores.max()) if len(px) else 0.0,
        len(found),
        int((~has_partner | is_double).sum() + (~is_explained & ~is_weak).sum()),
        "",
    )


def _compare_anchors(expected: Tensor, output: Tensor) -> Difference:
    """Compare (B, 4 + classes, anchors): all scores, and the boxes of the anchors that score."""
    best = expected[:, 4:].amax(1)  # (B, anchors)
    chosen = best > MIN_SCORE
    if not chosen.any():
        chosen = best >= best.flatten().topk(min(_NUM_BEST, best.numel())).values[-1]
    gaps = (_corners(expected) - _corners(output)).abs().amax(1)
    gaps = gaps[chosen].nan_to_num(nan=torch.inf)
    scores = (expected[:, 4:] - output[:, 4:]).abs().nan_to_num(nan=torch.inf)
    return Difference(float(gaps.max()), float(scores.max()), int(chosen.sum()), 0, "")


def _corners(output: Tensor) -> Tensor:
    centre, half = output[:, :2], output[:, 2:4] / 2
    return torch.cat([centre - half, centre + half], 1)


def _compare_rows(expected: Tensor, found: Tensor) -> Difference:
    """Compare final boxes of an image, which may come in another order: each with the nearest of its class."""
    rows = expected[expected[:, 4] > MIN_SCORE]
    if not len(rows):
        rows = expected[:_NUM_BEST]
    if not len(rows):
        return Difference(0.0, 0.0, 0, 0, "")
    gaps = torch.cdist(rows[:, :4].double(), found[:, :4].double(), p=torch.inf)
    gaps[rows[:, 5:] != found[:, 5]] = torch.inf
    if not len(found):
        return Difference(0.0, 0.0, len(rows), len(rows), "")
    nearest = gaps.min(1)
    sides = (rows[:, 2:4] - rows[:, :2]).amax(1)
    has_partner = nearest.values < sides.clamp(min=8) / 2
    scores = (rows[:, 4] - found[nearest.indices, 4]).abs()[has_partner]
    px = nearest.values[has_partner]
    return Difference(
        float(px.max()) if len(px) else 0.0,
        float(scores.max()) if len(px) else 0.0,
        len(rows),
        int((~has_partner).sum()),
        "",
    )


def _find_pairs(loaded: LoadedDetector) -> tuple[str, list[PairedBatch]]:
    """Return the name of the pairs to compare on, and batches: of the validation split, or random where it is not."""
    try:
        return f"split {loaded.config.data.val_split}", list(split_batches(loaded, loaded.config.data.val_split))
    except (YolofuseError, OSError) as error:
        log.info("the split %s can't be read (%s); compared on random pairs", loaded.config.data.val_split, error)
    return "random pairs", random_batches(loaded)


def split_batches(loaded: LoadedDetector, split: str, number: int = _NUM_PAIRS) -> Iterator[PairedBatch]:
    """Yield pairs of a split as they are evaluated, one by one, then the first two padded to the square.

    Raises:
        YolofuseError: If they can't be read.
    """
    config, stride = loaded.config, loaded.detector.stride
    pairs = load_split(config, split, Ranks(0, 1, torch.device("cpu")), windows_in(loaded.content))
    records = [pairs.records[i] for i in evenly_spaced(len(pairs), number)]
    for record in records:
        yield collate([read_letterboxed(record, rect_hw(record.size_hw, config.val_imgsz, stride))])
    yield collate([read_letterboxed(record, (config.val_imgsz, config.val_imgsz)) for record in records[:2]])


def calibration_pairs(loaded: LoadedDetector) -> list[PairedBatch]:
    """Return pairs of the training split as they are evaluated, from which int8 learns its ranges.

    Raises:
        YolofuseError: If they can't be read.
    """
    return list(split_batches(loaded, loaded.config.data.train_split, _NUM_CALIBRATION))[:-1]


def random_batches(loaded: LoadedDetector) -> list[PairedBatch]:
    """Return random pairs of two shapes: coarse patches, so that there are edges at all scales."""
    generator = torch.Generator().manual_seed(0)
    side, stride = loaded.config.val_imgsz, loaded.detector.stride
    is_deep = any(rule.bits == 16 for rule in loaded.formats) or not loaded.formats
    batches = []
    for number, (height, width) in ((1, (side, side)), (2, (max(side // 2 // stride, 1) * stride, side))):
        patches = [torch.rand(number, 4, cells, cells, generator=generator) for cells in (3, 16)]
        images = torch.stack([torch.nn.functional.interpolate(patch, (height, width)) for patch in patches]).mean(0)
        levels = images * (65535 if is_deep else 255)
        batches.append(batch_of(levels.to(torch.int32).to(torch.uint16 if is_deep else torch.uint8)))
    return batches


def batch_of(pixels: Tensor) -> PairedBatch:
    """Return pairs without labels, in the pixels that the network gets, (B, 4, H, W)."""
    number, _, height, width = pixels.shape
    return PairedBatch(
        pixels=pixels,
        boxes_xyxy=torch.zeros(0, 4),
        class_ids=torch.zeros(0, dtype=torch.int64),
        batch_index=torch.zeros(0, dtype=torch.int64),
        image_ids=torch.arange(number),
        sizes_hw=torch.tensor([[height, width]] * number),
        letterboxes=torch.tensor([[1.0, 0.0, 0.0]] * number),
    )


def _fitted(batch: PairedBatch, size_hw: Sequence[int]) -> PairedBatch:
    """Return a batch whose images have a given size: repeated, then cut."""
    height, width = batch.pixels.shape[2:]
    pixels = batch.pixels.repeat(1, 1, -(-size_hw[0] // height), -(-size_hw[1] // width))
    return replace(batch, pixels=pixels[:, :, : size_hw[0], : size_hw[1]].contiguous())
