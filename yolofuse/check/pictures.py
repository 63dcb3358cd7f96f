"""Pictures beside findings: edges laid over each other, both images of a pair, two pairs that look the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from yolofuse.check.findings import Picture
from yolofuse.check.registration import Shift
from yolofuse.data.images.read_pair import read_thumbnail
from yolofuse.types import ByteArray, FloatArray, IntArray, PairRecord
from yolofuse.viz.draw import Mark, class_colour, draw_marks, framed, side_by_side, stacked, titles

PANEL = 480
"""Longest side of one panel in pixels."""
_EDGE_BLUR = 1.0
_FULL = 97
"""Percentile of edge strength that is drawn at full brightness."""


def load(record: PairRecord) -> tuple[ByteArray, ByteArray]:
    """Both images of a pair, small, as BGR (h, w, 3).

    Raises:
        DataError: If a file can't be read any more.
    """
    pixels = read_thumbnail(record, PANEL)
    bgr = np.ascontiguousarray(pixels[..., 2::-1])
    return bgr, cast(ByteArray, cv2.cvtColor(np.ascontiguousarray(pixels[..., 3]), cv2.COLOR_GRAY2BGR))


def draw_shift(name: str, record: PairRecord, shift: Shift) -> Picture:
    """Edges of RGB in green and of IR in red, yellow where they meet: as stored, and with the shift taken back."""
    rgb, ir = load(record)
    scale = max(rgb.shape[:2]) / max(record.size_hw)
    back = np.array([[1, 0, -shift.dx * scale], [0, 1, -shift.dy * scale]], np.float32)
    moved = cv2.warpAffine(ir, back, rgb.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    panels = [_overlay(rgb, ir), _overlay(rgb, cast(ByteArray, moved))]
    heads = [("as stored", "RGB green, IR red"), ("IR moved back", f"by {-shift.dx:+.0f}, {-shift.dy:+.0f} px")]
    caption = f"{record.key}: IR lies {shift.dx:+.1f} px across and {shift.dy:+.1f} px down of RGB"
    return _sheet(name, caption, panels, heads)


def draw_pair(name: str, record: PairRecord, caption: str) -> Picture:
    """Both images side by side."""
    return _sheet(name, f"{record.key}: {caption}", list(load(record)), [("file of RGB", ""), ("file of IR", "")])


def draw_twins(name: str, one: tuple[str, PairRecord], other: tuple[str, PairRecord], caption: str) -> Picture:
    """Two pairs, each named by its split, one above the other."""
    rows = []
    for split, record in (one, other):
        panels = [_fit(panel) for panel in load(record)]
        rows.append(_row(panels, [(f"{split}: {record.key}", ""), ("IR", "")]))
    return Picture(_safe(name), caption, framed(stacked(rows)))


def draw_boxes(
    name: str, record: PairRecord, boxes_xywhn: FloatArray, class_ids: IntArray, names: Sequence[str], caption: str
) -> Picture:
    """Both images with some of the pair's boxes."""
    panels = list(load(record))
    for panel in panels:
        height, width = panel.shape[:2]
        marks = []
        for (x, y, w, h), class_id in zip(boxes_xywhn.tolist(), class_ids.tolist(), strict=True):
            box = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
            marks.append(Mark(box, class_colour(class_id), names[class_id]))
        draw_marks(panel, marks)
    return _sheet(name, f"{record.key}: {caption}", panels, [("RGB", ""), ("IR", "")])


def _overlay(rgb: ByteArray, ir: ByteArray) -> ByteArray:
    green, red = _edges(rgb), _edges(ir)
    return cast(ByteArray, cv2.merge([np.zeros_like(green), green, red]))


def _edges(bgr: ByteArray) -> ByteArray:
    grey = cv2.GaussianBlur(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY).astype(np.float32), (0, 0), _EDGE_BLUR)
    strength: npt.NDArray[np.float32] = np.hypot(
        cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    ).astype(np.float32)
    full = max(float(np.percentile(strength, _FULL)), 1.0)
    return (strength * (255 / full)).clip(0, 255).astype(np.uint8)


def _sheet(name: str, caption: str, panels: Sequence[ByteArray], heads: Sequence[tuple[str, str]]) -> Picture:
    return Picture(_safe(name), caption, framed(_row([_fit(panel) for panel in panels], heads)))


def _row(panels: Sequence[ByteArray], heads: Sequence[tuple[str, str]]) -> ByteArray:
    return stacked([titles([panel.shape[1] for panel in panels], heads), side_by_side(panels)])


def _fit(panel: ByteArray) -> ByteArray:
    """Tiny images enlarged, so that there is something to see."""
    factor = PANEL / max(panel.shape[:2])
    if factor <= 1.0:
        return panel
    size_wh = (round(panel.shape[1] * factor), round(panel.shape[0] * factor))
    return cast(
        ByteArray, cv2.resize(panel, size_wh, interpolation=cv2.INTER_NEAREST if factor > 3 else cv2.INTER_CUBIC)
    )


def _safe(name: str) -> str:
    """A file name of letters, digits and hyphens."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:80]
