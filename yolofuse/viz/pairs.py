"""Pictures of pairs: a training batch, what a model found and missed, several models on the same pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from yolofuse.types import ByteArray, Detections, FloatArray, IntArray, PairedBatch
from yolofuse.viz import draw
from yolofuse.viz.draw import GAP, Colour, Mark
from yolofuse.viz.true_positives import match

Shown = Literal["rgb", "ir", "both"]

HIT: Colour = (112, 226, 92)
FALSE_ALARM: Colour = (116, 108, 255)
MISS: Colour = (64, 196, 255)
TRUTH: Colour = (235, 235, 235)

_OUTCOMES = (("found", HIT, False), ("false alarm", FALSE_ALARM, False), ("missed", MISS, True))
_PANEL = 480
"""Width of a panel in pixels; smaller images are enlarged to it, larger ones shrunk."""
_BATCH_PANEL = 320


@dataclass(frozen=True, slots=True)
class PairView:
    """A pair to show: the image (H, W, 4) in R G B IR order, its true boxes in its pixels, a caption."""

    image: ByteArray
    boxes_xyxy: FloatArray
    class_ids: IntArray
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One model of a comparison: its name, which modality it is shown on, its detections, one for each pair."""

    title: str
    shown: Shown
    detections: Sequence[Detections]


def draw_pair(
    image: ByteArray,
    boxes_xyxy: FloatArray,
    class_ids: IntArray,
    scores: FloatArray | None,
    names: Sequence[str],
    ground_truth: FloatArray | None = None,
) -> ByteArray:
    """The pair, RGB left and IR right, both with the boxes in their class's colour.

    Args:
        image: uint8, R G B IR.
        boxes_xyxy: In pixels of ``image``, best first: the first find room for their captions first.
        class_ids: Class of each box.
        scores: Score of each box, or None for true boxes.
        names: Class names, by class id.
        ground_truth: True boxes to add as thin dashed lines.

    Shapes:
        image: (H, W, 4), boxes_xyxy: (N, 4), class_ids, scores: (N,), ground_truth: (M, 4) -> (H, 2 W + 6, 3) BGR
    """
    captions = [names[class_id] for class_id in class_ids.tolist()]
    if scores is not None:
        captions = [f"{name} {score:.2f}" for name, score in zip(captions, scores.tolist(), strict=True)]
    marks = [
        Mark(_corners(box), draw.class_colour(class_id), caption)
        for box, class_id, caption in zip(boxes_xyxy, class_ids.tolist(), captions, strict=True)
    ]
    marks += [Mark(_corners(box), TRUTH, dashed=True) for box in (() if ground_truth is None else ground_truth)]
    panels = [_panel(image, shown) for shown in ("rgb", "ir")]
    for panel in panels:
        draw.draw_marks(panel, marks, _thickness(panel))
    return draw.side_by_side(panels)


