"""Draw pairs with boxes: a training batch, the predictions of a model, several models on the same pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from torchvision.ops import box_iou

from yolofuse.batch import PairedBatch
from yolofuse.types import ByteArray, Detections, FloatArray, IntArray
from yolofuse.viz import draw
from yolofuse.viz.draw import GAP, Colour, Mark

Boxes = tuple[FloatArray, IntArray]
"""Corners (N, 4) and class ids (N,)."""
Shown = Literal["rgb", "ir", "both"]
Palette = Literal["grey", "inferno", "turbo"]
_PALETTES: dict[Palette, int] = {"inferno": cv2.COLORMAP_INFERNO, "turbo": cv2.COLORMAP_TURBO}

HIT: Colour = (112, 226, 92)
FALSE_ALARM: Colour = (116, 108, 255)
MISS: Colour = (64, 196, 255)
LABEL: Colour = (255, 255, 255)

_OUTCOMES = (("found", HIT, False), ("false alarm", FALSE_ALARM, False), ("missed", MISS, True))
_MIN_SCORE, _MIN_IOU = 0.25, 0.5
_PANEL = 480
"""Width of a panel in pixels; smaller images are enlarged to it, larger ones shrunk."""
_BATCH_PANEL = 320
_NO_REGIONS: Boxes = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class PairView:
    """One pair to draw: the image (H, W, 4) in R G B IR order, its true boxes in its pixels, a caption.

    ``ignored`` are the boxes and classes of the regions in which a detection is neither right nor wrong.
    """

    image: ByteArray
    boxes_xyxy: FloatArray
    class_ids: IntArray
    caption: str = ""
    ignored: Boxes = _NO_REGIONS


@dataclass(frozen=True, slots=True)
class Column:
    """One model of a comparison: its name, which modality it is shown on, its detections, one for each pair."""

    title: str
    shown: Shown
    detections: Sequence[Detections]


def save_batch_image(batch: PairedBatch, names: Sequence[str], path: Path, max_images: int = 8) -> None:
    """Draw a batch as the network gets it: two pairs a row, RGB beside IR, boxes in class colours.

    An empty batch writes no file.
    """
    count = min(len(batch), max_images)
    if not count:
        return
    if not batch.pixels.is_floating_point():  # as it came from the loader, in 8 or 16 bits
        batch = batch.to(torch.device("cpu"))
    levels = batch.pixels[:count].detach().cpu().float().mul(255).round()
    images = levels.clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    class_ids = batch.class_ids.cpu().numpy()
    cells = []
    for index in range(count):
        inside = (batch.batch_index == index).cpu().numpy()
        boxes = batch.boxes_xyxy.cpu().numpy()[inside]
        marks = [
            Mark(_corners(box), draw.class_colour(class_id))
            for box, class_id in zip(boxes, class_ids[inside].tolist(), strict=True)
        ]
        cells.append(draw.side_by_side(_panels(images[index], marks, ("rgb", "ir"), _BATCH_PANEL)))
    rows = [draw.side_by_side(cells[start : start + 2]) for start in range(0, count, 2)]
    sheet = draw.stacked(rows, GAP)
    present = sorted(set(class_ids.tolist()))
    legend = draw.legend_band(
        sheet.shape[1], [(names[class_id], draw.class_colour(class_id), False) for class_id in present]
    )
    draw.save_image(path, draw.add_margin(draw.stacked([sheet, legend], GAP)))


def save_prediction_image(
    views: Sequence[PairView], detections: Sequence[Detections], names: Sequence[str], path: Path
) -> None:
    """Draw true positives, false positives and misses, one pair a row, RGB beside IR.

    A detection is a true positive from an IoU of 0.5 with a box of its class on; those below a score of 0.25 are
    neither drawn nor matched. Without a pair no file is written.

    Args:
        views: The pairs.
        detections: Of each pair, in pixels of the view's image.
        names: Class names, by class id.
        path: PNG or JPEG.
    """
    bands: list[ByteArray] = []
    for view, found in zip(views, detections, strict=True):
        panels, summary = outcome_panels(view, found, names)
        head = draw.title_band([panels[0].shape[1]] * 2, [("RGB", view.caption), ("IR", summary)])
        bands += [head, draw.side_by_side(panels)]
    _save_with_legend(bands, path)


def save_comparison_image(
    views: Sequence[PairView], columns: Sequence[Column], names: Sequence[str], path: Path
) -> None:
    """Draw the same pairs with the detections of several models, one pair a row, one model a column.

    Arguments are those of :func:`save_prediction_image`; the detections of a column are in the order of ``views``.
    """
    bands: list[ByteArray] = []
    for row, view in enumerate(views):
        panels, summaries = [], []
        for column in columns:
            drawn, summary = outcome_panels(view, column.detections[row], names, (column.shown,))
            panels += drawn
            summaries.append((column.title, summary))
        bands += [draw.title_band([panel.shape[1] for panel in panels], summaries), draw.side_by_side(panels)]
    _save_with_legend(bands, path)


def outcome_panels(
    view: PairView,
    detections: Detections,
    names: Sequence[str],
    shown: Sequence[Shown] = ("rgb", "ir"),
    min_score: float = _MIN_SCORE,
    *,
    with_labels: bool = False,
) -> tuple[list[ByteArray], str]:
    """Draw what was found in a pair and what not, as :func:`save_prediction_image` does, on each modality by itself.

    Args:
        view: The pair.
        detections: In pixels of its image.
        names: Class names, by class id.
        shown: Modalities.
        min_score: Score from which on a detection counts.
        with_labels: Also draw the labelled boxes that were found, in white below the detections.

    Returns:
        An image per modality, and a summary such as ``3 of 4 found, 1 false``.
    """
    marks, summary = _outcomes(view, detections, names, min_score, with_labels=with_labels)
    return _panels(view.image, marks, shown, _PANEL), summary


def draw_detections(
    image: ByteArray,
    detections: Detections,
    names: Sequence[str],
    *,
    min_score: float = _MIN_SCORE,
    shown: Sequence[Shown] = ("rgb", "ir"),
    palette: Palette = "grey",
    width: int | None = _PANEL,
    ids: Sequence[int] | None = None,
) -> ByteArray:
    """Draw the detections in a pair, in the colour of their class, on RGB beside IR.

    Args:
        image: The pair.
        detections: In its pixels.
        names: Class names, by class id.
        min_score: Score from which on a detection is drawn.
        shown: Panels from left to right.
        palette: Colours of the thermal image.
        width: Of a panel in pixels; None: that of the image, at least 480.
        ids: Number of each detection's object in a video, for its caption; -1: none yet.

    Shapes:
        image: uint8 (H, W, 4), R G B IR -> uint8 (h, w, 3), B G R.
    """
    marks = _marks(detections, names, [draw.class_colour(class_id) for class_id in detections.class_ids.tolist()])
    if ids is not None:
        marks = [
            replace(mark, caption=f"#{number} {mark.caption}") if number >= 0 else mark
            for mark, number in zip(marks, ids, strict=True)
        ]
    marks = [mark for mark, score in zip(marks, detections.scores, strict=True) if score >= min_score]
    return draw.side_by_side(_panels(image, marks, shown, width or max(image.shape[1], _PANEL), palette))


def match_detections(
    detections: Detections,
    boxes_xyxy: FloatArray,
    class_ids: IntArray,
    ignored: Boxes = _NO_REGIONS,
) -> tuple[Detections, IntArray]:
    """Return the detections that count, and the index of the box that each matches, -1 for a false positive.

    The strongest detections choose first, as in cocoapi; one matches a box of its class from an IoU of 0.5 on. Those
    without a match that lie in a region to ignore of their class, by half of their area, do not count.

    Shapes:
        boxes_xyxy: (M, 4), class_ids: (M,), ignored: (K, 4) and (K,) -> index (N,)
    """
    found = np.full(len(detections), -1, dtype=np.int64)
    if not len(detections):
        return detections, found
    if len(boxes_xyxy):
        boxes, others = (torch.from_numpy(array).double() for array in (detections.boxes_xyxy, boxes_xyxy))
        overlap = box_iou(boxes, others).numpy()
        overlap[detections.class_ids[:, None] != class_ids] = 0.0
        for index in np.argsort(-detections.scores, kind="stable"):
            best = int(overlap[index].argmax())
            if overlap[index, best] >= _MIN_IOU:
                found[index] = best
                overlap[:, best] = 0.0
    counts = (found >= 0) | ~_lie_in(detections, *ignored)
    return detections.where(counts), found[counts]


def _lie_in(detections: Detections, regions_xyxy: FloatArray, class_ids: IntArray) -> np.ndarray:
    """Return whether each detection lies in a region of its class by half of its area, (N,)."""
    boxes = detections.boxes_xyxy[:, None].astype(np.float64)
    low, high = np.maximum(boxes[..., :2], regions_xyxy[:, :2]), np.minimum(boxes[..., 2:], regions_xyxy[:, 2:])
    shared, area = (high - low).clip(0).prod(2), (boxes[..., 2:] - boxes[..., :2]).prod(2)
    return np.asarray(((shared >= _MIN_IOU * area) & (detections.class_ids[:, None] == class_ids)).any(1))


def _save_with_legend(bands: list[ByteArray], path: Path) -> None:
    if not bands:
        return
    legend = draw.legend_band(bands[0].shape[1], _OUTCOMES, f"scores from {_MIN_SCORE}, IoU from {_MIN_IOU}")
    draw.save_image(path, draw.add_margin(draw.stacked([*bands, draw.blank_band(1, GAP), legend])))


def _outcomes(
    view: PairView,
    detections: Detections,
    names: Sequence[str],
    min_score: float = _MIN_SCORE,
    *,
    with_labels: bool = False,
) -> tuple[list[Mark], str]:
    """Return marks coloured by outcome, and a summary such as ``3 of 4 found, 1 false``."""
    shown, found = match_detections(detections.above(min_score), view.boxes_xyxy, view.class_ids, view.ignored)
    marks = _marks(shown, names, [FALSE_ALARM if index < 0 else HIT for index in found.tolist()])
    missed = np.setdiff1d(np.arange(len(view.boxes_xyxy)), found)
    marks += [Mark(_corners(view.boxes_xyxy[i]), MISS, names[view.class_ids[i]], dashed=True) for i in missed]
    if with_labels:  # below the others: the first marks are drawn last
        marks += [Mark(_corners(view.boxes_xyxy[i]), LABEL) for i in found[found >= 0]]
    num_hits = int((found >= 0).sum())
    return marks, f"{num_hits} of {len(view.boxes_xyxy)} found, {len(found) - num_hits} false"


def _marks(detections: Detections, names: Sequence[str], colours: Sequence[draw.Colour]) -> list[Mark]:
    """Return a box with class and score for each detection."""
    values = detections.boxes_xyxy, detections.class_ids.tolist(), detections.scores.tolist(), colours
    return [
        Mark(_corners(box), colour, f"{names[class_id]} {score:.2f}")
        for box, class_id, score, colour in zip(*values, strict=True)
    ]


def _panels(
    image: ByteArray, marks: Sequence[Mark], shown: Iterable[Shown], width: int, palette: Palette = "grey"
) -> list[ByteArray]:
    """Draw the modalities at a width in pixels, with the marks."""
    factor = width / image.shape[1]
    enlarged = [replace(mark, box_xyxy=_corners(np.asarray(mark.box_xyxy) * factor)) for mark in marks]
    panels = [draw.resize(_panel(image, modality, palette), factor) for modality in shown]
    for panel in panels:
        draw.draw_marks(panel, enlarged, thickness=max(round(width / 400), 1))
    return panels


def _panel(image: ByteArray, shown: Shown, palette: Palette = "grey") -> ByteArray:
    """Return one modality, or the mean of both, as a BGR image to draw on."""
    bgr, grey = image[:, :, 2::-1], np.ascontiguousarray(image[:, :, 3])
    if shown == "rgb":
        return np.ascontiguousarray(bgr)
    ir = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR) if palette == "grey" else cv2.applyColorMap(grey, _PALETTES[palette])
    if shown == "ir":
        return np.asarray(ir, np.uint8)
    return ((bgr.astype(np.uint16) + ir + 1) // 2).astype(np.uint8)


def _corners(box: np.ndarray) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = box.tolist()
    return x1, y1, x2, y2