def save_batch_picture(batch: PairedBatch, names: Sequence[str], path: Path, max_images: int = 8) -> None:
    """Contact sheet of a batch as the network gets it: two pairs a row, RGB beside IR, boxes in class colours.

    An empty batch leaves no file.
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
        mine = (batch.batch_index == index).cpu().numpy()
        boxes = batch.boxes_xyxy.cpu().numpy()[mine]
        marks = [
            Mark(_corners(box), draw.class_colour(class_id))
            for box, class_id in zip(boxes, class_ids[mine].tolist(), strict=True)
        ]
        cells.append(draw.side_by_side(_panels(images[index], marks, ("rgb", "ir"), _BATCH_PANEL)))
    rows = [draw.side_by_side(cells[start : start + 2]) for start in range(0, count, 2)]
    sheet = draw.stacked(rows, GAP)
    present = sorted(set(class_ids.tolist()))
    key = draw.legend(sheet.shape[1], [(names[class_id], draw.class_colour(class_id), False) for class_id in present])
    draw.save_picture(path, draw.framed(draw.stacked([sheet, key], GAP)))


def save_prediction_picture(
    views: Sequence[PairView],
    detections: Sequence[Detections],
    names: Sequence[str],
    path: Path,
    min_score: float = 0.25,
) -> None:
    """What was found, missed and invented, one pair a row, RGB beside IR.

    A detection has found a box of its class from an IoU of 0.5 on.

    Args:
        views: The pairs.
        detections: What was found in each, in pixels of the view's image.
        names: Class names, by class id.
        path: PNG or JPEG; no file is written where there is no pair.
        min_score: Weaker detections are not shown and find nothing.
    """
    bands: list[ByteArray] = []
    for view, found in zip(views, detections, strict=True):
        marks, summary = _outcomes(view, found, names, min_score)
        panels = _panels(view.image, marks, ("rgb", "ir"), _PANEL)
        head = draw.titles([panels[0].shape[1]] * 2, [("RGB", view.caption), ("IR", summary)])
        bands += [head, draw.side_by_side(panels)]
    _save_with_outcomes(bands, min_score, path)


def save_comparison_picture(
    views: Sequence[PairView],
    columns: Sequence[Column],
    names: Sequence[str],
    path: Path,
    min_score: float = 0.25,
) -> None:
    """The same pairs seen by several models, one pair a row, one model a column.

    Args:
        views: The pairs.
        columns: The models; their detections are in pixels of the view's image, in the order of ``views``.
        names: Class names, by class id.
        path: PNG or JPEG; no file is written where there is no pair.
        min_score: Weaker detections are not shown and find nothing.
    """
    bands: list[ByteArray] = []
    for row, view in enumerate(views):
        panels, summaries = [], []
        for column in columns:
            marks, summary = _outcomes(view, column.detections[row], names, min_score)
            panels += _panels(view.image, marks, (column.shown,), _PANEL)
            summaries.append((column.title, summary))
        bands += [draw.titles([panel.shape[1] for panel in panels], summaries), draw.side_by_side(panels)]
    _save_with_outcomes(bands, min_score, path)


def _save_with_outcomes(bands: list[ByteArray], min_score: float, path: Path) -> None:
    if not bands:
        return
    key = draw.legend(bands[0].shape[1], _OUTCOMES, f"scores from {min_score:g}, IoU from 0.5")
    draw.save_picture(path, draw.framed(draw.stacked([*bands, draw.strip(1, GAP), key])))


def _outcomes(view: PairView, detections: Detections, names: Sequence[str], min_score: float) -> tuple[list[Mark], str]:
    """Marks coloured by outcome, and the outcome in words."""
    sure = detections.scores >= min_score
    shown = replace(
        detections,
        boxes_xyxy=detections.boxes_xyxy[sure],
        scores=detections.scores[sure],
        class_ids=detections.class_ids[sure],
    )
    found = match(shown, view.boxes_xyxy, view.class_ids)
    marks = [
        Mark(_corners(box), FALSE_ALARM if index < 0 else HIT, f"{names[class_id]} {score:.2f}")
        for box, class_id, score, index in zip(
            shown.boxes_xyxy, shown.class_ids.tolist(), shown.scores.tolist(), found.tolist(), strict=True
        )
    ]
    missed = np.setdiff1d(np.arange(len(view.boxes_xyxy)), found)
    marks += [Mark(_corners(view.boxes_xyxy[i]), MISS, names[view.class_ids[i]], dashed=True) for i in missed]
    num_hits = int((found >= 0).sum())
    words = f"{num_hits} of {len(view.boxes_xyxy)} found, {len(found) - num_hits} false"
    return marks, words


def _panels(image: ByteArray, marks: Sequence[Mark], shown: Iterable[Shown], width: int) -> list[ByteArray]:
    """The modalities at the sheet's scale, with the marks."""
    factor = width / image.shape[1]
    enlarged = [replace(mark, box_xyxy=_corners(np.asarray(mark.box_xyxy) * factor)) for mark in marks]
    panels = [draw.scaled(_panel(image, modality), factor) for modality in shown]
    for panel in panels:
        draw.draw_marks(panel, enlarged, _thickness(panel))
    return panels


def _panel(image: ByteArray, shown: Shown) -> ByteArray:
    """One modality, or the mean of both, as BGR to draw on."""
    bgr, ir = image[:, :, 2::-1], image[:, :, 3:].repeat(3, axis=2)
    if shown == "rgb":
        return np.ascontiguousarray(bgr)
    if shown == "ir":
        return np.ascontiguousarray(ir)
    return ((bgr.astype(np.uint16) + ir + 1) // 2).astype(np.uint8)


def _thickness(panel: ByteArray) -> int:
    """Line width in pixels that suits the panel."""
    return max(round(int(panel.shape[1]) / 400), 1)


def _corners(box: np.ndarray) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = box.tolist()
    return x1, y1, x2, y2
